"""Requests: the list that is searched, and one request's page (`record_page.py`)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.decorators import display

from gateway_site.infra.admin import badge
from tenants.admin.ledger import OUTCOME_KINDS, UsageAdmin, count
from tenants.admin.record_filters import (
    AttemptsFilter,
    CostFilter,
    CostStatusFilter,
    DurationFilter,
    EndUserFilter,
    ErrorCodeFilter,
    FirstTokenFilter,
    FromFilter,
    OutcomeFilter,
    OwnerFilter,
    ProjectFilter,
    RecordAliasFilter,
    RecordDeploymentFilter,
    RecordProviderFilter,
    StartedFilter,
    StatusFilter,
    StreamedFilter,
    ToFilter,
    TranslationFilter,
)
from tenants.admin.record_page import RecordPageMixin, prompt_tokens, seconds
from tenants.admin.record_search import RecordChangeList
from tenants.models import UsageRecord
from tenants.usage_event import heaviest

WEIGHTS = {
    "cosmetic": ("cosmetic", "info"),
    "degrades": ("degrades", "warning"),
    "changes_answer": ("changes the answer", "danger"),
}


@admin.register(UsageRecord)
class UsageRecordAdmin(RecordPageMixin, UsageAdmin):
    list_display = ("started", "caller", "route_taken", "result", "tokens_used", "price", "times")
    list_filter = (
        StartedFilter,
        FromFilter,
        ToFilter,
        ("tenant", AutocompleteSelectFilter),
        ("api_key", AutocompleteSelectFilter),
        ProjectFilter,
        EndUserFilter,
        RecordAliasFilter,
        RecordProviderFilter,
        RecordDeploymentFilter,
        OutcomeFilter,
        OwnerFilter,
        StatusFilter,
        ErrorCodeFilter,
        CostFilter,
        DurationFilter,
        FirstTokenFilter,
        StreamedFilter,
        AttemptsFilter,
        TranslationFilter,
        CostStatusFilter,
    )
    list_before_template = "admin/tenants/usagerecord/search.html"
    search_fields = ("request_id", "correlation_id")
    search_help_text = "A whole request or correlation id"
    fieldsets = ((None, {"fields": ()}),)  # the page is no form

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[RecordChangeList]:
        return RecordChangeList

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[QuerySet[Any], bool]:
        """Whole ids only: anything fuzzier would read the table."""
        if not search_term:
            return queryset, False
        request_id = _uuid(search_term)
        if request_id is not None and UsageRecord.objects.filter(pk=request_id).exists():
            return queryset.filter(pk=request_id), False
        return queryset.called(search_term), False

    @display(description="Alias and deployment", header=True)
    def route_taken(self, record: UsageRecord) -> list[Any]:
        """Who served it, and how many were asked."""
        asked = f" ({len(record.attempts)} attempts)" if len(record.attempts) > 1 else ""
        return [record.alias, f"→ {record.deployment or 'nobody'}{asked}"]

    @display(description="Outcome")
    def result(self, record: UsageRecord) -> SafeString:
        """How it ended; what the error is called, and what got lost."""
        word = badge(record.get_outcome_display(), OUTCOME_KINDS.get(record.outcome, ""))
        answered = f"{record.status} {record.error_code}".strip() if record.error_code or record.status >= 400 else ""
        return format_html(
            '<span class="result">{}{}{}</span>',
            word,
            format_html('<span class="result-code">{}</span>', answered) if answered else "",
            _losses(record),
        )

    @display(description="Tokens in / out", header=True)
    def tokens_used(self, record: UsageRecord) -> list[str]:
        """All of the prompt, what of it came from a cache, and the answer."""
        cached = record.cache_read_tokens
        return [
            f"{count(prompt_tokens(record))} / {count(record.output_tokens)}",
            f"{cached:,} cached" if cached else "",
        ]

    @display(description="Time", header=True)
    def times(self, record: UsageRecord) -> list[str]:
        """Until the end, and until the first token."""
        first = record.first_token_ms
        return [seconds(record.latency_ms), "" if first is None else f"first {seconds(first)}"]

    @display(description="Started")
    def started(self, record: UsageRecord) -> str:
        return f"{record.started_at:%Y-%m-%d %H:%M:%S}"


def _losses(record: UsageRecord) -> str:
    """How many, in the colour of the heaviest."""
    if not record.losses:
        return ""
    weight = heaviest(loss["weight"] for loss in record.losses)
    word, kind = WEIGHTS.get(weight, (weight, ""))
    return badge(f"{len(record.losses)}: {word}", kind)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
