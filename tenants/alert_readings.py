"""What alert rules measure: one question for all rules with short windows, and one or two for all with long ones.

Short windows (an hour at most) are read from records, by when requests ended: who was waited for in vain counts when that
came out. Longer ones are read from the sums of hours; of their first hour, the part that is in the window.
Rules share an answer: it is grouped by what some rule names and by nothing else, so it is short however many keys there
are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection, transaction

from tenants.alerting import LONGEST_OF_RECORDS, Gauges, Reading
from tenants.latency import bucket_sql, percentile
from tenants.models import AlertRule, UsageHour, UsageOverviewHour, UsageRecord
from tenants.models.ledger import ALL_TENANTS, ERRORS

RECORDS = UsageRecord._meta.db_table
HOURS, OVERVIEWS = UsageHour._meta.db_table, UsageOverviewHour._meta.db_table
HOUR = timedelta(hours=1)
LONGEST_REQUEST = timedelta(minutes=15)  # who takes longer is missed in the window in which it ends
STALE_LEDGER = 60.0  # seconds that usage waits: from then on the last minutes look quieter than they are
DIMENSIONS = ("tenant_id", "api_key_id", "alias", "provider", "deployment")
NAMED = ("watched_id", "api_key_id", "model", "provider", "deployment")  # of a rule, in the same order
OTHERS: tuple[Any, ...] = (0, 0, "", "", "")  # what no rule names
_FAILED = ", ".join(f"'{outcome}'" for outcome in ERRORS)
_PROMPT = "coalesce(input_tokens, 0) + coalesce(cache_read_tokens, 0)"
_WRITTEN = "coalesce(cache_write_5m_tokens, 0) + coalesce(cache_write_1h_tokens, 0)"


@dataclass(slots=True)
class Sums:
    """What is added up for a rule."""

    requests: float = 0.0
    errors: float = 0.0
    prompt: float = 0.0
    cached: float = 0.0
    output: float = 0.0
    cost: dict[str, Decimal] = field(default_factory=dict)  # by currency
    times: dict[str, dict[int, float]] = field(default_factory=lambda: {"latency": {}, "first_token": {}})

    def add(self, currency: str, row: Sequence[Any], weight: float = 1.0) -> None:
        """Add requests, errors, prompt, cached, output and cost."""
        self.requests += row[0] * weight
        self.errors += row[1] * weight
        self.prompt += row[2] * weight
        self.cached += row[3] * weight
        self.output += row[4] * weight
        cost = row[5] if weight == 1.0 else row[5] * Decimal(weight)
        self.cost[currency] = self.cost.get(currency, Decimal(0)) + cost

    def add_times(self, kind: str, bucket: int | None, count: float) -> None:
        """Add requests that took about as long."""
        if bucket is not None:
            self.times[kind][bucket] = self.times[kind].get(bucket, 0.0) + count


def read_all(rules: Iterable[AlertRule], now: datetime, gauges: Gauges, *, patience: float) -> dict[int, Reading]:
    """Measure rules, by their ids (unsaved ones have none: then one at a time); raises OperationalError after `patience`."""
    given = list(rules)
    readings = {rule.pk: _of_gauges(rule, gauges) for rule in given if rule.facts.is_of_gateway}
    of_usage = [rule for rule in given if not rule.facts.is_of_gateway]
    if gauges.ledger_lag is not None and gauges.ledger_lag > STALE_LEDGER:
        return readings | {rule.pk: Reading() for rule in of_usage}
    short = [rule for rule in of_usage if rule.window <= LONGEST_OF_RECORDS]
    long = [rule for rule in of_usage if rule.window > LONGEST_OF_RECORDS]
    narrow = [rule for rule in long if rule.api_key_id is not None or rule.deployment]
    wide = [rule for rule in long if rule not in narrow]
    with _patient(patience):
        sums = {**_of_records(short, now), **_of_hours(narrow, now), **_of_overviews(wide, now)}
    return readings | {rule.pk: _reading(rule, sums[rule.pk]) for rule in of_usage}


class _patient:
    """Ends a question that takes too long, and leaves the transaction around it as it was."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._atomic = seconds, transaction.atomic()

    def __enter__(self) -> None:
        self._atomic.__enter__()
        self._before = _set_timeout(f"{self._seconds * 1000:.0f}ms")

    def __exit__(self, *exception: Any) -> None:
        if exception[0] is None:
            _set_timeout(self._before)
        self._atomic.__exit__(*exception)


def _set_timeout(value: str) -> str:
    """Set PostgreSQL's patience until the transaction ends; return what it was."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('statement_timeout'), set_config('statement_timeout', %s, true)", [value]
        )
        return str(cursor.fetchone()[0])


# --- What sums say -----------------------------------------------------------------------------------------


def _reading(rule: AlertRule, sums: Sums) -> Reading:
    value = _value(rule, sums)
    rounded = None if value is None else Decimal(str(value)).quantize(Decimal("0.000001"))
    return Reading(value=rounded, requests=round(sums.requests))


def _value(rule: AlertRule, sums: Sums) -> float | Decimal | None:
    match rule.metric:
        case "error_rate":
            return 100 * sums.errors / sums.requests if sums.requests else None
        case "requests_per_minute":
            return sums.requests / rule.window
        case "tokens_per_minute":
            return (sums.prompt + sums.output) / rule.window
        case "cost_per_hour":
            return sums.cost.get(rule.currency, Decimal(0)) * 60 / rule.window
        case "cost_per_day":
            return sums.cost.get(rule.currency, Decimal(0)) * 1440 / rule.window
        case "latency_p95":
            return percentile(sums.times["latency"], 95)
        case "first_token_p95":
            return percentile(sums.times["first_token"], 95)
        case "cache_hit_rate":
            return 100 * sums.cached / sums.prompt if sums.prompt else None
    return None


def _of_gauges(rule: AlertRule, gauges: Gauges) -> Reading:
    match rule.metric:
        case "breaker_open":
            return _count(rule, gauges.open_breakers)
        case "probe_failing":
            return _count(rule, gauges.failing_probes)
        case "ledger_lag":
            return _plain(gauges.ledger_lag)
        case "worker_lag":
            return _plain(gauges.lagging_workers)
    return Reading()


def _plain(value: float | None) -> Reading:
    return Reading() if value is None else Reading(value=Decimal(str(round(value, 3))))


def _count(rule: AlertRule, found: Sequence[tuple[str, str]] | None) -> Reading:
    if found is None:
        return Reading()
    asked = (rule.provider, rule.deployment)
    return _plain(sum(all(name in ("", has) for name, has in zip(asked, each, strict=True)) for each in found))


# --- Which rows are whose ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Names:
    """What some rule names, of each dimension."""

    of: tuple[list[Any], ...]

    @classmethod
    def of_rules(cls, rules: Sequence[AlertRule]) -> _Names:
        return cls(tuple(sorted({value for rule in rules if (value := getattr(rule, name))}) for name in NAMED))

    def columns(self, *without: str) -> tuple[str, list[Any]]:
        """The dimensions as SQL: what no rule names is one."""
        parts, values = [], []
        for column, names, other in zip(DIMENSIONS, self.of, OTHERS, strict=True):
            constant = str(other) if isinstance(other, int) else "''"
            if not names or column in without:
                parts.append(constant)
            else:
                parts.append(f"CASE WHEN {column} = ANY(%s) THEN {column} ELSE {constant} END")
                values.append(names)
        return ", ".join(parts), values

    def tenants(self, rules: Sequence[AlertRule]) -> list[int] | None:
        """The only tenants that are asked about; None: all."""
        return self.of[0] if all(rule.watched_id is not None for rule in rules) else None


def _is_of(rule: AlertRule, row: Sequence[Any]) -> bool:
    return all(not (asked := getattr(rule, name)) or asked == has for name, has in zip(NAMED, row, strict=True))


def _fetch(statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall()


# --- Short windows -----------------------------------------------------------------------------------------


def _of_records(rules: Sequence[AlertRule], now: datetime) -> dict[int, Sums]:
    """Add up records of the last hour at most."""
    sums = {rule.pk: Sums() for rule in rules}
    if not rules:
        return sums
    windows = sorted({rule.window for rule in rules})
    for place, *row in _fetch(*_records_sql(rules, windows, now)):
        currency, kind, bucket, *counted = row[5:]
        for rule in rules:
            if place <= windows.index(rule.window) and _is_of(rule, row[:5]):
                if kind:
                    sums[rule.pk].add_times(kind, bucket, counted[6])
                else:
                    sums[rule.pk].add(currency, counted[:6])
    return sums


def _records_sql(rules: Sequence[AlertRule], windows: Sequence[int], now: datetime) -> tuple[str, list[Any]]:
    names = _Names.of_rules(rules)
    dimensions, named = names.columns()
    since = [now - timedelta(minutes=window) for window in windows]
    places = " ".join(f"WHEN ended_at > %s THEN {place}" for place, _ in enumerate(windows))
    tenants = names.tenants(rules)
    statement = f"""
        SELECT CASE {places} END, {dimensions}, currency,
            kind, bucket,
            count(*) FILTER (WHERE corrects IS NULL)::float8, count(*) FILTER (WHERE outcome IN ({_FAILED}))::float8,
            coalesce(sum({_PROMPT} + {_WRITTEN}), 0)::float8, coalesce(sum(cache_read_tokens), 0)::float8,
            coalesce(sum(output_tokens), 0)::float8, sum(cost),
            count(*) FILTER (WHERE outcome NOT IN ('lost', 'correction'))::float8
        FROM (SELECT *, started_at + latency_ms * interval '1 millisecond' AS ended_at FROM {RECORDS}
            WHERE started_at > %s AND started_at <= %s{"" if tenants is None else " AND tenant_id = ANY(%s)"}) AS record
        CROSS JOIN LATERAL (VALUES {_parts({rule.metric for rule in rules})}) AS part (kind, bucket)
        WHERE ended_at > %s AND (kind = '' OR bucket IS NOT NULL) GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9"""
    span = [since[-1] - LONGEST_REQUEST, now]
    return statement, [*since, *named, *span, *([] if tenants is None else [tenants]), since[-1]]


def _parts(metrics: set[str]) -> str:
    """What each record is counted in: the sums, and the histograms that somebody asks for."""
    times = {"latency": "latency_ms", "first_token": "first_token_ms"}
    wanted = [f"('{kind}', {_bucket(column)})" for kind, column in times.items() if f"{kind}_p95" in metrics]
    return ", ".join(["('', NULL::int)", *wanted])


def _bucket(column: str) -> str:
    return f"CASE WHEN {column} IS NOT NULL AND outcome NOT IN ('lost', 'correction') THEN {bucket_sql(column)} END"


# --- Long windows ------------------------------------------------------------------------------------------


def _weight(rule: AlertRule, moment: datetime, now: datetime) -> float:
    """How much of an hour is in a rule's window."""
    since = now - timedelta(minutes=rule.window)
    return max(0.0, min(1.0, (moment + HOUR - since) / HOUR))


def _since(rules: Sequence[AlertRule], now: datetime) -> datetime:
    return now - timedelta(minutes=max(rule.window for rule in rules)) - HOUR


def _of_hours(rules: Sequence[AlertRule], now: datetime) -> dict[int, Sums]:
    """Add up what single keys and deployments did."""
    sums = {rule.pk: Sums() for rule in rules}
    if not rules:
        return sums
    names = _Names.of_rules(rules)
    dimensions, named = names.columns()
    tenants = names.tenants(rules)
    statement = f"""
        SELECT starts_at, {dimensions}, currency, sum(requests)::float8,
            coalesce(sum(requests) FILTER (WHERE outcome IN ({_FAILED})), 0)::float8,
            sum({_PROMPT} + {_WRITTEN})::float8, sum(cache_read_tokens)::float8, sum(output_tokens)::float8, sum(cost)
        FROM {HOURS} WHERE starts_at > %s AND starts_at <= %s{"" if tenants is None else " AND tenant_id = ANY(%s)"}
        GROUP BY 1, 2, 3, 4, 5, 6, 7"""
    for moment, *row in _fetch(statement, [*named, _since(rules, now), now, *([] if tenants is None else [tenants])]):
        for rule in rules:
            if _is_of(rule, row[:5]):
                sums[rule.pk].add(row[5], row[6:], _weight(rule, moment, now))
    return sums


def _of_overviews(rules: Sequence[AlertRule], now: datetime) -> dict[int, Sums]:
    """Add up what tenants, or all of them together, did."""
    sums = {rule.pk: Sums() for rule in rules}
    if not rules:
        return sums
    for moment, row, currency, counted in _overview_rows(rules, now):
        for rule in _rules_of(rules, row):
            sums[rule.pk].add(currency, counted, _weight(rule, moment, now))
    if any(rule.facts.is_timed for rule in rules):
        for moment, row, kind, bucket, count in _overview_times(rules, now):
            for rule in _rules_of(rules, row):
                sums[rule.pk].add_times(kind, bucket, count * _weight(rule, moment, now))
    return sums


def _rules_of(rules: Sequence[AlertRule], row: Sequence[Any]) -> Iterator[AlertRule]:
    """Those that a row is of; rows of all tenants together are for rules that name none."""
    for rule in rules:
        if (rule.watched_id or ALL_TENANTS) == row[0] and _is_of(rule, row):
            yield rule


def _overview_sql(rules: Sequence[AlertRule], now: datetime) -> tuple[str, list[Any], str, list[Any]]:
    """Dimensions and condition, each with its values."""
    dimensions, named = _Names.of_rules(rules).columns("tenant_id", "api_key_id", "deployment")
    dimensions = dimensions.replace("0", "tenant_id", 1)
    tenants = sorted({rule.watched_id or ALL_TENANTS for rule in rules})
    return (
        dimensions,
        named,
        "tenant_id = ANY(%s) AND starts_at > %s AND starts_at <= %s",
        [tenants, _since(rules, now), now],
    )


def _overview_rows(rules: Sequence[AlertRule], now: datetime) -> Iterator[tuple[datetime, Any, str, Any]]:
    dimensions, named, condition, values = _overview_sql(rules, now)
    statement = f"""
        SELECT starts_at, {dimensions}, currency, sum(requests)::float8, sum(errors)::float8,
            sum(input_tokens + cache_read_tokens + cache_write_tokens)::float8, sum(cache_read_tokens)::float8,
            sum(output_tokens)::float8, sum(cost)
        FROM {OVERVIEWS} WHERE {condition} GROUP BY 1, 2, 3, 4, 5, 6, 7"""
    for moment, *row in _fetch(statement, [*named, *values]):
        yield moment, row[:5], row[5], row[6:]


def _overview_times(rules: Sequence[AlertRule], now: datetime) -> Iterator[tuple[datetime, Any, str, int, float]]:
    dimensions, named, condition, values = _overview_sql(rules, now)
    for kind in ("latency", "first_token"):
        statement = f"""
            SELECT starts_at, {dimensions}, array_lower({kind}, 1) + place - 1, sum(count)::float8 FROM {OVERVIEWS}
            CROSS JOIN LATERAL unnest({kind}) WITH ORDINALITY AS of_row (count, place)
            WHERE {condition} AND count > 0 GROUP BY 1, 2, 3, 4, 5, 6, 7"""
        for moment, *row in _fetch(statement, [*named, *values]):
            yield moment, row[:5], kind, int(row[5]), row[6]
