"""Usage reports: the sums of what was really used, page by page, and of nobody else."""

import csv
import io
import json
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from gateway_site.infra.spreadsheet import harmless
from tenants.ledger import write_records
from tenants.models import Tenant, UsageDay, UsageEndUserDay, UsageHour
from tenants.models.ledger import ERRORS
from tenants.report_files import as_csv, as_json
from tenants.report_question import FILTERS, GROUPS, MOST_ROWS, ReportRefused, read_question
from tenants.reports import COUNTS, FIGURES, key_usage, recent_values, usage_report
from tenants.services import create_key
from tenants.usage_event import UsageEvent

pytestmark = pytest.mark.django_db

FIRST = datetime(2026, 3, 12, tzinfo=UTC)
NOW = datetime(2026, 3, 14, 22, 30, tzinfo=UTC)
HOSTILE = (
    "=cmd|' /C calc'!A0",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "  =1",
    '"quoted", with; comma',
    "<script>",
    "ü\\N",
    "%s%(x)s",
)
TOKENS = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens")


def event(dice: random.Random, **facts: Any) -> UsageEvent:
    deployment = dice.choice(("large", "small"))
    correction = dice.random() < 0.1
    values: dict[str, Any] = {
        "request_id": UUID(int=dice.getrandbits(128)).hex,
        "started_at": FIRST.timestamp() + dice.randrange(3 * 86_400),
        "tenant_id": 1,
        "api_key_id": dice.randrange(3),
        "project": dice.choice(("", "chatbot")),
        "end_user": dice.choice(("", "dora", *HOSTILE)),
        "dialect": "openai_chat",
        "alias": dice.choice(("smart", "=cheap")),
        "provider": {"large": "openai", "small": "groq"}[deployment],
        "deployment": deployment,
        "status": 200,
        "outcome": "correction" if correction else dice.choice(("served", "client_gone", "cut", "upstream_failed")),
        "corrects": UUID(int=1).hex if correction else None,
        "cost_status": dice.choice(("exact", "unpriced")),
        "latency_ms": 10,
        "cost": Decimal(dice.randrange(-100 if correction else 0, 10**6)).scaleb(-9),
        "cost_price": Decimal(dice.randrange(10**6)).scaleb(-9) if dice.random() < 0.8 else None,
        "written_off": Decimal(dice.randrange(10)).scaleb(-9),
        "currency": dice.choice(("USD", "EUR")),
        "reasoning_tokens": dice.randrange(9),
        **{name: dice.randrange(1_000) for name in TOKENS},
    }
    return UsageEvent(**{**values, **facts})


def store(*events: UsageEvent) -> None:
    with transaction.atomic():
        write_records(events)


@pytest.fixture
def key_id(alice: Tenant) -> int:
    return create_key(tenant=alice, name="ci")[0].pk


@pytest.fixture
def events(alice: Tenant, charlie: Tenant) -> list[UsageEvent]:
    dice = random.Random(5)
    made = [event(dice, tenant_id=dice.choice((alice.pk, charlie.pk))) for _ in range(600)]
    store(*made)
    return made


def ask(**parameters: Any) -> Any:
    given = {name.rstrip("_"): str(value) for name, value in parameters.items()}
    return usage_report(read_question({"from": "2026-03-12", "to": "2026-03-14", **given}, now=NOW))


def started(event: UsageEvent) -> datetime:
    return datetime.fromtimestamp(event.started_at, UTC)


KEYS: dict[str, Callable[[UsageEvent], tuple[Any, ...]]] = {
    "tenant": lambda event: (event.tenant_id,),
    "project": lambda event: (event.tenant_id, event.project),
    "api_key": lambda event: (event.tenant_id, event.api_key_id),
    "end_user": lambda event: (event.tenant_id, event.end_user),
    "model": lambda event: (event.alias,),
    "provider": lambda event: (event.provider,),
    "deployment": lambda event: (event.provider, event.deployment),
    "day": lambda event: (f"{started(event):%Y-%m-%d}",),
    "hour": lambda event: (f"{started(event):%Y-%m-%dT%H:00Z}",),
}
COLUMNS = {
    "tenant": ("tenant_id",),
    "project": ("tenant_id", "project"),
    "api_key": ("tenant_id", "api_key_id"),
    "end_user": ("tenant_id", "end_user"),
    "deployment": ("provider", "deployment"),
}


def figures(events: Sequence[UsageEvent]) -> dict[str, Any]:
    requests = [event for event in events if event.corrects is None]
    sums = {name: sum(getattr(event, name) for event in events) for name in (*TOKENS, "reasoning_tokens")}
    cost = sum((event.cost for event in events), Decimal(0))
    cost_price = sum((event.cost_price or Decimal(0) for event in events), Decimal(0))
    return {
        "requests": len(requests),
        "errors": sum(event.outcome in ERRORS for event in events),
        "unpriced": sum(event.cost_status == "unpriced" for event in requests),
        "tokens": sum(sums[name] for name in TOKENS),
        **sums,
        "cost": cost,
        "cost_price": cost_price,
        "margin": cost - cost_price,
        "written_off": sum((event.written_off for event in events), Decimal(0)),
    }


def by_hand(events: Sequence[UsageEvent], group_by: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    groups = defaultdict(list)
    for each in events:
        if group_by != "end_user" or each.end_user:
            groups[(*KEYS[group_by](each), each.currency)].append(each)
    return {key: figures(group) for key, group in groups.items()}


def rows_of(report: Any, group_by: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    columns = (*COLUMNS.get(group_by, (group_by,)), "currency")
    found = {tuple(row[name] for name in columns): {name: row[name] for name in FIGURES} for row in report.rows}
    assert len(found) == len(report.rows)
    return found


# --- Sums ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group_by", GROUPS)
def test_a_report_has_the_sums_of_the_records_to_the_last_digit(events, group_by):
    report = ask(group_by=group_by)
    assert rows_of(report, group_by) == by_hand(events, group_by)
    assert report.next is None
    assert all(isinstance(row[name], int) for row in report.rows for name in COUNTS)


@pytest.mark.parametrize("group_by", ["tenant", "model", "day"])
def test_hours_that_are_not_whole_days_are_summed_from_hours(events, group_by):
    report = ask(group_by=group_by, from_="2026-03-12T05:00Z", to="2026-03-14T01:00+02:00")
    wanted = [each for each in events if "2026-03-12T05" <= started(each).isoformat() < "2026-03-13T23"]
    assert rows_of(report, group_by) == by_hand(wanted, group_by)


def test_the_last_day_is_included_and_the_next_is_not(events):
    report = ask(from_="2026-03-13", to="2026-03-13", group_by="hour")
    assert rows_of(report, "hour") == by_hand([each for each in events if started(each).day == 13], "hour")


def test_currencies_are_never_added_up(events):
    report = ask(group_by="tenant")
    assert [total["currency"] for total in report.totals] == ["EUR", "USD"]
    for total in report.totals:
        wanted = figures([each for each in events if each.currency == total["currency"]])
        assert {name: total[name] for name in FIGURES} == wanted


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("project", "chatbot"),
        ("model", "smart"),
        ("provider", "groq"),
        ("deployment", "large"),
        ("currency", "EUR"),
        ("api_key", 1),
    ],
)
def test_a_report_is_narrowed(events, parameter, value):
    field = {"model": "alias", "api_key": "api_key_id"}.get(parameter, parameter)
    wanted = [each for each in events if getattr(each, field) == value]
    assert rows_of(ask(group_by="hour", **{parameter: value}), "hour") == by_hand(wanted, "hour")


@pytest.mark.parametrize("end_user", ["dora", *(text for text in HOSTILE if text == text.strip())])
def test_an_end_users_days_are_reported_whatever_it_calls_itself(events, end_user):
    wanted = [each for each in events if each.end_user == end_user]
    report = ask(group_by="day", end_user=end_user)
    assert rows_of(report, "day") == by_hand(wanted, "day")
    assert report.rows


def test_nothing_used_is_an_empty_report(alice):
    report = ask(group_by="model", tenant="alice")
    assert (report.rows, report.totals, report.next) == ([], [], None)


def test_reports_never_read_records(events):
    for group_by in GROUPS:
        with CaptureQueriesContext(connection) as queries:
            ask(group_by=group_by)
        assert len(queries) <= 4
        assert not [query["sql"] for query in queries if "usagerecord" in query["sql"]]


# --- Pages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["key", "cost"])
@pytest.mark.parametrize("group_by", GROUPS)
def test_pages_together_are_the_report(events, group_by, order):
    whole = ask(group_by=group_by, order=order)
    pages, after = [], None
    while True:
        page = ask(group_by=group_by, order=order, limit=7, **({"after": after} if after else {}))
        assert bool(page.totals) == (after is None)
        pages += page.rows
        after = page.next
        if after is None:
            break
        assert len(page.rows) == 7
    assert pages == whole.rows


def test_an_end_users_days_are_paged(events):
    whole = ask(group_by="day", end_user="dora")
    first = ask(group_by="day", end_user="dora", limit=1)
    second = ask(group_by="day", end_user="dora", limit=1, after=first.next)
    assert [*first.rows, *second.rows] == whole.rows[:2]


def test_the_most_expensive_come_first_in_each_currency(events):
    rows = ask(group_by="end_user", order="cost").rows
    for currency in ("EUR", "USD"):
        costs = [row["cost"] for row in rows if row["currency"] == currency]
        assert costs == sorted(costs, reverse=True)
    assert [row["currency"] for row in rows] == sorted(row["currency"] for row in rows)


# --- Whose ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group_by", GROUPS)
def test_charlies_report_has_nothing_of_alices(events, alice, charlie, group_by):
    """Both use the same keys' numbers, projects, models and end users."""
    wanted = [each for each in events if each.tenant_id == charlie.pk]
    for whose in ({"tenant": "charlie"}, {"tenant_id": charlie.pk}):
        report = ask(group_by=group_by, **whose)
        assert rows_of(report, group_by) == by_hand(wanted, group_by)
        assert {total["currency"]: total["requests"] for total in report.totals} == {
            currency: figures(
                [each for each in wanted if each.currency == currency and (group_by != "end_user" or each.end_user)]
            )["requests"]
            for currency in ("EUR", "USD")
        }


def test_a_place_in_alices_report_leads_nowhere_in_charlies(events, alice, charlie):
    place = ask(group_by="end_user", tenant="alice", limit=1).next
    rows = ask(group_by="end_user", tenant="charlie", after=place).rows
    assert {row["tenant_id"] for row in rows} <= {charlie.pk}


def test_rows_name_tenants_and_keys_and_outlive_them(alice, key_id):
    dice = random.Random(1)
    store(event(dice, tenant_id=alice.pk, api_key_id=key_id), event(dice, tenant_id=2**40, api_key_id=2**41))
    first, second = ask(group_by="api_key").rows
    assert (first["tenant"], first["tenant_id"], first["api_key"], first["api_key_id"]) == (
        "alice",
        alice.pk,
        "ci",
        key_id,
    )
    assert (second["tenant"], second["tenant_id"], second["api_key"], second["api_key_id"]) == (
        None,
        2**40,
        None,
        2**41,
    )


# --- A key's own usage ---------------------------------------------------------------------------------------


def test_a_key_learns_what_it_used_today_and_this_month():
    dice = random.Random(2)
    midnight, hours = datetime(2026, 3, 14, tzinfo=UTC).timestamp(), 3600
    facts: dict[str, Any] = {"api_key_id": 7, "corrects": None, "outcome": "served", "currency": "USD"}
    today = [event(dice, started_at=midnight, **facts), event(dice, started_at=midnight + 20 * hours, **facts)]
    this_month = [event(dice, started_at=midnight - hours, **facts | {"outcome": "cut", "currency": "EUR"})]
    others = [
        event(dice, started_at=midnight - 20 * 24 * hours, **facts),
        event(dice, started_at=midnight + 24 * hours, **facts),
        event(dice, started_at=midnight, **facts | {"api_key_id": 8}),
    ]
    store(*today, *this_month, *others)
    usage = key_usage(7, now=NOW)
    assert (usage.today.begins, usage.month.begins) == (date(2026, 3, 14), date(2026, 3, 1))
    assert (usage.today.requests, usage.today.errors, usage.month.requests, usage.month.errors) == (2, 0, 3, 1)
    assert usage.today.tokens == figures(today)["tokens"]
    assert usage.month.output_tokens == figures([*today, *this_month])["output_tokens"]
    assert usage.today.cost == {"USD": today[0].cost + today[1].cost}
    assert usage.month.cost == {"USD": today[0].cost + today[1].cost, "EUR": this_month[0].cost}


def test_a_key_that_used_nothing_learns_so():
    usage = key_usage(7, now=NOW)
    assert (usage.today.requests, usage.today.tokens, usage.today.cost) == (0, 0, {})


# --- Parameters ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameter", "given"),
    [
        ("group_by", {"group_by": "colour"}),
        ("colour", {"colour": "red"}),
        ("from", {"from": "yesterday"}),
        ("from", {"from": "2026-03-12T05:30Z"}),
        ("from", {"from": "2026-03-12T05:00 01:00"}),
        ("from", {"from": "0001-01-01T00:00+14:00"}),
        ("from", {"from": "2026-03-15"}),
        ("to", {"from": "2026-03-12", "to": "2026-03-11"}),
        ("to", {"from": "2026-03-12T05:00Z", "to": "2026-03-12T05:00Z"}),
        ("to", {"to": "9999-12-31"}),
        ("to", {"to": "0001-01-01"}),
        ("tenant", {"tenant": "nobody"}),
        ("tenant", {"tenant": "a\0b"}),
        ("tenant", {"tenant": "\ud800"}),
        ("tenant_id", {"tenant": "alice", "tenant_id": "1"}),
        ("tenant_id", {"tenant_id": "alice"}),
        ("tenant_id", {"tenant_id": "9" * 19}),
        ("tenant_id", {"tenant_id": "-1"}),
        ("api_key", {"api_key": "tg_secret"}),
        ("api_key", {"api_key": "١"}),  # noqa: RUF001
        ("end_user", {"end_user": "x" * 201}),
        ("provider", {"end_user": "dora", "provider": "openai"}),
        ("deployment", {"group_by": "end_user", "deployment": "large"}),
        ("group_by", {"end_user": "dora", "group_by": "provider"}),
        ("group_by", {"end_user": "dora", "group_by": "hour"}),
        ("from", {"end_user": "dora", "from": "2026-03-12T05:00Z"}),
        ("order", {"order": "name"}),
        ("limit", {"limit": "0"}),
        ("limit", {"limit": "-5"}),
        ("limit", {"limit": "1e3"}),
        ("limit", {"limit": f"{MOST_ROWS + 1}"}),
        ("limit", {"limit": "9" * 5_000}),
        ("format", {"format": "xml"}),
    ],
)  # fmt: skip
def test_a_parameter_that_makes_no_sense_is_named(alice, parameter, given):
    with pytest.raises(ReportRefused) as refused:
        read_question(given, now=NOW)
    assert refused.value.parameter == parameter
    assert refused.value.message.endswith(".")


@pytest.mark.parametrize(
    "after",
    [
        "x",
        "é",
        "bnVsbA",
        "W10",
        "WyJkYXkiLCJrZXkiXQ",
        "WyJkYXkiLCJrZXkiLDEsMl0",
        "WyJkYXkiLCJrZXkiLCJ4IiwiVVNEIl0",
        "WyJob3VyIiwia2V5Il0",
        "W1tbW1tb" * 2_000,
    ],
)
def test_a_place_that_is_none_is_refused(after):
    with pytest.raises(ReportRefused) as refused:
        read_question({"after": after}, now=NOW)
    assert refused.value.parameter == "after"


def test_a_place_of_another_report_is_refused(events):
    place = ask(group_by="model", limit=1).next
    with pytest.raises(ReportRefused, match="from another report"):
        ask(group_by="day", after=place)


def test_reports_are_of_the_last_thirty_days_and_of_the_last_day_in_hours():
    days, hours = read_question({}, now=NOW), read_question({"group_by": "hour"}, now=NOW)
    assert (days.begins, days.ends) == (datetime(2026, 2, 13, tzinfo=UTC), datetime(2026, 3, 15, tzinfo=UTC))
    assert (hours.begins, hours.ends) == (NOW - timedelta(hours=23.5), NOW + timedelta(hours=0.5))


def test_filters_are_documented_parameters():
    text = (__import__("pathlib").Path(__file__).parents[2] / "docs" / "operators.md").read_text(encoding="utf-8")
    section = text.split("\n## Usage reports and retention\n")[1].split("\n## ")[0]
    assert all(name in section for name in (*FILTERS, *GROUPS, "order", "limit", "after", "format"))


# --- Files ---------------------------------------------------------------------------------------------------


def test_json_has_amounts_as_strings(events):
    report = json.loads(as_json(ask(group_by="deployment")))
    wanted = by_hand(events, "deployment")
    assert report["from"] == "2026-03-12T00:00Z"
    assert report["to"] == "2026-03-15T00:00Z"
    for row in report["rows"]:
        figures = wanted[(row["provider"], row["deployment"], row["currency"])]
        for name in ("cost", "cost_price", "margin", "written_off"):
            assert isinstance(row[name], str)
            assert Decimal(row[name]) == figures[name]
            assert "E" not in row[name]
        assert row["tokens"] == figures["tokens"]


def test_csv_has_the_same_rows_and_no_formulas(events):
    report = ask(group_by="end_user")
    header, *rows = csv.reader(io.StringIO(as_csv(report).decode(), newline=""))
    assert header == ["tenant", "tenant_id", "end_user", "currency", *FIGURES]
    assert len(rows) == len(report.rows)
    for row, wanted in zip(rows, report.rows, strict=True):
        cells = dict(zip(header, row, strict=True))
        assert cells["end_user"] in {wanted["end_user"], f"'{wanted['end_user']}"}
        assert cells["end_user"].lstrip(" ")[0] not in "=+-@\t\r\n"
        assert Decimal(cells["margin"]) == wanted["margin"]
        assert int(cells["requests"]) == wanted["requests"]


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", " =1", "＝1", "＋", "－", "＠"])  # noqa: RUF001
def test_text_that_a_spreadsheet_would_run_is_quoted(text):
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "smart", "a=b", "user-1", "1", "'"])
def test_other_text_stays_as_it_is(text):
    assert harmless(text) == text


def test_a_negative_amount_stays_a_number():
    store(event(random.Random(1), cost=Decimal("-0.5"), cost_price=Decimal(0), currency="USD"))
    [_, row] = csv.reader(io.StringIO(as_csv(ask()).decode(), newline=""))
    assert "-0.5" in row


# --- What there is -------------------------------------------------------------------------------------------


def test_choices_of_filters_come_from_daily_sums():
    now = datetime.now(UTC).timestamp()
    dice = random.Random(1)
    store(event(dice, alias="recent", started_at=now), event(dice, alias="old", started_at=now - 40 * 86_400))
    with CaptureQueriesContext(connection) as queries:
        assert recent_values("alias") == ["recent"]
    assert len(queries) == 1
    assert UsageDay.objects.count() == UsageHour.objects.count() == 2
    assert UsageEndUserDay.objects.count() <= 2
