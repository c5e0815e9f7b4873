"""What requests are looked for by. A condition says which rows it means; the list decides how they are found.

What the hourly sums know narrows the hours that are searched; what a partial index knows narrows the rows. The rest is
compared row by row, and `RecordChangeList` sees to it that these are not too many.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar

from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import DropdownFilter, TextFilter

from gateway_site.infra.admin import RecentFilter
from tenants.admin.rollup_filters import AliasFilter, DeploymentFilter, ProviderFilter
from tenants.error_words import NO_ERROR, OWNER_BY_CODE, OWNER_BY_OUTCOME, OWNERS
from tenants.models import UsageRecord
from tenants.querysets import FALLBACK, LOSSY, SEVERAL_ATTEMPTS, TRACED, TRANSLATED

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

    def summed(self) -> Mapping[str, Any]:
        """The same of the hourly sums; empty: they know nothing of it, or too many rows are meant for it to matter."""
        return {}

    @property
    def is_summed_of_all(self) -> bool:
        """Whether the sums are quick to say it of all tenants, too: there is an index for it."""
        return False

    @property
    def index(self) -> str:
        """The partial index that holds all rows that are meant, as a verb of `UsageRecordQuerySet`; empty: there is none."""
        return ""


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


class ProjectFilter(Column, TextFilter):
    title, parameter_name, column = "project", "project", "project"


class OutcomeFilter(Column, DropdownFilter):
    title, parameter_name, column = "outcome", "outcome__exact", "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(value), str(label)) for value, label in UsageRecord.Outcome.choices]

    def summed(self) -> Mapping[str, Any]:
        return {} if self.given == UsageRecord.Outcome.SERVED else super().summed()

    @property
    def is_summed_of_all(self) -> bool:
        return self.given in ALL_FAILED

    @property
    def index(self) -> str:
        return "failed" if self.given in ALL_FAILED else ""


class CostStatusFilter(Column, DropdownFilter):
    title, parameter_name, column = "cost status", "cost_status__exact", "cost_status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(str(value), str(label)) for value, label in UsageRecord.CostStatus.choices]

    def summed(self) -> Mapping[str, Any]:
        return {} if self.given == UsageRecord.CostStatus.EXACT else super().summed()

    @property
    def is_summed_of_all(self) -> bool:
        return self.given == UsageRecord.CostStatus.UNPRICED


class EndUserFilter(Condition, TextFilter):
    title, parameter_name = "end user", "end_user"

    def condition(self) -> Q:
        return Q(end_user=self.given)


class Failed(Condition):
    """Of failed requests only: a partial index knows which those are."""

    @property
    def is_of_failed(self) -> bool:
        """Whether what was entered means failed requests only."""
        return True

    @property
    def index(self) -> str:
        return "failed" if self.is_of_failed else ""


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

    @property
    def index(self) -> str:
        return "dear" if self.least >= DEAR else ""


class DurationFilter(AtLeast):
    title, parameter_name, column, factor = "duration", "duration", "latency_ms", 1000
    label = "Seconds in all, at least"

    @property
    def index(self) -> str:
        return "slow" if self.least >= SLOW_MS else ""


class FirstTokenFilter(AtLeast):
    title, parameter_name, column, factor = "first token", "first_token", "first_token_ms", 1000
    label = "Seconds to the first token, at least"

    @property
    def index(self) -> str:
        return "slow" if self.least >= SLOW_MS else ""  # it took longer still


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
    is_summed_of_all = True


class RecordProviderFilter(OfRecords, ProviderFilter):
    is_summed_of_all = True


class RecordDeploymentFilter(OfRecords, DeploymentFilter):
    pass


class Known(Condition, DropdownFilter):
    """A choice among conditions, all of which stand in one index."""

    conditions: ClassVar[Mapping[str, tuple[str, Q]]] = {}

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, label) for value, (label, _) in self.conditions.items()]

    def condition(self) -> Q:
        if self.given not in self.conditions:
            raise IncorrectLookupParameters
        return self.conditions[self.given][1]


class TranslationFilter(Known):
    """See the table's third migration."""

    title = parameter_name = "translation"
    index = "translated_or_lossy"
    conditions: ClassVar = {"translated": ("Translated", TRANSLATED), "lossy": ("With losses", LOSSY)}


class AttemptsFilter(Known):
    """See the table's fifth migration."""

    title = parameter_name = "attempts"
    index = "traced"
    conditions: ClassVar = {
        "several": ("More than one", SEVERAL_ATTEMPTS),
        "fallback": ("With a fallback to another target", FALLBACK),
        "traced": ("With a decision trace", TRACED),
    }
