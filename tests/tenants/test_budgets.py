"""Budgets: what may be stored, what is done to them, how they stand, and that workers hear of it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.core.exceptions import ValidationError
from django.utils import timezone

from tenants.announcements import CHANNEL
from tenants.auth import PRINCIPAL_KEY
from tenants.budgets import increase, read_counter, reset, standings, top_up
from tenants.limits.periods import counter_name, slot_start
from tenants.models import Budget, BudgetSpend, CreditTopUp, Project, RateLimit, Tenant, User
from tenants.services import create_key

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 18, 12, tzinfo=UTC)  # a Wednesday


def budget(tenant: Tenant, **values: Any) -> Budget:
    return Budget.objects.create(tenant=tenant, **{"amount": Decimal(10), "period": "month"} | values)


def spend(budget: Budget, amount: str, *, at: datetime = NOW, end_user: str = "", resets: int | None = None) -> str:
    start = slot_start(budget.period, at.timestamp(), budget.tenant.timezone)
    name = counter_name(budget.pk, budget.resets if resets is None else resets, start, end_user)
    moment = datetime.fromtimestamp(start, UTC)
    BudgetSpend.objects.create(counter=name, budget_id=budget.pk, starts_at=moment, spent=Decimal(amount))
    return name


def problems(tenant: Tenant, **values: Any) -> set[str]:
    """The fields that a budget is refused for."""
    with pytest.raises(ValidationError) as refused:
        Budget(tenant=tenant, **{"amount": Decimal(10)} | values).full_clean()
    return set(refused.value.message_dict)


# --- What may be stored ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"amount": Decimal(-1)}, "amount"),
        ({"amount": Decimal("NaN")}, "amount"),
        ({"amount": Decimal("Infinity")}, "amount"),
        ({"amount": float("nan")}, "amount"),
        ({"amount": "ten"}, "amount"),
        ({"amount": Decimal(9_000_000_001)}, "amount"),
        ({"amount": Decimal("0.00000000001")}, "amount"),
        ({"amount": Decimal(9_000_000_000), "increase": 1, "increase_until": NOW}, "amount"),
        ({"currency": "UDS"}, "currency"),
        ({"currency": "usd"}, "currency"),
        ({"period": "year"}, "period"),
        ({"period": "rolling"}, "rolling_days"),
        ({"period": "rolling", "rolling_days": 0}, "rolling_days"),
        ({"period": "rolling", "rolling_days": 367}, "rolling_days"),
        ({"period": "day", "rolling_days": 7}, "rolling_days"),
        ({"increase": Decimal(5)}, "increase_until"),
        ({"increase": Decimal(-5), "increase_until": NOW}, "increase"),
        ({"increase": Decimal("NaN"), "increase_until": NOW}, "increase"),
        ({"alert_at": [0]}, "alert_at"),
        ({"alert_at": [1001]}, "alert_at"),
        ({"alert_at": [-50]}, "alert_at"),
        ({"alert_at": [80, 80]}, "alert_at"),
    ],
)
def test_it_refuses_what_is_no_budget_and_names_the_field(alice: Tenant, values: dict[str, Any], field: str):
    assert problems(alice, **values) == {field}


def test_two_budgets_of_a_scope_that_count_the_same_overlap(alice: Tenant, charlie: Tenant):
    key, _ = create_key(tenant=alice, name="ci")
    project = Project.objects.create(tenant=alice, slug="web")
    for owner in ({}, {"project": project}, {"api_key": key}):
        budget(alice, **owner)
        assert problems(alice, period="month", **owner) == {"period"}
        Budget(tenant=alice, amount=1, period="day", **owner).full_clean()
    for different in ({"model": "smart"}, {"per_end_user": True}, {"currency": "EUR"}):
        Budget(tenant=alice, amount=1, period="month", **different).full_clean()
    Budget(tenant=charlie, amount=1, period="month").full_clean()  # another tenant's is none of his business


def test_rolling_budgets_of_different_lengths_do_not_overlap(alice: Tenant):
    budget(alice, period="rolling", rolling_days=7)
    Budget(tenant=alice, amount=1, period="rolling", rolling_days=30).full_clean()
    assert problems(alice, period="rolling", rolling_days=7) == {"period"}


def test_a_budget_does_not_overlap_with_itself_but_cannot_become_another(alice: Tenant):
    monthly, daily = budget(alice), budget(alice, period="day")
    monthly.amount = Decimal(20)
    monthly.full_clean()
    daily.period = "month"
    with pytest.raises(ValidationError):
        daily.full_clean()


def test_an_increase_counts_until_it_ends(alice: Tenant):
    lifted = budget(alice, increase=Decimal(5), increase_until=NOW)
    assert lifted.limit_at(NOW - timedelta(seconds=1)) == 15
    assert lifted.limit_at(NOW) == 10


@pytest.mark.parametrize("change", [{"currency": "EUR"}, {"model": "smart"}, {"per_end_user": True}])
def test_a_budget_that_counts_something_else_begins_at_nothing(alice: Tenant, change: dict[str, Any]):
    changed = budget(alice)
    for name, value in change.items():
        setattr(changed, name, value)
    changed.save()
    changed.refresh_from_db()
    assert changed.resets == 1
    assert changed.reset_at is not None
    changed.amount = Decimal(99)
    changed.save()
    changed.refresh_from_db()
    assert changed.resets == 1


# --- What is done to them ----------------------------------------------------------------------------------


def test_a_reset_begins_a_new_counter(alice: Tenant):
    monthly = budget(alice)
    spend(monthly, "8")
    fresh = reset(budget=monthly)
    assert (fresh.resets, fresh.reset_at is not None) == (1, True)
    assert standings([fresh], NOW)[fresh.pk].spent == 0
    assert standings([monthly], NOW)[monthly.pk].spent == 8  # the old counter stays


def test_a_reset_counts_on_from_what_is_stored_and_touches_nothing_else(alice: Tenant):
    stale = budget(alice)
    reset(budget=stale)
    Budget.objects.filter(pk=stale.pk).update(amount=77)
    reset(budget=stale)
    stored = Budget.objects.get(pk=stale.pk)
    assert (stored.resets, stored.amount) == (2, 77)


def test_credit_is_not_reset(alice: Tenant):
    with pytest.raises(ValidationError, match="topped up, not reset"):
        reset(budget=budget(alice, period="credit"))


def test_a_top_up_adds_to_credit_and_is_recorded(alice: Tenant, bob: User):
    credit = budget(alice, period="credit", currency="EUR")
    top_up(budget=credit, amount=Decimal("2.5"), note="Invoice 7", by=bob)
    top_up(budget=credit, amount=Decimal("0.000000001"))
    credit.refresh_from_db()
    assert credit.amount == Decimal("12.500000001")
    first = CreditTopUp.objects.for_tenant(alice).last()
    assert first is not None
    assert (first.amount, first.currency, first.note, first.by) == (Decimal("2.5"), "EUR", "Invoice 7", bob)
    credit.delete()
    assert CreditTopUp.objects.for_tenant(alice).count() == 2  # what was paid is still known


def test_charlie_s_credit_is_his_own(alice: Tenant, charlie: Tenant):
    credits = [budget(tenant, period="credit") for tenant in (alice, charlie)]
    top_up(budget=credits[0], amount=Decimal(5))
    assert [Budget.objects.get(pk=each.pk).amount for each in credits] == [15, 10]
    assert not CreditTopUp.objects.for_tenant(charlie).exists()


@pytest.mark.parametrize("amount", ["0", "-1", "NaN", "Infinity", "9000000000", "0.00000000001"])
def test_it_refuses_to_top_up_or_increase_by_what_is_no_amount(alice: Tenant, amount: str):
    credit = budget(alice, period="credit")
    with pytest.raises(ValidationError) as refused:
        top_up(budget=credit, amount=Decimal(amount))
    assert set(refused.value.message_dict) == {"amount"}
    with pytest.raises(ValidationError) as refused:
        increase(budget=credit, amount=Decimal(amount), until=timezone.now() + timedelta(days=1))
    assert set(refused.value.message_dict) == {"amount"}
    credit.refresh_from_db()
    assert (credit.amount, credit.increase) == (10, 0)
    assert not CreditTopUp.objects.exists()


def test_only_credit_is_topped_up(alice: Tenant):
    with pytest.raises(ValidationError, match="Only prepaid credit"):
        top_up(budget=budget(alice), amount=Decimal(5))


def test_an_increase_replaces_the_one_before_and_ends_in_the_future(alice: Tenant):
    monthly, tomorrow = budget(alice), timezone.now() + timedelta(days=1)
    increase(budget=monthly, amount=Decimal(5), until=tomorrow)
    lifted = increase(budget=monthly, amount=Decimal(3), until=tomorrow)
    assert (lifted.limit_at(timezone.now()), lifted.increase_until) == (13, tomorrow)
    with pytest.raises(ValidationError) as refused:
        increase(budget=monthly, amount=Decimal(5), until=timezone.now())
    assert set(refused.value.message_dict) == {"until"}


# --- How they stand ----------------------------------------------------------------------------------------


def test_it_knows_what_is_spent_and_left_and_when_it_resets(alice: Tenant):
    alice.timezone = "Europe/Berlin"
    alice.save()
    monthly = budget(alice, increase=Decimal(1), increase_until=NOW + timedelta(hours=1))
    spend(monthly, "7.25")
    spend(monthly, "3", at=NOW - timedelta(days=31))  # another month's
    standing = standings([monthly], NOW)[monthly.pk]
    assert (standing.spent, standing.left, standing.limit) == (Decimal("7.25"), Decimal("3.75"), 11)
    assert standing.resets_at == datetime(2026, 11, 30, 23, tzinfo=UTC)


def test_nothing_less_than_nothing_is_left(alice: Tenant):
    soft = budget(alice, is_hard=False)
    spend(soft, "12")
    assert standings([soft], NOW)[soft.pk].left == 0


def test_a_rolling_budget_adds_its_days_up(alice: Tenant):
    weekly = budget(alice, period="rolling", rolling_days=7)
    for days, amount in ((0, "1"), (6, "2"), (7, "4")):
        spend(weekly, amount, at=NOW - timedelta(days=days))
    standing = standings([weekly], NOW)[weekly.pk]
    assert (standing.spent, standing.resets_at) == (3, None)


def test_end_users_who_count_alone_have_the_limit_each(alice: Tenant):
    each = budget(alice, period="rolling", rolling_days=7, per_end_user=True)
    spend(each, "1", end_user="ann")
    spend(each, "4", end_user="bo:b")
    spend(each, "2", end_user="bo:b", at=NOW - timedelta(days=1))
    standing = standings([each], NOW)[each.pk]
    assert (standing.spent, standing.most, standing.end_users, standing.left) == (7, 6, 2, 4)


def test_standings_of_many_are_one_query_and_mix_nobody_up(
    alice: Tenant, charlie: Tenant, django_assert_num_queries: Callable[[int], Any]
):
    rows = [budget(alice), budget(alice, period="total"), budget(charlie), budget(charlie, period="credit")]
    spend(rows[0], "1")
    spend(rows[1], "2")
    with django_assert_num_queries(1):
        found = standings(rows, NOW)
    assert [found[row.pk].spent for row in rows] == [1, 2, 0, 0]
    assert found[rows[3].pk].resets_at is None


@pytest.mark.parametrize("name", ["", "7", "7.0", "7.0:", "x.0:1", "7.0:1:", "7:1:ann", "9" * 30 + ".0:1"])
def test_what_is_no_counter_s_name_is_not_read(name: str):
    assert read_counter(name) is None


def test_counters_names_are_read_as_they_are_made():
    counter = read_counter(counter_name(7, 2, 1_700_000_000, "a:b\nc"))
    assert counter is not None
    assert (counter.budget_id, counter.resets, counter.start, counter.end_user) == (7, 2, 1_700_000_000, "a:b\nc")


# --- Workers hear of it ------------------------------------------------------------------------------------


@pytest.fixture
def announced(valkey_url: str) -> Iterator[Callable[[], list[int]]]:
    """The tenants that were announced since the last call."""
    with redis.Redis.from_url(valkey_url) as client, client.pubsub() as channel:
        channel.subscribe(CHANNEL)
        channel.get_message(timeout=5)

        def read() -> list[int]:
            heard = []
            while message := channel.get_message(timeout=0.2):
                heard.append(int(message["data"]))
            return heard

        yield read


@pytest.fixture
def cached(valkey_url: str, alice: Tenant, charlie: Tenant) -> Callable[[], list[bool]]:
    """Whether Valkey's copies of Alice's and Charlie's keys are there; they are put there first."""
    digests = [create_key(tenant=tenant, name="ci")[0].digest for tenant in (alice, charlie)]
    with redis.Redis.from_url(valkey_url) as client:
        for digest in digests:
            client.set(PRINCIPAL_KEY + digest, b"a principal")

    def read() -> list[bool]:
        with redis.Redis.from_url(valkey_url) as client:
            return [bool(client.exists(PRINCIPAL_KEY + digest)) for digest in digests]

    return read


def _reset(tenant: Tenant) -> None:
    reset(budget=budget(tenant))


def _top_up(tenant: Tenant) -> None:
    top_up(budget=budget(tenant, period="credit"), amount=Decimal(1))


def _increase(tenant: Tenant) -> None:
    increase(budget=budget(tenant), amount=Decimal(1), until=timezone.now() + timedelta(days=1))


def _delete_budget(tenant: Tenant) -> None:
    budget(tenant).delete()


def _delete_budgets(tenant: Tenant) -> None:
    budget(tenant)
    Budget.objects.for_tenant(tenant).delete()


def _delete_with_project(tenant: Tenant) -> None:
    budget(tenant, project=Project.objects.create(tenant=tenant, slug="web"))
    Project.objects.for_tenant(tenant).delete()


def _change_limit(tenant: Tenant) -> None:
    limit = RateLimit.objects.create(tenant=tenant, kind="tokens", amount=1, per="minute")
    limit.amount = 2
    limit.save(update_fields=["amount"])


def _delete_limits(tenant: Tenant) -> None:
    RateLimit.objects.create(tenant=tenant, kind="tokens", amount=1, per="minute")
    RateLimit.objects.for_tenant(tenant).delete()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "change",
    [
        _reset,
        _top_up,
        _increase,
        _delete_budget,
        _delete_budgets,
        _delete_with_project,
        _change_limit,
        _delete_limits,
    ],
)
def test_workers_hear_at_once_of_everything_that_changes_a_limit(
    alice: Tenant,
    announced: Callable[[], list[int]],
    cached: Callable[[], list[bool]],
    change: Callable[[Tenant], None],
):
    assert cached() == [True, True]
    announced()
    change(alice)
    assert cached() == [False, True]  # Charlie's stays where it is
    assert set(announced()) == {alice.pk}
