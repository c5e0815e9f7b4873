"""Usage reports: from hourly and daily sums and those of end users, never from records.

Currencies are never added up: every row and every total is of one. Pages are found by the last row of the page before,
so the thousandth takes no longer than the first.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

from django.db import connection
from django.db.models import Sum
from django.db.models.functions import Greatest

from tenants.models import ApiKey, Tenant, UsageDay, UsageEndUserDay, UsageHour, UsageOverviewDay, UsageOverviewHour
from tenants.models.ledger import ALL_TENANTS, ERRORS, TOKEN_FIELDS
from tenants.report_question import GROUPS, Question, position

# Reasoning is a part of the output.
ALL_TOKENS = tuple(name for name in TOKEN_FIELDS if name != "reasoning_tokens")
COUNTS = ("requests", "errors", "unpriced", "tokens", *TOKEN_FIELDS)
MONEY = ("cost", "cost_price", "margin", "written_off")
FIGURES = (*COUNTS, *MONEY)
RECENT_DAYS, DAYS_OF_ALL = 31, 3
SLICES = (timedelta(days=3), timedelta(days=12))  # so far back hours are looked for at first
MOST_CHOICES = 500
MANY, FEW = ("project", "api_key"), 1_000  # of all tenants together: a page of a few of them

_ERRORS = ", ".join(f"'{outcome}'" for outcome in ERRORS)
_SUMS = {
    "requests": "sum(requests)",
    "errors": f"coalesce(sum(requests) FILTER (WHERE outcome IN ({_ERRORS})), 0)",
    "unpriced": "coalesce(sum(requests) FILTER (WHERE cost_status = 'unpriced'), 0)",
    "tokens": " + ".join(f"sum({name})" for name in ALL_TOKENS),
    **{name: f"sum({name})" for name in TOKEN_FIELDS},
    "cost": "sum(cost)",
    "cost_price": "sum(cost_price)",
    "margin": "sum(cost) - sum(cost_price)",
    "written_off": "sum(written_off)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A table of sums."""

    table: str
    time: str  # its column of days or hours
    columns: Mapping[str, str] = field(default_factory=dict)  # where a group's column is not called so
    sums: Mapping[str, str] = field(default_factory=lambda: _SUMS)


_DAY_OF_HOUR = "date_trunc('day', starts_at, 'UTC')"
HOURS = Source(table=UsageHour._meta.db_table, time="starts_at", columns={"hour": "starts_at", "day": _DAY_OF_HOUR})
DAYS = Source(table=UsageDay._meta.db_table, time="starts_at", columns={"day": "starts_at"})
# Few rows, and those of all tenants together are few whoever they are: asked wherever they know enough.
KNOWN_TO_OVERVIEWS = frozenset({"tenant_id", "alias", "provider", "currency", "day", "hour"})
_OVERVIEW_SUMS = {
    **_SUMS,
    "errors": "sum(errors)",
    "unpriced": "sum(unpriced)",
    "tokens": "sum(input_tokens) + sum(cache_read_tokens) + sum(cache_write_tokens) + sum(output_tokens)",
    "cache_write_5m_tokens": "sum(cache_write_tokens) - sum(cache_write_1h_tokens)",
}
OVERVIEW_HOURS = replace(HOURS, table=UsageOverviewHour._meta.db_table, sums=_OVERVIEW_SUMS)
OVERVIEW_DAYS = replace(DAYS, table=UsageOverviewDay._meta.db_table, sums=_OVERVIEW_SUMS)
OVERVIEWS = (OVERVIEW_HOURS, OVERVIEW_DAYS)
END_USERS = Source(
    table=UsageEndUserDay._meta.db_table,
    time="day",
    sums={**_SUMS, "errors": "sum(errors)", "unpriced": "sum(unpriced)"},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One page of a report."""

    question: Question
    columns: tuple[str, ...]  # of each row, in order
    rows: list[dict[str, Any]]
    totals: list[dict[str, Any]]  # of the whole report, one per currency; empty on later pages
    next: str | None  # `after` of the next page


def usage_report(question: Question) -> Report:
    """Return a page of a report and, with the first one, its totals."""
    is_first = question.after is None
    found = _fetch(*(_first_page_sql(question) if is_first else _page_sql(question)))
    groups = [row for row in found if row[0] is not None]
    columns = (*GROUPS[question.group_by], "currency", *_SUMS)
    page = [dict(zip(columns, row, strict=True)) for row in groups[: question.limit]]
    keys = len(GROUPS[question.group_by])
    return Report(
        question=question,
        columns=(*_columns(question.group_by), "currency", *FIGURES),
        next=_next(question, page[-1]) if len(groups) > question.limit else None,
        totals=[dict(zip(columns[keys:], row[keys:], strict=True)) for row in found if row[0] is None],
        rows=_named(question.group_by, page),
    )


def recent_values(column: str, tenant_id: int | None = None) -> list[str]:
    """Return what stood in a column of daily usage (alias, provider, deployment) in the last 31 days, the first so many.

    Of one tenant, or of all: deployments of all only of the last days, for there each key has rows of its own.
    """
    days = RECENT_DAYS if column != "deployment" or tenant_id is not None else DAYS_OF_ALL
    since = datetime.now(UTC) - timedelta(days=days)
    if column == "deployment":
        rows = UsageDay.objects.filter(starts_at__gte=since)
        found: Any = rows if tenant_id is None else rows.filter(tenant=tenant_id)
    else:
        whose = ALL_TENANTS if tenant_id is None else tenant_id
        found = UsageOverviewDay.objects.filter(starts_at__gte=since, tenant_id=whose)
    return list(found.order_by(column).values_list(column, flat=True).distinct()[:MOST_CHOICES])


def without(report: Report, hidden: Collection[str]) -> Report:
    """Return a report without some columns."""

    def kept(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{name: value for name, value in row.items() if name not in hidden} for row in rows]

    columns = tuple(name for name in report.columns if name not in hidden)
    return replace(report, columns=columns, rows=kept(report.rows), totals=kept(report.totals))


def hours_with(
    filters: Mapping[str, Any],
    *,
    enough: int,
    since: datetime,
    until: datetime | None = None,
    newest_first: bool = True,
) -> list[datetime]:
    """Return the hours, nearest first, that have so many records by the hourly sums; all there are if they are fewer.

    `filters` are of columns that the sums have. An hour that is begun at the near end does not count: who pages from
    there may have had its records. Many records of one kind are in few hours, and few are in hours that are known.
    """
    first, ahead = _full_hour(since), datetime.now(UTC) + timedelta(days=1)
    last = _full_hour(min(until or ahead, ahead)) + timedelta(hours=1)
    near = first if not newest_first or until is None else _full_hour(until)
    rows = (
        _hours(filters)
        .order_by("-starts_at" if newest_first else "starts_at")
        .values("starts_at")
        .annotate(records=Sum(Greatest("requests", 1)))  # a correction is a record, and no request
    )
    hours, records = [], 0
    for begins, ends in _slices(first, last, newest_first):
        for row in rows.filter(starts_at__gte=begins, starts_at__lt=ends)[: enough + 1]:
            hours.append(row["starts_at"])
            records += row["records"] if row["starts_at"] != near else 0
            if records >= enough:
                return hours
    return hours


def _slices(first: datetime, last: datetime, newest_first: bool) -> list[tuple[datetime, datetime]]:
    """Return spans of time, nearest first: often the first ones, which are short, tell enough."""
    widths = [width for width in SLICES if width < last - first]
    if newest_first:
        edges = [last, *(last - width for width in widths), first]
        return [(begins, ends) for ends, begins in pairwise(edges)]
    return list(pairwise([first, *(first + width for width in widths), last]))


def _hours(filters: Mapping[str, Any]) -> Any:
    """Return the hourly sums of what is looked for: the coarse ones where they know it."""
    coarse = {"tenant_id": ALL_TENANTS, **filters}
    if coarse.get("cost_status") == "unpriced":
        coarse = {**coarse, "unpriced__gt": 0}
        del coarse["cost_status"]
    if coarse.keys() <= {"tenant_id", "alias", "provider", "unpriced__gt"}:
        return UsageOverviewHour.objects.filter(**coarse)
    return UsageHour.objects.filter(**filters)


def _full_hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodUsage:
    """What a key used in a period (UTC)."""

    begins: date
    requests: int = 0
    errors: int = 0
    tokens: int = 0
    input_tokens: int = 0  # without what was read from caches or written to them
    output_tokens: int = 0
    cost: Mapping[str, Decimal] = field(default_factory=dict)  # by currency


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUsage:
    """A key's own usage."""

    today: PeriodUsage
    month: PeriodUsage


def key_usage(api_key_id: int, *, now: datetime | None = None) -> KeyUsage:
    """Return what a key has used today and this month (days of UTC), up to a second or two ago."""
    today = (now or datetime.now(UTC)).astimezone(UTC).date()
    return KeyUsage(
        today=_period_usage(api_key_id, today, today), month=_period_usage(api_key_id, today.replace(day=1), today)
    )


def _period_usage(api_key_id: int, first: date, last: date) -> PeriodUsage:
    begins, ends = _midnight(first), _midnight(last) + timedelta(days=1)
    filters = {"api_key_id": api_key_id}
    totals = _totals(Question(begins=begins, ends=ends, filters=filters))
    counts = {
        name: sum(total[name] for total in totals)
        for name in ("requests", "errors", "tokens", "input_tokens", "output_tokens")
    }
    return PeriodUsage(begins=first, cost={total["currency"]: total["cost"] for total in totals}, **counts)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _totals(question: Question) -> list[dict[str, Any]]:
    source = _source(question)
    condition, values = _condition(question, source)
    rows = _fetch(
        f"SELECT currency, {_selected(source)} FROM {source.table} WHERE {condition} GROUP BY currency ORDER BY currency",
        values,
    )
    return [dict(zip(("currency", *source.sums), row, strict=True)) for row in rows]


def _first_page_sql(question: Question) -> tuple[str, list[Any]]:
    """Return the statement of the first page and, without keys, of the totals: both from one look at the table."""
    if _is_of_many(question):
        return _first_of_many_sql(question)
    source = _source(question)
    names = GROUPS[question.group_by]
    columns = [source.columns.get(name, name) for name in names]
    keys = [f"key_{number}" for number in range(len(names))]
    condition, values = _condition(question, source)
    chosen = ", ".join((*(f"{column} AS {key}" for column, key in zip(columns, keys, strict=True)), "currency"))
    order = _order(question, keys, "cost")
    totals = ", ".join(f"sum({name})::bigint" if name in COUNTS else f"sum({name})" for name in _SUMS)
    return (
        f"WITH groups AS MATERIALIZED (SELECT {chosen}, {_selected(source)} FROM {source.table} WHERE {condition}"
        f" GROUP BY {', '.join((*columns, 'currency'))}),"
        f" page AS (SELECT * FROM groups ORDER BY {order} LIMIT {question.limit + 1})"
        f" SELECT * FROM page UNION ALL"
        f" SELECT {', '.join('NULL' for _ in keys)}, currency, {totals} FROM groups GROUP BY currency ORDER BY {order}",
        values,
    )


def _first_of_many_sql(question: Question) -> tuple[str, list[Any]]:
    """Return the same statement for a page of a few out of thousands: the totals are those of coarse sums."""
    whole = replace(question, group_by="day")
    source = _source(whole)
    condition, values = _condition(whole, source)
    page, page_values = _page_sql(question)
    nothing = ", ".join("NULL" for _ in GROUPS[question.group_by])
    return (
        f"WITH page AS ({page}) SELECT * FROM page UNION ALL"
        f" SELECT {nothing}, currency, {_selected(source)} FROM {source.table} WHERE {condition} GROUP BY currency"
        f" ORDER BY {_order(question, GROUPS[question.group_by], 'cost')}",
        [*page_values, *values],
    )


def _is_of_many(question: Question) -> bool:
    """Whether a page is of a few out of thousands: which they are is found out before all columns are added up."""
    is_of_all = not question.filters.keys() & {"tenant_id", "api_key_id"}
    knows_totals = is_coarse(replace(question, group_by="day"))
    return question.group_by in MANY and is_of_all and knows_totals and question.limit <= FEW


def _order(question: Question, keys: Sequence[str], cost: str) -> str:
    return ", ".join(("currency", f"{cost} DESC", *keys) if question.order == "cost" else (*keys, "currency"))


def _page_sql(question: Question) -> tuple[str, list[Any]]:
    """Return the statement of a page; it reads one row more than the page has."""
    source = _source(question)
    keys = [source.columns.get(name, name) for name in GROUPS[question.group_by]]
    names = ", ".join((*keys, "currency"))
    condition, values = _condition(question, source)
    having, beyond_values = "", _after(question, source)
    beyond = f"({names}) > ({', '.join(['%s'] * (len(keys) + 1))})"
    if beyond_values and question.order == "key":
        condition, values, beyond_values = f"{condition} AND {beyond}", [*values, *beyond_values], []
    elif beyond_values:  # amounts of two currencies cannot be compared
        (cost, *_, currency) = beyond_values
        having = f"HAVING currency > %s OR (currency = %s AND (sum(cost) < %s OR (sum(cost) = %s AND {beyond})))"
        beyond_values = [currency, currency, cost, cost, *beyond_values[1:]]
    rows = f"FROM {source.table} WHERE {condition}"
    order = _order(question, keys, "sum(cost)")
    page = f"GROUP BY {names} {having} ORDER BY {order} LIMIT {question.limit + 1}"
    if not _is_of_many(question):
        return f"SELECT {names}, {_selected(source)} {rows} {page}", [*values, *beyond_values]
    return (
        f"SELECT {names}, {_selected(source)} {rows} AND ({names}) IN (SELECT {names} {rows} {page})"
        f" GROUP BY {names} ORDER BY {order}",
        [*values, *values, *beyond_values],
    )


def _after(question: Question, source: Source) -> list[Any]:
    """Return where the page begins, as the table has it; nothing for the first one."""
    days = source is END_USERS
    return [value.date() if days and isinstance(value, datetime) else value for value in question.after or ()]


def _condition(question: Question, source: Source) -> tuple[str, list[Any]]:
    conditions = [f"{source.time} >= %s", f"{source.time} < %s", *(f"{column} = %s" for column in question.filters)]
    span: list[Any] = [question.begins, question.ends]
    if source is END_USERS:
        span = [question.begins.date(), question.ends.date()]
    if source in OVERVIEWS and "tenant_id" not in question.filters:
        conditions.append(f"tenant_id {'<>' if question.group_by == 'tenant' else '='} {ALL_TENANTS}")
    return " AND ".join(conditions), [*span, *question.filters.values()]


def _selected(source: Source) -> str:
    # Sums of bigint are numeric, and would be read as Decimal.
    sums = ((name, f"({sql})::bigint" if name in COUNTS else sql) for name, sql in source.sums.items())
    return ", ".join(f"{sql} AS {name}" for name, sql in sums)


def _source(question: Question) -> Source:
    if question.is_of_end_users:
        return END_USERS
    if is_coarse(question):
        return OVERVIEW_HOURS if question.is_of_hours else OVERVIEW_DAYS
    return HOURS if question.is_of_hours else DAYS


def is_coarse(question: Question) -> bool:
    """Whether few rows tell all that is asked: neither of projects, keys or end users, nor of deployments."""
    return {*GROUPS[question.group_by], *question.filters} <= KNOWN_TO_OVERVIEWS


def _next(question: Question, row: Mapping[str, Any]) -> str:
    return position(question, (row["cost"], *(row[name] for name in GROUPS[question.group_by]), row["currency"]))


def _fetch(statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()


# --- Names -------------------------------------------------------------------------------------------------

# What a row says of each column: tenants and keys by name and by number, for the name may be gone.
_NAMED = {"tenant_id": ("tenant", "tenant_id"), "api_key_id": ("api_key", "api_key_id"), "alias": ("model",)}


def _columns(group_by: str) -> tuple[str, ...]:
    return tuple(name for column in GROUPS[group_by] for name in _NAMED.get(column, (column,)))


def _named(group_by: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add the names of tenants and keys, None where they were deleted; write days and hours."""
    tenants = _names(Tenant.objects.all(), "slug", (row.get("tenant_id") for row in rows))
    keys = _names(ApiKey.objects.all(), "name", (row.get("api_key_id") for row in rows))
    for row in rows:
        if "tenant_id" in row:
            row["tenant"] = tenants.get(row["tenant_id"])
        if "api_key_id" in row:
            row["api_key"] = keys.get(row["api_key_id"])
        if "alias" in row:
            row["model"] = row.pop("alias")
        if "hour" in row:
            row["hour"] = f"{row['hour'].astimezone(UTC):%Y-%m-%dT%H:00Z}"
        if "day" in row:
            row["day"] = _day(row["day"])
    return rows


def _names(objects: Any, name: str, found: Iterable[int | None]) -> dict[int, str]:
    numbers = {number for number in found if number is not None}
    return dict(objects.filter(pk__in=numbers).values_list("pk", name)) if numbers else {}


def _day(moment: date) -> str:
    day = moment.astimezone(UTC).date() if isinstance(moment, datetime) else moment
    return day.isoformat()
