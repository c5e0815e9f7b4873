"""What requests are looked for by. A condition says which rows it means; the list decides how they are found.

What the hourly sums know narrows the hours that are searched; what a partial index knows narrows the rows. The rest is
compared row by row, and `RecordChangeList` sees to it that these are not too many.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import DropdownFilter, TextFilter

from gateway_site.infra.admin import RecentFilter
from tenants.admin.rollup_filters import AliasFilter, DeploymentFilter, ProviderFilter
from tenants.error_words import NO_ERROR, OWNER_BY_CODE, OWNER_BY_OUTCOME, OWNERS
from tenants.models import UsageRecord

LONGEST = 200
SLOW_MS, DEAR = 60_000, 1  # where the partial indexes begin
ALL_FAILED = sorted({*UsageRecord.Outcome.values} - {"served", "client_gone"})

type Rows = QuerySet[Any]


class Condition(ABC):
    """A filter that leaves it to the list to find what it means."""

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        return queryset

    @property
    def given(self) -> str:
        """What was entered."""
        value = str(self.value() or "").strip()  # type: ignore[attr-defined]
        if "\0" in value or len(value) > LONGEST:
            raise IncorrectLookupParameters
        return value

    @abstractmethod
    def condition(self) -> Q:
        """The rows that are meant; raises IncorrectLookupParameters."""

    def summed(self) -> Mapping[str, Any] | None:
        """The same of the hourly sums; None: they know nothing of it. Less than the condition is no mistake."""
        return None

    @property
    def is_summed(self) -> bool:
        """Whether the sums know all of it."""
        return False

    def index(self, rows: Rows) -> Rows:
        """Narrow rows to those of a partial index that holds all that are meant."""
        return rows


class Labelled(TextFilter):
    """A field with words of its own instead of "By …"."""

    label = ""

    def choices(self, changelist: Any) -> Iterator[Any]:
        for choice in super().choices(changelist):
            choice["form"].fields[self.parameter_name].label = self.label
            yield choice


class Column(Condition):
    """A whole value of a column that the sums have, too."""

    column = ""

    def condition(self) -> Q:
        return Q(**{self.column: self.given})

    def summed(self) -> Mapping[str, Any]:
        return {self.column: self.given}

    @property
    def is_summed(self) -> bool:
        return True


class ProjectFilter(Column, TextFilter):
    title, parameter_name, column = "project", "project", "project"


class OutcomeFilter(Column, DropdownFilter):
    title, parameter_name, column = "outcome", "outcome__exact", "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(value), str(label)) for value, label in UsageRecord.Outcome.choices]


class CostStatusFilter(Column, DropdownFilter):
    title, parameter_name, column = "cost status", "cost_status__exact", "cost_status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(value), str(label)) for value, label in UsageRecord.CostStatus.choices]


class EndUserFilter(Condition, TextFilter):
    title, parameter_name = "end user", "end_user"

    def condition(self) -> Q:
        return Q(end_user=self.given)


class Failed(Condition):
    """Of failed requests only: sums and a partial index know which those are."""

    @property
    def is_of_failed(self) -> bool:
        """Whether what was entered means failed requests only."""
        return True

    def summed(self) -> Mapping[str, Any] | None:
        return {"outcome__in": ALL_FAILED} if self.is_of_failed else None

    def index(self, rows: Rows) -> Rows:
        return rows.failed() if self.is_of_failed else rows  # type: ignore[attr-defined]


class OwnerFilter(Failed, DropdownFilter):
    title, parameter_name = "error owner", "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(OWNERS.items())

    def condition(self) -> Q:
        return owned_by(self.given)


class ErrorCodeFilter(Failed, TextFilter):
    title, parameter_name = "error code", "error_code"

    def condition(self) -> Q:
        return Q(error_code=self.given)


class StatusFilter(Failed, Labelled):
    """One status, such as 429, or a class of them, such as 5xx."""

    title, parameter_name, label = "status", "status", "Status, as 429 or 5xx"

    @property
    def span(self) -> tuple[int, int]:
        text = self.given.lower()
        if len(text) == 3 and text.endswith("xx") and text[0] in "12345":
            return int(text[0]) * 100, int(text[0]) * 100 + 99
        if len(text) == 3 and text.isascii() and text.isdigit():
            return int(text), int(text)
        raise IncorrectLookupParameters

    @property
    def is_of_failed(self) -> bool:
        return self.span[0] >= 400 and not self.span[0] <= 499 <= self.span[1]  # 499: a client that left

    def condition(self) -> Q:
        return Q(status__range=self.span)


class StreamedFilter(Condition, DropdownFilter):
    title, parameter_name = "streamed", "streamed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Streamed"), ("no", "Whole answers")]

    def condition(self) -> Q:
        return Q(is_streamed=self.given == "yes")


class AtLeast(Condition, Labelled):
    """A number, or more."""

    column = ""
    factor = 1

    @property
    def least(self) -> Decimal:
        try:
            number = Decimal(self.given.replace(",", "."))
        except InvalidOperation:
            raise IncorrectLookupParameters from None
        if not number.is_finite() or not 0 <= number <= 10**6:
            raise IncorrectLookupParameters
        return number * self.factor

    def condition(self) -> Q:
        least = self.least
        return Q(**{f"{self.column}__gte": least if self.factor == 1 else int(least.to_integral_value())})


class CostFilter(AtLeast):
    title, parameter_name, column, label = "cost", "cost", "cost", "Cost, at least"

    def index(self, rows: Rows) -> Rows:
        return rows.dear() if self.least >= DEAR else rows  # type: ignore[attr-defined]


class DurationFilter(AtLeast):
    title, parameter_name, column, factor = "duration", "duration", "latency_ms", 1000
    label = "Seconds in all, at least"

    def index(self, rows: Rows) -> Rows:
        return rows.slow() if self.least >= SLOW_MS else rows  # type: ignore[attr-defined]


class FirstTokenFilter(AtLeast):
    title, parameter_name, column, factor = "first token", "first_token", "first_token_ms", 1000
    label = "Seconds to the first token, at least"

    def index(self, rows: Rows) -> Rows:
        return rows.slow() if self.least >= SLOW_MS else rows  # type: ignore[attr-defined]  # it took longer still


class Edge(Labelled):
    """A moment (UTC): a day, or a day with a time; in place of the period."""

    is_end = False

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        moment = self.moment
        if moment is None:
            return queryset
        return queryset.filter(started_at__lt=moment) if self.is_end else queryset.filter(started_at__gte=moment)

    @property
    def moment(self) -> datetime | None:
        """What was entered; of a day that is an end, the end of the day."""
        text = str(self.value() or "").strip()
        if not text:
            return None
        try:
            moment = datetime.fromisoformat(text)
            if len(text) <= len("2026-12-31") and self.is_end:
                moment += timedelta(days=1)
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            raise IncorrectLookupParameters from None


class FromFilter(Edge):
    title, parameter_name, label = "from", "from", "From (UTC), as 2026-12-31 13:00"


class ToFilter(Edge):
    title, parameter_name, is_end, label = "to", "to", True, "To (UTC), as 2026-12-31"


def owned_by(owner: str) -> Q:
    """The requests whose error is somebody's: what `error_owner` says, as a condition."""
    if owner not in OWNERS:
        raise IncorrectLookupParameters
    own_codes = [code for code, of in OWNER_BY_CODE.items() if of == owner]
    outcomes = [outcome for outcome, of in OWNER_BY_OUTCOME.items() if of == owner]
    return (Q(error_code__in=own_codes) | (Q(outcome__in=outcomes) & ~Q(error_code__in=list(OWNER_BY_CODE)))) & ~Q(
        outcome__in=sorted(NO_ERROR)
    )


class StartedFilter(RecentFilter):
    field = "started_at"

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        """Nothing, where from and to are given."""
        is_given = any(request.GET.get(name) for name in ("from", "to"))
        return queryset if is_given else super().queryset(request, queryset)


class OfRecords(Column):
    """The same as of rollups."""

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
    """All choices are read from the one index of traced records; see the table's fourth migration."""

    title = "attempts"
    parameter_name = "attempts"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("several", "More than one"),
            ("fallback", "With a fallback to another target"),
            ("traced", "With a decision trace"),
        ]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        match self.value():
            case "several":
                return queryset.with_several_attempts()
            case "fallback":
                return queryset.with_fallbacks()
            case "traced":
                return queryset.traced()
        return queryset
