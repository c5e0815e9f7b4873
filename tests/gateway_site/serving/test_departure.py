"""Clients that go away while their request is served."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

from gateway_site.infra.alarms import Alarms
from gateway_site.serving import departure
from gateway_site.serving.departure import Departure
from routing.exchange import Exchange

DRAIN_SECONDS = 0.5


@pytest.fixture(autouse=True)
def _soon(monkeypatch) -> None:
    """What takes minutes takes moments."""
    monkeypatch.setattr(departure, "WATCH_AFTER_SECONDS", 0.005)
    monkeypatch.setattr(departure, "DRAIN_SECONDS", DRAIN_SECONDS)


def exchange_with(policy: str, *, generating: int = 1) -> Exchange:
    exchange = Exchange("POST", "/v1/x", ())
    route: Any = SimpleNamespace(facts=SimpleNamespace(on_disconnect=policy))
    exchange.route, exchange.generating = route, generating
    return exchange


async def gone() -> dict[str, str]:
    return {"type": "http.disconnect"}


async def there() -> dict[str, str]:
    await asyncio.Event().wait()
    return {}


def never() -> bool:
    return False


async def work(exchange: Exchange, receive: Callable[[], Awaitable[Any]], *, until: Callable[[], bool] = never) -> bool:
    """Work as a request does; return whether it could end."""
    watch = Departure(receive, exchange, Alarms())
    try:
        while not until():
            await asyncio.sleep(0.001)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        assert task is not None
        task.uncancel()
        return False
    finally:
        watch.stop()
    return True


async def test_a_request_ends_when_its_client_leaves():
    exchange = exchange_with("cancel")
    assert not await work(exchange, gone)
    assert exchange.is_client_gone


async def test_one_whose_client_stays_goes_on():
    exchange, began = exchange_with("cancel"), monotonic()
    assert await work(exchange, there, until=lambda: monotonic() > began + 0.03)
    assert (exchange.is_client_gone, exchange.left_at) == (False, None)


async def test_where_the_route_drains_it_goes_on_for_a_while():
    exchange = exchange_with("drain")
    assert await work(exchange, gone, until=lambda: exchange.is_client_gone)
    began = monotonic()
    assert not await work(exchange_with("drain"), gone)
    assert monotonic() - began >= DRAIN_SECONDS


async def test_where_no_upstream_works_on_it_there_is_nothing_to_drain():
    exchange = exchange_with("drain", generating=0)
    assert not await work(exchange, gone)
    assert exchange.left_at is not None
    assert monotonic() - exchange.left_at < DRAIN_SECONDS


async def test_the_while_is_counted_from_the_first_time_that_it_was_seen_to_be_gone():
    """A streamed request is watched twice: until its first content, and from then on."""
    exchange = exchange_with("drain")
    assert await work(exchange, gone, until=lambda: exchange.is_client_gone)
    assert exchange.left_at is not None
    exchange.left_at = long_ago = exchange.left_at - 60
    began = monotonic()
    assert not await work(exchange, gone)
    assert (exchange.left_at, monotonic() - began < DRAIN_SECONDS) == (long_ago, True)
