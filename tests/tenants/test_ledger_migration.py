"""A ledger that has days and records already gets the columns of a translation, and can lose them again."""

from collections.abc import Iterator

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from tenants.ledger import ensure_partition, partition_name
from tenants.models import UsageRecord

pytestmark = pytest.mark.django_db(transaction=True)

BEFORE = [("routing", "0002_initial"), ("tenants", "0002_usage_record")]
OLD_RECORD = """
INSERT INTO tenants_usagerecord (request_id, started_at, tenant_id, api_key_id, dialect, alias, status, outcome,
    cost_status, latency_ms)
VALUES (gen_random_uuid(), now(), 1, 1, 'openai_chat', %s, 200, 'served', 'exact', 1)
"""


@pytest.fixture
def _before() -> Iterator[None]:
    executor = MigrationExecutor(connection)
    newest = executor.loader.graph.leaf_nodes()
    executor.migrate(BEFORE)
    yield
    MigrationExecutor(connection).migrate(newest)


def columns(table: str) -> set[str]:
    with connection.cursor() as cursor:
        return {column.name for column in connection.introspection.get_table_description(cursor, table)}


def indexes(table: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(indexdef, ' ') FROM pg_indexes WHERE tablename = %s", [table])
        return str(cursor.fetchone()[0])


@pytest.mark.usefixtures("_before")
def test_days_and_records_that_are_there_get_the_new_columns():
    today = timezone.now().date()
    table = partition_name(today)
    ensure_partition(today)
    with connection.cursor() as cursor:
        cursor.execute(OLD_RECORD, ["before"])
    assert not {"losses", "dialect_upstream", "trace"} & columns(table)

    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())
    assert {"losses", "dialect_upstream", "trace"} <= columns(table)
    assert "losses <> '[]'" in indexes(table)
    with connection.cursor() as cursor:
        cursor.execute(OLD_RECORD, ["a drain of the version before, which runs until it is replaced"])
    assert list(UsageRecord.objects.values_list("losses", "dialect_upstream", "trace")) == [([], "", None)] * 2
    assert not UsageRecord.objects.translated().exists()
    assert not UsageRecord.objects.lossy().exists()
