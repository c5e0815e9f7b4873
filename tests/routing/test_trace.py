"""The decision trace as a header: whatever routes are called, it is JSON in ASCII."""

import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.exchange import AttemptRecord, Exchange
from routing.models import Route
from routing.policy.attempts import MOST_ATTEMPTS
from routing.policy.plan import Dropped, Plan
from routing.trace import HEADER, MAX_HEADER_BYTES, trace_header

LONGEST_NAME = Route._meta.get_field("name").max_length or 0
LONGEST_SLUG = 63
SLUGS = st.text(string.ascii_letters + string.digits + '/-_."\\', min_size=1, max_size=LONGEST_SLUG)


@pytest.fixture(scope="module")
def make_exchange(make_route):
    def make(name: str, slugs: list[str], attempts: int) -> Exchange:
        route = make_route({slug: {} for slug in slugs}, name=name)
        dropped = [Dropped(deployment=slug, reason="breaker_open") for slug in slugs[1:]]
        exchange = Exchange("POST", "/v1/x", ())
        exchange.plan = Plan(route=route, targets=route.targets[:1], dropped=dropped, retries=0)
        exchange.wants_trace = True
        exchange.attempts = [
            AttemptRecord(deployment=slugs[0], status=503, result="x" * 40, number=number, milliseconds=600_000)
            for number in range(1, attempts + 1)
        ]
        return exchange

    return make


@settings(max_examples=50, deadline=None)
@given(name=st.text(max_size=LONGEST_NAME), slugs=st.lists(SLUGS, min_size=1, max_size=4, unique=True))
def test_it_can_be_read_whatever_stands_in_it(make_exchange, name: str, slugs: list[str]):
    header, value = trace_header(make_exchange(name, slugs, 2))
    assert header == HEADER
    assert value.isascii()
    assert value.decode().isprintable()
    told = json.loads(value)
    assert (told["route"], len(told["attempts"])) == (name, 2)
    assert {candidate["deployment"] for candidate in told["candidates"]} == set(slugs)


@pytest.mark.parametrize(
    "name", ["\U0001f600" * LONGEST_NAME, "\0" * LONGEST_NAME, '"' * LONGEST_NAME], ids=["emoji", "control", "quotes"]
)
def test_one_that_would_be_too_long_leaves_its_candidates_out(make_exchange, name: str):
    slugs = [f"{number:0{LONGEST_SLUG}}" for number in range(60)]
    _, value = trace_header(make_exchange(name, slugs, MOST_ATTEMPTS))
    assert len(value) <= MAX_HEADER_BYTES
    told = json.loads(value)
    assert (told["candidates"], len(told["attempts"])) == ([], MOST_ATTEMPTS)
