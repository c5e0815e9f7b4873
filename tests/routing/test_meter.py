"""What an exchange used and what that costs, and how sure we are."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from providers.canonical.inbound import Facts
from providers.canonical.usage import NOTHING_REPORTED, Usage
from providers.dialects.openai_chat.wire import CHAT
from providers.pricing import Price
from routing.account import usage_event
from routing.exchange import Exchange
from routing.meter import estimate, price_exchange
from tenants.principal import Principal
from tenants.usage_event import decode, encode

SELL = Price(side="sell", effective_from=0.0, currency="EUR", per=1, input=Decimal(2), output=Decimal(10))
COST = Price(side="cost", effective_from=0.0, currency="EUR", per=1, input=Decimal(1), output=Decimal(5))
USED = Usage(input=3, output=4)


@pytest.fixture
def make_exchange(make_deployment):
    def make(*, prices: tuple[Price, ...] = (SELL, COST), size: int = 400, **fields: Any) -> Exchange:
        exchange = Exchange("POST", "/v1/chat/completions", ())
        exchange.deployment = make_deployment(prices=prices)
        exchange.facts = Facts(model="m", size=size)
        for name, value in {"outcome": "served", "usage": USED, "is_usage_final": True, **fields}.items():
            setattr(exchange, name, value)
        return exchange

    return make


def test_reported_usage_is_billed_exactly(make_exchange):
    exchange = make_exchange()
    price_exchange(exchange)
    assert (exchange.cost, exchange.cost_price, exchange.currency) == (Decimal(46), Decimal(23), "EUR")
    assert (exchange.cost_status, exchange.usage) == ("exact", USED)


@pytest.mark.parametrize("outcome", ["cut", "client_gone", "shutdown"])
def test_a_partial_answer_is_billed_and_flagged(make_exchange, outcome: str):
    exchange = make_exchange(outcome=outcome, usage=NOTHING_REPORTED, is_usage_final=False, frames=7, size=400)
    price_exchange(exchange)
    assert exchange.usage == Usage(input=100, output=7)
    assert (exchange.cost, exchange.cost_status) == (Decimal(270), "estimated")


def test_a_partial_answer_with_its_final_usage_is_exact(make_exchange):
    exchange = make_exchange(outcome="client_gone", frames=9)
    price_exchange(exchange)
    assert (exchange.usage, exchange.cost_status) == (USED, "exact")


def test_an_answer_without_usage_is_not_free(make_exchange):
    exchange = make_exchange(usage=NOTHING_REPORTED, is_usage_final=False)
    price_exchange(exchange)
    assert exchange.cost == Decimal(200)
    assert exchange.cost_status == "estimated"


@pytest.mark.parametrize("outcome", ["upstream_failed", "rejected", "cut", "client_gone", "gateway_failed"])
def test_what_delivered_nothing_costs_nothing(make_exchange, outcome: str):
    exchange = make_exchange(outcome=outcome, usage=NOTHING_REPORTED, is_usage_final=False, frames=0)
    price_exchange(exchange)
    assert (exchange.cost, exchange.cost_status) == (Decimal(0), "exact")
    assert exchange.usage == NOTHING_REPORTED


@pytest.mark.parametrize(
    "prices", [(), (COST,), (Price(side="sell", effective_from=9e12, input=Decimal(1), output=Decimal(1)),)]
)
def test_without_a_price_in_force_it_is_unpriced(make_exchange, prices: tuple[Price, ...]):
    exchange = make_exchange(prices=prices)
    price_exchange(exchange)
    assert (exchange.cost, exchange.cost_status) == (Decimal(0), "unpriced")
    assert exchange.usage == USED


def test_usage_of_a_kind_without_a_price_is_unpriced(make_exchange):
    exchange = make_exchange(prices=(Price(side="sell", effective_from=0.0, input=Decimal(1)),))
    price_exchange(exchange)
    assert exchange.cost_status == "unpriced"


FLOORED = Principal(
    key_id=1,
    key_name="k",
    key_prefix="tg_k",
    tenant_id=1,
    tenant="acme",
    bills_floor=True,
    floor_input=Decimal(1_000_000),
    floor_output=Decimal(2_000_000),
    floor_currency="CHF",
)


@pytest.mark.parametrize("prices", [(), (Price(side="sell", effective_from=0.0, per=1, input=Decimal(1)),)])
def test_a_tenant_with_a_floor_is_billed_at_it_for_what_has_no_price(make_exchange, prices: tuple[Price, ...]):
    exchange = make_exchange(prices=prices, principal=FLOORED)
    price_exchange(exchange)
    assert (exchange.cost, exchange.currency, exchange.cost_status) == (Decimal(11), "CHF", "unpriced")


def test_what_we_pay_in_another_currency_makes_no_margin(make_exchange):
    dollars = msgspec.structs.replace(COST, currency="USD")
    exchange = make_exchange(prices=(SELL, dollars))
    price_exchange(exchange)
    assert (exchange.cost, exchange.currency, exchange.cost_price) == (Decimal(46), "EUR", None)


def test_what_is_unpriced_still_costs_us(make_exchange):
    exchange = make_exchange(prices=(COST,))
    price_exchange(exchange)
    assert (exchange.cost, exchange.cost_price, exchange.currency) == (Decimal(0), Decimal(23), "EUR")


def test_a_price_comes_before_the_floor(make_exchange):
    exchange = make_exchange(principal=FLOORED)
    price_exchange(exchange)
    assert (exchange.cost, exchange.currency, exchange.cost_status) == (Decimal(46), "EUR", "exact")


def test_what_is_not_billed_is_not_billed_at_the_floor(make_exchange):
    exchange = make_exchange(prices=(), principal=FLOORED, outcome="upstream_failed", usage=NOTHING_REPORTED)
    price_exchange(exchange)
    assert (exchange.cost, exchange.cost_status) == (Decimal(0), "exact")


def test_the_floor_is_nobody_elses(make_exchange):
    charlie = msgspec.structs.replace(FLOORED, tenant_id=2, tenant="charlies", bills_floor=False)
    exchange = make_exchange(prices=(), principal=charlie)
    price_exchange(exchange)
    assert (exchange.cost, exchange.cost_status) == (Decimal(0), "unpriced")


def test_the_price_is_that_of_the_moment_when_the_request_came(make_exchange):
    later = Price(side="sell", effective_from=2000.0, per=1, input=Decimal(9), output=Decimal(9))
    exchange = make_exchange(prices=(SELL, later), started_at=1999.0)
    price_exchange(exchange)
    assert exchange.cost == Decimal(46)


def test_an_exchange_that_reached_no_deployment_has_no_price():
    exchange = Exchange("POST", "/v1/messages", ())
    price_exchange(exchange)
    assert (exchange.cost, exchange.cost_status) == (None, "")


@pytest.mark.parametrize(
    ("usage", "frames", "expected"),
    [
        (NOTHING_REPORTED, 0, Usage(input=100, output=0)),
        (NOTHING_REPORTED, 5, Usage(input=100, output=5)),
        (Usage(input=12, cache_read=7, output=1), 5, Usage(input=12, cache_read=7, output=5)),
        (Usage(input=0, output=9), 5, Usage(input=0, output=9)),
        (Usage(output=9, reasoning=3), 5, Usage(input=100, output=9, reasoning=3)),
    ],
)
def test_an_estimate_takes_back_nothing_that_was_reported(make_exchange, usage: Usage, frames: int, expected: Usage):
    assert estimate(make_exchange(usage=usage, frames=frames, size=400)) == expected


@pytest.mark.parametrize("size", [0, 1, 3])
def test_an_estimate_is_never_zero(make_exchange, size: int):
    assert estimate(make_exchange(usage=NOTHING_REPORTED, size=size)).input == 1


def test_the_record_keeps_what_else_was_used_and_what_the_provider_says_it_costs(make_exchange):
    usage = Usage(input=9, output=4, audio_input=5, images=2, seconds=Decimal("1.50"), service_tier="flex")
    usage = msgspec.structs.replace(usage, reported_cost=Decimal("0.0123"))
    exchange = make_exchange(usage=usage, principal=FLOORED, operation=CHAT)
    event = decode(encode(usage_event(exchange, "w", [])))
    assert event.units == {"audio_input_tokens": 5, "images": 2, "seconds": "1.50"}
    assert (event.service_tier, event.reported_cost) == ("flex", Decimal("0.0123"))
    plain = usage_event(make_exchange(principal=FLOORED, operation=CHAT), "w", [])
    assert (plain.units, plain.service_tier, plain.reported_cost) == ({}, "", None)
