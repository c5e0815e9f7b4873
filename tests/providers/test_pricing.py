"""Money is exact: Decimal in, Decimal out, rounded once."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from providers.canonical.usage import MAX_TOKENS, Usage
from providers.pricing import Price, cost, price_at


def price(**fields: Any) -> Price:
    money = {name: Decimal(value) if isinstance(value, str) else value for name, value in fields.items()}
    return Price(**{"side": "sell", "effective_from": 0.0, **money})


def test_it_is_exact_where_floats_are_not():
    used = Usage(input=3, output=7)
    assert cost(used, price(input="0.1", output="0.2", per=1)) == Decimal("1.7")
    assert cost(Usage(input=1), price(input="0.15")) == Decimal("0.00000015")


def test_every_kind_of_token_has_its_own_price():
    used = Usage(input=1, cache_read=10, cache_write_5m=100, cache_write_1h=1000, output=30_000, reasoning=10_000)
    prices = price(
        input="1", cache_read="0.1", cache_write_5m="1.25", cache_write_1h="2", output="4", reasoning="8", per=1
    )
    assert cost(used, prices) == 1 + 1 + 125 + 2000 + 80_000 + 80_000


@pytest.mark.parametrize(
    ("used", "prices", "expected"),
    [
        (Usage(cache_read=10), {"input": "2"}, 20),
        (Usage(cache_read=10), {"input": "2", "cache_read": "0"}, 0),
        (Usage(cache_write_5m=10), {"input": "2"}, 20),
        (Usage(cache_write_1h=10), {"input": "2"}, 20),
        (Usage(cache_write_1h=10), {"input": "2", "cache_write_5m": "3"}, 30),
        (Usage(cache_write_1h=10), {"input": "2", "cache_write_5m": "3", "cache_write_1h": "4"}, 40),
        (Usage(output=10, reasoning=4), {"output": "2"}, 20),
        (Usage(output=10, reasoning=4), {"output": "2", "reasoning": "3"}, 24),
        (Usage(output=10, reasoning=10), {"reasoning": "3"}, 30),
    ],
)
def test_a_kind_without_a_price_costs_what_its_neighbour_does(used: Usage, prices: dict[str, str], expected: int):
    assert cost(used, price(per=1, **prices)) == expected


@pytest.mark.parametrize(
    ("used", "prices"),
    [
        (Usage(input=1), {}),
        (Usage(input=1), {"output": "1"}),
        (Usage(output=1), {"input": "1"}),
        (Usage(cache_read=1), {"output": "1"}),
        (Usage(output=10, reasoning=4), {"reasoning": "3"}),
        (Usage(input=1), {"per_request": "1"}),
    ],
)
def test_what_has_no_price_is_unpriced_and_not_free(used: Usage, prices: dict[str, str]):
    assert cost(used, price(**prices)) is None


@pytest.mark.parametrize("used", [Usage(), Usage(input=0, output=0), Usage(input=5, output=0)])
def test_what_was_not_used_needs_no_price(used: Usage):
    assert cost(used, price(input="0")) == 0


def test_a_free_model_costs_nothing():
    assert cost(Usage(input=10, output=10), price(input="0", output="0")) == Decimal(0)


@pytest.mark.parametrize("used", [Usage(reasoning=5), Usage(output=2, reasoning=5), Usage(output=0, reasoning=5)])
def test_reasoning_beyond_the_output_never_gives_money_back(used: Usage):
    billed = cost(used, price(output="2", reasoning="1", per=1))
    assert billed == (used.output or 0)


def test_a_request_may_have_a_price_of_its_own():
    assert cost(Usage(input=2), price(input="1", per=1, per_request="0.5")) == Decimal("2.5")
    assert cost(Usage(), price(per_request="0.5")) == Decimal("0.5")


@pytest.mark.parametrize(
    ("tokens", "per", "expected"),
    [
        (1, 3, "0.3333333333"),
        (2, 3, "0.6666666667"),
        (1, 20_000_000_000, "0.0000000000"),  # half of the last place goes to the even one
        (3, 20_000_000_000, "0.0000000002"),
        (1, 16_000_000_000, "0.0000000001"),
    ],
)
def test_it_is_rounded_to_ten_places_once(tokens: int, per: int, expected: str):
    billed = cost(Usage(input=tokens), price(input="1", per=per))
    assert str(billed) == str(Decimal(expected))


def test_parts_too_small_to_see_are_added_before_rounding():
    used = Usage(input=1, cache_read=1, output=1)
    assert cost(used, price(input="0.00004", output="0.00004")) == Decimal("0.0000000001")


def test_the_largest_usage_at_the_highest_price_is_still_exact():
    most = Usage(input=MAX_TOKENS, output=MAX_TOKENS)
    prices = price(input="9999999999.9999999999", output="0.0000000001")
    assert cost(most, prices) == Decimal(10**12)


TIERS = ({"above": 100, "input": "2"}, {"above": 1000, "input": "3", "output": "30"})


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        (Usage(input=100), 100),
        (Usage(input=101), 202),
        (Usage(input=101, output=1), 212),
        (Usage(input=1001, output=1), 3033),
        (Usage(input=1, cache_read=50, cache_write_5m=25, cache_write_1h=25), 202),  # the whole prompt counts
        (Usage(input=50, output=10_000), 100_050),  # and nothing but the prompt
    ],
)
@pytest.mark.parametrize("tiers", [TIERS, TIERS[::-1]], ids=["ascending", "descending"])
def test_the_highest_tier_that_the_prompt_reaches_prices_all_of_it(
    used: Usage, expected: int, tiers: tuple[dict[str, str | int], ...]
):
    assert cost(used, price(input="1", output="10", per=1, tiers=tiers)) == expected


def test_a_tiers_price_is_decimal_however_it_was_stored():
    tier = msgspec.json.decode(b'[{"above":1,"input":"0.1"}]', type=tuple[dict[str, str | int], ...])
    assert cost(Usage(input=3), price(input="9", per=1, tiers=tier)) == Decimal("0.3")


def test_the_newest_price_in_force_counts():
    old, new, future = (price(input=str(n), effective_from=float(n)) for n in (10, 20, 30))
    bought = Price(side="cost", effective_from=15.0)
    for prices in ((old, new, future, bought), (bought, future, new, old)):
        assert price_at(prices, "sell", 25.0) is new
        assert price_at(prices, "sell", 20.0) is new
        assert price_at(prices, "sell", 19.9) is old
        assert price_at(prices, "cost", 25.0) is bought
        assert price_at(prices, "sell", 9.9) is None
        assert price_at(prices, "cost", 14.9) is None
    assert price_at((), "sell", 25.0) is None


def test_a_price_survives_storage_to_the_last_digit():
    stored = price(input="0.1000000001", output="3", tiers=({"above": 5, "input": "1.10"},))
    assert msgspec.json.decode(msgspec.json.encode(stored), type=Price) == stored
