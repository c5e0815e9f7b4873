"""What the console's pages share: labels, dialogs, secrets that are shown once, and lists without a count."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Page, Paginator
from django.db import IntegrityError, models, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.safestring import SafeString, mark_safe
from unfold.admin import ModelAdmin, StackedInline, TabularInline
from unfold.contrib.filters.admin import RadioFilter
from unfold.views import ChangeList

from gateway_site.infra.csv_export import CsvMixin
from gateway_site.infra.form_fields import FormFieldsMixin
from gateway_site.infra.rows import KnownRowsMixin

MAX_UNCOUNTED_PAGES = 1000


def badge(text: str, kind: str = "") -> SafeString:
    """A coloured label, for lists and read-only fields alike; unfold's own does lists only."""
    return mark_safe(render_to_string("unfold/helpers/label.html", {"text": text, "type": kind}))


# --- Pages -------------------------------------------------------------------------------------------------


class QuietChangeList(ChangeList):
    """Has a count in the page's title only where a search or a filter narrows a list that was counted."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        narrowed = self.query or self.has_active_filters
        if not narrowed or isinstance(self.paginator, UncountedPaginator):
            self.full_result_count = self.result_count


class Overtaken(Exception):
    """What a form was found to be good for is not so any more: somebody else was faster."""


class Admin(CsvMixin, FormFieldsMixin, ModelAdmin):
    """The base of the console's model pages."""

    has_history = True  # something is noted of what becomes of its objects
    history: ClassVar[Callable[[Admin, HttpRequest, str], HttpResponse | None] | None] = None  # set by the audit trail
    show_full_result_count = False
    list_per_page = 50
    show_facets = ShowFacets.NEVER  # counts per filter value read whole tables
    list_filter_submit = True
    warn_unsaved_form = True

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return QuietChangeList

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Where somebody else was faster with what there may be once, look again: the form says so now."""
        if object_id is not None and not self._may_be(object_id):
            if not self.has_view_or_change_permission(request):
                raise PermissionDenied
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if not self.has_history:
            extra_context = {**(extra_context or {}), "show_history": False}
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except (IntegrityError, Overtaken):
            if request.method != "POST":
                raise
        return super().changeform_view(request, object_id, form_url, extra_context)

    def _get_obj_does_not_exist_redirect(self, request: HttpRequest, opts: Any, object_id: str) -> HttpResponse:
        """Say so, where the others are."""
        name = f"{opts.verbose_name} {unquote(object_id)}"
        words = f"There is no {name} here: it was deleted, or the address is wrong. Look for it in this list."
        self.message_user(request, words, messages.WARNING)
        return HttpResponseRedirect(self._list_url())

    def _list_url(self) -> str:
        return reverse(f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_changelist")

    def _may_be(self, object_id: str) -> bool:
        """Whether something in an address can be the key of an object here at all."""
        try:
            self.opts.pk.to_python(unquote(object_id))
        except ValidationError:
            return False
        return True

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

    def show_once(self, request: HttpRequest, template: str, title: str, **words: Any) -> HttpResponse:
        """Answer with a page of what is shown this once: a secret passes through no session, no URL and no cache."""
        context = {**self.admin_site.each_context(request), "title": title, "opts": self.opts, **words}
        response = TemplateResponse(request, template, context)
        response["Cache-Control"] = "no-store"
        return response

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
        return self._list_url()


class StackedRows(KnownRowsMixin, FormFieldsMixin, StackedInline):
    """Rows of another model, each as a small form."""

    extra = 0


class TableRows(KnownRowsMixin, FormFieldsMixin, TabularInline):
    """Rows of another model as a table."""

    extra = 0
    show_title = False


class OneSaveMixin:
    """A new one leads to a page of what is shown once, whichever button makes it: offer one."""

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        if kwargs.get("add"):
            context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        answer: HttpResponse = super().render_change_form(request, context, **kwargs)  # type: ignore[misc]
        return answer


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

    has_history = False
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
