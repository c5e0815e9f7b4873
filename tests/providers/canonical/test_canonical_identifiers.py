"""Identifiers that fit stay; the others fit afterwards, each in its own way and always in the same."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.canonical.identifiers import Rule, fit, make_call_id

NAMES = Rule(allowed="a-zA-Z0-9_-", max_length=64)
STARTING = Rule(allowed=r"a-zA-Z0-9_.:\-", max_length=128, starts_with="a-zA-Z_")
SHORT = Rule(allowed="a-zA-Z0-9_-", max_length=20)
RULES = [NAMES, STARTING, SHORT]

texts = st.text(alphabet=st.characters(codec=None), max_size=150)


@pytest.mark.parametrize("name", ["get_weather", "a", "A-1_b", "x" * 64])
def test_what_fits_stays(name: str):
    assert fit(name, NAMES) == name


@settings(max_examples=200, deadline=None)
@given(text=texts, rule=st.sampled_from(RULES))
def test_whatever_it_was_it_fits_afterwards(text: str, rule: Rule):
    fitted = fit(text, rule)
    assert rule.fits(fitted)
    assert fit(fitted, rule) == fitted


@settings(max_examples=200, deadline=None)
@given(one=texts, other=texts, rule=st.sampled_from(RULES))
def test_two_that_differ_still_differ(one: str, other: str, rule: Rule):
    assert (fit(one, rule) == fit(other, rule)) == (one == other)


def test_edge_70_nothing_is_cut_off_without_a_hash():
    one, other = "mcp__" + "a" * 80 + "_read", "mcp__" + "a" * 80 + "_write"
    assert fit(one, NAMES) != fit(other, NAMES)
    assert len(fit(one, NAMES)) == 64


def test_what_can_be_read_of_it_stays():
    assert fit("get weather", NAMES).startswith("get_weather_")


@pytest.mark.parametrize("name", ["1st", "-x", ".y", ""])
def test_the_first_character_may_have_a_rule_of_its_own(name: str):
    assert not STARTING.fits(name)
    assert STARTING.fits(fit(name, STARTING))


def test_a_line_end_does_not_fit():
    assert not NAMES.fits("name\n")


def test_edge_30_a_made_id_is_the_same_for_the_same_call_and_another_for_each_other():
    made = make_call_id("r1", 0, "f")
    assert made == make_call_id("r1", 0, "f")
    assert NAMES.fits(made)
    assert len({made, make_call_id("r1", 1, "f"), make_call_id("r2", 0, "f"), make_call_id("r1", 0, "g")}) == 4
