"""Usage records and rollups: read only, never counted, never joined, for a record outlives what it names."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter, DropdownFilter
from unfold.decorators import display

from gateway_site.infra.admin import RecentFilter, badge, plain
from tenants.admin.keyset import KeysetAdmin
from tenants.admin.record_filters import (
    Column,
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
    StatusFilter,
    StreamedFilter,
    ToFilter,
)
from tenants.admin.record_page import RecordPageMixin, prompt_tokens, seconds
from tenants.admin.record_search import RecordChangeList
from tenants.admin.scope import ScopedMixin, standing_in
from tenants.admin.trace import attempt_table, candidate_table, words
from tenants.models import ApiKey, Tenant, UsageDay, UsageEndUserDay, UsageHour, UsageRecord
from tenants.reports import recent_values
from tenants.usage_event import heaviest

OUTCOME_KINDS = {
    "served": "success",
    "client_gone": "info",
    "rejected": "warning",
    "shutdown": "warning",
    "upstream_failed": "danger",
    "cut": "danger",
    "gateway_failed": "danger",
    "lost": "danger",
    "correction": "info",
}
WEIGHTS = {
    "cosmetic": ("cosmetic", "info"),
    "degrades": ("degrades", "warning"),
    "changes_answer": ("changes the answer", "danger"),
}
COST_KINDS = {"exact": "success", "estimated": "warning", "unpriced": "danger"}
TOKENS = (
    ("input_tokens", "output_tokens"),
    ("cache_read_tokens", "reasoning_tokens"),
    ("cache_write_5m_tokens", "cache_write_1h_tokens"),
)
OF_MEMBERS = {"caller": "api_key_name"}  # columns that name the tenant, and what stands in their place


class StartedFilter(RecentFilter):
    field = "started_at"

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Nothing, where from and to are given."""
        is_given = any(request.GET.get(name) for name in ("from", "to"))
        return queryset if is_given else super().queryset(request, queryset)


class HoursFilter(RecentFilter):
    field = "starts_at"


class DaysFilter(RecentFilter):
    field = "starts_at"
    default = "31d"


class EndUserDaysFilter(DaysFilter):
    field = "day"


class RollupFilter(DropdownFilter):
    """Chooses among what daily usage has of late: to look through the list itself would take too long."""

    title = parameter_name = ""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        chosen = {value} if (value := self.value()) else set()
        found = recent_values(self.parameter_name, standing_in(request).tenant_id)
        return [(name, name) for name in sorted({*found, *chosen} - {""})]

    def has_output(self) -> bool:
        return True

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(**{self.parameter_name: value}) if (value := self.value()) else queryset


class AliasFilter(RollupFilter):
    title, parameter_name = "model", "alias"


class ProviderFilter(RollupFilter):
    title = parameter_name = "provider"


class DeploymentFilter(RollupFilter):
    title = parameter_name = "deployment"


class OfRecords(Column):
    """The same for records."""

    @property
    def column(self) -> str:  # type: ignore[override]
        return str(self.parameter_name)  # type: ignore[attr-defined]


class RecordAliasFilter(OfRecords, AliasFilter):
    pass


class RecordProviderFilter(OfRecords, ProviderFilter):
    pass


class RecordDeploymentFilter(OfRecords, DeploymentFilter):
    pass


class TranslationFilter(DropdownFilter):
    """Both choices are read from the one index of translated records; see the table's third migration."""

    title = "translation"
    parameter_name = "translation"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("translated", "Translated"), ("lossy", "With losses")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        match self.value():
            case "translated":
                return queryset.translated()
            case "lossy":
                return queryset.lossy()
        return queryset


class AttemptsFilter(DropdownFilter):
    """Both choices are read from the one index of traced records; see the table's fourth migration."""

    title = "attempts"
    parameter_name = "attempts"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("several", "More than one"), ("traced", "With a decision trace")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        match self.value():
            case "several":
                return queryset.with_several_attempts()
            case "traced":
                return queryset.traced()
        return queryset


class UsageAdmin(ScopedMixin, KeysetAdmin):
    """Columns that records and rollups share."""

    operator_fields: Sequence[str] = ("tenant", "tenant_name", "own_price", "bought")

    def get_list_display(self, request: HttpRequest) -> Sequence[Any]:
        """With the key alone for who has one tenant."""
        shown = super().get_list_display(request)
        return shown if standing_in(request).is_operator else [OF_MEMBERS.get(name, name) for name in shown]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        tenants = Tenant.objects.filter(pk=OuterRef("tenant_id")).order_by().values("slug")
        keys = ApiKey.objects.filter(pk=OuterRef("api_key_id")).order_by().values("name")
        return super().get_queryset(request).annotate(tenant_slug=Subquery(tenants), key_name=Subquery(keys))

    @display(description="Tenant")
    def tenant_name(self, usage: Any) -> str:
        return usage.tenant_slug or f"deleted ({usage.tenant_id})"

    @display(description="API key")
    def api_key_name(self, usage: Any) -> str:
        return usage.key_name or f"deleted ({usage.api_key_id})"

    @display(description="Tenant and key", header=True)
    def caller(self, usage: Any) -> list[str]:
        return [self.tenant_name(usage), self.api_key_name(usage)]

    @display(description="Alias and deployment", header=True)
    def served_by(self, usage: Any) -> list[str]:
        return [usage.alias, usage.deployment or "none"]

    @display(description="Outcome")
    def outcome_label(self, usage: Any) -> str:
        return badge(usage.get_outcome_display(), OUTCOME_KINDS.get(usage.outcome, ""))

    @display(description="Cost status")
    def cost_status_label(self, usage: Any) -> str:
        return badge(usage.get_cost_status_display(), COST_KINDS.get(usage.cost_status, ""))

    @display(description="Tokens in / out")
    def tokens(self, usage: Any) -> str:
        return f"{_count(usage.input_tokens)} / {_count(usage.output_tokens)}"

    @display(description="Cost")
    def price(self, usage: Any) -> str:
        return "unpriced" if usage.cost_status == "unpriced" else _money(usage.cost, usage.currency)

    @display(description="What we pay")
    def own_price(self, usage: Any) -> str:
        return "unknown" if usage.cost_price is None else _money(usage.cost_price, usage.currency)


def _count(tokens: int | None) -> str:
    return "-" if tokens is None else f"{tokens:,}"


def _money(amount: Decimal, currency: str) -> str:
    return f"{plain(amount)} {currency}"


@admin.register(UsageRecord)
class UsageRecordAdmin(RecordPageMixin, UsageAdmin):
    operator_fields = (
        *UsageAdmin.operator_fields,
        *("reported", "attempt_list", "strategy", "session", "candidate_list", "revision", "worker"),
    )
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
    fieldsets = (
        (None, {"fields": (("outcome_label", "http_status"), ("started_at", "error_code"))}),
        ("Who", {"fields": (("tenant_name", "project"), ("api_key_name", "end_user"))}),
        (
            "What",
            {"fields": (("alias", "route"), ("provider", "deployment"), ("model", "is_streamed"))},
        ),
        ("Translation", {"fields": (("dialect", "dialect_upstream"), "loss_list")}),
        (
            "Cost",
            {
                "fields": (
                    ("price", "cost_status_label"),
                    ("own_price", "reported"),
                    ("unbilled", "corrects"),
                    *TOKENS,
                    ("unit_list", "service_tier"),
                    "budget_list",
                )
            },
        ),
        ("Time", {"fields": (("latency", "first_token"), "overhead")}),
        ("Attempts", {"fields": ("attempt_list",)}),
        ("Decision", {"fields": (("strategy", "session"), "candidate_list")}),
        ("Trace", {"fields": (("request_id", "correlation_id"), ("revision", "worker"))}),
    )
    readonly_fields = (
        "outcome_label",
        "http_status",
        "loss_list",
        "attempt_list",
        "strategy",
        "session",
        "candidate_list",
        "tenant_name",
        "api_key_name",
        "price",
        "cost_status_label",
        "own_price",
        "reported",
        "unbilled",
        "unit_list",
        "budget_list",
        "latency",
        "first_token",
        "overhead",
    )

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
            self.losses_label(record),
        )

    @display(description="Tokens in / out", header=True)
    def tokens_used(self, record: UsageRecord) -> list[str]:
        """All of the prompt, what of it came from a cache, and the answer."""
        cached = record.cache_read_tokens
        return [
            f"{_count(prompt_tokens(record))} / {_count(record.output_tokens)}",
            f"{cached:,} cached" if cached else "",
        ]

    @display(description="Time", header=True)
    def times(self, record: UsageRecord) -> list[str]:
        """Until the end, and until the first token."""
        first = record.first_token_ms
        return [seconds(record.latency_ms), "" if first is None else f"first {seconds(first)}"]

    @display(description="HTTP")
    def http_status(self, record: UsageRecord) -> int:
        return record.status

    @display(description="What the provider says")
    def reported(self, record: UsageRecord) -> str | None:
        return None if record.reported_cost is None else _money(record.reported_cost, record.currency)

    @display(description="Written off")
    def unbilled(self, record: UsageRecord) -> str | None:
        return _money(record.written_off, record.currency) if record.written_off else None

    @display(description="Other units")
    def unit_list(self, record: UsageRecord) -> str | None:
        return ", ".join(f"{words(name)}: {amount}" for name, amount in record.units.items()) or None

    @display(description="Budget counters")
    def budget_list(self, record: UsageRecord) -> str | None:
        return ", ".join(record.budgets) or None

    @display(description="Losses")
    def losses_label(self, record: UsageRecord) -> str:
        """How many, in the colour of the heaviest."""
        if not record.losses:
            return ""
        word, kind = _weight(heaviest(loss["weight"] for loss in record.losses))
        return badge(f"{len(record.losses)}: {word}", kind)

    @display(description="Losses")
    def loss_list(self, record: UsageRecord) -> SafeString | None:
        """What did not get across, where the client wrote it and why."""
        if not record.losses:
            return None
        rows = ((loss["path"], badge(*_weight(loss["weight"])), loss["why"]) for loss in record.losses)
        items = format_html_join("", '<li><code class="break-words">{}</code> {} {}</li>', rows)
        return format_html('<ul class="flex flex-col gap-1">{}</ul>', items)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Without the decision where none was kept."""
        fieldsets = super().get_fieldsets(request, obj)
        has_trace = obj is not None and obj.trace
        return fieldsets if has_trace else [each for each in fieldsets if each[0] != "Decision"]

    @display(description="Attempts")
    def attempts_label(self, record: UsageRecord) -> str:
        """How many, coloured when it took several."""
        count = len(record.attempts)
        return badge(str(count), OUTCOME_KINDS.get(record.outcome, "")) if count > 1 else str(count)

    @display(description="Attempts")
    def attempt_list(self, record: UsageRecord) -> SafeString | None:
        """Every call of an upstream; the trace knows more of them than the record itself."""
        attempts = (record.trace or {}).get("attempts") or record.attempts
        return attempt_table(attempts) if attempts else None

    @display(description="Candidates")
    def candidate_list(self, record: UsageRecord) -> SafeString:
        return candidate_table((record.trace or {}).get("candidates", ()))

    @display(description="Strategy")
    def strategy(self, record: UsageRecord) -> str:
        return words((record.trace or {}).get("strategy")).capitalize()

    @display(description="Session", boolean=True)
    def session(self, record: UsageRecord) -> bool:
        """Whether the conversation decided who came first."""
        return bool((record.trace or {}).get("session"))

    @display(description="Started")
    def started(self, record: UsageRecord) -> str:
        return f"{record.started_at:%Y-%m-%d %H:%M:%S}"

    @display(description="Latency")
    def latency(self, record: UsageRecord) -> str:
        return f"{record.latency_ms:,} ms"

    @display(description="Latency")
    def about_latency(self, record: UsageRecord) -> str:
        return f"{record.latency_ms} ms" if record.latency_ms < 1000 else f"{record.latency_ms / 1000:,.1f} s"

    @display(description="First token")
    def first_token(self, record: UsageRecord) -> str | None:
        return None if record.first_token_ms is None else f"{record.first_token_ms:,} ms"

    @display(description="Gateway overhead")
    def overhead(self, record: UsageRecord) -> str | None:
        return None if record.overhead_us is None else f"{record.overhead_us:,} µs"


def _weight(name: str) -> tuple[str, str]:
    """The word for a weight, and its colour."""
    return WEIGHTS.get(name, (name, ""))


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


class RollupAdmin(UsageAdmin):
    """Hourly and daily sums."""

    list_display: tuple[str, ...] = (
        "period",
        "caller",
        "served_by",
        "outcome_label",
        "requests",
        "tokens",
        "price",
    )
    search_fields = ()
    fieldsets = (
        (None, {"fields": (("period", "outcome_label"), "requests")}),
        ("Who", {"fields": (("tenant_name", "project"), "api_key_name")}),
        ("What", {"fields": (("alias", "deployment"), "provider")}),
        ("Cost", {"fields": (("price", "cost_status_label"), "own_price", *TOKENS)}),
        ("Time", {"fields": (("latency", "first_token"),)}),
    )
    readonly_fields = (
        "period",
        "outcome_label",
        "tenant_name",
        "api_key_name",
        "price",
        "cost_status_label",
        "own_price",
        "latency",
        "first_token",
    )

    @display(description="Mean latency")
    def latency(self, rollup: Any) -> str | None:
        return f"{rollup.latency_ms / rollup.requests:,.0f} ms" if rollup.requests else None

    @display(description="Mean time to first token")
    def first_token(self, rollup: Any) -> str | None:
        return f"{rollup.first_token_ms / rollup.first_tokens:,.0f} ms" if rollup.first_tokens else None


ROLLUP_FILTERS = (
    ("tenant", AutocompleteSelectFilter),
    ("api_key", AutocompleteSelectFilter),
    ("outcome", ChoicesDropdownFilter),
    ("cost_status", ChoicesDropdownFilter),
    AliasFilter,
    ProviderFilter,
    DeploymentFilter,
)


@admin.register(UsageHour)
class UsageHourAdmin(RollupAdmin):
    list_filter = (HoursFilter, *ROLLUP_FILTERS)

    @display(description="Hour (UTC)")
    def period(self, rollup: UsageHour) -> str:
        return f"{rollup.starts_at:%Y-%m-%d %H:%M}"


@admin.register(UsageDay)
class UsageDayAdmin(RollupAdmin):
    list_filter = (DaysFilter, *ROLLUP_FILTERS)

    @display(description="Day (UTC)")
    def period(self, rollup: UsageDay) -> str:
        return f"{rollup.starts_at:%Y-%m-%d}"


@admin.register(UsageEndUserDay)
class UsageEndUserDayAdmin(UsageAdmin):
    list_display = ("period", "end_user", "caller", "alias", "requests", "failed", "tokens", "sold")
    list_filter = (
        EndUserDaysFilter,
        ("tenant", AutocompleteSelectFilter),
        ("api_key", AutocompleteSelectFilter),
        AliasFilter,
    )
    search_fields = ("end_user",)
    search_help_text = "A whole end user"
    fieldsets = (
        (None, {"fields": (("period", "end_user"), ("requests", "errors"))}),
        ("Who", {"fields": (("tenant_name", "project"), ("api_key_name", "alias"))}),
        ("Cost", {"fields": (("sold", "bought"), "unpriced", *TOKENS)}),
    )
    readonly_fields = ("period", "tenant_name", "api_key_name", "sold", "bought")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Whole names only: anything fuzzier would read the table."""
        return queryset.filter(end_user=search_term) if search_term else queryset, False

    @display(description="Day (UTC)")
    def period(self, rollup: UsageEndUserDay) -> str:
        return f"{rollup.day:%Y-%m-%d}"

    @display(description="Errors")
    def failed(self, rollup: UsageEndUserDay) -> str:
        return badge(f"{rollup.errors:,}", "danger") if rollup.errors else "0"

    @display(description="Cost")
    def sold(self, rollup: UsageEndUserDay) -> str:
        return _money(rollup.cost, rollup.currency)

    @display(description="What we pay")
    def bought(self, rollup: UsageEndUserDay) -> str:
        return _money(rollup.cost_price, rollup.currency)
