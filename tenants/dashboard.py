"""The numbers of the console's first page: from coarse sums of hours and days, never from records.

However many records and keys there are, a period has few rows (`UsageOverview`), and all tenants together have rows of their
own. Currencies are never added up.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from operator import add
from sys import byteorder
from typing import Any

from django.db import connection

from tenants.dashboard_question import Span, View
from tenants.latency import LAST_BUCKET, percentiles
from tenants.models import Tenant, UsageOverviewDay, UsageOverviewHour, UsageTotalDay, UsageTotalHour
from tenants.models.ledger import ALL_TENANTS

TABLES = {"hour": UsageOverviewHour._meta.db_table, "day": UsageOverviewDay._meta.db_table}
TOTALS = {"hour": UsageTotalHour._meta.db_table, "day": UsageTotalDay._meta.db_table}
COUNTS = (
    "requests",
    "errors",
    "unpriced",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
)
MONEY = ("cost", "cost_price")
COLUMNS = {"tenant": "tenant_id", "model": "alias", "provider": "provider"}
KINDS = ("latency", "first_token")
HEADER, PLACE_BYTES = 20, 8  # of an array as it is sent, and of each bucket in a long number: enough for any sum
WITHOUT_LENGTHS = int.from_bytes((LAST_BUCKET + 1) * (bytes(4) + 4 * b"\xff"))
SHOWN = 6  # parts of a chart, and rows of a table; the others are one
# Of bigint a sum is numeric, which would be read as Decimal.
_SUMS = ", ".join((*(f"sum({name})::float8" for name in COUNTS), *(f"sum({name})" for name in MONEY)))

type Histogram = dict[int, float]  # buckets of `tenants/latency.py`, and how many are in them


@dataclass(slots=True, kw_only=True)
class Figures:
    """Sums of whatever they are added up for."""

    requests: float = 0.0
    errors: float = 0.0
    unpriced: float = 0.0
    input_tokens: float = 0.0
    cache_read_tokens: float = 0.0
    cache_write_tokens: float = 0.0
    output_tokens: float = 0.0
    cost: dict[str, Decimal] = field(default_factory=dict)  # by currency
    cost_price: dict[str, Decimal] = field(default_factory=dict)

    def add(self, currency: str, counts: Sequence[float], money: Sequence[Decimal], weight: float = 1.0) -> None:
        """Add a row of sums."""
        for name, count in zip(COUNTS, counts, strict=True):
            setattr(self, name, getattr(self, name) + float(count) * weight)
        for name, amount in zip(MONEY, money, strict=True):
            sums: dict[str, Decimal] = getattr(self, name)
            sums[currency] = sums.get(currency, Decimal(0)) + (amount if weight == 1.0 else amount * Decimal(weight))

    @property
    def tokens(self) -> float:
        """All of them; what was read from a provider's cache counts, too."""
        return self.prompt_tokens + self.output_tokens

    @property
    def prompt_tokens(self) -> float:
        """What was sent, cached or not."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens

    @property
    def error_rate(self) -> float | None:
        """The share of requests that failed; None of none."""
        return self.errors / self.requests if self.requests else None

    @property
    def cache_rate(self) -> float | None:
        """The share of the prompts that the providers had in their caches; None without prompts."""
        return self.cache_read_tokens / self.prompt_tokens if self.prompt_tokens else None

    def margin(self, currency: str) -> Decimal:
        """What is left of what tenants pay; all of it where we do not know what we pay."""
        return self.cost.get(currency, Decimal(0)) - self.cost_price.get(currency, Decimal(0))


@dataclass(slots=True, kw_only=True)
class Timings:
    """Percentiles in milliseconds, None where nothing was timed."""

    latency: dict[int, float | None]
    first_token: dict[int, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A tenant, model or provider."""

    key: Any
    name: str
    figures: Figures
    timings: Timings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """All numbers of a view."""

    now: Figures
    before: Figures
    series: Mapping[datetime, Figures]  # of the hours or days of charts; none where nothing was used
    timings: Timings
    timings_before: Timings
    timed_series: Mapping[datetime, Timings]
    timed_since: datetime | None  # the first moment with latencies, where there was usage before that
    currencies: tuple[str, ...]  # the main one first
    groups: Mapping[str, list[Group]]  # of tenant, model and provider: the first few, as they are ordered
    parts: Mapping[datetime, Mapping[Any, Figures]]  # the view's groups over time

    @property
    def currency(self) -> str:
        """The one that charts and tables are in."""
        return self.currencies[0]


def read_dashboard(view: View, tenant_id: int | None) -> Dashboard:
    """Ask for all of a view; of one tenant alone when its id is given."""
    scope = _Scope(view, tenant_id)
    now, before, series = _sums(scope)
    currencies = _currencies(scope, view.currency)
    order = _order(view.order, currencies[0])
    groups = {} if not now.requests and not any(now.cost.values()) else _groups(scope, order)
    timed = _timed(scope, {name: [group.key for group in found] for name, found in groups.items()})
    return Dashboard(
        now=now,
        before=before,
        series=series,
        timings=_timings(timed.now),
        timings_before=_timings(timed.before),
        timed_series={moment: _timings(found) for moment, found in timed.series.items()},
        timed_since=_timed_since(scope.span, series, timed.series),
        currencies=currencies,
        groups={name: _with_timings(found, timed.groups[name]) for name, found in groups.items()},
        parts=_parts(scope, [group.key for group in groups.get(view.group_by, [])]),
    )


def has_usage(tenant_id: int | None) -> bool:
    """Whether anything was ever used, by anybody or by one tenant."""
    return UsageOverviewDay.objects.filter(tenant_id=ALL_TENANTS if tenant_id is None else tenant_id).exists()


def unpriced_since(moment: datetime) -> list[tuple[str, int]]:
    """Return the models that were used without a price since a day, and how often; the most used first."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT alias, sum(unpriced)::bigint FROM {TABLES['day']} WHERE tenant_id = %s AND starts_at >= %s"
            " AND unpriced > 0 GROUP BY alias ORDER BY 2 DESC, 1",
            [ALL_TENANTS, moment.replace(hour=0, minute=0, second=0, microsecond=0)],
        )
        return cursor.fetchall()


# --- Asking ------------------------------------------------------------------------------------------------


class _Scope:
    """Of which rows a view is, and what was learnt of them."""

    def __init__(self, view: View, tenant_id: int | None) -> None:
        self.view, self.span, self.table = view, view.span, TABLES[view.span.step]
        if tenant_id is None and view.tenant:
            found = Tenant.objects.filter(slug=view.tenant).values_list("pk", flat=True).first()
            tenant_id = -1 if found is None else found  # nobody's
        self.tenant_id = tenant_id
        self.requests_by_currency: dict[str, float] = defaultdict(float)

    def condition(self, begins: datetime, ends: datetime, of_tenants: bool = False) -> tuple[str, list[Any]]:
        """Return the condition of rows in a time; `of_tenants` takes those of each tenant for those of all together."""
        parts = ["starts_at >= %s", "starts_at < %s"]
        values: list[Any] = [begins, ends]
        if of_tenants and self.tenant_id is None:
            parts.append(f"tenant_id <> {ALL_TENANTS}")
        else:
            parts.append("tenant_id = %s")
            values.append(ALL_TENANTS if self.tenant_id is None else self.tenant_id)
        for column, value in (("alias", self.view.model), ("provider", self.view.provider)):
            if value:
                parts.append(f"{column} = %s")
                values.append(value)
        return " AND ".join(parts), values

    def weight(self, moment: datetime) -> float:
        """How much a row of the period before counts: its last hour or day is over, ours is not."""
        return self.span.passed if moment == self.span.before_ends - self.span.width else 1.0

    def is_before(self, moment: datetime) -> bool:
        """Whether a moment is in the period before."""
        return self.span.before <= moment < self.span.before_ends


def _sums(scope: _Scope) -> tuple[Figures, Figures, dict[datetime, Figures]]:
    """Return the sums of the view's time, of that before, and of every hour or day of charts."""
    span = scope.span
    condition, values = scope.condition(min(span.before, span.shown_from), span.ends)
    now, before = Figures(), Figures()
    series: dict[datetime, Figures] = defaultdict(Figures)
    for moment, currency, *sums in _fetch(
        f"SELECT starts_at, currency, {_SUMS} FROM {scope.table} WHERE {condition} GROUP BY 1, 2", values
    ):
        counts, money = sums[: len(COUNTS)], sums[len(COUNTS) :]
        if moment >= span.begins:
            now.add(currency, counts, money)
        if moment >= span.shown_from:
            series[moment].add(currency, counts, money)
        if scope.is_before(moment):
            before.add(currency, counts, money, scope.weight(moment))
        scope.requests_by_currency[currency] += counts[0]
    return now, before, dict(series)


def _currencies(scope: _Scope, chosen: str) -> tuple[str, ...]:
    """Return the currencies that were billed in, the chosen one or else the usual one first."""
    found = sorted(scope.requests_by_currency, key=lambda name: (-scope.requests_by_currency[name], name)) or ["USD"]
    return tuple(sorted(found, key=lambda name: name != chosen))  # stable


def _order(order: str, currency: str) -> Any:
    def rank(figures: Figures) -> tuple[Any, ...]:
        cost = figures.cost.get(currency, Decimal(0))
        return {
            "spend": (cost, figures.requests),
            "requests": (figures.requests, cost),
            "errors": (figures.errors, figures.requests),
        }[order]

    return rank


def _groups(scope: _Scope, rank: Any) -> dict[str, list[Group]]:
    """Return the first few tenants, models and providers."""
    span = scope.span
    condition, values = scope.condition(span.begins, span.ends)
    models: dict[Any, Figures] = defaultdict(Figures)
    providers: dict[Any, Figures] = defaultdict(Figures)
    for alias, provider, currency, *sums in _fetch(
        f"SELECT alias, provider, currency, {_SUMS} FROM {scope.table} WHERE {condition} GROUP BY 1, 2, 3", values
    ):
        for figures in (models[alias], providers[provider]):
            figures.add(currency, sums[: len(COUNTS)], sums[len(COUNTS) :])
    found = {"model": _first(models, rank), "provider": _first(providers, rank)}
    return found if scope.tenant_id is not None else {"tenant": _tenants(scope, rank), **found}


def _tenants(scope: _Scope, rank: Any) -> list[Group]:
    """Return the first few tenants: ranked by narrow sums of each, and only these asked for in full."""
    first = _ranked(scope, rank)
    condition, values = scope.condition(scope.span.begins, scope.span.ends, of_tenants=True)
    tenants: dict[Any, Figures] = {key: Figures() for key in first}
    for tenant_id, currency, *sums in _fetch(
        f"SELECT tenant_id, currency, {_SUMS} FROM {scope.table} WHERE {condition} AND tenant_id = ANY(%s)"
        " GROUP BY 1, 2",
        [*values, first],
    ):
        tenants[tenant_id].add(currency, sums[: len(COUNTS)], sums[len(COUNTS) :])
    names = dict(Tenant.objects.filter(pk__in=first).values_list("pk", "slug"))
    return [Group(key=key, name=names.get(key, f"deleted ({key})"), figures=tenants[key]) for key in first]


def _ranked(scope: _Scope, rank: Any) -> list[int]:
    is_narrowed = bool(scope.view.model or scope.view.provider)
    condition, values = scope.condition(scope.span.begins, scope.span.ends, of_tenants=True)
    table = scope.table if is_narrowed else TOTALS[scope.span.step]
    tenants: dict[int, Figures] = defaultdict(Figures)
    for tenant_id, currency, requests, errors, cost in _fetch(
        f"SELECT tenant_id, currency, sum(requests)::float8, sum(errors)::float8, sum(cost) FROM {table}"
        f" WHERE {condition} GROUP BY 1, 2",
        values,
    ):
        figures = tenants[tenant_id]
        figures.requests += requests
        figures.errors += errors
        figures.cost[currency] = cost
    return [group.key for group in _first(tenants, rank)]


def _first(found: Mapping[Any, Figures], rank: Any) -> list[Group]:
    ordered = sorted(found.items(), key=lambda item: (rank(item[1]), str(item[0])), reverse=True)
    return [Group(key=key, name=str(key), figures=figures) for key, figures in ordered[:SHOWN]]


def _parts(scope: _Scope, keys: Sequence[Any]) -> dict[datetime, dict[Any, Figures]]:
    """Return the first few groups over time."""
    if not keys:
        return {}
    column = COLUMNS[scope.view.group_by]
    condition, values = scope.condition(scope.span.shown_from, scope.span.ends, of_tenants=column == "tenant_id")
    parts: dict[datetime, dict[Any, Figures]] = defaultdict(lambda: defaultdict(Figures))
    for moment, key, currency, *sums in _fetch(
        f"SELECT starts_at, {column}, currency, {_SUMS} FROM {scope.table} WHERE {condition} AND {column} = ANY(%s)"
        " GROUP BY 1, 2, 3",
        [*values, list(keys)],
    ):
        parts[moment][key].add(currency, sums[: len(COUNTS)], sums[len(COUNTS) :])
    return parts


def _fetch(statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()


# --- Latencies ---------------------------------------------------------------------------------------------

type Histograms = dict[str, Histogram]  # by kind


def _none() -> Histograms:
    return {kind: defaultdict(float) for kind in KINDS}


class _Counts:
    """Histograms that are added up, of one moment or of one group: each as one long number, which is added at once."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts = [0] * len(KINDS)

    def add(self, numbers: Sequence[int]) -> None:
        """Add a row's histograms."""
        self.counts = list(map(add, self.counts, numbers))

    @property
    def has_any(self) -> bool:
        """Whether anything was timed."""
        return any(self.counts)

    def into(self, histograms: Histograms, weight: float = 1.0) -> None:
        """Add what came of it to something coarser."""
        for kind, number in zip(KINDS, self.counts, strict=True):
            found = histograms[kind]
            for bucket, count in enumerate(_unpacked(number)):
                if count:
                    found[bucket] += count * weight


def _number(sent: bytes) -> int:
    """Return a histogram as a long number, with a place for each bucket.

    PostgreSQL sends an array as five words, of which the last is the first bucket, and then each count behind its length:
    four bytes each, together a place. To read counts one by one would take three times as long.
    """
    if len(sent) <= HEADER:
        return 0  # of an empty one it sends no buckets
    first, counts = int.from_bytes(sent[HEADER - 4 : HEADER]), sent[HEADER:]
    last = first + len(counts) // PLACE_BYTES - 1
    return (int.from_bytes(counts) & WITHOUT_LENGTHS) << 8 * PLACE_BYTES * (LAST_BUCKET - last)


def _unpacked(number: int) -> array[int]:
    """Return the counts of all buckets, that of the first one first."""
    counts = array("Q", number.to_bytes(PLACE_BYTES * (LAST_BUCKET + 1)))
    if byteorder == "little":
        counts.byteswap()
    return counts


@dataclass(slots=True, kw_only=True)
class _Timed:
    now: Histograms = field(default_factory=_none)
    before: Histograms = field(default_factory=_none)
    series: dict[datetime, Histograms] = field(default_factory=lambda: defaultdict(_none))
    groups: dict[str, dict[Any, Histograms]] = field(
        default_factory=lambda: {name: defaultdict(_none) for name in COLUMNS}
    )


def _timed(scope: _Scope, keys: Mapping[str, Sequence[Any]]) -> _Timed:
    """Return the histograms of the view's time, of that before, of every hour or day, and of the groups that are shown."""
    span, timed = scope.span, _Timed()
    condition, values = scope.condition(min(span.before, span.shown_from), span.ends)
    moments: dict[int, _Counts] = defaultdict(_Counts)
    pairs: dict[tuple[str, str], _Counts] = defaultdict(_Counts)
    # Added up here: to unnest them takes the database five times as long.
    begins = int(span.begins.timestamp())
    # To read a moment of each row would take longer than the rest.
    for seconds, alias, provider, *arrays in _fetch(
        _histogram_sql(scope, "extract(epoch FROM starts_at)::bigint, alias, provider", condition), values
    ):
        numbers = [_number(sent) for sent in arrays]
        moments[seconds].add(numbers)
        if seconds >= begins:
            pairs[alias, provider].add(numbers)
    for seconds, sums in moments.items():
        if not sums.has_any:  # of before latencies were counted
            continue
        moment = datetime.fromtimestamp(seconds, UTC)
        if moment >= span.begins:
            sums.into(timed.now)
        if moment >= span.shown_from:
            sums.into(timed.series[moment])
        if scope.is_before(moment):
            sums.into(timed.before, scope.weight(moment))
    for (alias, provider), sums in pairs.items():
        sums.into(timed.groups["model"][alias])
        sums.into(timed.groups["provider"][provider])
    if keys.get("tenant"):
        _time_tenants(scope, timed, keys["tenant"])
    return timed


def _time_tenants(scope: _Scope, timed: _Timed, tenants: Sequence[int]) -> None:
    """Add the histograms of these tenants."""
    condition, values = scope.condition(scope.span.begins, scope.span.ends, of_tenants=True)
    found: dict[int, _Counts] = defaultdict(_Counts)
    statement = _histogram_sql(scope, "tenant_id", f"{condition} AND tenant_id = ANY(%s)")
    for key, *arrays in _fetch(statement, [*values, list(tenants)]):
        found[key].add([_number(sent) for sent in arrays])
    for key, sums in found.items():
        sums.into(timed.groups["tenant"][key])


def _histogram_sql(scope: _Scope, keys: str, condition: str) -> str:
    """Return the statement for histograms as they are sent, for `_number`."""
    arrays = ", ".join(f"array_send(array_replace({kind}, NULL, 0))" for kind in KINDS)
    return f"SELECT {keys}, {arrays} FROM {scope.table} WHERE {condition}"


def _timings(found: Mapping[str, Histogram]) -> Timings:
    return Timings(latency=percentiles(found["latency"]), first_token=percentiles(found["first_token"]))


def _with_timings(groups: Iterable[Group], timed: Mapping[Any, Histograms]) -> list[Group]:
    return [
        Group(key=each.key, name=each.name, figures=each.figures, timings=_timings(timed[each.key])) for each in groups
    ]


def _timed_since(
    span: Span, series: Mapping[datetime, Figures], timed: Mapping[datetime, Histograms]
) -> datetime | None:
    """Return since when latencies are counted where usage is older than that; None where all of it has them."""
    used = [moment for moment in series if moment >= span.begins and series[moment].requests]
    with_times = [moment for moment in timed if moment >= span.begins]
    if not used or not with_times or min(with_times) <= min(used):
        return None
    return min(with_times)
