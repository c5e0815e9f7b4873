"""Prices that were corrected reach the bills of a period as new records, and no record is ever edited."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.models import Sum

from providers.models import Deployment, ModelPrice, Provider
from routing import rerating
from routing.rerating import LOCK, Period, Rerated, rerate
from tenants.models import Budget, BudgetSpend, Tenant, UsageDay, UsageHour, UsageRecord
from tenants.usage_event import UsageEvent
from tests.tenants.ledger_events import write

pytestmark = pytest.mark.django_db(transaction=True)  # the ledger has temporary tables in each transaction

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
MARCH = Period(start=datetime(2026, 3, 1, tzinfo=UTC), end=datetime(2026, 4, 1, tzinfo=UTC))


@pytest.fixture
def alice() -> Tenant:
    return Tenant.objects.create(slug="alice", name="Alice")


@pytest.fixture
def charlie() -> Tenant:
    return Tenant.objects.create(slug="charlie", name="Charlie")


@pytest.fixture
def gpt() -> Deployment:
    provider = Provider.objects.create(slug="p", adapter="openai")
    return Deployment.objects.create(slug="gpt", provider=provider, model="gpt-4o")


def sell(deployment: Deployment, *, since: datetime = MARCH.start, **fields: Any) -> ModelPrice:
    return ModelPrice.objects.create(deployment=deployment, effective_from=since, **{"per": 1, **fields})


def event(tenant: Tenant, moment: datetime = NOON, **facts: Any) -> UsageEvent:
    defaults: dict[str, Any] = {
        "request_id": uuid4().hex,
        "started_at": moment.timestamp(),
        "tenant_id": tenant.pk,
        "api_key_id": 7,
        "project": "web",
        "end_user": "dora",
        "dialect": "openai_chat",
        "alias": "smart",
        "deployment": "gpt",
        "provider": "p",
        "model": "gpt-4o",
        "status": 200,
        "outcome": "served",
        "cost_status": "unpriced",
        "latency_ms": 250,
        "input_tokens": 10,
        "output_tokens": 5,
    }
    return UsageEvent(**{**defaults, **facts})


def corrections() -> list[UsageRecord]:
    return list(UsageRecord.objects.filter(corrects__isnull=False).order_by("started_at", "request_id"))


def billed(tenant: Tenant, currency: str = "USD") -> Decimal:
    rows = UsageRecord.objects.filter(tenant=tenant, currency=currency)
    return rows.aggregate(total=Sum("cost"))["total"] or Decimal(0)


def test_what_was_unpriced_is_billed_under_the_price_it_has_now(alice: Tenant, charlie: Tenant, gpt: Deployment):
    original = event(alice, budgets=["1.0:0"])
    write(original, event(charlie, deployment="another"))
    sell(gpt, input=2, output=4)
    sell(gpt, side="cost", input=1, output=3)
    done = rerate(MARCH, apply=True)
    assert (done.records, done.corrections, done.unpriced) == (2, 1, 1)
    (correction,) = corrections()
    assert correction.corrects.hex == original.request_id
    assert (correction.cost, correction.cost_price, correction.currency) == (40, 25, "USD")
    assert (correction.outcome, correction.cost_status, correction.status) == ("correction", "exact", 200)
    assert (correction.started_at, correction.tenant_id, correction.api_key_id) == (NOON, alice.pk, 7)
    assert (correction.project, correction.end_user, correction.alias) == ("web", "dora", "smart")
    assert (correction.input_tokens, correction.latency_ms, correction.budgets) == (None, 0, ["1.0:0"])
    assert BudgetSpend.objects.get(counter="1.0:0").spent == 40
    assert billed(charlie) == 0


def test_the_original_stays_as_it_was(alice: Tenant, gpt: Deployment):
    write(event(alice, cost=Decimal("99.5"), cost_status="exact"))
    before = UsageRecord.objects.values().get()
    sell(gpt, input=2, output=4)
    rerate(MARCH, apply=True)
    assert UsageRecord.objects.filter(corrects__isnull=True).values().get() == before
    assert [row.cost for row in corrections()] == [Decimal("-59.5")]


def test_a_second_run_writes_nothing(alice: Tenant, gpt: Deployment):
    write(*(event(alice, NOON + timedelta(minutes=n)) for n in range(5)))
    sell(gpt, input=2, output=4)
    assert rerate(MARCH, apply=True).corrections == 5
    assert rerate(MARCH, apply=True).corrections == 0
    assert len(corrections()) == 5


def test_a_price_that_is_corrected_again_is_corrected_by_the_difference(alice: Tenant, gpt: Deployment):
    write(event(alice))
    price = sell(gpt, input=2, output=4)
    rerate(MARCH, apply=True)
    price.input = Decimal(1)
    price.save()
    rerate(MARCH, apply=True)
    assert sorted(row.cost for row in corrections()) == [-10, 40]
    assert billed(alice) == 30


def test_without_being_told_to_it_writes_nothing(alice: Tenant, gpt: Deployment):
    write(event(alice))
    sell(gpt, input=2, output=4)
    done = rerate(MARCH, apply=False)
    assert done.corrections == 1
    assert done.sums["gpt", "USD"].cost == 40
    assert corrections() == []


def test_each_record_is_rated_by_the_price_of_its_own_moment(alice: Tenant, gpt: Deployment):
    write(event(alice, NOON), event(alice, NOON + timedelta(days=2)), event(alice, NOON - timedelta(days=2)))
    sell(gpt, since=NOON - timedelta(days=1), input=1, output=1)
    sell(gpt, since=NOON + timedelta(days=1), input=2, output=2)
    done = rerate(MARCH, apply=True)
    assert [row.cost for row in corrections()] == [15, 30]
    assert done.unpriced == 1


def test_rollups_follow_and_count_no_request_twice(alice: Tenant, gpt: Deployment):
    write(event(alice), event(alice))
    sell(gpt, input=2, output=4)
    rerate(MARCH, apply=True)
    for rollup in (UsageHour, UsageDay):
        sums = rollup.objects.aggregate(requests=Sum("requests"), cost=Sum("cost"), tokens=Sum("input_tokens"))
        assert sums == {"requests": 2, "cost": 80, "tokens": 20}


@pytest.mark.parametrize(
    "facts",
    [
        {"outcome": "upstream_failed", "cost_status": "exact", "input_tokens": 10, "output_tokens": None},
        {"outcome": "rejected", "cost_status": "exact", "input_tokens": None, "output_tokens": None},
        {"outcome": "lost", "cost_status": "exact"},
        {"input_tokens": None, "output_tokens": None},
        {"deployment": ""},
    ],
)
def test_what_was_not_to_be_paid_for_is_not_billed_afterwards(alice: Tenant, gpt: Deployment, facts: dict[str, Any]):
    write(event(alice, **facts))
    sell(gpt, input=2, output=4, per_request=100)
    assert rerate(MARCH, apply=True).corrections == 0


def test_every_unit_and_the_service_tier_are_rated(alice: Tenant, gpt: Deployment):
    units = {"audio_input_tokens": 4, "images": 2, "seconds": "1.5", "characters": 3}
    write(event(alice, units=units, service_tier="batch", reasoning_tokens=2, cache_read_tokens=6))
    sell(
        gpt,
        input=1,
        audio_input=10,
        cache_read=2,
        output=3,
        reasoning=5,
        image=100,
        second=1000,
        character=10_000,
        multipliers={"batch": "0.5"},
    )
    rerate(MARCH, apply=True)
    # 6 + 40 + 12 + 9 + 10 + 200 + 1500 + 30000, half
    assert billed(alice) == Decimal("15888.5")


def test_what_costs_less_than_a_nano_is_no_difference(alice: Tenant, gpt: Deployment):
    write(event(alice, cost=Decimal("40.0000000004"), cost_status="exact"))
    sell(gpt, input=2, output=4)
    assert rerate(MARCH, apply=True).corrections == 0


def test_only_the_tenant_and_the_deployment_that_were_named(alice: Tenant, charlie: Tenant, gpt: Deployment):
    other = Deployment.objects.create(slug="other", provider=gpt.provider, model="o")
    for deployment in (gpt, other):
        sell(deployment, input=1, output=1)
    write(*(event(tenant, deployment=slug) for tenant in (alice, charlie) for slug in ("gpt", "other")))
    call_command("rerate", "--from=2026-03-01", "--to=2026-03-31", "--tenant=alice", "--apply", stdout=StringIO())
    assert (billed(alice), billed(charlie)) == (30, 0)
    call_command("rerate", "--from=2026-03-01", "--to=2026-03-31", "--deployment=other", "--apply", stdout=StringIO())
    assert (billed(alice), billed(charlie)) == (30, 15)


def test_the_days_that_are_named_are_in_it_to_their_ends(alice: Tenant, gpt: Deployment):
    edges = [datetime(2026, 3, 14, tzinfo=UTC), datetime(2026, 3, 15, 23, 59, 59, 999_999, tzinfo=UTC)]
    outside = [edges[0] - timedelta(microseconds=1), edges[1] + timedelta(microseconds=1)]
    write(*(event(alice, moment) for moment in edges + outside))
    sell(gpt, input=1, output=1)
    said = StringIO()
    call_command("rerate", "--from=2026-03-14", "--to=2026-03-15", "--apply", stdout=said)
    assert [row.started_at for row in corrections()] == edges
    assert "gpt: billed +30 USD" in said.getvalue()
    assert "2 records, 2 corrections, 0 without a price." in said.getvalue()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--from=2026-03-14"],
        ["--from=yesterday", "--to=2026-03-14"],
        ["--from=2026-03-15", "--to=2026-03-14"],
        ["--from=2026-03-14", "--to=2026-03-14", "--tenant=nobody"],
    ],
)
def test_what_makes_no_sense_is_refused(arguments: list[str]):
    with pytest.raises(CommandError):
        call_command("rerate", *arguments)


# --- Currencies ----------------------------------------------------------------------------------------------


def test_what_is_sold_in_another_currency_now_is_taken_back_and_billed_in_that(alice: Tenant, gpt: Deployment):
    dollars, euros = (
        Budget.objects.create(tenant=alice, amount=1000, currency=currency) for currency in ("USD", "EUR")
    )
    counters = [f"{dollars.pk}.0:0", f"{euros.pk}.0:0"]
    write(event(alice, cost=Decimal(50), cost_price=Decimal(20), cost_status="exact", budgets=counters[:1]))
    sell(gpt, input=2, output=4, currency="EUR")
    sell(gpt, side="cost", input=1, output=1, currency="EUR")
    assert rerate(MARCH, apply=True).corrections == 2
    assert (billed(alice), billed(alice, "EUR")) == (0, 40)
    paid = {row.currency: row.cost_price for row in corrections()}
    assert paid == {"USD": -20, "EUR": 15}
    assert BudgetSpend.objects.get(counter=counters[0]).spent == 0
    assert rerate(MARCH, apply=True).corrections == 0


# --- Hard budgets --------------------------------------------------------------------------------------------


def test_a_hard_budget_is_not_billed_beyond_its_limit(alice: Tenant, gpt: Deployment):
    hard = Budget.objects.create(tenant=alice, amount=100, period="total")
    soft = Budget.objects.create(tenant=alice, amount=10, period="total", is_hard=False)
    counters = [f"{hard.pk}.0:0", f"{soft.pk}.0:0"]
    write(*(event(alice, NOON + timedelta(seconds=n), budgets=counters) for n in range(4)))
    sell(gpt, input=2, output=4)  # 40 for each
    done = rerate(MARCH, apply=True)
    assert [(row.cost, row.written_off) for row in corrections()] == [(40, 0), (40, 0), (20, 20), (0, 40)]
    assert BudgetSpend.objects.get(counter=counters[0]).spent == 100
    assert (done.sums["gpt", "USD"].cost, done.sums["gpt", "USD"].written_off) == (100, 60)
    assert rerate(MARCH, apply=True).corrections == 0


def test_a_dry_run_finds_the_same_as_the_run(alice: Tenant, gpt: Deployment, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rerating, "BATCH", 2)
    day = Budget.objects.create(tenant=alice, amount=100, period="rolling", rolling_days=2)
    slots = [int((NOON - timedelta(hours=12) + timedelta(days=n)).timestamp()) for n in range(5)]
    events = [
        event(alice, NOON + timedelta(days=n, seconds=second), budgets=[f"{day.pk}.0:{slots[n]}"])
        for n in range(5)
        for second in range(2)
    ]
    write(*events)
    sell(gpt, input=2, output=4)
    planned = rerate(MARCH, apply=False)
    done = rerate(MARCH, apply=True)
    assert planned.sums == done.sums
    spent = [BudgetSpend.objects.get(counter=f"{day.pk}.0:{slot}").spent for slot in slots]
    assert all(first + second <= 100 for first, second in pairwise(spent))
    assert sum(spent) == 80 + 20 + 80 + 20 + 80


def test_what_was_written_off_is_billed_to_nobody_when_prices_fall(alice: Tenant, gpt: Deployment):
    write(event(alice, cost=Decimal(30), written_off=Decimal(50), cost_status="exact"))
    price = sell(gpt, input=2, output=4)  # 40 instead of 80
    rerate(MARCH, apply=True)
    assert [(row.cost, row.written_off) for row in corrections()] == [(0, -40)]
    price.input, price.output = Decimal(1), Decimal(2)  # 20
    price.save()
    rerate(MARCH, apply=True)
    assert billed(alice) == 20
    assert UsageRecord.objects.aggregate(total=Sum("written_off"))["total"] == 0


def test_what_is_given_back_can_be_spent_by_the_next(alice: Tenant, gpt: Deployment):
    budget = Budget.objects.create(tenant=alice, amount=50, period="total")
    counter = f"{budget.pk}.0:0"
    write(
        event(alice, cost=Decimal(50), cost_status="exact", budgets=[counter]),
        event(alice, NOON + timedelta(seconds=1), budgets=[counter]),
    )
    sell(gpt, input=2, output=4)
    rerate(MARCH, apply=True)
    assert [(row.cost, row.written_off) for row in corrections()] == [(-10, 0), (10, 30)]
    assert BudgetSpend.objects.get(counter=counter).spent == 50


# --- Many ----------------------------------------------------------------------------------------------------


def _rerate_in_batches(events: Sequence[UsageEvent], monkeypatch: pytest.MonkeyPatch) -> Rerated:
    monkeypatch.setattr(rerating, "BATCH", 7)
    write(*events)
    return rerate(MARCH, apply=True)


def test_batches_miss_nothing_and_repeat_nothing(alice: Tenant, gpt: Deployment, monkeypatch: pytest.MonkeyPatch):
    dice = random.Random(5)
    sell(gpt, input=1, output=1)
    # Many of the same moment, across the edges of batches.
    events = [event(alice, NOON + timedelta(seconds=dice.randrange(4))) for _ in range(60)]
    done = _rerate_in_batches(events, monkeypatch)
    assert (done.records, done.corrections) == (60, 60)
    assert {row.corrects.hex for row in corrections()} == {each.request_id for each in events}
    assert rerate(MARCH, apply=True).corrections == 0


def test_two_cannot_run_at_once(alice: Tenant, gpt: Deployment):
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        with pytest.raises(CommandError, match="under way"):
            call_command("rerate", "--from=2026-03-01", "--to=2026-03-31", "--apply")
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])  # a server notices a closed connection later
    finally:
        other.close()
    call_command("rerate", "--from=2026-03-01", "--to=2026-03-31", "--apply", stdout=StringIO())
