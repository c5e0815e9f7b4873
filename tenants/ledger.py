"""From the usage stream to the ledger and its rollups: one transaction per batch, each record once.

A batch is copied into a temporary table and inserted from there; rows that the ledger has already are left out, and only
what was really inserted is added to the rollups. A drain that dies between its commit and its acknowledgement leaves the
batch to be read again, which then inserts nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import batched
from time import monotonic, time
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import psycopg
import structlog
from django.db import DataError, IntegrityError, connection, transaction

from gateway_site.infra.telemetry import ledger_lag, ledger_records, queue_depth
from tenants.budget_alerts import note_spend
from tenants.latency import ADD_HISTOGRAMS, COUNT_BUCKETS, bucket_sql
from tenants.ledger_copy import COLUMNS, copy_line, moment
from tenants.limits.scripts import USAGE_STREAM
from tenants.models.ledger import ALL_TENANTS, ERRORS, TOKEN_FIELDS
from tenants.usage_event import UsageEvent, decode

if TYPE_CHECKING:
    import redis

log = structlog.get_logger("tollgate.ledger")

GROUP = "ledger"
CONSUMER = "drain"
BATCH = 2_000
DRAIN_SECONDS = 5.0
DRAIN_LOCK = 0x70110002  # of Postgres' advisory locks: one drain at a time
REFUSED_STREAM = b"tollgate:usage:unreadable"
LOST = "lost"
# What is wrong with an event and not with the database; COPY raises psycopg's own errors.
UNSTORABLE = (DataError, IntegrityError, psycopg.DataError, ValueError, OverflowError)

type Entry = tuple[bytes, dict[bytes, bytes]]  # of the stream: its id and its fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollup:
    """A table of sums: its columns, and how each comes from records."""

    table: str
    keys: Mapping[str, str]  # in the order of its unique index
    sums: Mapping[str, str]
    condition: str = "true"  # which records are in it
    join: str = ""  # where a record is in several rows
    histograms: Mapping[str, str] = field(default_factory=dict)  # columns, and of which times of a record


_MONEY = {"cost": "sum(cost)", "cost_price": "coalesce(sum(cost_price), 0)", "written_off": "sum(written_off)"}
_TOKENS = {field: f"coalesce(sum({field}), 0)" for field in TOKEN_FIELDS}
_REQUESTS = "count(*) FILTER (WHERE corrects IS NULL)"
_UNPRICED = "count(*) FILTER (WHERE cost_status = 'unpriced' AND corrects IS NULL)"
_FAILED = f"count(*) FILTER (WHERE outcome IN ({', '.join(map(repr, ERRORS))}))"
_SUMS = {
    "requests": _REQUESTS,
    **_TOKENS,
    **_MONEY,
    "latency_ms": "sum(latency_ms)",
    "first_token_ms": "coalesce(sum(first_token_ms), 0)",
    "first_tokens": "count(first_token_ms)",
}


def _by_time(table: str, period: str) -> Rollup:
    names = (
        "tenant_id",
        "project",
        "api_key_id",
        "alias",
        "provider",
        "deployment",
        "outcome",
        "cost_status",
        "currency",
    )
    starts_at = f"date_trunc('{period}', started_at, 'UTC')"
    return Rollup(table=table, keys={"starts_at": starts_at, **{name: name for name in names}}, sums=_SUMS)


BY_HOUR = _by_time("tenants_usagehour", "hour")
BY_DAY = _by_time("tenants_usageday", "day")
BY_END_USER = Rollup(
    table="tenants_usageenduserday",
    keys={
        "tenant_id": "tenant_id",
        "day": "(started_at AT TIME ZONE 'UTC')::date",
        **{name: name for name in ("end_user", "project", "api_key_id", "alias", "currency")},
    },
    sums={
        "requests": _REQUESTS,
        "errors": _FAILED,
        "unpriced": _UNPRICED,
        **_TOKENS,
        **_MONEY,
    },
    condition="end_user <> ''",
)
ROLLUPS = (BY_HOUR, BY_DAY, BY_END_USER)


def _overview(table: str, period: str) -> Rollup:
    """Each record twice: in its tenant's row, and in that of all tenants."""
    return Rollup(
        table=table,
        keys={
            "tenant_id": "whose.id",
            "starts_at": f"date_trunc('{period}', started_at, 'UTC')",
            **{name: name for name in ("alias", "provider", "currency")},
        },
        sums={
            "requests": _REQUESTS,
            "errors": _FAILED,
            "unpriced": _UNPRICED,
            **{name: _TOKENS[name] for name in ("input_tokens", "cache_read_tokens", "output_tokens")},
            "cache_write_tokens": f"{_TOKENS['cache_write_5m_tokens']} + {_TOKENS['cache_write_1h_tokens']}",
            "cache_write_1h_tokens": _TOKENS["cache_write_1h_tokens"],
            "reasoning_tokens": _TOKENS["reasoning_tokens"],
            **_MONEY,
        },
        join=f"CROSS JOIN LATERAL (VALUES (tenant_id), ({ALL_TENANTS})) whose (id)",
        histograms={"latency": "latency_ms", "first_token": "first_token_ms"},
    )


def _total(table: str, period: str) -> Rollup:
    return Rollup(
        table=table,
        keys={
            "starts_at": f"date_trunc('{period}', started_at, 'UTC')",
            "tenant_id": "tenant_id",
            "currency": "currency",
        },
        sums={"requests": _REQUESTS, "errors": _FAILED, "cost": _MONEY["cost"]},
    )


TOTALS = (_total("tenants_usagetotalhour", "hour"), _total("tenants_usagetotalday", "day"))
OVERVIEWS = (_overview("tenants_usageoverviewhour", "hour"), _overview("tenants_usageoverviewday", "day"))
SUMMED = (*ROLLUPS, *TOTALS, *OVERVIEWS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What a drain did."""

    events: int  # read
    records: int  # of them new to the ledger


def drain(client: "redis.Redis", *, limit: int | None = None) -> Drained:
    """Move what waits in the stream into the ledger; does nothing while another drain is at it.

    It ends though more keeps coming, and after DRAIN_SECONDS whatever waits: others wait for its lock.
    """
    _ensure_group(client)
    events = records = 0
    until = monotonic() + DRAIN_SECONDS
    with drain_lock() as is_ours:
        if not is_ours:
            return Drained(events=0, records=0)
        for batch in _batches(client):
            records += _store_batch(client, batch)
            events += len(batch)
            if (limit is not None and events >= limit) or monotonic() > until:
                break
    queue_depth.set(client.xlen(USAGE_STREAM))
    return Drained(events=events, records=records)


def ensure_partition(day: date) -> None:
    """Make the ledger's partition of a day (UTC) if it is not there."""
    following = day + timedelta(days=1)
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {partition_name(day)} PARTITION OF tenants_usagerecord "
            f"FOR VALUES FROM ('{day.isoformat()} 00:00+00') TO ('{following.isoformat()} 00:00+00')"
        )


def partition_name(day: date) -> str:
    """Return the table that holds a day's records."""
    return f"tenants_usagerecord_{day:%Y%m%d}"


def write_records(events: Sequence[UsageEvent]) -> int:
    """Insert what the ledger does not have yet, and add it to rollups and budgets; returns how many were new.

    In a transaction of the caller's.
    """
    for day in sorted({moment(event).date() for event in events}):
        ensure_partition(day)
    with connection.cursor() as cursor:
        _remove_lost(cursor, [event.request_id for event in events if event.replaces_lost])
        with _temporary(cursor, "incoming", "fresh"):
            count = _insert(cursor, _without_replaced(cursor, events))
            if count:
                _add_up(cursor, "fresh")
                note_spend({name for event in events for name in event.budgets})
    return count


def write_new_records(events: Iterable[UsageEvent]) -> int:
    """Insert records that are certainly not in the ledger, of days that have partitions; for made-up ones.

    In a transaction of the caller's.
    """
    columns = ", ".join(COLUMNS)
    with connection.cursor() as cursor, _temporary(cursor, "fresh"):
        with cursor.copy(f"COPY fresh ({columns}) FROM STDIN") as copy:
            for some in batched(events, BATCH):
                copy.write("".join(map(copy_line, some)))
        cursor.execute(f"INSERT INTO tenants_usagerecord ({columns}) SELECT {columns} FROM fresh")
        count = int(cursor.rowcount)
        _add_up(cursor, "fresh")
    return count


def spend_by_counter(budget_ids: Sequence[int], since: datetime) -> dict[str, Decimal]:
    """Sum the records that began since then, per counter of these budgets: what `BudgetSpend` ought to say of it.

    Reads every record since then, so it is for proofs and repairs. Records that retention has dropped are missing.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT counter, sum(cost) FROM tenants_usagerecord CROSS JOIN unnest(budgets) counter"
            " WHERE started_at >= %s AND split_part(counter, '.', 1)::bigint = ANY(%s) GROUP BY counter",
            [since, list(budget_ids)],
        )
        return dict(cursor.fetchall())


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """What still waits in the stream."""

    spend: Mapping[str, Decimal] = field(default_factory=dict)  # per counter
    events: int = 0
    last_id: bytes = b"0-0"  # of the last entry read; what comes later is not in it


def pending_spend(client: "redis.Redis") -> Pending:
    """Sum the costs per counter of what the ledger does not have yet.

    Call it with `drain_lock` held: else a drain moves entries to the ledger between this and reading `BudgetSpend`.
    """
    spend: dict[str, Decimal] = {}
    count, last_id = 0, b"0-0"
    counted: set[str] = set()
    while entries := _entries_after(client, last_id):
        last_id = entries[-1][0]
        for event in _unwritten(_decoded(entries)):
            if event.request_id not in counted:
                counted.add(event.request_id)
                count += 1
                for counter in event.budgets:
                    spend[counter] = spend.get(counter, Decimal(0)) + event.cost
    return Pending(spend=spend, events=count, last_id=last_id)


@contextmanager
def drain_lock(*, waits: bool = False) -> Iterator[bool]:
    """Keep every other drain out meanwhile; yields whether that worked, which is certain for one that waits."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {'pg_advisory_lock' if waits else 'pg_try_advisory_lock'}(%s)", [DRAIN_LOCK])
        (answer,) = cursor.fetchone()
    is_ours = waits or bool(answer)
    try:
        yield is_ours
    finally:
        if is_ours:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [DRAIN_LOCK])


def _entries_after(client: "redis.Redis", last_id: bytes) -> list[Entry]:
    entries: Any = client.xrange(USAGE_STREAM, min=b"(" + last_id, count=BATCH)
    return [entry for entry in entries if entry[1]]


def _decoded(entries: Iterable[Entry]) -> list[UsageEvent]:
    """Leave out what no drain could store, and lost requests, which cost nothing."""
    events = []
    for _, fields in entries:
        with suppress(msgspec.DecodeError, KeyError, TypeError, ValueError, OverflowError):
            event = decode(fields[b"event"])
            UUID(event.request_id)
            moment(event)
            if event.outcome != LOST:
                events.append(event)
    return events


def _unwritten(events: Sequence[UsageEvent]) -> list[UsageEvent]:
    """Leave out what is in the ledger, though its entry was not deleted yet: a drain may end in between."""
    if not events:
        return []
    moments = [moment(event) for event in events]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT request_id FROM tenants_usagerecord"
            " WHERE request_id = ANY(%s::uuid[]) AND started_at BETWEEN %s AND %s AND outcome <> %s",
            [[event.request_id for event in events], min(moments), max(moments), LOST],
        )
        written = {request_id for (request_id,) in cursor.fetchall()}
    return [event for event in events if UUID(event.request_id) not in written]


def _without_replaced(cursor: Any, events: Sequence[UsageEvent]) -> Sequence[UsageEvent]:
    """Leave out lost requests that ended after all, be it in this batch or in an earlier one."""
    lost = [event.request_id for event in events if event.outcome == LOST]
    if not lost:
        return events
    cursor.execute(
        "SELECT request_id FROM tenants_usagerecord WHERE request_id = ANY(%s::uuid[]) AND outcome <> %s", [lost, LOST]
    )
    ended = {request_id for (request_id,) in cursor.fetchall()}
    ended |= {UUID(event.request_id) for event in events if event.replaces_lost}
    return [event for event in events if event.outcome != LOST or UUID(event.request_id) not in ended]


def _remove_lost(cursor: Any, request_ids: Sequence[str]) -> None:
    """Take the records of lost requests out of the ledger and its sums: they have ended after all."""
    if not request_ids:
        return
    columns = ", ".join(COLUMNS)
    with _temporary(cursor, "gone"):
        cursor.execute(
            "WITH removed AS (DELETE FROM tenants_usagerecord"
            f" WHERE request_id = ANY(%s::uuid[]) AND outcome = %s RETURNING {columns})"
            f" INSERT INTO gone ({columns}) SELECT {columns} FROM removed",
            [list(request_ids), LOST],
        )
        if cursor.rowcount:
            _add_up(cursor, "gone", sign="-")
            for rollup in SUMMED:
                cursor.execute(_emptied_sql(rollup))


@contextmanager
def _temporary(cursor: Any, *names: str) -> Iterator[None]:
    """Make tables like the ledger for a while; what fails undoes them with its transaction."""
    cursor.execute(
        "; ".join(f"CREATE TEMPORARY TABLE {name} (LIKE tenants_usagerecord INCLUDING DEFAULTS)" for name in names)
    )
    yield
    cursor.execute(f"DROP TABLE {', '.join(names)}")


def _insert(cursor: Any, events: Sequence[UsageEvent]) -> int:
    """Put what is new into the ledger, and into the temporary table `fresh`; returns how many rows that were."""
    if not events:
        return 0
    columns = ", ".join(COLUMNS)
    with cursor.copy(f"COPY incoming ({columns}) FROM STDIN") as copy:
        copy.write("".join(map(copy_line, events)))
    cursor.execute(
        f"WITH inserted AS (INSERT INTO tenants_usagerecord ({columns}) SELECT {columns} FROM incoming "
        f"ON CONFLICT DO NOTHING RETURNING {columns}) "
        f"INSERT INTO fresh ({columns}) SELECT {columns} FROM inserted"
    )
    return int(cursor.rowcount)


def _add_up(cursor: Any, source: str, *, sign: str = "") -> None:
    """Add the rows of a table to rollups and budgets; take them out where the sign is a minus."""
    for rollup in SUMMED:
        cursor.execute(rollup_sql(rollup, source, sign))
    # In the order of the key, as all of these: two transactions that upsert the same rows differently would deadlock.
    cursor.execute(
        "INSERT INTO tenants_budgetspend (counter, budget_id, starts_at, spent, updated_at)"
        " SELECT counter, split_part(counter, '.', 1)::bigint,"
        f" to_timestamp(split_part(counter, ':', 2)::bigint), {sign}sum(cost), statement_timestamp()"
        f" FROM {source} CROSS JOIN unnest(budgets) counter GROUP BY counter ORDER BY counter"
        " ON CONFLICT (counter) DO UPDATE"
        " SET spent = tenants_budgetspend.spent + excluded.spent, updated_at = excluded.updated_at"
    )


def _batches(client: "redis.Redis") -> Iterator[list[Entry]]:
    """Yield what was read before and never acknowledged, then what is new."""
    for start in (b"0", b">"):
        while True:
            reply: Any = client.xreadgroup(GROUP, CONSUMER, {USAGE_STREAM: start}, count=BATCH)
            entries = reply[0][1] if reply else []
            if entries:
                yield entries
            if len(entries) < BATCH:  # that was all; what has come since waits for the next drain
                break


def _store_batch(client: "redis.Redis", entries: Sequence[Entry]) -> int:
    readable = list(_readable(client, entries))
    records = _write(client, readable)
    if readable:
        ledger_records.inc(records)
        ledger_lag.set(max(0.0, time() - min(event.started_at + event.latency_ms / 1000 for _, event in readable)))
    ids = [entry_id for entry_id, _ in entries]
    with client.pipeline(transaction=True) as pipeline:
        pipeline.xack(USAGE_STREAM, GROUP, *ids)
        pipeline.xdel(USAGE_STREAM, *ids)
        pipeline.execute()
    return records


def _readable(client: "redis.Redis", entries: Iterable[Entry]) -> Iterator[tuple[Entry, UsageEvent]]:
    for entry in entries:
        try:
            yield entry, decode(entry[1][b"event"])
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            _set_aside(client, entry, error)


def _write(client: "redis.Redis", readable: Sequence[tuple[Entry, UsageEvent]]) -> int:
    """Write events; a batch that the database refuses for what is in it is halved until the culprit stands alone."""
    if not readable:
        return 0
    try:
        with transaction.atomic():
            return write_records([event for _, event in readable])
    except UNSTORABLE as error:
        if len(readable) == 1:
            _set_aside(client, readable[0][0], error)
            return 0
    middle = len(readable) // 2
    return _write(client, readable[:middle]) + _write(client, readable[middle:])


def _set_aside(client: "redis.Redis", entry: Entry, error: Exception) -> None:
    # Not dropped: one event of a newer version must not hold up all the others, and can still be read by hand.
    entry_id, fields = entry
    log.error("usage_event_unreadable", id=entry_id.decode(), reason=str(error).strip())
    client.xadd(REFUSED_STREAM, fields or {b"event": b""})  # type: ignore[arg-type]


def rollup_sql(rollup: Rollup, source: str, sign: str) -> str:
    """Return the statement that adds a table of records to a rollup, or takes them out where the sign is a minus.

    Histograms are only ever added to: what is taken out are lost requests, which are not in them.
    """
    keys, columns = ", ".join(rollup.keys), ", ".join((*rollup.keys, *rollup.sums, *rollup.histograms))
    histograms = (_histogram(milliseconds) for milliseconds in rollup.histograms.values())
    sums = (f"{sign}({each})" for each in rollup.sums.values())
    expressions = ", ".join((*rollup.keys.values(), *sums, *histograms))
    additions = [f"{column} = {rollup.table}.{column} + excluded.{column}" for column in rollup.sums]
    additions += [
        f"{column} = {ADD_HISTOGRAMS}({rollup.table}.{column}, excluded.{column})" for column in rollup.histograms
    ]
    positions = ", ".join(str(number + 1) for number in range(len(rollup.keys)))
    return (
        f"INSERT INTO {rollup.table} ({columns}) SELECT {expressions} FROM {source} {rollup.join} "
        f"WHERE {rollup.condition} GROUP BY {positions} ORDER BY {positions} "
        f"ON CONFLICT ({keys}) DO UPDATE SET {', '.join(additions)}"
    )


def _histogram(milliseconds: str) -> str:
    took_its_time = f"{milliseconds} IS NOT NULL AND outcome NOT IN ('{LOST}', 'correction')"
    return f"{COUNT_BUCKETS}(array_agg({bucket_sql(milliseconds)}) FILTER (WHERE {took_its_time}))"


def _emptied_sql(rollup: Rollup) -> str:
    """Delete the rows of which nothing is left: all that they counted was lost requests."""
    keys, same = ", ".join(rollup.keys), ", ".join(f"{expression} AS {key}" for key, expression in rollup.keys.items())
    rows = f"SELECT DISTINCT {same} FROM gone {rollup.join} WHERE {rollup.condition}"
    empty = " AND ".join(f"{column} = 0" for column in rollup.sums)
    return f"DELETE FROM {rollup.table} WHERE ({keys}) IN ({rows}) AND {empty}"


def _ensure_group(client: "redis.Redis") -> None:
    import redis  # 22 MB, which a web worker does not need that only reads from here

    try:
        client.xgroup_create(USAGE_STREAM, GROUP, id="0", mkstream=True)
    except redis.ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise
