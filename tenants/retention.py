"""How long things are kept. Of usage records whole days are dropped, and what was summed of them stays: reports, rollups
and budgets never read records, so they say the same before and after. Of what people did, and of alerts, rows are deleted,
some thousand in a transaction, so that nobody waits for the rest.
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.db.models import Model

from tenants.ledger_schema import TABLE, alter
from tenants.models import AlertIncident, AlertMessage, AuditEvent

BATCH = 5_000
NAME = re.compile(rf"{TABLE}_(\d{{8}})")


def expire(days: int, *, today: date) -> Iterator[date]:
    """Drop the days before the last so many, oldest first, and yield each; nothing when days is 0.

    Waits only briefly for whoever reads or writes the ledger, for all others wait behind; OperationalError after many
    tries. Not in a transaction.
    """
    if days == 0:
        return
    for day in stored_days():
        if day >= today - timedelta(days=days):
            return
        with connection.schema_editor(atomic=False) as editor:
            alter(editor, f"DROP TABLE IF EXISTS {TABLE}_{day:%Y%m%d}", command="manage.py expire_usage")
        yield day


def stored_days() -> list[date]:
    """Return the days (UTC) that the ledger has a partition of, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = %s::regclass", [TABLE])
        names = [name for (name,) in cursor.fetchall()]
    return sorted(_day(match[1]) for name in names if (match := NAME.fullmatch(name)))


def _day(digits: str) -> date:
    return datetime.strptime(digits, "%Y%m%d").replace(tzinfo=UTC).date()


def expire_trail(days: int, *, now: datetime) -> int:
    """Delete what people did before the last so many days; nothing when days is 0. Returns how many events."""
    if days == 0:
        return 0
    until = now - timedelta(days=days)
    _delete(LogEntry, "action_time", until)
    return _delete(AuditEvent, "at", until)


def expire_incidents(days: int, *, now: datetime) -> int:
    """Delete incidents that were over before the last so many days, with what was told of them; 0: none."""
    if days == 0:
        return 0
    over = AlertIncident.objects.filter(resolved_at__lt=now - timedelta(days=days)).order_by("resolved_at", "pk")
    count = 0
    while batch := list(over.values_list("pk", flat=True)[:BATCH]):
        AlertMessage.objects.filter(incident__in=batch).delete()
        count += AlertIncident.objects.filter(pk__in=batch).delete()[0]
    return count


def expire_sessions(*, now: datetime) -> int:
    """Delete sessions that are over: browsers that never came back leave them behind."""
    return _delete(Session, "expire_date", now)


def _delete(model: type[Model], column: str, until: datetime) -> int:
    """Delete rows from before a moment, oldest first; without signals, for the trail lets nobody delete it by those."""
    table, key = model._meta.db_table, model._meta.pk.column
    oldest = f"SELECT {key} FROM {table} WHERE {column} < %s ORDER BY {column} LIMIT %s"
    count, gone = 0, BATCH
    while gone == BATCH:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('tollgate.trail_expires', %s, true)", [until.isoformat()])
            cursor.execute(f"DELETE FROM {table} WHERE {key} IN ({oldest})", [until, BATCH])
            gone = cursor.rowcount
        count += gone
    return count
