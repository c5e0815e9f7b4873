"""What the console's pages share: fields for lists, JSON and prices, dialogs, and lists without a count."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.contrib.admin import ShowFacets
from django.contrib.admin.utils import unquote
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.forms import SimpleArrayField
from django.core.paginator import Page, Paginator
from django.db import models, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString, mark_safe
from unfold.admin import ModelAdmin, StackedInline, TabularInline
from unfold.contrib.filters.admin import RadioFilter
from unfold.views import ChangeList
from unfold.widgets import UnfoldAdminExpandableTextareaWidget

from gateway_site.infra.csv_export import CsvMixin
from gateway_site.infra.rows import KnownRowsMixin

MAX_UNCOUNTED_PAGES = 1000
SHORT_JSON = 40


def plain(number: Decimal | float) -> str:
    """A number without exponent and without zeros at its end."""
    return f"{Decimal(str(number)).normalize():f}"


def badge(text: str, kind: str = "") -> SafeString:
    """A coloured label, for lists and read-only fields alike; unfold's own does lists only."""
    return mark_safe(render_to_string("unfold/helpers/label.html", {"text": text, "type": kind}))


# --- Form fields -------------------------------------------------------------------------------------------


class ListField(SimpleArrayField):
    """A list as text, separated by commas or line breaks."""

    empty: Any = None

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(str(item) for item in value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str):
            value = [item.strip() for item in re.split(r"[,\n]", value) if item.strip()]
        return super().to_python(value)

    def clean(self, value: Any) -> Any:
        return super().clean(value) or self.empty


class JsonField(forms.JSONField):
    """JSON, indented when it is long; nothing stands for the model's own empty value."""

    empty: Any = None

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, forms.fields.InvalidJSONInput):
            return value
        if not value:
            return ""
        line = json.dumps(value, ensure_ascii=False, cls=self.encoder)
        return line if len(line) <= SHORT_JSON else json.dumps(value, indent=2, ensure_ascii=False, cls=self.encoder)

    def clean(self, value: Any) -> Any:
        cleaned = super().clean(value)
        return self.empty if cleaned is None else cleaned


class PlainDecimalField(forms.DecimalField):
    """A decimal that shows the digits it needs."""

    def prepare_value(self, value: Any) -> Any:
        return plain(value) if isinstance(value, Decimal) else value


class PlainFloatField(forms.FloatField):
    """The same for floats."""

    def prepare_value(self, value: Any) -> Any:
        return plain(value) if isinstance(value, float) else value


class FormFieldsMixin:
    """Gives model fields the form fields above."""

    formfield_overrides: Mapping[type[models.Field], Mapping[str, Any]] = {
        ArrayField: {"form_class": ListField, "widget": UnfoldAdminExpandableTextareaWidget({"rows": 1})},
        models.JSONField: {
            "form_class": JsonField,
            "widget": UnfoldAdminExpandableTextareaWidget({"class": "font-mono", "spellcheck": "false"}),
        },
        models.DecimalField: {"form_class": PlainDecimalField},
        models.FloatField: {"form_class": PlainFloatField},
    }

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[misc]
        if isinstance(field, ListField | JsonField):
            field.empty = None if db_field.null else db_field.get_default()
        return field


# --- Pages -------------------------------------------------------------------------------------------------


class QuietChangeList(ChangeList):
    """Has a count in the page's title only where a search or a filter narrows a list that was counted."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        narrowed = self.query or self.has_active_filters
        if not narrowed or isinstance(self.paginator, UncountedPaginator):
            self.full_result_count = self.result_count


class Admin(CsvMixin, FormFieldsMixin, ModelAdmin):
    """The base of the console's model pages."""

    history: ClassVar[Callable[[Admin, HttpRequest, str], HttpResponse | None] | None] = None  # set by the audit trail
    show_full_result_count = False
    list_per_page = 50
    show_facets = ShowFacets.NEVER  # counts per filter value read whole tables
    list_filter_submit = True
    warn_unsaved_form = True

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return QuietChangeList

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Lead to the audit trail, which knows more than Django's own log."""
        trail = type(self).history
        found = trail(self, request, unquote(object_id)) if trail is not None else None
        return found or super().history_view(request, object_id, extra_context)

    def is_list(self, request: HttpRequest) -> bool:
        """Whether the list is asked for, and not one object's page."""
        match = request.resolver_match
        return match is not None and (match.url_name or "").endswith("_changelist")

    def load(self, request: HttpRequest, object_id: str) -> Any:
        """The object an action is about, or 404."""
        found = self.get_object(request, object_id)
        if found is None:
            raise Http404(f"There is no {self.opts.verbose_name} {object_id!r}.")
        return found

    def act(self, request: HttpRequest, objects: Iterable[Any], verb: Callable[[Any], object], done: str) -> None:
        """Do one thing to each object, so that its signals fire, and note it in its history; all or none."""
        chosen = list(objects)
        with transaction.atomic():
            for item in chosen:
                verb(item)
                self.log_change(request, item, f"{done}.")
        name = self.opts.verbose_name if len(chosen) == 1 else self.opts.verbose_name_plural
        self.message_user(request, f"{len(chosen)} {name} {done.lower()}.")

    def leave_dialog(self, request: HttpRequest, url: str | None = None) -> HttpResponse:
        """Go on from a dialog, which htmx posts when scripts run: to a page, else to where it was opened."""
        url = url or self._page_below(request)
        if "HX-Request" in request.headers:
            return HttpResponse(headers={"HX-Redirect": url})
        return HttpResponseRedirect(url)

    def _page_below(self, request: HttpRequest) -> str:
        url = request.headers.get("HX-Current-URL", "")
        if url and url_has_allowed_host_and_scheme(url, {request.get_host()}, require_https=request.is_secure()):
            return url
        return reverse(f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_changelist")


class StackedRows(KnownRowsMixin, FormFieldsMixin, StackedInline):
    """Rows of another model, each as a small form."""

    extra = 0


class TableRows(KnownRowsMixin, FormFieldsMixin, TabularInline):
    """Rows of another model as a table."""

    extra = 0
    show_title = False


class ReadOnlyMixin:
    """Look, do not touch; whoever may view may view."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


# --- Lists that cannot be counted --------------------------------------------------------------------------


class UncountedPaginator(Paginator):
    """Pages through a table too large to count: it fetches one row more than it shows."""

    template_name = "admin/includes/uncounted_pagination.html"
    has_next = False

    @cached_property
    def count(self) -> int:
        return int(self.per_page) * MAX_UNCOUNTED_PAGES  # what may be paged through; nobody shows it

    def page(self, number: int | str) -> Page:
        number = self.validate_number(number)
        start = (number - 1) * int(self.per_page)
        rows = list(self.object_list[start : start + int(self.per_page) + 1])
        self.has_next = len(rows) > int(self.per_page)
        return Page(rows[: int(self.per_page)], number, self)


class LedgerAdmin(ReadOnlyMixin, Admin):
    """A large table that is only ever read, newest first."""

    paginator = UncountedPaginator
    sortable_by = ()
    actions = None
    list_fullwidth = True


class RecentFilter(RadioFilter):
    """How far back a list goes; by default not to the beginning, so that a page reads few partitions."""

    title = "period"
    parameter_name = "period"
    all_option = None
    field = "created_at"
    default = "7d"
    spans = {
        "1h": timedelta(hours=1),
        "1d": timedelta(days=1),
        "7d": timedelta(days=7),
        "31d": timedelta(days=31),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("1h", "Last hour"),
            ("1d", "Last day"),
            ("7d", "Last 7 days"),
            ("31d", "Last 31 days"),
            ("all", "All time"),
        ]

    def value(self) -> str:
        return super().value() or self.default

    def queryset(self, request: HttpRequest, queryset: models.QuerySet) -> models.QuerySet:
        span = self.spans.get(self.value())
        return queryset.filter(**{f"{self.field}__gte": timezone.now() - span}) if span else queryset
