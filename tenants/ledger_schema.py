"""Changing the ledger's table while it is used: never to hold it up for long, for migrations and retention.

The table is large and always written to. Whoever waits for a lock of the whole table makes all that come later wait
behind, so waiting is short and tried again; what reads a whole partition does so without a lock that keeps writers out.
"""

import time
from typing import Any

from django.db import OperationalError, transaction
from psycopg.errors import LockNotAvailable

TABLE = "tenants_usagerecord"
LOCK_SECONDS = 3
TRIES = 20
PAUSE_SECONDS = 2.0


def alter(schema_editor: Any, statement: str, *, command: str = "manage.py migrate") -> None:
    """Run what takes the table's lock for a moment; gives way to others again and again, and says so in the end."""
    connection = schema_editor.connection
    for rest in reversed(range(TRIES)):
        try:
            with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
                cursor.execute(statement)
                cursor.execute("SET LOCAL lock_timeout = DEFAULT")
                return
        except OperationalError as error:
            if not isinstance(error.__cause__, LockNotAvailable):
                raise
            if not rest:
                raise OperationalError(
                    f"{TABLE} is in use: somebody reads or writes it in a long transaction (a report, pg_dump). "
                    f"Nothing was changed; run `{command}` again when that has ended."
                ) from error
            time.sleep(PAUSE_SECONDS)


def create_index(schema_editor: Any, name: str, definition: str) -> None:
    """Make an index of the ledger, one partition after the other, while it is written to; goes on where it was broken off.

    Not in a transaction. When all partitions have it, those that are made later get it by themselves.
    """
    if not _ask(schema_editor, "SELECT to_regclass(%s)", name):  # IF NOT EXISTS would take its lock even so
        alter(schema_editor, f"CREATE INDEX {name} ON ONLY {TABLE} {definition}")
    while partition := _partition_without(schema_editor, name):  # also one that is made meanwhile
        child = f"{partition}_{name}"
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {child}")  # what an earlier try left, perhaps half done
            cursor.execute(f"CREATE INDEX CONCURRENTLY {child} ON {partition} {definition}")
        alter(schema_editor, f"ALTER INDEX {name} ATTACH PARTITION {child}")


def drop_index(schema_editor: Any, name: str) -> None:
    """Drop an index of the ledger with those of its partitions."""
    alter(schema_editor, f"DROP INDEX IF EXISTS {name}")


def _partition_without(schema_editor: Any, name: str) -> Any:
    """Return a partition of the ledger that has no part of an index yet, the newest first; None when all have."""
    return _ask(
        schema_editor,
        "SELECT part.inhrelid::regclass::text FROM pg_inherits part WHERE part.inhparent = %s::regclass"
        " AND NOT EXISTS (SELECT FROM pg_inherits child JOIN pg_index ON indexrelid = child.inhrelid"
        " WHERE child.inhparent = %s::regclass AND pg_index.indrelid = part.inhrelid) ORDER BY 1 DESC LIMIT 1",
        TABLE,
        name,
    )


def _ask(schema_editor: Any, query: str, *names: str) -> Any:
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(query, names)
        row = cursor.fetchone()
    return None if row is None else row[0]
