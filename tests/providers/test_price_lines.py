"""A bill line by line adds up to the bill, whatever was used; charlie's price is nobody else's."""

from decimal import Decimal
from typing import Any

import pytest

from providers.canonical.usage import Usage
from providers.pricing import Price, cost, lines


def price(**units: Any) -> Price:
    return Price(side="sell", effective_from=0.0, **units)


PLAIN = price(input=Decimal(3), output=Decimal(15), cache_read=Decimal("0.3"))
TIERED = price(
    input=Decimal(3),
    output=Decimal(15),
    per_request=Decimal("0.01"),
    tiers=({"above": 1_000, "input": "6"},),
    multipliers={"batch": "0.5"},
)
CHARLIES = price(input=Decimal(7), output=Decimal(7), image=Decimal("0.04"), second=Decimal("0.006"))
USAGES = (
    Usage(input=212, cache_read=600, output=120),
    Usage(input=2_000, output=50, reasoning=20, service_tier="batch"),
    Usage(input=5, output=1, images=2, seconds=Decimal("1.5")),
    Usage(),
)


@pytest.mark.parametrize("usage", USAGES, ids=["cached", "batch", "media", "nothing"])
@pytest.mark.parametrize("prices", [PLAIN, TIERED, CHARLIES], ids=["plain", "tiered", "charlies"])
def test_lines_add_up_to_the_bill(prices: Price, usage: Usage):
    total = sum((line.amount for line in lines(usage, prices)), Decimal(0))
    assert abs(total - (cost(usage, prices) or Decimal(0))) <= Decimal("0.000000001")


def test_a_line_says_how_many_at_which_price():
    first, cached, out = lines(USAGES[0], PLAIN)
    assert (first.unit, first.count, first.price, first.amount) == ("input", 212, 3, Decimal("0.000636"))
    assert (cached.unit, cached.price) == ("cache_read", Decimal("0.3"))
    assert (out.unit, out.amount, out.is_per) == ("output", Decimal("0.0018"), True)


def test_a_tier_and_a_multiplier_are_in_the_price():
    (first, *_) = lines(USAGES[1], TIERED)
    assert first.price == 3  # 6 above a thousand, half of it in a batch


def test_what_has_no_price_is_left_out():
    assert [line.unit for line in lines(USAGES[2], price(image=Decimal(1)))] == ["image"]
