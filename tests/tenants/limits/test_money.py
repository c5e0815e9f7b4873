"""Money in whole nanos, rounded once and half to even."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants.limits.money import from_nanos, show, to_nanos


@given(st.integers(-(2**63), 2**63))
def test_nanos_come_back_as_they_were(nanos):
    assert to_nanos(from_nanos(nanos)) == nanos


@given(st.decimals(-9_000_000_000, 9_000_000_000, places=9))
def test_amounts_of_whole_nanos_come_back_as_they_were(amount):
    assert from_nanos(to_nanos(amount)) == amount


@pytest.mark.parametrize(
    ("amount", "nanos"),
    [
        ("0", 0),
        ("1", 1_000_000_000),
        ("0.000000001", 1),
        ("0.0000000005", 0),
        ("0.0000000015", 2),
        ("0.0000000025", 2),
        ("0.00000000250001", 3),
        ("0.0000000004999999999", 0),
        ("-0.0000000015", -2),
        ("-0.0000000025", -2),
        ("9000000000.0000000015", 9_000_000_000_000_000_002),
        ("1E+9", 10**18),
    ],
)
def test_what_is_finer_than_a_nano_is_rounded_half_to_even(amount, nanos):
    assert to_nanos(Decimal(amount)) == nanos


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "0.00 USD"),
        (1_000_000_000, "1.00 USD"),
        (12_345_000_000, "12.345 USD"),
        (10_000_000, "0.01 USD"),
        (1, "0.000000001 USD"),
        (1_500_000, "0.0015 USD"),
        (100_000_000_000, "100.00 USD"),
        (9_000_000_000_000_000_000, "9000000000.00 USD"),
        (-250_000_000, "-0.25 USD"),
    ],
)
def test_people_read_as_many_places_as_it_takes(nanos, text):
    assert show(nanos, "USD") == text
