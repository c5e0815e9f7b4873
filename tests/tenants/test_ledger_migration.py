"""A ledger that has days and records already gets the columns of a translation, and can lose them again."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from importlib import import_module
from time import monotonic, sleep

import pytest
from django.db import OperationalError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from tenants import ledger_schema
from tenants.ledger import ensure_partition, partition_name
from tenants.ledger_schema import alter
from tenants.models import UsageEndUserDay, UsageOverviewDay, UsageRecord

pytestmark = pytest.mark.django_db(transaction=True)

EARLIER = [("routing", "0003_stored_response"), ("tenants", "0003_translation")]
INDEX = "usage_record_traced"
DEFINITION = import_module("tenants.migrations.0005_traced_index").DEFINITION
BEFORE = [("routing", "0002_initial"), ("tenants", "0002_usage_record")]
OLD_RECORD = """
INSERT INTO tenants_usagerecord (request_id, started_at, tenant_id, api_key_id, dialect, alias, status, outcome,
    cost_status, latency_ms)
VALUES (gen_random_uuid(), now(), 1, 1, 'openai_chat', %s, 200, 'served', 'exact', 1)
"""


@pytest.fixture(params=[BEFORE])
def _before(request: pytest.FixtureRequest) -> Iterator[None]:
    executor = MigrationExecutor(connection)
    executor.migrate(request.param)
    yield
    migrate()


earlier = pytest.mark.parametrize("_before", [EARLIER], indirect=True)


def migrate() -> None:
    """To the newest."""
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


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

    migrate()
    assert {"losses", "dialect_upstream", "trace"} <= columns(table)
    assert "losses <> '[]'" in indexes(table)
    with connection.cursor() as cursor:
        cursor.execute(OLD_RECORD, ["a drain of the version before, which runs until it is replaced"])
    assert list(UsageRecord.objects.values_list("losses", "dialect_upstream", "trace")) == [([], "", None)] * 2
    assert not UsageRecord.objects.translated().exists()
    assert not UsageRecord.objects.lossy().exists()


# --- Decision traces: a column at once, an index while the ledger is used --------------------------------------


def make_days(count: int) -> list[str]:
    """Make the ledger's partitions of today and the days before; return their tables."""
    days = [timezone.now().date() - timedelta(days=number) for number in range(count)]
    for day in days:
        ensure_partition(day)
    return [partition_name(day) for day in days]


def is_valid(index: str) -> bool | None:
    """Whether an index can be used; None when there is none."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [index])
        row = cursor.fetchone()
    return None if row is None else row[0]


def add_column() -> None:
    """Migrate to where the index is made next."""
    MigrationExecutor(connection).migrate([("tenants", "0004_reliability")])


@earlier
@pytest.mark.usefixtures("_before")
def test_every_day_gets_the_index_of_traces_and_later_days_have_it():
    days = make_days(3)
    migrate()
    assert is_valid(INDEX)
    for table in [*days, *make_days(4)[3:]]:
        assert "(trace IS NOT NULL)" in indexes(table)
        assert "trace" in columns(table)


@earlier
@pytest.mark.usefixtures("_before")
def test_a_day_that_begins_while_the_index_is_made_has_it_too():
    first, *_ = make_days(1)
    add_column()
    with connection.schema_editor(atomic=False) as editor:
        alter(editor, f"CREATE INDEX {INDEX} ON ONLY tenants_usagerecord {DEFINITION}")
    _, second = make_days(2)  # the index does not hold for all days yet, so that PostgreSQL leaves it out here
    migrate()
    assert "(trace IS NOT NULL)" in indexes(first)
    assert "(trace IS NOT NULL)" in indexes(second)
    assert is_valid(INDEX)


@earlier
@pytest.mark.usefixtures("_before")
def test_an_index_that_was_broken_off_is_made_again():
    first, second = make_days(2)
    add_column()
    with connection.schema_editor(atomic=False) as editor:
        alter(editor, f"CREATE INDEX {INDEX} ON ONLY tenants_usagerecord {DEFINITION}")
    other = connection.copy()
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(OLD_RECORD, ["not committed"])
            broken = other.cursor()
            broken.execute("SET statement_timeout = '2s'")
            with pytest.raises(OperationalError):
                broken.execute(f"CREATE INDEX CONCURRENTLY {first}_{INDEX} ON {first} {DEFINITION}")
    finally:
        other.close()
    assert is_valid(f"{first}_{INDEX}") is False
    migrate()
    assert is_valid(INDEX)
    assert is_valid(f"{first}_{INDEX}")
    assert is_valid(f"{second}_{INDEX}")


@earlier
@pytest.mark.usefixtures("_before")
def test_an_index_that_is_there_already_is_left_alone():
    make_days(2)
    add_column()
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE INDEX {INDEX} ON tenants_usagerecord {DEFINITION}")
    migrate()
    assert indexes(make_days(2)[0]).count("WHERE (trace IS NOT NULL)") == 1


@earlier
@pytest.mark.usefixtures("_before")
def test_the_ledger_is_written_to_while_its_index_is_made():
    """A transaction that has written and is not committed makes CREATE INDEX CONCURRENTLY wait, and nobody else."""
    make_days(1)
    add_column()
    with connection.schema_editor(atomic=False) as editor:
        alter(editor, f"CREATE INDEX {INDEX} ON ONLY tenants_usagerecord {DEFINITION}")
    other = connection.copy()
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(OLD_RECORD, ["not committed"])
            migrating = threading.Thread(target=lambda: (migrate(), connection.close()))
            migrating.start()
            wait_until_indexing()
            with other.cursor() as writer:
                writer.execute("SET lock_timeout = '2s'")
                writer.execute(OLD_RECORD, ["meanwhile"])
    finally:
        other.close()
        migrating.join()
    assert is_valid(INDEX)
    assert UsageRecord.objects.count() == 2


def wait_until_indexing() -> None:
    """Wait until somebody makes an index of a partition."""
    end = monotonic() + 10
    with connection.cursor() as cursor:
        while monotonic() < end:
            cursor.execute("SELECT pg_stat_clear_snapshot()")  # else a transaction sees the same all the time
            cursor.execute("SELECT count(*) FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting%'")
            if cursor.fetchone()[0]:
                return
            sleep(0.02)
    raise AssertionError("nobody makes an index")


def test_a_ledger_that_is_in_use_is_given_way_to_and_waited_for(monkeypatch):
    monkeypatch.setattr(ledger_schema, "LOCK_SECONDS", 0.05)
    monkeypatch.setattr(ledger_schema, "PAUSE_SECONDS", 0.05)
    reader = connection.copy()
    reader.inc_thread_sharing()
    ended = threading.Timer(0.5, reader.close)
    try:
        with reader.cursor() as cursor:
            cursor.execute("BEGIN; SELECT count(*) FROM tenants_usagerecord")
        ended.start()
        with connection.schema_editor() as editor:
            alter(editor, "ALTER TABLE tenants_usagerecord ADD COLUMN trial int")
            alter(editor, "ALTER TABLE tenants_usagerecord DROP COLUMN trial")
    finally:
        ended.join()
    assert "trial" not in columns("tenants_usagerecord")


def test_a_ledger_that_stays_in_use_is_left_as_it_is_with_a_sentence(monkeypatch):
    monkeypatch.setattr(ledger_schema, "LOCK_SECONDS", 0.05)
    monkeypatch.setattr(ledger_schema, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(ledger_schema, "TRIES", 2)
    reader = connection.copy()
    try:
        with reader.cursor() as cursor:
            cursor.execute("BEGIN; SELECT count(*) FROM tenants_usagerecord")
        with (
            pytest.raises(OperationalError, match=r"tenants_usagerecord is in use.*run `manage.py migrate` again"),
            connection.schema_editor() as editor,
        ):
            alter(editor, "ALTER TABLE tenants_usagerecord ADD COLUMN trial int")
    finally:
        reader.close()
    assert "trial" not in columns("tenants_usagerecord")


# --- Sums of end users, and the index of what clients call their requests --------------------------------------

BEFORE_REPORTS = [("tenants", "0006_money")]
LONG_AGO = """
INSERT INTO tenants_usagerecord (request_id, started_at, tenant_id, api_key_id, end_user, dialect, alias, status, outcome,
    cost_status, latency_ms, cost, input_tokens, corrects)
VALUES (gen_random_uuid(), now(), 1, 1, %s, 'openai_chat', 'smart', 200, %s, 'unpriced', 1, 0.5, 10, %s)
"""


@pytest.mark.parametrize("_before", [BEFORE_REPORTS], indirect=True)
@pytest.mark.usefixtures("_before")
def test_the_sums_of_end_users_begin_with_what_the_ledger_has():
    make_days(1)
    with connection.cursor() as cursor:
        for end_user, outcome, corrects in (
            ("dora", "served", None),
            ("dora", "cut", None),
            ("dora", "correction", "00000000-0000-4000-8000-000000000000"),
            ("", "served", None),
        ):
            cursor.execute(LONG_AGO, [end_user, outcome, corrects])
    migrate()
    [row] = UsageEndUserDay.objects.values_list(
        "end_user", "day", "requests", "errors", "unpriced", "input_tokens", "cost"
    )
    assert row == ("dora", timezone.now().date(), 2, 1, 2, 30, Decimal("1.5"))


@pytest.mark.parametrize("_before", [BEFORE_REPORTS], indirect=True)
@pytest.mark.usefixtures("_before")
def test_a_request_is_found_by_what_its_client_calls_it_on_every_day():
    days = make_days(2)
    migrate()
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
    try:
        plan = UsageRecord.objects.called("order-66").order_by().explain()
    finally:
        connection.close()
    for day in days:
        assert f"{day}_usage_record_correlation" in plan


# --- Coarse sums: what reports tell, too -------------------------------------------------------------------------

BEFORE_SUMS = [("routing", "0003_stored_response"), ("tenants", "0016_trail_retention")]
SUMS = """
INSERT INTO tenants_usageday (starts_at, tenant_id, project, api_key_id, alias, provider, deployment, outcome, cost_status,
    currency, requests, input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, output_tokens,
    reasoning_tokens, cost, cost_price, written_off, latency_ms, first_token_ms, first_tokens)
SELECT date_trunc('day', now(), 'UTC'), 1, '', key, 'smart', 'openai', 'mini', 'served', 'exact', 'USD',
    1, 10, 0, 3, 4, 5, 2, 1, 0, 0.5, 1, 0, 0 FROM generate_series(1, 2) AS of_keys (key)
"""
COARSE = """
INSERT INTO tenants_usageoverviewday (starts_at, tenant_id, alias, provider, currency, requests, errors, unpriced,
    input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, cost, cost_price, latency, first_token)
SELECT date_trunc('day', now(), 'UTC'), whose, %s, 'openai', 'USD', 2, 0, 0, 20, 0, 14, 10, 2, 0, '{}', '{}'
FROM (VALUES (0), (1)) AS everybody (whose)
"""


@pytest.mark.parametrize("_before", [BEFORE_SUMS], indirect=True)
@pytest.mark.usefixtures("_before")
def test_coarse_sums_learn_what_reports_tell_and_older_drains_may_go_on():
    with connection.cursor() as cursor:
        cursor.execute(SUMS)
        cursor.execute(COARSE, ["smart"])
    migrate()
    with connection.cursor() as cursor:
        cursor.execute(COARSE, ["a drain of the version before"])
    found = UsageOverviewDay.objects.order_by("tenant_id").values_list(
        "cache_write_1h_tokens", "reasoning_tokens", "written_off"
    )
    assert list(found.filter(alias="smart")) == [(8, 4, 1), (8, 4, 1)]
    assert list(found.exclude(alias="smart")) == [(0, 0, 0), (0, 0, 0)]
