"""Retention: days of records go, and nothing that was summed of them changes."""

import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, transaction

from tenants import ledger_schema
from tenants.ledger import ensure_partition, write_records
from tenants.models import BudgetSpend, Tenant, UsageRecord
from tenants.report_files import as_json
from tenants.report_question import GROUPS, read_question
from tenants.reports import usage_report
from tenants.retention import expire, stored_days
from tenants.tasks import expire_usage
from tenants.usage_event import UsageEvent

pytestmark = pytest.mark.django_db(transaction=True)

TODAY = datetime.now(UTC).date()


def event(days_ago: int, tenant: Tenant, **facts: Any) -> UsageEvent:
    moment = datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC) - timedelta(days=days_ago)
    return UsageEvent(
        request_id=uuid4().hex,
        started_at=moment.timestamp(),
        tenant_id=tenant.pk,
        api_key_id=1,
        dialect="openai_chat",
        alias="smart",
        provider="openai",
        deployment="large",
        end_user="dora",
        status=200,
        outcome="served",
        cost_status="exact",
        latency_ms=1,
        input_tokens=10,
        cost=Decimal("0.000000001"),
        budgets=["1.0:0"],
        **facts,
    )


@pytest.fixture(autouse=True)
def _no_days(django_db_blocker: Any) -> None:
    for day in stored_days():  # tables outlive the tests that made them
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE tenants_usagerecord_{day:%Y%m%d}")


def fill(alice: Tenant, charlie: Tenant) -> None:
    with transaction.atomic():
        write_records([event(days, tenant) for days in (0, 1, 2, 3, 40) for tenant in (alice, charlie)])


def reports() -> dict[tuple[str, str], bytes]:
    """Every report there is, of all and of charlie alone."""
    since = f"{TODAY - timedelta(days=60)}"
    now = datetime.now(UTC)
    return {
        (group_by, tenant): as_json(
            usage_report(read_question({"group_by": group_by, "from": since, "tenant": tenant}, now=now))
        )
        for group_by in GROUPS
        if group_by != "hour"
        for tenant in ("", "charlie")
    }


def days_ago(*numbers: int) -> list[date]:
    return sorted(TODAY - timedelta(days=number) for number in numbers)


def test_days_that_are_older_go_and_reports_stay_as_they_are(alice, charlie):
    fill(alice, charlie)
    before, spent = reports(), BudgetSpend.objects.get().spent
    assert list(expire(2, today=TODAY)) == days_ago(40, 3)
    assert stored_days() == days_ago(2, 1, 0)
    assert UsageRecord.objects.count() == 6
    assert reports() == before
    assert BudgetSpend.objects.get().spent == spent
    assert list(expire(2, today=TODAY)) == []


def test_charlies_report_has_no_more_of_alices_after_it(alice, charlie):
    fill(alice, charlie)
    list(expire(1, today=TODAY))
    for (group_by, tenant), report in reports().items():
        assert tenant != "charlie" or b"alice" not in report, group_by


def test_nothing_goes_where_records_are_kept_for_good(alice, charlie, settings):
    fill(alice, charlie)
    settings.USAGE_RETENTION_DAYS = 0
    expire_usage()
    assert UsageRecord.objects.count() == 10


def test_the_task_drops_what_is_older_than_the_setting_says(alice, charlie, settings):
    fill(alice, charlie)
    settings.USAGE_RETENTION_DAYS = 30
    expire_usage()
    assert stored_days() == days_ago(3, 2, 1, 0)


def test_the_command_tells_what_it_drops(alice, charlie):
    fill(alice, charlie)
    told = StringIO()
    call_command("expire_usage", days=10, stdout=told)
    assert told.getvalue() == f"{TODAY - timedelta(days=40)}: dropped\n"
    with pytest.raises(CommandError, match="--days"):
        call_command("expire_usage", days=-1)


def test_what_comes_late_for_a_day_that_is_gone_is_counted(alice, charlie):
    fill(alice, charlie)
    list(expire(2, today=TODAY))
    with transaction.atomic():
        assert write_records([event(40, alice)]) == 1
    assert list(expire(2, today=TODAY)) == days_ago(40)


def test_a_reader_of_the_ledger_is_waited_for_only_briefly(alice, charlie, monkeypatch):
    """And nothing is left half done: the day is dropped the next time."""
    fill(alice, charlie)
    monkeypatch.setattr(ledger_schema, "LOCK_SECONDS", 0.1)
    monkeypatch.setattr(ledger_schema, "TRIES", 2)
    monkeypatch.setattr(ledger_schema, "PAUSE_SECONDS", 0.01)
    other = connection.copy()
    try:
        with other.cursor() as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM tenants_usagerecord")
            with pytest.raises(OperationalError, match=r"is in use.*run `manage.py expire_usage` again"):
                list(expire(2, today=TODAY))
            expire_usage()  # says so, and goes on
            reader.execute("COMMIT")
    finally:
        other.close()
    assert list(expire(2, today=TODAY)) == days_ago(40, 3)


def test_records_are_written_while_days_are_dropped(alice, charlie):
    fill(alice, charlie)
    for days in range(50, 70):
        ensure_partition(TODAY - timedelta(days=days))
    failures: list[Exception] = []

    def write() -> None:
        try:
            for _ in range(20):
                with transaction.atomic():
                    write_records([event(0, alice)])
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    assert len(list(expire(2, today=TODAY))) == 22
    writer.join()
    assert failures == []
    assert UsageRecord.objects.filter(started_at__date=TODAY).count() == 22
