"""How long usage records are kept: whole days are dropped, and what was summed of them stays.

Reports, rollups and budgets never read records, so they say the same before and after.
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from django.db import connection

from tenants.ledger_schema import TABLE, alter

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
