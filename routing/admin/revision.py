from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Func, IntegerField, Max, QuerySet, Subquery
from django.db.models.fields.json import KeyTextTransform
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.dataclasses import UnfoldAction
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextInputWidget

from gateway_site.infra.admin import Admin, ReadOnlyMixin, badge
from gateway_site.infra.valkey import StoreUnavailable
from routing.compiler import differences
from routing.models import ConfigRevision
from routing.services import (
    Published,
    find_refusal,
    never_served,
    publish,
    publish_draft,
    roll_back,
    served_revision,
    takes_a_person,
    waiting_draft,
)
from routing.snapshot import decode
from routing.workers import RunningWorker, running_workers

Status = ConfigRevision.Status

MOST_LINES = 500
LINES = {"+": "revision-added", "~": "revision-changed", "-": "revision-gone"}  # lines of a diff, by their first sign
TALLIES = {"+": ("added", "success"), "~": ("changed", "warning"), "-": ("removed", "danger")}

BADGES = {Status.PUBLISHED: "success", Status.REJECTED: "danger", Status.DRAFT: "warning"}


class RollBackForm(BaseDialogForm):
    """Shows what would be served otherwise than now."""

    form_before_template = "admin/routing/configrevision/preview.html"

    def get_before_template_context(self, request: HttpRequest, object_id: int | str | None = None) -> dict[str, Any]:
        return {"lines": preview(ConfigRevision.objects.filter(pk=object_id or 0).first())}


class PublishForm(BaseDialogForm):
    note = forms.CharField(
        max_length=200,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="For those who read the history.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A sentence at the top of a page."""

    text: str
    level: str = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What is served, what waits, and which worker runs what."""

    notes: list[Note]
    workers: list[RunningWorker] = field(default_factory=list)
    headings: tuple[str, ...] = ("Host", "Process", "Revision", "Lag", "Loaded", "Started", "Version")

    @property
    def late(self) -> int:
        return sum(worker.is_late for worker in self.workers)

    @property
    def summary(self) -> str:
        workers = f"{len(self.workers)} worker" + ("" if len(self.workers) == 1 else "s")
        behind = sum(worker.lag is not None for worker in self.workers)
        return f"{workers}, all current" if not behind else f"{workers}, {behind} behind"


@admin.register(ConfigRevision)
class ConfigRevisionAdmin(ReadOnlyMixin, Admin):
    list_display = (
        "name",
        "status_label",
        "summary",
        "changes",
        "run_by",
        "people",
        "approved_by",
        "note",
        "created_at",
    )
    list_select_related = ("author", "approved_by")
    list_filter = (("status", ChoicesDropdownFilter),)
    search_fields = ("note", "author__username", "approved_by__username")
    search_help_text = "Note, author or approver"
    list_before_template = "admin/routing/configrevision/overview.html"
    change_form_before_template = "admin/routing/configrevision/notes.html"
    actions = None
    actions_list = ("publish_now",)
    actions_row = ("roll_back_to",)
    actions_detail = ("publish_shown", "roll_back_to")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("name", "status_label"),
                    ("people", "author"),
                    ("approved_by", "created_at"),
                    ("published_at", "note"),
                )
            },
        ),
        ("What it changed", {"fields": ("diff_lines",)}),
        ("Errors", {"fields": ("error_lines",)}),
        ("What is stored", {"fields": ("checksum",)}),
    )
    readonly_fields = ("name", "status_label", "people", "diff_lines", "error_lines")

    def get_queryset(self, request: HttpRequest) -> QuerySet[ConfigRevision]:
        """Without the compiled configuration, and in the list with the length of the diff only."""
        unread = ("blob", "diff", "errors") if self.is_list(request) else ("blob",)
        length = Func("diff", function="jsonb_array_length", output_field=IntegerField())
        served = ConfigRevision.objects.filter(status=Status.PUBLISHED).order_by("-number").values("number")[:1]
        found = super().get_queryset(request).defer(*unread)
        return found.annotate(
            diff_length=length, served_number=Subquery(served), first_line=KeyTextTransform(0, "diff")
        )

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        shown = overview()
        request.workers = Counter(worker.report.revision for worker in shown.workers)  # type: ignore[attr-defined]
        return super().changelist_view(request, {**(extra_context or {}), "overview": shown})

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """The list, with how many workers run each revision."""
        found = super().get_changelist_instance(request)
        workers = getattr(request, "workers", {})
        for revision in found.result_list:
            revision.workers = workers.get(revision.number, 0)
        return found

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        revision = self.get_object(request, object_id)
        notes = notes_on(revision, request.user) if revision is not None else []
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "notes": notes})

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Without a place for errors where there are none."""
        fieldsets = super().get_fieldsets(request, obj)
        return fieldsets if obj is not None and obj.errors else [each for each in fieldsets if each[0] != "Errors"]

    def has_publish_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Publishing makes a revision, so it takes the right to add one."""
        return request.user.has_perm("routing.add_configrevision")

    def get_actions_detail(self, request: HttpRequest, object_id: int | str) -> list[UnfoldAction]:
        """Offer what can be done to this revision by this user; the services refuse the rest."""
        revision = self.get_object(request, str(object_id))
        useless = set()
        if revision is None or find_refusal(revision, request.user):
            useless.add("publish_shown")
        if revision is None or revision.status != Status.PUBLISHED or revision.number == served_number():
            useless.add("roll_back_to")
        return [found for found in super().get_actions_detail(request, object_id) if found.path not in useless]

    @display(description="Revision", ordering="number")
    def name(self, revision: ConfigRevision) -> str:
        return str(revision)

    @display(description="Status", ordering="status")
    def status_label(self, revision: ConfigRevision) -> str:
        text = revision.get_status_display()
        if revision.number == revision.served_number:  # type: ignore[attr-defined]
            text = "Served, pinned" if revision.is_pinned else "Served"
        return badge(text, BADGES.get(Status(revision.status), ""))

    @display(description="Changed by")
    def people(self, revision: ConfigRevision) -> str:
        return ", ".join(revision.changed_by) or str(revision.author or "-")

    @display(description="What changed")
    def summary(self, revision: Any) -> SafeString:
        line = revision.first_line or "nothing"
        more = f" and {revision.diff_length - 1} more" if revision.diff_length > 1 else ""
        return format_html('<span class="revision-summary" title="{}">{}</span>{}', line, line, more)

    @display(description="Runs in")
    def run_by(self, revision: Any) -> str:
        return _counted(revision.workers, "worker") if revision.workers else ""

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
            "description": "It is checked; if it is sound, every worker uses it within a second. "
            "Where publishing takes a person, or a roll back is pinned, it becomes a draft for you to look at first.",
            "form_class": PublishForm,
            "form_submit_text": "Publish",
        },
    )
    def publish_now(self, request: HttpRequest, form: PublishForm) -> HttpResponse:
        note = form.cleaned_data["note"]
        published = self._tell(request, lambda: publish(author=request.user, note=note))
        draft = published.draft if published is not None else None
        return self.leave_dialog(request, page_of(draft) if draft is not None else None)

    @action(
        description="Publish this draft",
        icon="publish",
        permissions=["publish"],
        variant=ActionVariant.PRIMARY,
        dialog={
            "title": "Publish this draft?",
            "description": "Every worker serves exactly what this page shows within a second. "
            "Your name is stored with it.",
            "form_submit_text": "Publish",
        },
    )
    def publish_shown(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        revision = self.load(request, object_id)
        published = self._tell(request, lambda: publish_draft(revision=revision, approver=request.user))
        if published is not None and published.is_new:
            self.log_change(request, revision, "Published.")
        return self.leave_dialog(request)

    @action(
        description="Roll back to this",
        icon="undo",
        permissions=["publish"],
        variant=ActionVariant.DANGER,
        dialog={
            "title": "Roll back to this revision?",
            "description": "Every worker uses it within a second, and it stays: until somebody publishes a draft, "
            "changes wait. The objects in the console are not changed.",
            "form_class": RollBackForm,
            "form_submit_text": "Roll back",
            "variant": "danger",
        },
    )
    def roll_back_to(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        revision = self.load(request, object_id)
        if revision.status == Status.PUBLISHED:
            published = self._tell(request, lambda: roll_back(revision=revision, author=request.user))
            if published is not None and published.is_new:
                self.log_change(request, revision, f"Rolled back to, as revision {published.number}.")
        else:
            self.message_user(request, never_served(revision), messages.ERROR)
        return self.leave_dialog(request)

    def _tell(self, request: HttpRequest, change: Callable[[], Published]) -> Published | None:
        """Do something and say what came of it; None when Valkey was away."""
        try:
            published = change()
        except StoreUnavailable as error:
            self.message_user(request, str(error), messages.ERROR)
            return None
        if published.errors:
            wrong = " ".join(published.errors)
            self.message_user(request, f"Nothing was published: {wrong}", messages.ERROR)
        elif published.draft is not None:
            self.message_user(request, f"Revision {published.draft} waits to be published.", messages.WARNING)
        elif published.is_new:
            self.message_user(request, f"Revision {published.number} is published.", messages.SUCCESS)
        elif published.is_unpinned:
            sentence = f"Revision {published.number} is what the database says, and is not pinned any more."
            self.message_user(request, sentence, messages.SUCCESS)
        else:
            self.message_user(request, f"Nothing has changed since revision {published.number}.")
        return published


# --- What stands at the top ----------------------------------------------------------------------------------


def overview() -> Overview:
    """Say what is served, what waits, and how the workers are."""
    served, draft = served_revision(), waiting_draft()
    notes = [] if served is None and draft is None else list(_state(served, draft))
    workers = running_workers()
    if workers is None:
        notes.append(Note(text="Valkey cannot be reached: which worker runs what is not known.", level="warning"))
    late = sum(worker.is_late for worker in workers or ())
    if late:
        text = f"{late} of {len(workers or ())} workers have not loaded the newest revision."
        notes.append(Note(text=text, level="warning"))
    return Overview(notes=notes, workers=workers or [])


def _state(served: ConfigRevision | None, draft: ConfigRevision | None) -> list[Note]:
    notes = []
    if served is not None and served.is_pinned:
        text = format_html(
            "{} is served ({}) and is <strong>pinned</strong>: changes wait until somebody publishes them."
            " That ends when the draft is published or, where nothing differs any more, with “Publish now”.",
            _link(served),
            served.note,
        )
        notes.append(Note(text=text, level="warning"))
    if draft is not None:
        text = format_html(
            "{} waits to be published, with {} by {}{}.",
            _link(draft),
            _counted(len(draft.diff), "change"),
            ", ".join(draft.changed_by) or "nobody who is known",
            f" and {_counted(len(draft.errors), 'error')}" if draft.errors else "",
        )
        notes.append(Note(text=text, level="warning"))
    elif takes_a_person(served):
        notes.append(Note(text="Changes become drafts, and somebody publishes them. No draft waits."))
    return notes


def notes_on(revision: ConfigRevision, user: Any) -> list[Note]:
    """Say what can be done with a revision, and why not."""
    if revision.status == Status.DRAFT:
        return [_note_on_draft(revision, user)]
    if revision.is_pinned and revision.number == served_number():
        return _state(revision, waiting_draft())
    return []


def _note_on_draft(draft: ConfigRevision, user: Any) -> Note:
    refusal = find_refusal(draft, user)
    if refusal:
        return Note(text=refusal, level="warning")
    rule = " It has no changes of yours." if settings.CONFIG_PUBLISHING == "four_eyes" else ""
    return Note(text=f"{draft} waits. Publishing it serves exactly what is shown here.{rule}")


def served_number() -> int | None:
    """Return the number of the revision that is served."""
    published = ConfigRevision.objects.filter(status=Status.PUBLISHED)
    return published.aggregate(newest=Max("number"))["newest"]


def page_of(number: int) -> str:
    """Where a revision is shown."""
    revision = ConfigRevision.objects.only("pk").get(number=number)
    return reverse("admin:routing_configrevision_change", args=[revision.pk])


def _link(revision: ConfigRevision) -> SafeString:
    url = reverse("admin:routing_configrevision_change", args=[revision.pk])
    return format_html('<a href="{}" class="font-semibold underline">{}</a>', url, revision)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _lines(lines: list[Any]) -> SafeString:
    if not lines:
        return format_html("{}", "None")
    items = format_html_join(
        "", '<li class="{}">{}</li>', ((LINES.get(str(line)[:1], ""), str(line)) for line in lines)
    )
    return format_html('{}<ul class="revision-lines font-mono break-words">{}</ul>', _tally(lines), items)


def _tally(lines: list[Any]) -> SafeString | str:
    """How much came, changed and went."""
    signs = Counter(str(line)[:1] for line in lines)
    known = [(sign, *TALLIES[sign]) for sign in TALLIES if signs[sign]]
    return format_html_join(" ", "{}", ((badge(f"{signs[sign]} {word}", kind),) for sign, word, kind in known))


def preview(revision: ConfigRevision | None) -> SafeString:
    """What would be served otherwise than now after a roll back."""
    served = served_revision()
    if revision is None or served is None or revision.status != Status.PUBLISHED:
        return format_html("{}", "It was never served.")
    try:
        lines = differences(decode(bytes(served.blob)), decode(bytes(revision.blob)))
    except msgspec.DecodeError:
        return format_html("{}", "Another version of Tollgate wrote it; it cannot be compared.")
    return _lines(lines[:MOST_LINES])
