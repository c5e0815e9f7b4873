"""From the usage stream to the ledger and its rollups: one transaction per batch, each record once.

A batch is copied into a temporary table and inserted from there; rows that the ledger has already are left out, and only
what was really inserted is added to the rollups. A drain that dies between its commit and its acknowledgement leaves the
batch to be read again, which then inserts nothing.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from time import time
from typing import Any

import msgspec
import psycopg
import redis
import structlog
from django.db import DataError, IntegrityError, connection, transaction

from gateway_site.infra.telemetry import ledger_lag, ledger_records, queue_depth
from tenants.limits.admission import USAGE_STREAM
from tenants.models import UsageDay, UsageHour
from tenants.models.ledger import TOKEN_FIELDS
from tenants.usage_event import UsageEvent, decode

log = structlog.get_logger("tollgate.ledger")

GROUP = "ledger"
CONSUMER = "drain"
BATCH = 2_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DRAIN_LOCK = 0x70110002  # of Postgres' advisory locks: one drain at a time
REFUSED_STREAM = b"tollgate:usage:unreadable"
# What is wrong with an event and not with the database; COPY raises psycopg's own errors.
UNSTORABLE = (DataError, IntegrityError, psycopg.DataError, ValueError, OverflowError)

type Entry = tuple[bytes, dict[bytes, bytes]]  # of the stream: its id and its fields

COLUMNS = (
    "request_id",
    "started_at",
    "correlation_id",
    "tenant_id",
    "project",
    "api_key_id",
    "end_user",
    "dialect",
    "alias",
    "route",
    "provider",
    "deployment",
    "model",
    "is_streamed",
    "status",
    "outcome",
    "error_code",
    "attempts",
    "dialect_upstream",
    "losses",
    "trace",
    *TOKEN_FIELDS,
    "cost",
    "cost_price",
    "currency",
    "cost_status",
    "written_off",
    "reported_cost",
    "units",
    "service_tier",
    "budgets",
    "corrects",
    "latency_ms",
    "first_token_ms",
    "overhead_us",
    "revision",
    "worker",
)
ROLLUP_KEYS = (
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
ROLLUP_SUMS = {
    "requests": "count(*) FILTER (WHERE corrects IS NULL)",
    **{field: f"coalesce(sum({field}), 0)" for field in TOKEN_FIELDS},
    "cost": "sum(cost)",
    "cost_price": "coalesce(sum(cost_price), 0)",
    "written_off": "sum(written_off)",
    "latency_ms": "sum(latency_ms)",
    "first_token_ms": "coalesce(sum(first_token_ms), 0)",
    "first_tokens": "count(first_token_ms)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What a drain did."""

    events: int  # read
    records: int  # of them new to the ledger


def drain(client: redis.Redis, *, limit: int | None = None) -> Drained:
    """Move everything that waits in the stream into the ledger; does nothing while another drain is at it."""
    _ensure_group(client)
    events = records = 0
    with _drain_lock() as is_ours:
        if not is_ours:
            return Drained(events=0, records=0)
        for batch in _batches(client):
            records += _store_batch(client, batch)
            events += len(batch)
            if limit is not None and events >= limit:
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
    """Insert what the ledger does not have yet, and add it to the rollups; returns how many were new."""
    for day in sorted({_moment(event).date() for event in events}):
        ensure_partition(day)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE incoming (LIKE tenants_usagerecord INCLUDING DEFAULTS) ON COMMIT DROP")
        columns = ", ".join(COLUMNS)
        with cursor.copy(f"COPY incoming ({columns}) FROM STDIN") as copy:
            for event in events:
                copy.write_row(_row(event))
        cursor.execute(
            f"CREATE TEMPORARY TABLE fresh (LIKE tenants_usagerecord) ON COMMIT DROP; "
            f"WITH inserted AS (INSERT INTO tenants_usagerecord ({columns}) SELECT {columns} FROM incoming "
            f"ON CONFLICT DO NOTHING RETURNING {columns}) "
            f"INSERT INTO fresh ({columns}) SELECT {columns} FROM inserted"
        )
        for table, period in ((UsageHour._meta.db_table, "hour"), (UsageDay._meta.db_table, "day")):
            cursor.execute(_rollup_sql(table, period))
        cursor.execute("SELECT count(*) FROM fresh")
        (count,) = cursor.fetchone()
    return int(count)


def _batches(client: redis.Redis) -> Iterator[list[Entry]]:
    """Yield what was read before and never acknowledged, then what is new."""
    for start in (b"0", b">"):
        while True:
            reply: Any = client.xreadgroup(GROUP, CONSUMER, {USAGE_STREAM: start}, count=BATCH)
            entries = reply[0][1] if reply else []
            if not entries:
                break
            yield entries


def _store_batch(client: redis.Redis, entries: Sequence[Entry]) -> int:
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


def _readable(client: redis.Redis, entries: Iterable[Entry]) -> Iterator[tuple[Entry, UsageEvent]]:
    for entry in entries:
        try:
            yield entry, decode(entry[1][b"event"])
        except (msgspec.DecodeError, KeyError, TypeError) as error:
            _set_aside(client, entry, error)


def _write(client: redis.Redis, readable: Sequence[tuple[Entry, UsageEvent]]) -> int:
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


def _set_aside(client: redis.Redis, entry: Entry, error: Exception) -> None:
    # Not dropped: one event of a newer version must not hold up all the others, and can still be read by hand.
    entry_id, fields = entry
    log.error("usage_event_unreadable", id=entry_id.decode(), reason=str(error).strip())
    client.xadd(REFUSED_STREAM, fields or {b"event": b""})  # type: ignore[arg-type]


def _row(event: UsageEvent) -> list[Any]:
    values = msgspec.structs.asdict(event)
    values["started_at"] = _moment(event)
    for name in ("attempts", "losses", "units"):
        values[name] = json.dumps(msgspec.to_builtins(values[name]))
    if event.trace is not None:
        # It may quote what clients have written; Postgres refuses this one character, and with it the whole record.
        values["trace"] = json.dumps(event.trace).replace("\\u0000", "\\ufffd")
    return [values[column] for column in COLUMNS]


def _moment(event: UsageEvent) -> datetime:
    return EPOCH + timedelta(seconds=event.started_at)  # OverflowError, where fromtimestamp has errors of the system's


def _rollup_sql(table: str, period: str) -> str:
    keys, sums = ", ".join(ROLLUP_KEYS), ", ".join(ROLLUP_SUMS)
    additions = ", ".join(f"{column} = {table}.{column} + excluded.{column}" for column in ROLLUP_SUMS)
    selected = ", ".join(ROLLUP_SUMS.values())
    start = f"date_trunc('{period}', started_at, 'UTC')"
    # In the order of the key: two transactions that upsert the same rows in different orders would deadlock.
    return (
        f"INSERT INTO {table} (starts_at, {keys}, {sums}) "
        f"SELECT {start}, {keys}, {selected} FROM fresh GROUP BY {start}, {keys} ORDER BY {start}, {keys} "
        f"ON CONFLICT (starts_at, {keys}) DO UPDATE SET {additions}"
    )


def _ensure_group(client: redis.Redis) -> None:
    try:
        client.xgroup_create(USAGE_STREAM, GROUP, id="0", mkstream=True)
    except redis.ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise


@contextmanager
def _drain_lock() -> Iterator[bool]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [DRAIN_LOCK])
        (is_ours,) = cursor.fetchone()
    try:
        yield is_ours
    finally:
        if is_ours:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [DRAIN_LOCK])
