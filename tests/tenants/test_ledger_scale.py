"""What keeps the ledger's pages quick when it is large: how they ask. How long they take is measured, see benchmarks."""

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models import Count, Sum
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tenants.ledger import ROLLUPS, Rollup, spend_by_counter, write_new_records
from tenants.models import BudgetSpend, Tenant, UsageDay, UsageRecord, User
from tenants.report_question import GROUPS
from tenants.reports import hours_with
from tenants.sample_usage import DAY_SECONDS, Caller, sample_events

pytestmark = pytest.mark.django_db

RECORDS = "/admin/tenants/usagerecord/"
LISTS = (RECORDS, "/admin/tenants/usagehour/", "/admin/tenants/usageday/", "/admin/tenants/usageenduserday/")
DAYS, PER_DAY = 4, 300
MOST_QUERIES = 14


@pytest.fixture
def console() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client


@pytest.fixture
def filled(alice: Tenant, charlie: Tenant) -> None:
    """Some days of two tenants, and statistics, so that plans are those of large tables."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'tenants_usagerecord'::regclass"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"DROP TABLE {table}")
    call_command("generate_usage", records=DAYS * PER_DAY, days=DAYS, tenants=3, end_users=5, verbosity=0)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def queries_of(console: Client, url: str) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        assert console.get(url).status_code == 200, url
    return [query["sql"] for query in queries]


def plan_of(sql: str) -> str:
    """How Postgres would do it if the tables were large: reading all of one costs more than anything else."""
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off")
        cursor.execute("EXPLAIN " + sql.replace("%", "%%") if "%" in sql else "EXPLAIN " + sql)
        return "\n".join(row[0] for row in cursor.fetchall())


# --- Lists -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", LISTS)
def test_lists_are_never_counted_and_their_queries_are_bounded(console, filled, url):
    for address in (url, f"{url}?period=all"):
        asked = queries_of(console, address)
        assert len(asked) <= MOST_QUERIES
        assert not [sql for sql in asked if "COUNT(" in sql.upper()]
        tables = [sql for sql in asked if 'FROM "tenants_usage' in sql]
        assert all("LIMIT" in sql for sql in tables)
        assert not [sql for sql in tables if "OFFSET" in sql]


@pytest.mark.parametrize(
    "query", ["", "?period=all", "?tenant__id__exact={tenant}", "?api_key__id__exact={key}", "?alias=smart"]
)
def test_records_are_found_by_an_index_of_each_day(console, filled, query):
    sample = Tenant.objects.get(slug="sample-1")
    query = query.format(tenant=sample.pk, key=sample.api_keys.first().pk)
    [sql] = [sql for sql in queries_of(console, RECORDS + query) if 'FROM "tenants_usagerecord"' in sql]
    plan = plan_of(sql)
    assert "Index Scan" in plan
    assert "Seq Scan on tenants_usagerecord" not in plan
    assert "Sort Key" not in plan or "Incremental Sort" in plan


def test_every_page_reads_as_little_as_the_first(console, filled):
    page = console.get(RECORDS, {"period": "all"})
    for _ in range(5):
        older = page.context["cl"].older
        [sql] = [sql for sql in queries_of(console, RECORDS + older) if 'FROM "tenants_usagerecord"' in sql]
        assert "LIMIT 51" in sql
        assert '"started_at" <= ' in sql  # where the index begins
        page = console.get(RECORDS + older)


def test_pages_together_are_all_records_once(console, filled):
    found, page = [], console.get(RECORDS, {"period": "all", "alias": "cheap"})
    while True:
        found += [row.pk for row in page.context["cl"].result_list]
        if page.context["cl"].older is None:
            break
        page = console.get(RECORDS + page.context["cl"].older)
    wanted = UsageRecord.objects.filter(alias="cheap").values_list("pk", flat=True)
    assert found == list(wanted)
    assert len(found) > 50


def test_pages_back_are_the_pages_that_were_passed(console, filled):
    page = console.get(RECORDS, {"period": "all", "alias": "cheap"})
    passed = []
    while page.context["cl"].older is not None:
        passed.append([row.pk for row in page.context["cl"].result_list])
        page = console.get(RECORDS + page.context["cl"].older)
    for rows in reversed(passed):
        page = console.get(RECORDS + page.context["cl"].newer)
        assert [row.pk for row in page.context["cl"].result_list] == rows


def test_what_no_record_is_like_is_known_from_sums(console, filled):
    for query in (
        "outcome__exact=lost",
        "cost_status__exact=unpriced",
        "alias=unheard-of",
        "alias=smart&provider=groq",
    ):
        asked = queries_of(console, f"{RECORDS}?period=all&{query}")
        assert not [sql for sql in asked if 'FROM "tenants_usagerecord"' in sql]


def test_rare_records_are_looked_for_in_their_hours_only(console, filled):
    moment = datetime.now(UTC) - timedelta(days=1)
    caller = Caller(tenant_id=1, api_key_id=1)
    [event] = sample_events([caller], day=int(moment.timestamp()) // DAY_SECONDS, count=1, seed=9)
    with transaction.atomic():
        write_new_records(
            [type(event)(**{name: getattr(event, name) for name in event.__struct_fields__} | {"alias": "rare"})]
        )
    [sql] = [
        sql for sql in queries_of(console, f"{RECORDS}?period=all&alias=rare") if 'FROM "tenants_usagerecord"' in sql
    ]
    spans = set(re.findall(r"\"started_at\" (?:>=|<) '([^']+)'", sql))
    begins, ends = sorted(datetime.fromisoformat(span) for span in spans)
    assert ends - begins == timedelta(hours=1)
    page = console.get(RECORDS, {"period": "all", "alias": "rare"})
    assert [row.alias for row in page.context["cl"].result_list] == ["rare"]


def test_corrections_are_found_though_they_are_no_requests(console, filled):
    original = UsageRecord.objects.first()
    [event] = sample_events(
        [Caller(tenant_id=1, api_key_id=1)], day=int(original.started_at.timestamp()) // DAY_SECONDS, count=1, seed=8
    )
    facts = {name: getattr(event, name) for name in event.__struct_fields__}
    facts |= {"outcome": "correction", "corrects": original.pk.hex}
    with transaction.atomic():
        write_new_records([type(event)(**facts)])
    page = console.get(RECORDS, {"period": "all", "outcome__exact": "correction"})
    assert [row.corrects for row in page.context["cl"].result_list] == [original.pk]


def test_hours_are_as_many_as_it_takes(filled):
    everything = datetime.now(UTC) - timedelta(days=30)
    assert len(hours_with({}, enough=1, since=everything)) == 1
    several = hours_with({}, enough=200, since=everything)
    assert several == sorted(several, reverse=True)
    records = UsageDay.objects.aggregate(Sum("requests"))["requests__sum"]
    assert len(hours_with({}, enough=records + 1, since=everything)) > len(several) > 1
    assert hours_with({"outcome": "lost"}, enough=51, since=everything) == []


def test_a_search_reads_no_whole_day(console, filled):
    known = UsageRecord.objects.first()
    for term in (str(known.pk), str(uuid.uuid4()), "order-66"):
        for sql in queries_of(console, f"{RECORDS}?period=all&q={term}"):
            if 'FROM "tenants_usagerecord"' in sql:
                assert "Seq Scan on tenants_usagerecord" not in plan_of(sql)


# --- Filters and reports ---------------------------------------------------------------------------------------


def test_choices_of_filters_come_from_sums(console, filled):
    page = console.get(RECORDS).content.decode()
    for name in ("smart", "embed", "groq", "claude-eu"):
        assert f">{name}</option>" in page
    asked = queries_of(console, RECORDS)
    distinct = [sql for sql in asked if "SELECT DISTINCT" in sql and "tenants_usage" in sql]
    assert sorted("tenants_usageoverviewday" in sql for sql in distinct) == [False, True, True]
    assert not [sql for sql in distinct if "usagerecord" in sql]


@pytest.mark.parametrize("group_by", ["tenant", "model", "provider", "day", "hour"])
def test_reports_of_everybody_read_the_coarsest_sums(console, filled, group_by):
    [sql] = [sql for sql in queries_of(console, f"/admin/usage?group_by={group_by}") if "WITH groups" in sql]
    assert f"FROM tenants_usageoverview{'hour' if group_by == 'hour' else 'day'} " in sql
    assert f"tenant_id {'<>' if group_by == 'tenant' else '='} 0" in sql


def test_the_first_page_finds_what_all_tenants_are_together_by_an_index_of_its_own(console, filled):
    for span in ("24h", "30d"):
        asked = [sql for sql in queries_of(console, f"/admin/?range={span}") if "AND tenant_id = 0" in sql]
        assert asked
        for sql in asked:
            assert "Seq Scan on tenants_usageoverview" not in plan_of(sql)


@pytest.mark.parametrize("group_by", GROUPS)
def test_reports_read_sums_only_and_ask_few_times(console, filled, group_by):
    for address in (f"/admin/usage?group_by={group_by}", f"/api/v1/usage?group_by={group_by}&format=csv"):
        asked = queries_of(console, address)
        assert len(asked) <= 8
        assert not [sql for sql in asked if "usagerecord" in sql]
        assert not [sql for sql in asked if "COUNT(" in sql.upper()]


# --- Made-up usage ---------------------------------------------------------------------------------------------


def sums_in(rollup: Rollup, source: str) -> list[Any]:
    """The sums of all rows, of a rollup or as it would have them from records."""
    own = source == rollup.table
    columns = ", ".join(f"sum({name})" if own else sql for name, sql in rollup.sums.items())
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM {source} WHERE {'true' if own else rollup.condition}")
        return list(cursor.fetchone())


def test_what_is_made_up_adds_up(filled):
    for rollup in ROLLUPS:
        assert sums_in(rollup, rollup.table) == sums_in(rollup, "tenants_usagerecord")
    spent = dict(BudgetSpend.objects.values_list("counter", "spent"))
    ids = BudgetSpend.objects.values_list("budget_id", flat=True)
    assert spent == spend_by_counter(list(ids), datetime(2020, 1, 1, tzinfo=UTC))


def test_as_much_is_made_up_as_was_asked_for(filled, alice, charlie):
    assert UsageRecord.objects.count() == DAYS * PER_DAY
    days = UsageRecord.objects.values_list("started_at__date").annotate(Count("pk")).order_by()
    assert [count for _, count in days] == [PER_DAY] * DAYS
    assert not UsageRecord.objects.filter(tenant__in=[alice, charlie]).exists()


def test_nothing_is_made_up_where_there_is_something(filled):
    with pytest.raises(CommandError, match="--force"):
        call_command("generate_usage", records=1, verbosity=0)
    with pytest.raises(CommandError, match="--records"):
        call_command("generate_usage", records=0, verbosity=0)
    assert UsageRecord.objects.count() == DAYS * PER_DAY


# --- Addresses that people make up -----------------------------------------------------------------------------


NONSENSE = (
    "alias=%00",
    "alias=%27%3B--",
    "provider=x&provider=y",
    "outcome__exact=%00",
    "tenant__id__exact=99999999999999999999",
    "tenant__id__exact=x",
    "api_key__id__exact=99999999999999999999&outcome__exact=served",
    "q=%00",
    "q=" + "x" * 1_000,
    "after=2026-01-01T00%3A00%3A00Z~x",
    "after=0001-01-01T00%3A00%3A00%2B14%3A00~00000000-0000-4000-8000-000000000000",
    "before=9999-12-31T23%3A59%3A59-14%3A00~00000000-0000-4000-8000-000000000000&alias=smart",
    "before=9999-12-31T23%3A59%3A59Z~00000000-0000-4000-8000-000000000000&alias=smart",
    "after=2026-01-01T00%3A00%3A00~00000000-0000-4000-8000-000000000000",
)


def test_an_address_that_makes_no_sense_breaks_nothing(console, filled):
    for url in LISTS:
        for query in NONSENSE:
            assert console.get(f"{url}?{query}").status_code in {200, 302, 400}, (url, query)
