"""What a request may use and cost at most, before anybody is asked; charlie's budgets are not alice's."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from providers.canonical.inbound import Facts, Operation
from providers.canonical.usage import MAX_TOKENS, Usage
from providers.dialects.anthropic_messages.wire import COUNT_TOKENS
from providers.dialects.openai_chat.wire import CHAT, EMBEDDINGS
from providers.pricing import MILLION, Price, cost_nanos
from routing.exchange import Exchange
from routing.hold import MOST_OUTPUT_TOKENS, likely_tokens, most_money
from routing.policy.plan import USUAL_OUTPUT_TOKENS, Plan
from tenants.principal import BudgetRule, Principal

NANOS = 1_000_000_000
BUDGET = BudgetRule(
    id=1, scope="tenant", scope_name="alice", amount=NANOS, currency="USD", period="month", timezone="UTC"
)

type Hold = Callable[..., dict[str, int]]


def sold(prompt: str = "2", answer: str = "10", **fields: Any) -> Price:
    """A price for a million tokens each."""
    return Price(
        **{"side": "sell", "effective_from": 0.0, "input": Decimal(prompt), "output": Decimal(answer), **fields}
    )


def facts_of(size: int = 1_000, **fields: Any) -> Facts:
    return Facts(model="m", size=size, **fields)


def cost(prompt: int, answer: int, price: Price) -> int:
    """Return the nanos that so many tokens cost when they are billed."""
    found = cost_nanos(Usage(input=prompt, output=answer), price)
    assert found is not None
    return found


@pytest.fixture
def hold(make_route) -> Hold:
    """Return what a request holds, under a budget unless it says otherwise, of the targets that it names."""

    def find(
        facts: Facts | None = None,
        *,
        operation: Operation = CHAT,
        targets: dict[str, Any] | None = None,
        **principal: Any,
    ) -> dict[str, int]:
        route = make_route(targets or {"a": {"prices": (sold(),)}})
        exchange = Exchange("POST", "/v1/chat/completions", ())
        exchange.facts, exchange.operation = facts or facts_of(), operation
        exchange.principal = Principal(
            **{
                "key_id": 1,
                "key_name": "k",
                "key_prefix": "tg_",
                "tenant_id": 1,
                "tenant": "alice",
                "budgets": (BUDGET,),
                **principal,
            }
        )
        plan = Plan(route=route, targets=route.targets, dropped=(), retries=0)
        return dict(most_money(plan, exchange))

    return find


# --- Tokens --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "tokens"),
    [
        (facts_of(400, max_output_tokens=60), 101 + 60),
        (facts_of(400), 101 + USUAL_OUTPUT_TOKENS),
        (facts_of(400, max_output_tokens=0), 101 + USUAL_OUTPUT_TOKENS),
        (
            facts_of(400, max_output_tokens=1_000_000),
            101 + USUAL_OUTPUT_TOKENS,
        ),  # few answers are as long as they may be
        (facts_of(400, max_output_tokens=60, choices=3), 101 + 180),
        (facts_of(0, max_output_tokens=1), 2),
    ],
)
def test_a_limit_of_tokens_is_charged_what_is_likely(facts, tokens):
    assert likely_tokens(facts) == tokens


# --- Money ---------------------------------------------------------------------------------------------------


def test_without_budgets_nothing_has_to_be_held(hold):
    assert hold(budgets=(), tenant="charlie") == {}


def test_what_uses_no_tokens_costs_nothing(hold):
    assert hold(operation=COUNT_TOKENS) == {}


def test_a_request_holds_its_bytes_as_tokens_and_the_longest_answer_it_asks_for(hold):
    assert hold(facts_of(1_000, max_output_tokens=100)) == {"USD": cost(501, 100, sold())}


def test_every_choice_is_an_answer(hold):
    assert hold(facts_of(1_000, max_output_tokens=100, choices=4)) == {"USD": cost(501, 400, sold())}


@pytest.mark.parametrize(
    ("asked", "cap", "answer"),
    [
        (None, None, MOST_OUTPUT_TOKENS),
        (None, 8_192, 8_192),
        (0, 8_192, 8_192),
        (100, 8_192, 100),
        (100_000, 8_192, 8_192),
        (100_000, None, 100_000),
    ],
)
def test_an_answer_is_as_long_as_client_and_model_let_it_be(hold, asked, cap, answer):
    targets = {"a": {"prices": (sold(),), "max_output_tokens": cap}}
    assert hold(facts_of(0, max_output_tokens=asked), targets=targets) == {"USD": cost(1, answer, sold())}


@pytest.mark.parametrize(("size", "prompt"), [(1_000, 501), (1_998, 1_000), (10_000_000, 1_000)])
def test_a_model_reads_no_more_than_its_window(hold, size, prompt):
    targets = {"a": {"prices": (sold(),), "context_window": 1_000}}
    assert hold(facts_of(size, max_output_tokens=10), targets=targets) == {"USD": cost(prompt, 10, sold())}


def test_an_embedding_has_no_answer(hold):
    targets = {"a": {"prices": (sold(),), "kind": "embedding"}}
    assert hold(operation=EMBEDDINGS, targets=targets) == {"USD": cost(501, 0, sold())}


@pytest.mark.parametrize("turned", [False, True])
def test_the_dearest_target_is_held_for_whichever_is_asked_first(hold, turned: bool):
    cheap, dear = {"prices": (sold("1", "2"),)}, {"prices": (sold("1", "50"),)}
    targets = {"a": dear, "b": cheap} if turned else {"a": cheap, "b": dear}
    assert hold(facts_of(max_output_tokens=100), targets=targets) == {"USD": cost(501, 100, sold("1", "50"))}


def test_what_is_dearest_depends_on_the_request(hold):
    targets = {"prompts": {"prices": (sold("9", "1"),)}, "answers": {"prices": (sold("1", "9"),)}}
    assert hold(facts_of(100_000, max_output_tokens=1), targets=targets) == {"USD": cost(50_001, 1, sold("9", "1"))}
    assert hold(facts_of(0, max_output_tokens=5_000), targets=targets) == {"USD": cost(1, 5_000, sold("1", "9"))}


def test_each_currency_is_held_apart(hold):
    targets = {"a": {"prices": (sold(),)}, "b": {"prices": (sold("3", "4", currency="EUR"),)}}
    assert hold(facts_of(max_output_tokens=10), targets=targets) == {
        "USD": cost(501, 10, sold()),
        "EUR": cost(501, 10, sold("3", "4")),
    }


def test_what_a_vendor_charges_us_is_not_what_is_held(hold):
    targets = {"a": {"prices": (sold(), sold("1000", "1000", side="cost"))}}
    assert hold(facts_of(max_output_tokens=10), targets=targets) == {"USD": cost(501, 10, sold())}


def test_a_dearer_price_that_comes_soon_is_held_already(hold):
    later = sold("20", "100", effective_from=4_000_000_000.0)
    targets = {"a": {"prices": (sold(), later)}}
    assert hold(facts_of(max_output_tokens=10), targets=targets) == {"USD": cost(501, 10, later)}


@pytest.mark.parametrize(
    ("fields", "dearest"),
    [
        ({"cache_write_1h": Decimal(7)}, sold("7", "10")),
        ({"cache_read": Decimal("0.1")}, sold()),
        ({"reasoning": Decimal(30)}, sold("2", "30")),
        ({"audio_input": Decimal(40), "audio_output": Decimal(80)}, sold("40", "80")),
        ({"tiers": ({"above": 200_000, "input": "4", "output": "20"},)}, sold("4", "20")),
        ({"multipliers": {"priority": "2"}}, sold("4", "20")),
        ({"multipliers": {"flex": "0.5"}}, sold()),
        ({"per_request": Decimal("0.01")}, sold(per_request=Decimal("0.01"))),
    ],
)
def test_nobody_knows_yet_of_what_kind_the_tokens_will_be(hold, fields, dearest):
    targets = {"a": {"prices": (sold(**fields),)}}
    assert hold(facts_of(max_output_tokens=100), targets=targets) == {"USD": cost(501, 100, dearest)}


@pytest.mark.parametrize("prompt", ["0.0000001", "0.123456789", "1.999999999"])
def test_it_is_rounded_up(hold, prompt):
    price = sold(prompt, prompt)
    held = hold(facts_of(11, max_output_tokens=3), targets={"a": {"prices": (price,)}})["USD"]
    assert cost(6, 3, price) <= held
    assert (held - 2) * MILLION <= 9 * Decimal(prompt) * NANOS


# --- Models without a price ----------------------------------------------------------------------------------


def test_an_unpriced_model_holds_nothing(hold):
    assert hold(targets={"a": {}}) == {}


def test_an_unpriced_model_holds_the_tenants_floor(hold):
    floor = {"bills_floor": True, "floor_input": Decimal(3), "floor_output": Decimal(6), "floor_currency": "EUR"}
    held = hold(facts_of(max_output_tokens=100), targets={"a": {}}, **floor)
    assert held.keys() == {"EUR"}
    assert 0 <= held["EUR"] - cost(501, 100, sold("3", "6")) <= 1


def test_a_floor_may_say_of_the_prompt_only_what_it_costs(hold):
    held = hold(targets={"a": {}}, bills_floor=True, floor_input=Decimal(3))
    assert 0 <= held["USD"] - cost(501, 0, sold("3", "0")) <= 1


def test_a_priced_model_holds_its_price_and_not_the_floor(hold):
    floor = {"bills_floor": True, "floor_input": Decimal(300), "floor_output": Decimal(600)}
    assert hold(facts_of(max_output_tokens=100), **floor) == {"USD": cost(501, 100, sold())}


def test_beside_a_priced_model_the_floor_counts_where_it_is_dearer(hold):
    floor = {"bills_floor": True, "floor_input": Decimal(300), "floor_output": Decimal(600)}
    held = hold(facts_of(max_output_tokens=100), targets={"a": {"prices": (sold(),)}, "b": {}}, **floor)
    assert 0 <= held["USD"] - cost(501, 100, sold("300", "600")) <= 1


# --- What clients may write ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [{"max_output_tokens": 10**11 - 1}, {"choices": 10**11 - 1}, {}])
def test_no_number_of_a_clients_holds_more_than_valkey_can_count(hold, fields):
    facts = facts_of(100_000_000, **{"max_output_tokens": 10**11 - 1, "choices": 10**11 - 1, **fields})
    held = hold(facts, targets={"a": {"prices": (sold("100", "1000"),)}})["USD"]
    assert cost(50_000_001, MAX_TOKENS, sold("100", "1000")) == held < 2**63
