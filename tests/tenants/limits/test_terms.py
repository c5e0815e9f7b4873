"""What a key's requests have to pass is prepared once for a while, and is what it would be if it were prepared each time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.limits.charges import Charges, compile_charges, prepare
from tenants.principal import BudgetRule, Rule
from tests.tenants.limits.gate import at_once, budget, payer, rate

DAY = 86_400.0
START = 1_790_000_000.0
RULES = (rate(10, burst=3), rate(90, id=3, kind="tokens"), at_once(5))
BUDGETS = (
    budget(7, id=10),
    budget(8, id=11, period="day", timezone="Asia/Kolkata"),
    budget(9, id=12, period="month", currency="EUR", is_hard=False),
    budget(10, id=13, period="rolling", rolling_days=3, increase=5, increase_until=START + 1.5 * DAY),
)
MONEY = {"USD": 700, "EUR": 50}


def charges_of(*rules: Rule | BudgetRule) -> Charges:
    rates = tuple(rule for rule in rules if isinstance(rule, Rule))
    budgets = tuple(rule for rule in rules if isinstance(rule, BudgetRule))
    return compile_charges(payer(*budgets, rules=rates), alias="smart", end_user="")


@given(
    st.lists(st.sampled_from([*RULES, *BUDGETS]), unique_by=lambda rule: rule.id),
    st.lists(st.tuples(st.floats(-40, 40), st.integers(0, 200)), min_size=2, max_size=12),
)
def test_it_is_the_same_as_prepared_anew_whenever_requests_come(
    rules: list[Rule | BudgetRule], requests: list[tuple[float, int]]
):
    kept = charges_of(*rules)
    for days, tokens in requests:
        now = START + days * DAY
        assert prepare(kept, tokens=tokens, money=MONEY, now=now) == prepare(
            charges_of(*rules), tokens=tokens, money=MONEY, now=now
        )


@pytest.mark.parametrize(
    ("rule", "moment"),
    [
        (budget(8, period="day"), 1_790_035_200.0),  # midnight
        (budget(8, increase=5, increase_until=START), START),
    ],
    ids=["a period", "an increase"],
)
def test_it_lasts_to_the_moment_when_something_changes(rule: BudgetRule, moment: float):
    kept = charges_of(rule)
    before, just_before, then, after, back = (
        prepare(kept, tokens=0, money=MONEY, now=now)
        for now in (moment - 5, moment - 1e-3, moment, moment + 5, moment - 5)
    )
    assert before == just_before == back
    assert then == after
    assert before != then


def test_what_requests_need_is_their_own():
    kept = charges_of(*RULES, *BUDGETS)
    first = prepare(kept, tokens=40, money=MONEY, now=START)
    said = list(first[0])
    second = prepare(kept, tokens=2, money={"USD": 1}, now=START)
    assert first[0] == said != second[0]
    assert [hold.amount for hold in first[1]] == [40, 0, 700, 700, 50, 700]
    assert [hold.amount for hold in second[1]] == [2, 0, 1, 1, 0, 1]
    assert first == prepare(kept, tokens=40, money=MONEY, now=START)
