"""What the console's first page asks, and what it is told: spans, comparisons, groups, budgets by urgency."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tenants import dashboard_words as words
from tenants.burn_down import most_urgent
from tenants.dashboard import Figures, has_usage, read_dashboard, unpriced_since
from tenants.dashboard_question import ViewRefused, read_view, usual_view
from tenants.limits.periods import counter_name, slot_start
from tenants.models import Budget, BudgetSpend, Tenant, UsageOverviewDay
from tests.tenants.ledger_events import event, write

NOW = datetime(2026, 3, 14, 15, 15, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def use(tenant: Tenant, at: datetime = NOW, **facts: Any) -> None:
    values = {
        "tenant_id": tenant.pk,
        "provider": "anthropic",
        "latency_ms": 1_000,
        "first_token_ms": 100,
        "input_tokens": 60,
        "cache_read_tokens": 40,
        "output_tokens": 10,
        "cost": Decimal(2),
        "cost_price": Decimal("0.5"),
    }
    write(event(at, **values | facts))


def view(now: datetime = NOW, is_member: bool = False, **parameters: str) -> Any:
    return read_view({name.rstrip("_"): value for name, value in parameters.items()}, now=now, is_member=is_member)


def board(tenant_id: int | None = None, **parameters: str) -> Any:
    return read_dashboard(view(is_member=tenant_id is not None, **parameters), tenant_id)


# --- Spans -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "begins", "before"),
    [
        ("1h", "2026-03-14T14", "2026-03-14T12"),
        ("24h", "2026-03-13T16", "2026-03-12T16"),
        ("7d", "2026-03-08T00", "2026-03-01T00"),
        ("30d", "2026-02-13T00", "2026-01-14T00"),
        ("month", "2026-03-01T00", "2026-02-01T00"),
    ],
)
def test_spans_end_now_and_begin_with_an_hour_or_a_day(name, begins, before):
    span = view(range=name).span
    assert f"{span.begins:%Y-%m-%dT%H}" == begins
    assert f"{span.before:%Y-%m-%dT%H}" == before
    assert span.begins < NOW < span.ends
    assert span.before_ends <= span.begins
    assert 0 < span.passed < 1
    assert span.moments[-1] + span.width == span.ends


def test_chosen_days_are_all_of_them():
    span = view(from_="2026-02-01", to="2026-02-10").span
    assert (span.step, span.ends - span.begins, span.passed) == ("day", 10 * DAY, 1.0)
    assert span.before == datetime(2026, 1, 22, tzinfo=UTC)
    assert view(from_="2026-03-10", to="2026-03-10").span.step == "hour"
    today = view(from_="2026-03-13").span
    assert today.ends == datetime(2026, 3, 14, 16, tzinfo=UTC)


@pytest.mark.parametrize(
    "parameters",
    [
        {"range": "2y"},
        {"by": "api_key"},
        {"order": "name"},
        {"from_": "yesterday"},
        {"to": "2026-03-01"},
        {"from_": "2026-03-02", "to": "2026-03-01"},
        {"from_": "2027-01-01"},
        {"from_": "2020-01-01"},
        {"from_": "0001-01-01", "to": "0001-01-02"},
        {"model": "x" * 300},
        {"tenant": "a\0b"},
    ],
    ids=lambda given: next(iter(given.items())).__repr__()[:40],
)
def test_what_makes_no_sense_is_refused_by_name(parameters):
    with pytest.raises(ViewRefused) as refused:
        view(**parameters)
    assert str(refused.value).split(":")[0] in {name.rstrip("_") for name in parameters} | {"from"}


def test_members_cannot_ask_for_others():
    asked = view(is_member=True, tenant="alice", provider="anthropic")
    assert (asked.tenant, asked.provider, asked.group_by) == ("", "", "model")
    with pytest.raises(ViewRefused):
        view(is_member=True, by="tenant")


# --- Words -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (99_999, "99,999"), (1_234_567, "1.23M"), (999_900_000, "1,000M"), (4e12, "4T")]
)
def test_counts_are_short(number, text):
    assert words.count(number) == text


@pytest.mark.parametrize(
    ("money", "text"),
    [("0", "0"), ("1234.5", "1,234.50"), ("0.5", "0.5"), ("0.00412345", "0.00412"), ("-3", "-3.00")],
)
def test_amounts_have_the_digits_that_tell_something(money, text):
    assert words.amount(Decimal(money)) == text


@pytest.mark.parametrize(
    ("time", "text"), [(None, words.NOTHING), (12.4, "12 ms"), (1_234, "1.23 s"), (61_000, "61.0 s")]
)
def test_times_have_units(time, text):
    assert words.duration(time) == text


def test_changes_say_whether_they_are_good():
    assert words.change(0, 0) is None
    assert words.change(5, 0) == words.NOTHING_BEFORE
    assert words.change(150, 100, good="down") == words.Change(text="50.0%", tone="bad", arrow="up")
    assert words.change(100, 100) == words.NO_CHANGE
    found = words.change_of_share(0.02, 0.05, good="down")
    assert found == words.Change(text="3.0 points", tone="good", arrow="down")


# --- Figures ---------------------------------------------------------------------------------------------------


def test_figures_without_requests_have_no_rates():
    assert (Figures().error_rate, Figures().cache_rate, Figures().tokens) == (None, None, 0)


@pytest.mark.django_db
def test_it_compares_with_the_same_time_before(alice):
    use(alice)
    use(alice, outcome="upstream_failed")
    use(alice, at=NOW - DAY - HOUR)
    found = board()
    assert (found.now.requests, found.now.errors, found.before.requests) == (2, 1, 1)
    assert found.now.error_rate == 0.5
    assert found.now.cache_rate == pytest.approx(0.4)
    assert found.now.cost == {"USD": Decimal(4)}
    assert found.now.margin("USD") == Decimal(3)
    assert found.timings.latency[95] == pytest.approx(1_000, rel=0.1)
    assert found.timings_before.first_token[50] == pytest.approx(100, rel=0.1)


@pytest.mark.django_db
def test_the_last_hour_before_counts_by_the_part_that_has_passed(alice):
    use(alice, at=NOW - DAY)  # between 15:00 and 16:00, of which a quarter has passed today
    assert board().before.requests == 0.25


@pytest.mark.django_db
def test_days_are_added_up_from_days(alice):
    for days in range(40):
        use(alice, at=NOW - days * DAY)
    assert board(range="30d").now.requests == 30
    assert board(range="30d").before.requests == pytest.approx(9 + (15.25 / 24))
    assert len(board(range="7d").series) == 7


@pytest.mark.django_db
def test_currencies_are_never_added_up(alice, charlie):
    use(alice)
    use(alice)
    use(charlie, currency="EUR", cost=Decimal(100))
    found = board()
    assert found.currencies == ("USD", "EUR")
    assert found.now.cost == {"USD": Decimal(4), "EUR": Decimal(100)}
    assert board(currency="EUR").currency == "EUR"
    assert [group.name for group in board().groups["tenant"]] == ["alice", "charlie"]
    assert [group.name for group in board(currency="EUR").groups["tenant"]] == ["charlie", "alice"]


@pytest.mark.django_db
def test_groups_come_in_the_order_that_was_asked_for(alice, charlie):
    use(alice, cost=Decimal(50), latency_ms=30_000)
    for _ in range(3):
        use(charlie, alias="fast", provider="groq")
    use(charlie, alias="fast", provider="groq", outcome="cut")
    assert [group.name for group in board().groups["model"]] == ["smart", "fast"]
    assert [group.name for group in board(order="requests").groups["provider"]] == ["groq", "anthropic"]
    assert [group.name for group in board(order="errors").groups["tenant"]] == ["charlie", "alice"]
    slow = board().groups["tenant"][0]
    assert slow.timings.latency[95] == pytest.approx(30_000, rel=0.1)


@pytest.mark.django_db
def test_parts_over_time_are_those_of_the_groups(alice, charlie):
    use(alice)
    use(charlie, at=NOW - 2 * HOUR)
    parts = board(by="tenant").parts
    assert {moment.hour: list(found) for moment, found in parts.items()} == {15: [alice.pk], 13: [charlie.pk]}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("parameters", "requests"),
    [
        ({"tenant": "alice"}, 2),
        ({"model": "fast"}, 2),
        ({"tenant": "alice", "provider": "groq"}, 1),
        ({"tenant": "no"}, 0),
    ],
    ids=str,
)
def test_it_can_be_narrowed(alice, charlie, parameters, requests):
    use(alice)
    use(alice, alias="fast", provider="groq")
    use(charlie, alias="fast")
    found = board(**parameters)
    assert found.now.requests == requests
    assert sum(group.figures.requests for group in found.groups.get("model", ())) == requests


@pytest.mark.django_db
def test_charlie_sees_nothing_of_alices(alice, charlie):
    use(alice, alias="only-alices")
    found = board(charlie.pk)
    assert found.now == Figures()
    assert found.groups == {}
    assert not has_usage(charlie.pk)
    assert has_usage(alice.pk)
    use(charlie)
    found = board(charlie.pk)
    assert found.groups.keys() == {"model", "provider"}
    assert [group.name for group in found.groups["model"]] == ["smart"]


@pytest.mark.django_db
def test_it_says_since_when_latencies_are_counted(alice):
    for days in (3, 2, 1):
        use(alice, at=NOW - days * DAY)
    assert board(range="7d").timed_since is None
    UsageOverviewDay.objects.filter(starts_at__lt=NOW - 2 * DAY).update(latency=[], first_token=[])
    assert board(range="7d").timed_since == (NOW - DAY).replace(hour=0, minute=0)


@pytest.mark.django_db
def test_models_without_a_price_are_named(alice):
    use(alice, alias="new", cost_status="unpriced")
    use(alice)
    assert unpriced_since(NOW - 7 * DAY) == [("new", 1)]


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["1h", "24h", "7d", "30d", "month"])
@pytest.mark.parametrize("group_by", ["tenant", "model", "provider"])
def test_it_asks_few_times_and_never_for_records(alice, charlie, name, group_by):
    use(alice)
    use(charlie, alias="fast", currency="EUR")
    with CaptureQueriesContext(connection) as asked:
        board(range=name, by=group_by)
    assert len(asked) <= 9
    assert not [each["sql"] for each in asked if "usagerecord" in each["sql"]]


# --- Budgets ---------------------------------------------------------------------------------------------------


def budget(tenant: Tenant, spent: str, at: datetime = NOW, **facts: Any) -> Budget:
    made = Budget.objects.create(**{"tenant": tenant, "amount": Decimal(100), "period": "month"} | facts)
    Budget.objects.filter(pk=made.pk).update(created_at=NOW - 100 * DAY)
    if spent:
        spend(made, spent, at)
    return made


def spend(made: Budget, spent: str, at: datetime = NOW, end_user: str = "") -> None:
    period = "day" if made.period == "rolling" else made.period
    start = slot_start(period, at.timestamp(), made.tenant.timezone)
    BudgetSpend.objects.create(
        counter=counter_name(made.pk, made.resets, start, end_user),
        budget_id=made.pk,
        starts_at=datetime.fromtimestamp(start, UTC),
        spent=Decimal(spent),
    )


@pytest.mark.django_db
def test_budgets_end_first_that_are_spent_fastest(alice, charlie):
    calm = budget(alice, "30")
    fast = budget(charlie, "90")
    spent = budget(alice, "100", period="day")
    budget(alice, "", period="week")  # nothing spent
    found = most_urgent(NOW, None)
    assert [each.budget.pk for each in found] == [spent.pk, fast.pk, calm.pk]
    assert [each.is_near for each in found] == [True, True, False]
    # 90 in 13.6 days: the other 10 take a day and a half.
    assert found[1].ends_at is not None
    assert found[1].ends_at.date() == datetime(2026, 3, 16, tzinfo=UTC).date()
    assert found[1].days_early == 15
    assert found[2].ends_at is None


@pytest.mark.django_db
def test_only_what_counts_now_counts(alice):
    last_month = budget(alice, "99", at=NOW - 30 * DAY)
    assert most_urgent(NOW, None) == []
    spend(last_month, "10")
    [found] = most_urgent(NOW, None)
    assert found.standing.spent == Decimal(10)
    last_month.resets += 1
    last_month.save()
    assert most_urgent(NOW, None) == []


@pytest.mark.django_db
def test_rolling_budgets_and_those_of_end_users_count_as_they_do(alice):
    rolling = budget(alice, "", period="rolling", rolling_days=3)
    for days in (0, 2, 4):
        spend(rolling, "40", at=NOW - days * DAY)
    each = budget(alice, "", per_end_user=True)
    spend(each, "70", end_user="ann")
    spend(each, "20", end_user="ben:2")
    found = {burn.budget.pk: burn for burn in most_urgent(NOW, None)}
    assert found[rolling.pk].standing.most == Decimal(80)
    assert found[rolling.pk].ends_at is None
    assert found[each.pk].standing.most == Decimal(70)


@pytest.mark.django_db
def test_charlie_has_no_budgets_of_alices(alice, charlie):
    budget(alice, "99")
    assert most_urgent(NOW, charlie.pk) == []
    assert len(most_urgent(NOW, alice.pk)) == 1


@pytest.mark.django_db
def test_many_budgets_take_as_many_queries_as_few(alice, charlie):
    for number in range(15):
        budget(alice, f"{number + 1}", model=f"m{number}")
    with CaptureQueriesContext(connection) as asked:
        assert len(most_urgent(NOW, None)) == 10
    assert len(asked) <= 4


def test_nothing_asked_for_is_the_last_day():
    assert usual_view(now=NOW).span.name == "24h"
