from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Func, IntegerField, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextInputWidget

from gateway_site.infra.admin import Admin, ReadOnlyMixin, badge
from gateway_site.infra.valkey import StoreUnavailable
from routing.models import ConfigRevision
from routing.services import Published, publish, roll_back


class PublishForm(BaseDialogForm):
    note = forms.CharField(
        max_length=200,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="For those who read the history.",
    )


@admin.register(ConfigRevision)
class ConfigRevisionAdmin(ReadOnlyMixin, Admin):
    list_display = ("name", "status_label", "changes", "author", "note", "created_at")
    list_select_related = ("author",)
    list_filter = (("status", ChoicesDropdownFilter),)
    search_fields = ("note", "author__username")
    search_help_text = "Note or author"
    actions = None
    actions_list = ("publish_now",)
    actions_row = ("roll_back_to",)
    actions_detail = ("roll_back_to",)
    fieldsets = (
        (None, {"fields": (("name", "status_label"), ("author", "created_at"), "note", "checksum")}),
        ("What it changed", {"fields": ("diff_lines",)}),
        ("Errors", {"fields": ("error_lines",)}),
    )
    readonly_fields = ("name", "status_label", "diff_lines", "error_lines")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ConfigRevision]:
        """Without the compiled configuration, and in the list with the length of the diff only."""
        length = Func("diff", function="jsonb_array_length", output_field=IntegerField())
        return super().get_queryset(request).defer("blob").annotate(diff_length=length)

    def has_publish_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Publishing makes a revision, so it takes the right to add one."""
        return request.user.has_perm("routing.add_configrevision")

    @display(description="Revision", ordering="number")
    def name(self, revision: ConfigRevision) -> str:
        return str(revision)

    @display(description="Status", ordering="status")
    def status_label(self, revision: ConfigRevision) -> str:
        return badge(revision.get_status_display(), "success" if is_sound(revision) else "danger")

    @display(description="Changes")
    def changes(self, revision: Any) -> int:
        return revision.diff_length

    @display(description="Changes")
    def diff_lines(self, revision: ConfigRevision) -> SafeString:
        return _lines(revision.diff)

    @display(description="Errors")
    def error_lines(self, revision: ConfigRevision) -> SafeString:
        return _lines(revision.errors)

    @action(
        description="Publish now",
        icon="publish",
        permissions=["publish"],
        variant=ActionVariant.PRIMARY,
        dialog={
            "title": "Publish the configuration?",
            "description": "It is checked; if it is sound, every worker uses it within a second.",
            "form_class": PublishForm,
            "form_submit_text": "Publish",
        },
    )
    def publish_now(self, request: HttpRequest, form: PublishForm) -> HttpResponse:
        note = form.cleaned_data["note"]
        self._tell(request, lambda: publish(author=request.user, note=note))
        return self.leave_dialog(request)

    @action(
        description="Roll back to this",
        icon="undo",
        permissions=["publish"],
        variant=ActionVariant.DANGER,
        dialog={
            "title": "Roll back to this revision?",
            "description": "Every worker uses it within a second.",
            "form_submit_text": "Roll back",
        },
    )
    def roll_back_to(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        revision = self.load(request, object_id)
        if is_sound(revision):
            self._tell(request, lambda: roll_back(revision=revision, author=request.user))
        else:
            self.message_user(request, f"{revision} was rejected and cannot be served.", messages.ERROR)
        return self.leave_dialog(request)

    def _tell(self, request: HttpRequest, change: Callable[[], Published]) -> None:
        try:
            published = change()
        except StoreUnavailable as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        if published.errors:
            wrong = "; ".join(published.errors)
            self.message_user(request, f"Rejected, nothing was published: {wrong}", messages.ERROR)
        elif published.is_new:
            self.message_user(request, f"Revision {published.number} is published.", messages.SUCCESS)
        else:
            self.message_user(request, f"Nothing has changed since revision {published.number}.")


def is_sound(revision: ConfigRevision) -> bool:
    """Whether it could be published."""
    return revision.status == ConfigRevision.Status.PUBLISHED


def _lines(lines: list[Any]) -> SafeString:
    if not lines:
        return format_html("{}", "None")
    items = format_html_join("", "<li>{}</li>", ((str(line),) for line in lines))
    return format_html('<ul class="font-mono break-words">{}</ul>', items)
