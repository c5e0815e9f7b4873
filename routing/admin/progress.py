"""What became of a change: after saving, the page tells which revision it is in and when workers serve it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Max
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from routing.models import ConfigRevision
from routing.workers import running_workers
from tenants.admin.scope import standing_in

Status = ConfigRevision.Status

LOOKS = 30  # a second apart; a change is served within one, mostly
FIRST_LOOKS = 5  # after which it is worth a word that nothing came


class PublishedMixin:
    """Pages of what is published: they say after saving what came of it."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        newest = newest_number()
        super().save_related(request, form, formsets, change)  # type: ignore[misc]
        has_changed = form.has_changed() or any(formset.has_changed() for formset in formsets)
        if has_changed and request.user.has_perm("routing.view_configrevision"):
            self.message_user(request, watch(newest), messages.INFO)  # type: ignore[attr-defined]


def newest_number() -> int:
    """Return the number of the newest revision, whatever came of it; 0 when there is none."""
    return ConfigRevision.objects.aggregate(newest=Max("number"))["newest"] or 0


def watch(after: int, look: int = 0, text: str = "Saved; it is on its way to the workers…") -> SafeString:
    """A line that asks again in a second what has become of a change."""
    url = f"{reverse('revision_progress')}?after={after}&look={look}"
    return format_html(
        '<span class="revision-progress" hx-get="{}" hx-trigger="load delay:1s" hx-swap="outerHTML">{}</span>',
        url,
        text,
    )


def progress_page(request: HttpRequest) -> HttpResponse:
    """Say which revision came after another, and who serves it; the browser asks again while it is under way."""
    if not standing_in(request).is_operator or not request.user.has_perm("routing.view_configrevision"):
        raise PermissionDenied
    after, look = _number(request, "after"), min(_number(request, "look"), LOOKS)
    revision = (
        ConfigRevision.objects.filter(number__gt=after)
        .exclude(status=Status.SUPERSEDED)
        .order_by("number")
        .defer("blob", "diff")
        .first()
    )
    line = _unborn(after, look) if revision is None else _born(revision, after, look)
    return TemplateResponse(request, "admin/routing/progress.html", {"line": line})


def _number(request: HttpRequest, name: str) -> int:
    given = request.GET.get(name, "0")
    return int(given) if given.isdecimal() and len(given) < 10 else 0


def _unborn(after: int, look: int) -> SafeString:
    if look < FIRST_LOOKS:
        return watch(after, look + 1)
    text = "Saved. No new revision has come of it yet: what is served may be the same, or no Celery worker is running."
    return watch(after, look + 1, text) if look < LOOKS else format_html("<span>{}</span>", text)


def _born(revision: ConfigRevision, after: int, look: int) -> SafeString:
    link = _link(revision)
    if revision.status == Status.DRAFT:
        return format_html("<span>Saved. It waits as a draft, {}, for somebody to publish it.</span>", link)
    if revision.status == Status.REJECTED:
        return format_html("<span>Saved, but not served: {} was rejected. {}</span>", link, " ".join(revision.errors))
    workers = running_workers() or []
    current = sum(worker.report.revision >= revision.number for worker in workers)
    if workers and current == len(workers):
        return format_html("<span>{} has it, and is live in every worker ({}).</span>", link, len(workers))
    text = format_html("{} has it; {} of {} workers serve it.", link, current, len(workers))
    return watch(after, look + 1, text) if look < LOOKS else format_html("<span>{}</span>", text)


def _link(revision: ConfigRevision) -> SafeString:
    url = reverse(f"{admin.site.name}:routing_configrevision_change", args=[revision.pk])
    return format_html('<a href="{}" class="font-semibold underline">{}</a>', url, revision)
