"""Money is exact: Decimal in, Decimal out, rounded once."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.canonical.usage import MAX_TOKENS, Usage
from providers.pricing import (
    UNITS,
    Ceiling,
    Price,
    as_money,
    ceiling_of,
    cost,
    cost_nanos,
    floor_price,
    most,
    price_at,
)


def price(**fields: Any) -> Price:
    money = {
        name: Decimal(value) if name in UNITS and isinstance(value, str) else value for name, value in fields.items()
    }
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
        (Usage(input=10, audio_input=4), {"input": "2"}, 20),
        (Usage(input=10, audio_input=4), {"input": "2", "audio_input": "5"}, 32),
        (Usage(input=10, audio_input=10), {"audio_input": "5"}, 50),
        (Usage(output=10, audio_output=4), {"output": "2"}, 20),
        (Usage(output=10, audio_output=4, reasoning=3), {"output": "2", "audio_output": "5", "reasoning": "3"}, 35),
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
        (Usage(input=2, audio_input=1), {"audio_input": "1"}),
        (Usage(output=2, audio_output=1), {"audio_output": "1"}),
        (Usage(images=1), {"input": "1", "output": "1"}),
        (Usage(characters=1), {"second": "1"}),
        (Usage(seconds=Decimal(1)), {"character": "1", "per_request": "1"}),
        (Usage(images=1, characters=1), {"image": "1"}),
    ],
)
def test_what_has_no_price_is_unpriced_and_not_free(used: Usage, prices: dict[str, str]):
    assert cost(used, price(**prices)) is None


@pytest.mark.parametrize("used", [Usage(), Usage(input=0, output=0), Usage(input=5, output=0)])
def test_what_was_not_used_needs_no_price(used: Usage):
    assert cost(used, price(input="0")) == 0


def test_a_free_model_costs_nothing():
    assert cost(Usage(input=10, output=10), price(input="0", output="0")) == Decimal(0)


def test_audio_beyond_what_was_heard_or_said_never_gives_money_back():
    prices = price(input="2", output="2", audio_input="1", audio_output="1", reasoning="1", per=1)
    assert cost(Usage(input=3, audio_input=9), prices) == 3
    assert cost(Usage(output=3, reasoning=2, audio_output=9), prices) == 3


def test_images_characters_and_seconds_have_prices_of_their_own():
    prices = price(image="0.04", character="15", second="0.0001", per_request="0.01")
    assert cost(Usage(images=3), prices) == Decimal("0.13")
    assert cost(Usage(characters=2000), prices) == Decimal("0.04")
    assert cost(Usage(seconds=Decimal("12.5")), prices) == Decimal("0.01125")
    assert cost(Usage(characters=2), price(character="15", per=1)) == 30


def test_an_answer_that_is_measured_twice_needs_one_price():
    drawn = Usage(input=10, output=1000, images=1)
    assert cost(drawn, price(input="5", output="40")) == Decimal("0.04005")
    assert cost(drawn, price(image="0.04")) == Decimal("0.04")
    assert cost(drawn, price(input="5", image="0.04")) == Decimal("0.04005")
    assert cost(drawn, price(per_request="1")) is None


def test_a_service_tier_multiplies_everything():
    prices = price(input="2", output="4", per_request="1", per=1, multipliers={"batch": "0.5", "priority": 1.75})
    used = {"input": 1, "output": 1}
    assert cost(Usage(**used), prices) == 7
    assert cost(Usage(**used, service_tier="batch"), prices) == Decimal("3.5")
    assert cost(Usage(**used, service_tier="priority"), prices) == Decimal("12.25")
    assert cost(Usage(**used, service_tier="never-heard-of"), prices) == 7


def test_a_multiplied_price_is_rounded_once_too():
    prices = price(input="0.000001", per=1, multipliers={"batch": "0.0005"})  # half a nano a token
    assert cost(Usage(input=3, service_tier="batch"), prices) == Decimal("0.000000002")


def test_a_service_tier_and_the_size_of_the_prompt_count_together():
    prices = price(input="1", per=1, tiers=({"above": 10, "input": "2"},), multipliers={"flex": "0.5"})
    assert cost(Usage(input=20, service_tier="flex"), prices) == 20


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
        (1, 3, "0.333333333"),
        (2, 3, "0.666666667"),
        (1, 2_000_000_000, "0.000000000"),  # half of the last place goes to the even one
        (3, 2_000_000_000, "0.000000002"),
        (1, 1_600_000_000, "0.000000001"),
    ],
)
def test_it_is_rounded_to_nine_places_once(tokens: int, per: int, expected: str):
    billed = cost(Usage(input=tokens), price(input="1", per=per))
    assert str(billed) == str(Decimal(expected))


def test_parts_too_small_to_see_are_added_before_rounding():
    used = Usage(input=1, cache_read=1, output=1)
    assert cost(used, price(input="0.0004", output="0.0004")) == Decimal("0.000000001")


def test_nanos_are_the_cost_to_the_last_digit():
    used = Usage(input=7, output=3)
    prices = price(input="0.15", output="0.6")
    assert cost_nanos(used, prices) == 2850
    assert cost(used, prices) == as_money(2850) == Decimal("0.00000285")


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


# --- The most that it can cost -------------------------------------------------------------------------------


def test_the_ceiling_is_the_dearest_kind_of_token_in_any_tier():
    prices = price(
        input="2",
        cache_write_1h="4",
        output="8",
        reasoning="9",
        audio_output="20",
        per_request="0.5",
        tiers=({"above": 10, "input": "5"},),
        multipliers={"batch": "0.5", "priority": "2"},
    )
    (ceiling,) = ceiling_of((prices,), 1.0)
    assert ceiling == Ceiling(
        currency="USD",
        input_nanos_per_million=10 * 10**9,
        output_nanos_per_million=40 * 10**9,
        per_request_nanos=10**9,
    )
    assert most(prices, input_tokens=1, output_tokens=1) == 10_000 + 40_000 + 10**9


def test_the_ceiling_knows_of_what_is_not_counted_in_tokens():
    (ceiling,) = ceiling_of((price(image="0.04", character="15", second="0.0001"),), 1.0)
    assert (ceiling.image_nanos, ceiling.second_nanos) == (40_000_000, 100_000)
    assert ceiling.character_nanos_per_million == 15 * 10**9
    most_of_all = ceiling.of(input_tokens=0, output_tokens=0, images=2, characters=3, seconds=4)
    assert most_of_all == 80_000_000 + 45_000 + 400_000


def test_the_ceiling_is_that_of_the_price_in_force_and_of_later_ones_in_each_currency():
    past, current, later = (
        price(input=amount, effective_from=since) for amount, since in (("90", 0.0), ("1", 10.0), ("2", 30.0))
    )
    euros = price(input="7", effective_from=40.0, currency="EUR")
    bought = Price(side="cost", effective_from=10.0, input=Decimal(99))
    ceilings = ceiling_of((later, past, euros, current, bought), 20.0)
    assert {each.currency: each.input_nanos_per_million for each in ceilings} == {"USD": 2 * 10**9, "EUR": 7 * 10**9}
    assert ceiling_of((bought,), 20.0) == ()


def test_a_tenants_floor_is_a_price_per_million_tokens():
    floor = floor_price(Decimal(3), None, "EUR")
    assert cost(Usage(input=1_000_000, output=5), floor) == 3
    assert floor.currency == "EUR"


# --- What always holds ---------------------------------------------------------------------------------------

COUNTS = st.none() | st.integers(0, MAX_TOKENS)
AMOUNTS = st.decimals(0, 10_000, places=10)
TIER_NAMES = st.sampled_from(["batch", "flex", "priority"])


@st.composite
def prices_of_every_unit(draw: st.DrawFn, tiered: bool = True) -> Price:
    amounts = {unit: draw(AMOUNTS) for unit in UNITS}
    tiers = draw(st.lists(st.builds(dict, above=st.integers(0, 10**6), input=AMOUNTS.map(str)), max_size=2))
    multipliers = draw(st.dictionaries(TIER_NAMES, st.decimals(0, 10, places=4).map(str)))
    more = {"tiers": tuple(tiers), "multipliers": multipliers} if tiered else {}
    return price(per=draw(st.sampled_from([1, 3, 1000, 1_000_000])), **amounts, **more)


USAGES = st.builds(
    Usage,
    **{name: COUNTS for name in ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning")},
    audio_input=COUNTS,
    audio_output=COUNTS,
    service_tier=st.none() | TIER_NAMES,
)
PROMPT = ("input", "cache_read", "cache_write_5m", "cache_write_1h")


@settings(deadline=None)
@given(USAGES, prices_of_every_unit())
def test_no_usage_costs_more_than_the_ceiling_of_its_tokens(used: Usage, prices: Price):
    prompt, output = sum(getattr(used, name) or 0 for name in PROMPT), used.output or 0
    billed = cost_nanos(used, prices)
    (ceiling,) = ceiling_of((prices,), 1.0)
    assert billed is not None
    assert 0 <= billed <= ceiling.of(input_tokens=prompt, output_tokens=output)
    assert ceiling.of(input_tokens=prompt, output_tokens=output) == most(
        prices, input_tokens=prompt, output_tokens=output
    )


@settings(deadline=None)
@given(st.integers(0, 100), st.integers(0, 10**6), st.integers(0, 10**6), prices_of_every_unit())
def test_no_picture_and_no_sound_costs_more_than_the_ceiling(
    images: int, characters: int, half_seconds: int, prices: Price
):
    used = Usage(images=images, characters=characters, seconds=Decimal(half_seconds) / 2)
    billed = cost_nanos(used, prices)
    (ceiling,) = ceiling_of((prices,), 1.0)
    assert billed is not None
    assert billed <= ceiling.of(
        input_tokens=0, output_tokens=0, images=images, characters=characters, seconds=-(-half_seconds // 2)
    )


@settings(deadline=None)
@given(USAGES, prices_of_every_unit(tiered=False), st.sampled_from([*PROMPT, "output"]), st.integers(0, 1000))
def test_more_tokens_never_cost_less(used: Usage, prices: Price, kind: str, more: int):
    larger = msgspec.structs.replace(used, **{kind: (getattr(used, kind) or 0) + more})
    before, after = cost_nanos(used, prices), cost_nanos(larger, prices)
    if kind == "output" and (used.reasoning or used.audio_output):
        return  # what was cut to the output may become a cheaper part of it
    if kind == "input" and used.audio_input:
        return
    assert before is not None
    assert after is not None
    assert before <= after


@settings(deadline=None)
@given(USAGES, prices_of_every_unit(tiered=False))
def test_the_parts_cost_what_the_whole_does(used: Usage, prices: Price):
    prompt = Usage(input=used.input, audio_input=used.audio_input)
    cached = Usage(cache_read=used.cache_read, cache_write_5m=used.cache_write_5m, cache_write_1h=used.cache_write_1h)
    answer = Usage(output=used.output, reasoning=used.reasoning, audio_output=used.audio_output)
    parts = [cost_nanos(part, prices) or 0 for part in (prompt, cached, answer)]
    alone = cost_nanos(Usage(), prices) or 0
    assert (
        abs((cost_nanos(used, prices) or 0) - (sum(parts) - 2 * alone)) <= 5
    )  # each part is rounded, at most half a nano


@settings(deadline=None)
@given(USAGES, prices_of_every_unit())
def test_it_is_what_fractions_say(used: Usage, prices: Price):
    size = sum(getattr(used, name) or 0 for name in PROMPT)
    reached = [tier for tier in prices.tiers if size > int(tier["above"])]
    # Of two tiers above the same size either may count: such prices are refused where they are entered.
    tops = [tier for tier in reached if tier["above"] == max(int(each["above"]) for each in reached)]
    heard = min(used.audio_input or 0, used.input or 0)
    output = used.output or 0
    reasoning = min(used.reasoning or 0, output)
    spoken = min(used.audio_output or 0, output - reasoning)
    factor = Fraction(str(prices.multipliers.get(used.service_tier or "", 1)))
    allowed = set()
    for tier in tops or [{}]:
        rates = {unit: Fraction(getattr(prices, unit)) for unit in UNITS}
        rates |= {unit: Fraction(str(value)) for unit, value in tier.items() if unit != "above"}
        total = (
            ((used.input or 0) - heard) * rates["input"]
            + heard * rates["audio_input"]
            + sum((getattr(used, name) or 0) * rates[name] for name in PROMPT[1:])
            + (output - reasoning - spoken) * rates["output"]
            + reasoning * rates["reasoning"]
            + spoken * rates["audio_output"]
        )
        allowed.add(round((total / prices.per + rates["per_request"]) * factor * 10**9))
    assert cost_nanos(used, prices) in allowed
