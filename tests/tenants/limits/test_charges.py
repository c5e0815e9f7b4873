"""What requests have to pass: which rules, under which names, with which arguments."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.budgets import Counter, read_counter
from tenants.limits.charges import (
    DAY_MS,
    Hold,
    Slots,
    compile_charges,
    foreign_budget,
    prepare,
    settle_arguments,
    slots_of,
)
from tenants.limits.periods import slot_end, slot_start
from tenants.principal import BudgetRule, Principal, Rule

MINUTE = 60_000
NOON = datetime(2026, 5, 15, 12, tzinfo=UTC).timestamp()
MAY = int(datetime(2026, 5, 1, tzinfo=UTC).timestamp())
APRIL = int(datetime(2026, 4, 1, tzinfo=UTC).timestamp())
DAY = 86_400


def rate(**facts: Any) -> Rule:
    facts = {"id": 1, "scope": "tenant", "scope_name": "alice", "kind": "requests", "window_ms": MINUTE, **facts}
    return Rule(**{"amount": 10, **facts})


def budget(**facts: Any) -> BudgetRule:
    facts = {"id": 7, "scope": "tenant", "scope_name": "alice", "currency": "USD", "period": "month", **facts}
    return BudgetRule(**{"amount": 1_000, "timezone": "UTC", **facts})


def caller(*rules: Rule | BudgetRule, tenant: str = "alice") -> Principal:
    return Principal(
        key_id=1,
        key_name="laptops",
        key_prefix="tg_abcd",
        tenant_id=1,
        tenant=tenant,
        rules=tuple(rule for rule in rules if isinstance(rule, Rule)),
        budgets=tuple(rule for rule in rules if isinstance(rule, BudgetRule)),
    )


def keys(*rules: Rule | BudgetRule, alias: str = "smart", end_user: str = "") -> tuple[str, ...]:
    return compile_charges(caller(*rules), alias=alias, end_user=end_user).keys


def hold(rule: BudgetRule, *, end_user: str = "", money: int = 5, now: float = NOON) -> Hold:
    """Return what a request holds of one budget."""
    charges = compile_charges(caller(rule), alias="smart", end_user=end_user)
    _, (found,) = prepare(charges, tokens=0, money={"USD": money}, now=now)
    return found


# --- Which rules ---------------------------------------------------------------------------------------------


def test_rules_come_before_budgets_and_each_has_a_counter_of_its_own():
    charges = compile_charges(caller(budget(), rate(), rate(id=2, kind="tokens")), alias="", end_user="")
    assert charges.keys == ("tollgate:limit:1", "tollgate:limit:2", "tollgate:budget:7.0")
    assert [charge.kind for charge in charges.charges] == ["r", "t", "b"]
    assert (charges.is_static, len(charges.budget_keys)) == (True, 1)


def test_without_rules_there_is_nothing_to_pass():
    charges = compile_charges(caller(), alias="smart", end_user="dora")
    assert (charges.keys, charges.is_static, charges.budget_keys) == ((), True, ())
    assert prepare(charges, tokens=5, money={"USD": 5}, now=NOON) == ([], ())


@pytest.mark.parametrize("rule", [rate(model="smart"), budget(model="smart")], ids=["rate", "budget"])
def test_a_rule_for_a_model_is_for_no_other(rule):
    assert not compile_charges(caller(rule), alias="", end_user="").is_static
    assert len(keys(rule, alias="smart")) == 1
    assert keys(rule, alias="smarter") == ()


@pytest.mark.parametrize("rule", [rate(per_end_user=True), budget(per_end_user=True)], ids=["rate", "budget"])
def test_a_rule_per_end_user_counts_each_alone_and_nobody_where_none_is_named(rule):
    assert not compile_charges(caller(rule), alias="", end_user="").is_static
    (doras,), (emils,) = keys(rule, end_user="dora"), keys(rule, end_user="emil")
    assert doras != emils
    assert doras.endswith(":dora")
    assert keys(rule) == ()


def test_charlies_rules_are_counted_apart_by_their_ids():
    assert set(keys(rate(), budget())).isdisjoint(
        keys(rate(id=2, scope_name="charlie"), budget(id=8, scope_name="charlie"))
    )


def test_a_reset_begins_a_new_counter():
    assert keys(budget(resets=1)) == ("tollgate:budget:7.1",)


# --- Arguments and holds -------------------------------------------------------------------------------------


def test_a_reservation_says_what_each_rule_needs_to_know():
    rules = rate(kind="concurrency", amount=3, window_ms=0), rate(id=2, burst=4), rate(id=3, kind="tokens", amount=900)
    charges = compile_charges(
        caller(*rules, budget(is_hard=False, increase=50, increase_until=NOON + 1)), alias="", end_user=""
    )
    arguments, holds = prepare(charges, tokens=25, money={"USD": 40, "EUR": 70}, now=NOON)
    assert arguments == [
        *("c", 3),
        *("r", 10, MINUTE, 4),
        *("t", 900, MINUTE, 25),
        *("b", 1_050, 40, 0, MAY, MAY, APRIL, 93 * DAY_MS),
    ]
    assert holds == (
        Hold("c", "tollgate:limit:1"),
        Hold("t", "tollgate:limit:3", 25, MINUTE),
        Hold("b", "tollgate:budget:7.0", 40, 0, MAY, 1_050, False, "USD", MAY),
    )


def test_what_is_settled_names_what_was_held_and_charges_its_currency_only():
    holds = (
        Hold("c", "tollgate:limit:1"),
        Hold("t", "tollgate:limit:3", 25, MINUTE),
        Hold("b", "tollgate:budget:7.0", 40, 0, MAY, 1_050, True, "USD", MAY),
        Hold("b", "tollgate:budget:8.2:a:b", 0, 0, 0, 9, False, "EUR", 0),
    )
    names, arguments = settle_arguments(holds, 33, "USD")
    assert names == [each.key for each in holds]
    assert arguments == [
        "c",
        *("t", MINUTE, 25),
        *("b", MAY, 40, 33, 1_050, 1, MAY),
        *("b", 0, 0, 0, 9, 0, 0),
    ]


def test_an_increase_ends_by_itself():
    rule = budget(increase=500, increase_until=NOON)
    assert [hold(rule, now=NOON + seconds).limit for seconds in (-1, 0, 1)] == [1_500, 1_000, 1_000]


@pytest.mark.parametrize(
    ("facts", "slot", "oldest", "kept", "days"),
    [
        ({"period": "day"}, 15, 15, 14, 4),
        ({"period": "week"}, 11, 11, 4, 21),
        ({"period": "rolling", "rolling_days": 7}, 15, 9, 8, 10),
        ({"period": "rolling", "rolling_days": 1}, 15, 15, 14, 4),
    ],
)
def test_slots_count_from_the_oldest_on_and_one_more_is_kept(facts, slot, oldest, kept, days):
    charges = compile_charges(caller(budget(**facts)), alias="", end_user="")
    arguments, _ = prepare(charges, tokens=0, money={}, now=NOON)
    assert arguments[4:] == [MAY + (day - 1) * DAY for day in (slot, oldest, kept)] + [days * DAY_MS]


@pytest.mark.parametrize("period", ["total", "credit"])
def test_what_does_not_reset_has_one_slot_and_is_kept_for_ever(period):
    charges = compile_charges(caller(budget(period=period)), alias="", end_user="")
    assert prepare(charges, tokens=0, money={}, now=NOON)[0][4:] == [0, 0, 0, 0]


@pytest.mark.parametrize("period", ["day", "week", "month", "quarter"])
def test_a_counter_outlives_its_period_and_the_one_after_it(period):
    (charge,) = compile_charges(caller(budget(period=period)), alias="", end_user="").charges
    for days in range(0, 800, 13):
        start, end = slot_start(period, NOON + days * DAY, "UTC"), slot_end(period, NOON + days * DAY, "UTC")
        assert charge.fixed[0] >= 2 * (end - start) * 1000


@pytest.mark.parametrize("days", [1, 2, 30, 366])
def test_a_rolling_counter_outlives_its_window(days):
    (charge,) = compile_charges(caller(budget(period="rolling", rolling_days=days)), alias="", end_user="").charges
    assert charge.fixed[0] >= (days + 2) * DAY_MS


# --- Names of counters ---------------------------------------------------------------------------------------

end_users = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=200)


@given(end_users, st.integers(1, 2**53), st.integers(0, 10**9 - 1))
def test_a_hold_says_which_counter_the_ledger_names(end_user, number, resets):
    rule = budget(id=number, resets=resets, per_end_user=bool(end_user))
    counter = hold(rule, end_user=end_user).counter
    assert counter == f"{number}.{resets}:{MAY}" + (f":{end_user}" if end_user else "")
    assert read_counter(counter) == Counter(budget_id=number, resets=resets, start=MAY, end_user=end_user)


@pytest.mark.parametrize("end_user", ["a:b", ":", "a b", "7.0:1777593600", "held", "é🙂" * 100, "1.0"])
def test_no_end_user_is_taken_for_another_counter(end_user):
    mine, others = hold(budget(per_end_user=True), end_user=end_user), hold(budget())
    assert mine.counter == f"7.0:{MAY}:{end_user}"
    assert mine.key != others.key
    assert mine.counter != others.counter


@given(end_users)
def test_holds_survive_the_disk(end_user):
    kept = hold(budget(per_end_user=bool(end_user)), end_user=end_user, money=2**63 - 1)
    assert msgspec.json.decode(msgspec.json.encode(kept), type=Hold) == kept


# --- Slots ---------------------------------------------------------------------------------------------------


@given(
    st.sampled_from(["day", "week", "month", "quarter"]),
    st.sampled_from(["UTC", "America/Santiago", "Asia/Kathmandu"]),
    st.lists(st.integers(100 * DAY, 4_000_000_000), min_size=1, max_size=20),
)
def test_slots_are_the_same_whatever_was_looked_at_before(period, zone, moments):
    slots = Slots(period, zone, 0)
    for moment in moments:
        found = slots.at(moment)
        start = slot_start(period, moment, zone)
        assert (found.start, found.oldest, found.kept) == (start, start, slot_start(period, start - 1, zone))


def test_slots_go_on_where_a_period_ends():
    slots, june = slots_of("month", "UTC", 0), MAY + 31 * DAY
    assert [slots.at(june + seconds).start for seconds in (-0.001, 0, 1, -1)] == [MAY, june, june, MAY]
    assert slots_of("month", "UTC", 0) is slots


# --- Currencies ----------------------------------------------------------------------------------------------


def test_a_hard_budget_in_another_currency_is_found():
    euros, dollars = budget(currency="EUR"), budget(id=8)
    charges = compile_charges(caller(euros, dollars), alias="", end_user="")
    assert foreign_budget(charges, {"USD": 1}) == euros
    assert foreign_budget(charges, {"EUR": 1}) == dollars
    assert foreign_budget(charges, {}) is None  # it costs nothing
    soft = compile_charges(caller(budget(currency="EUR", is_hard=False), dollars), alias="", end_user="")
    assert foreign_budget(soft, {"USD": 1}) is None
    assert foreign_budget(soft, {"USD": 1, "EUR": 1}) == dollars


def test_a_budget_for_another_model_is_not_foreign():
    charges = compile_charges(caller(budget(currency="EUR", model="smart")), alias="cheap", end_user="")
    assert foreign_budget(charges, {"USD": 1}) is None
