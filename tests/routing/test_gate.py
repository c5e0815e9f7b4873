"""Who gets through to a provider, and when: alice, bob and charlie ask at once, on a real event loop."""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway_site.infra import tallies
from gateway_site.infra.telemetry import REGISTRY
from routing.gate import Gate, Gates, GateStatistics, Permit
from routing.policy.fair_queue import HIGH, LOW, NORMAL
from routing.policy.plan import Standing, standing_of
from routing.snapshot import Provider
from tenants.errors import ProviderSaturated

TENANTS = ("alice", "bob", "charlie")


def provider(slug: str = "p", **fields: Any) -> Provider:
    """A provider with limits by their names, and its other fields."""
    names = ("requests_per_second", "tokens_per_minute", "max_concurrency")
    limits = {name: fields.pop(name, None) for name in names}
    base = {"adapter": "openai_compatible", "base_url": "https://upstream/v1", "dialects": ("openai_chat",)}
    return Provider(slug=slug, limits=limits, **base, **fields)


def gate(*, peers: int = 1, **fields: Any) -> Gate:
    return Gate(provider(**fields), peers=peers)


async def enter(gate: Gate, tenant: str = "alice", **how: Any) -> Permit:
    return await gate.enter(**{"tenant": tenant, "priority": NORMAL, "tokens": 0, "wait": 60.0} | how)


async def refusal(gate: Gate, tenant: str = "charlie", **how: Any) -> ProviderSaturated:
    with pytest.raises(ProviderSaturated) as caught:
        await enter(gate, tenant, **how)
    return caught.value


@asynccontextmanager
async def waiting(gate: Gate, *whom: Any, **how: Any) -> AsyncIterator[list[asyncio.Task[Permit]]]:
    """Let tenants wait, one after the other; whoever still waits in the end leaves."""
    tasks = []
    for tenant in whom:
        tasks.append(asyncio.create_task(enter(gate, tenant, **how)))
        await asyncio.sleep(0)
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def left(requests: int | None = None, tokens: int | None = None, reset: str = "60s") -> list[tuple[bytes, bytes]]:
    """An answer's headers."""
    pairs = [(b"content-type", b"application/json")]
    for kind, number in (("requests", requests), ("tokens", tokens)):
        if number is not None:
            pairs.append((f"x-ratelimit-remaining-{kind}".encode(), str(number).encode()))
            pairs.append((f"x-ratelimit-reset-{kind}".encode(), reset.encode()))
    return pairs


# --- Room ----------------------------------------------------------------------------------------------------


async def test_as_many_are_in_at_once_as_may_be():
    one = gate(max_concurrency=2)
    permits = [await enter(one), await enter(one)]
    assert one.is_saturated
    async with waiting(one, "bob") as [task]:
        assert not task.done()
        one.leave(permits[0])
        assert (await task).waited > 0
        assert one.in_use == 2


async def test_a_place_is_given_back_once():
    one = gate(max_concurrency=2)
    permit, _ = await enter(one), await enter(one)
    one.leave(permit)
    one.leave(permit)
    assert one.in_use == 1


async def test_what_a_request_that_was_not_sent_had_taken_is_another_s():
    one = gate(max_concurrency=1, requests_per_second=1, tokens_per_minute=600, queue_wait=0.05)
    permit = await enter(one, tokens=600)
    await refusal(one, tokens=600)
    one.refund(permit)
    one.refund(permit)  # once is enough
    one.leave(permit)
    assert (one.in_use, one.statistics().admitted) == (0, 0)
    assert (await enter(one, tokens=600)).waited == 0


async def test_requests_a_second_may_come_in_one_burst_and_then_steadily():
    one = gate(requests_per_second=10)
    started = time.monotonic()
    for _ in range(10):
        assert (await enter(one)).waited == 0
    await enter(one)
    await enter(one)
    assert 0.15 < time.monotonic() - started < 5


async def test_tokens_a_minute_are_charged_and_settled():
    one = gate(tokens_per_minute=6_000, queue_wait=0.05)
    permit = await enter(one, tokens=6_000)
    error = await refusal(one, tokens=1_000)
    assert error.retry_after_seconds == pytest.approx(10, abs=0.5)
    one.settle_tokens(permit, 5_000)
    one.settle_tokens(permit, 5_000)  # once is enough
    assert (await enter(one, tokens=1_000)).waited == 0
    await refusal(one, tokens=1_000)


async def test_settling_lets_in_who_waits_for_tokens():
    one = gate(tokens_per_minute=600)
    permit = await enter(one, tokens=600)
    async with waiting(one, "bob", tokens=500) as [task]:
        one.settle_tokens(permit, 10)
        await asyncio.wait_for(task, 1)


async def test_a_request_larger_than_the_limit_goes_when_nothing_else_was_used_and_the_next_pays_for_it():
    one = gate(tokens_per_minute=1_000, queue_wait=0.01)
    await enter(one, tokens=5_000)
    assert (await refusal(one, tokens=1)).retry_after_seconds == pytest.approx(240, abs=1)


async def test_a_small_request_does_not_overtake_a_large_one():
    one = gate(tokens_per_minute=60_000)
    await enter(one, tokens=59_900)
    async with waiting(one, "alice", tokens=400), waiting(one, "bob", tokens=50) as [small]:
        assert one.is_saturated
        await asyncio.sleep(0.02)
        assert not small.done()
        await asyncio.wait_for(small, 2)


async def test_workers_share_the_limits_without_asking_each_other():
    facts = gate(requests_per_second=2, tokens_per_minute=1_000, max_concurrency=10, peers=4).statistics()
    assert (facts.requests_per_second, facts.tokens_per_minute) == (0.5, pytest.approx(250))
    assert facts.max_concurrency == 2


async def test_each_of_many_workers_has_one_place():
    shared = gate(max_concurrency=2, peers=16)
    assert shared.statistics().max_concurrency == 1


# --- Turns ---------------------------------------------------------------------------------------------------


async def test_tenants_take_turns_and_higher_priorities_come_first():
    one, order = gate(max_concurrency=1), []

    async def ask(name: str, priority: int) -> None:
        permit = await enter(one, name[:-1], priority=priority)
        order.append(name)
        one.leave(permit)

    held = await enter(one)
    comers = [("alice1", NORMAL), ("alice2", NORMAL), ("alice3", NORMAL), ("bob1", NORMAL), ("bob2", LOW)]
    tasks = [asyncio.create_task(ask(*comer)) for comer in [*comers, ("charlie1", HIGH)]]
    await asyncio.sleep(0.01)
    one.leave(held)
    await asyncio.gather(*tasks)
    assert order == ["charlie1", "alice1", "bob1", "alice2", "alice3", "bob2"]


async def test_whoever_comes_does_not_overtake_whoever_waits():
    one = gate(max_concurrency=1)
    held = await enter(one)
    async with waiting(one, "bob") as [first]:
        one.leave(held)
        assert not one.is_saturated or one.in_use == 1  # the place is bob's already
        async with waiting(one, "charlie") as [second]:
            await asyncio.wait_for(first, 1)
            assert not second.done()


# --- Refusals ------------------------------------------------------------------------------------------------


async def test_a_full_queue_refuses_at_once_and_says_how_many_wait():
    one = gate(max_concurrency=1, queue_size=2)
    await enter(one)
    async with waiting(one, "alice", "bob"):
        started = time.monotonic()
        error = await refusal(one, "charlie")
        assert time.monotonic() - started < 1
        assert (error.status, error.code, error.kind, error.retryable) == (
            429,
            "upstream_saturated",
            "rate_limit",
            True,
        )
        assert "2 requests wait before this one" in error.message
        assert "'p'" in error.message
        assert "alice" not in error.message
        assert error.headers["x-tollgate-queue-position"] == "3"
        assert int(error.headers["retry-after"]) >= 1
        assert int(error.headers["retry-after-ms"]) >= 100


async def test_waiting_ends_with_the_provider_s_limit_or_the_request_s_own():
    one = gate(max_concurrency=1, queue_wait=0.05)
    await enter(one)
    started = time.monotonic()
    error = await refusal(one)
    assert 0.04 < time.monotonic() - started < 1
    assert "no other request waits before this one" in error.message
    assert error.headers["x-tollgate-queue-position"] == "1"
    await refusal(one, wait=0.0)
    facts = one.statistics()
    assert (facts.refused, facts.refused_timed_out, facts.waiting_normal) == (2, 2, 0)


async def test_without_a_queue_nobody_waits():
    one = gate(max_concurrency=1, queue_size=0)
    await enter(one)
    await refusal(one, priority=HIGH)
    assert one.statistics().refused_queue_full == 1


async def test_a_tenant_that_fills_the_queue_makes_room_for_another():
    one = gate(max_concurrency=1, queue_size=3)
    held = await enter(one)
    async with waiting(one, "alice", "alice", "alice") as alice, waiting(one, "charlie") as [charlie]:
        with pytest.raises(ProviderSaturated, match="went to another one") as caught:
            await alice[2]
        assert caught.value.headers["x-tollgate-queue-position"] == "4"  # charlie comes before it now
        one.leave(held)
        one.leave(await alice[0])
        await asyncio.wait_for(charlie, 1)
        assert not alice[1].done()


# --- What the vendor says ------------------------------------------------------------------------------------


async def test_it_is_closed_until_the_reset_when_nothing_is_left():
    one = gate()
    started = time.monotonic()
    one.learn(left(requests=0, reset="600ms"), time.time())
    assert one.is_saturated
    await enter(one)
    assert 0.55 < time.monotonic() - started < 5
    assert not one.is_saturated


async def test_what_is_left_is_spent_by_whoever_goes_through_and_corrected_by_answers():
    one = gate(queue_wait=0.02)
    one.learn(left(requests=2), time.time())
    for _ in range(2):
        await enter(one)
    await refusal(one)
    one.learn(left(requests=1), time.time())
    await enter(one)
    await refusal(one)


async def test_what_was_not_sent_is_left_again_unless_the_vendor_has_counted_since():
    one = gate(queue_wait=0.02)
    one.learn(left(requests=1, tokens=100), time.time())
    one.refund(await enter(one, tokens=100))
    assert (one.statistics().requests_left, one.statistics().tokens_left) == (1, 100)
    permit = await enter(one, tokens=100)
    one.learn(left(requests=1, tokens=100), time.time())
    one.refund(permit)
    assert (one.statistics().requests_left, one.statistics().tokens_left) == (1, 100)


async def test_an_answer_with_room_opens_it_for_those_who_wait():
    one = gate()
    one.learn(left(requests=0), time.time())
    async with waiting(one, "bob") as [task]:
        one.learn(left(requests=100), time.time())
        await asyncio.wait_for(task, 1)


async def test_a_request_that_needs_more_tokens_than_are_left_waits():
    one = gate(queue_wait=0.02)
    one.learn(left(tokens=100), time.time())
    await refusal(one, tokens=101)
    assert not one.is_saturated
    await enter(one, tokens=100)
    assert one.is_saturated


async def test_requests_and_tokens_are_closed_until_resets_of_their_own():
    one = gate(queue_wait=1)
    one.learn([*left(requests=0, reset="50ms"), *left(tokens=100_000, reset="6m0s")], time.time())
    assert (await enter(one, tokens=10)).waited < 1


async def test_it_is_never_trusted_for_longer_than_the_longest_cooldown():
    one = gate(cooldown={"enabled": True, "max": 1})
    one.learn(left(requests=0, reset="12h0m0s"), time.time())
    facts = one.statistics()
    assert facts.requests_left == 0
    assert facts.requests_left_until == pytest.approx(time.time() + 1, abs=0.9)
    await asyncio.wait_for(enter(one), 5)
    assert one.statistics().requests_left is None


async def test_a_provider_without_cooldowns_is_not_closed():
    one = gate(cooldown={"enabled": False, "max": 300})
    one.learn(left(requests=0), time.time())
    assert not one.is_saturated


# --- Of a worker ---------------------------------------------------------------------------------------------


async def test_a_deployment_has_no_gate_until_its_vendor_says_something():
    gates, free = Gates(), provider("free")
    gates.keep([free, provider("limited", max_concurrency=1)], peers=1)
    assert gates.of(free) is None
    assert gates.of(provider("limited")) is not None
    nothing = [(b"content-type", b"text/event-stream"), (b"strict-transport-security", b"x")]
    gates.learn("large", free, nothing, time.time())
    assert gates.learned("large") is None
    gates.learn("large", free, left(requests=0), time.time())
    assert gates.learned("large").is_saturated
    assert gates.of(free) is None
    error = await refusal(gates.learned("large"), wait=0)
    assert "deployment 'large' of provider 'free'" in error.message
    assert 59 < error.retry_after_seconds <= 60


async def test_of_two_models_of_a_vendor_one_is_used_up_and_the_other_is_asked_at_once(make_deployment):
    gates, fields = Gates(), {"slug": "p", "limits": {"max_concurrency": 5}}
    large, small = (make_deployment(slug, provider=fields) for slug in ("large", "small"))
    large.gates = small.gates = gates
    gates.keep([large.provider], peers=1)
    gates.learn("large", large.provider, left(tokens=0), time.time())
    assert standing_of(large, time.time()) == Standing.SATURATED
    assert standing_of(small, time.time()) == Standing.READY
    assert large.gates_to_pass == (gates.learned("large"), gates.of(large.provider))
    assert small.gates_to_pass == (gates.of(small.provider),)
    assert [(await enter(each, "charlie")).waited for each in small.gates_to_pass] == [0.0]
    assert [(each.deployment, each.is_saturated) for each in gates.statistics()] == [("", False), ("large", True)]
    assert gates.statistics()[1].max_concurrency is None  # the limits are the provider's


async def test_a_saturated_provider_saturates_all_its_deployments(make_deployment):
    gates, busy = Gates(), make_deployment("large", provider={"slug": "p", "limits": {"max_concurrency": 1}})
    busy.gates = gates
    gates.keep([busy.provider], peers=1)
    gates.learn("large", busy.provider, left(tokens=10_000), time.time())
    await enter(gates.of(busy.provider))
    assert not gates.learned("large").is_saturated
    assert standing_of(busy, time.time()) == Standing.SATURATED


async def test_a_deployment_that_moved_does_not_wait_for_its_old_vendor(make_deployment):
    gates = Gates()
    gates.keep([provider("old"), provider("new")], peers=1)
    gates.learn("large", provider("old"), left(tokens=0), time.time())
    moved = make_deployment("large", provider={"slug": "new"})
    moved.gates = gates
    assert moved.gates_to_pass == ()
    gates.learn("large", moved.provider, left(tokens=5), time.time())
    assert [each.provider for each in moved.gates_to_pass] == ["new"]


async def test_what_was_learned_lasts_until_the_vendor_s_reset(make_deployment):
    gates, free = Gates(), provider("free")
    gates.keep([free], peers=1)
    gates.learn("large", free, left(requests=0, reset="50ms"), time.time())
    gates.learn("small", free, left(requests=0), time.time())
    gates.learn("gone", provider("elsewhere"), left(requests=0), time.time())
    async with waiting(gates.learned("large"), "bob") as [task]:
        gates.keep([free], peers=2)
        gates.learned("large").leave(await asyncio.wait_for(task, 2))
    gates.keep([free], peers=1)
    assert [each.deployment for each in gates.statistics()] == ["small"]
    gates.keep([provider("free", cooldown={"enabled": False})], peers=1)
    assert gates.statistics() == []


async def test_another_configuration_keeps_who_waits_and_lets_in_who_fits_now():
    gates = Gates()
    gates.keep([provider(max_concurrency=1)], peers=1)
    one = gates.of(provider())
    await enter(one)
    async with waiting(one, "alice", "bob", "charlie") as tasks:
        gates.keep([provider(max_concurrency=3)], peers=1)
        assert gates.of(provider()) is one
        await asyncio.wait_for(asyncio.gather(*tasks[:2]), 1)
        assert not tasks[2].done()
        gates.keep([provider()], peers=1)  # no limit at all
        await asyncio.wait_for(tasks[2], 1)
        assert one.in_use == 4


async def test_fewer_workers_have_more_each():
    gates, limited = Gates(), provider(max_concurrency=4)
    gates.keep([limited], peers=4)
    one = gates.of(limited)
    await enter(one)
    async with waiting(one, "bob") as [task]:
        gates.share(2)
        await asyncio.wait_for(task, 1)
        assert gates.statistics()[0].max_concurrency == 2


async def test_gates_that_nobody_needs_go():
    gates = Gates()
    gates.keep([provider("a", max_concurrency=1), provider("b", max_concurrency=1)], peers=1)
    gates.keep([provider("a")], peers=1)
    assert gates.statistics() == []


async def test_a_gate_whose_limits_are_gone_stays_while_somebody_is_in():
    gates = Gates()
    gates.keep([provider(max_concurrency=1)], peers=1)
    one = gates.of(provider())
    permit = await enter(one)
    gates.keep([provider()], peers=1)
    assert gates.of(provider()) is one
    one.leave(permit)
    gates.keep([provider()], peers=1)
    assert gates.of(provider()) is None


async def test_it_tells_what_happened():
    gates = Gates()
    gates.keep([provider(max_concurrency=1, queue_wait=0.5)], peers=1)
    one = gates.of(provider())
    permit = await enter(one)
    async with waiting(one, "bob", priority=HIGH), waiting(one, "charlie", priority=LOW) as [charlie]:
        facts = gates.statistics()[0]
        assert (facts.waiting_low, facts.waiting_normal, facts.waiting_high, facts.waiting_tenants) == (1, 0, 1, 2)
        assert (facts.in_use, facts.is_saturated, facts.average_wait) == (1, True, None)
        one.leave(permit)
        with suppress(ProviderSaturated):
            await charlie
    facts = gates.statistics()[0]
    assert (facts.admitted, facts.waited, facts.refused, facts.abandoned) == (2, 1, 1, 0)
    assert facts.longest_wait >= 0.4
    assert 0 < facts.average_wait <= facts.longest_wait
    blob = msgspec.json.encode(gates.statistics())
    assert msgspec.json.decode(blob, type=list[GateStatistics]) == gates.statistics()


async def test_it_counts_for_the_metrics():
    def value(name: str, **labels: str) -> float:
        tallies.flush()
        return REGISTRY.get_sample_value(name, {"provider": "metered", **labels}) or 0

    one = gate(slug="metered", max_concurrency=1, queue_size=1, queue_wait=0.5)
    await enter(one)
    async with waiting(one, "bob") as [bob]:
        assert value("upstream_queue_depth") == 1
        await refusal(one)
        with suppress(ProviderSaturated):
            await bob
    assert value("upstream_queue_depth") == 0
    assert value("upstream_queue_wait_seconds_count") == 1
    assert value("upstream_saturated_total", reason="queue_full") == 1
    assert value("upstream_saturated_total", reason="timed_out") == 1


# --- Whoever leaves ------------------------------------------------------------------------------------------


async def test_a_client_that_leaves_the_queue_takes_nothing_along():
    one = gate(max_concurrency=1)
    held = await enter(one)
    async with waiting(one, "alice", "bob") as [alice, bob]:
        alice.cancel()
        with suppress(asyncio.CancelledError):
            await alice
        assert one.statistics().abandoned == 1
        one.leave(held)
        await asyncio.wait_for(bob, 1)


async def test_a_client_that_leaves_in_the_moment_of_its_turn_passes_it_on():
    one = gate(max_concurrency=1, requests_per_second=1_000, tokens_per_minute=60)
    held = await enter(one)
    async with waiting(one, "alice", "bob", tokens=60) as [alice, bob]:
        one.leave(held)  # alice's from now on, who has not heard of it yet
        alice.cancel()
        await asyncio.wait_for(bob, 1)
        assert alice.cancelled()
        assert one.in_use == 1
    facts = one.statistics()
    assert (facts.admitted, facts.abandoned) == (2, 1)


async def test_a_client_that_leaves_before_the_large_request_of_its_own_lets_in_the_small_one_behind():
    one = gate(tokens_per_minute=600)
    await enter(one, tokens=550)
    async with waiting(one, "alice", tokens=600) as [alice], waiting(one, "bob", tokens=50) as [bob]:
        await asyncio.sleep(0.01)
        assert not bob.done()
        alice.cancel()
        await asyncio.wait_for(bob, 1)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), places=st.integers(1, 5), size=st.integers(1, 60))
def test_hundreds_that_come_and_go_at_random_leak_nothing(seed, places, size):
    """Places never exceed the limit, nobody waits for ever, and each tenant's own order holds."""
    asyncio.run(_come_and_go(random.Random(seed), places, size))


async def _come_and_go(chance: random.Random, places: int, size: int) -> None:
    one = gate(max_concurrency=places, queue_size=size, queue_wait=0.2)
    entered: dict[tuple[str, int], list[tuple[float, int]]] = defaultdict(list)
    outcomes: dict[str, int] = defaultdict(int)
    inside = highest = 0

    async def ask(number: int, tenant: str, priority: int, stay: float) -> None:
        nonlocal inside, highest
        try:
            permit = await enter(one, tenant, priority=priority, tokens=1)
        except ProviderSaturated:
            outcomes["refused"] += 1
            raise
        except asyncio.CancelledError:
            outcomes["abandoned"] += 1
            raise
        outcomes["admitted"] += 1
        entered[tenant, priority].append((permit.entered, number))
        inside += 1
        highest = max(highest, inside)
        try:
            await asyncio.sleep(stay)
        finally:
            inside -= 1
            one.leave(permit)

    tasks = []
    for number in range(300):
        facts = (chance.choice(TENANTS), chance.choice((LOW, NORMAL, HIGH)), chance.choice((0, 0, 0.001, 0.003)))
        tasks.append(asyncio.create_task(ask(number, *facts)))
        if chance.random() < 0.5:
            await asyncio.sleep(0)
        if chance.random() < 0.5:
            chance.choice(tasks).cancel()
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)

    facts = one.statistics()
    assert highest <= places
    assert (one.in_use, len(one._queue), facts.is_saturated) == (0, 0, False)
    assert facts.admitted == outcomes["admitted"]
    # Who leaves in the very moment of being refused is refused here, and has left there.
    assert facts.refused + facts.abandoned == outcomes["refused"] + outcomes["abandoned"]
    for entries in entered.values():
        numbers = [number for _, number in sorted(entries)]
        assert numbers == sorted(numbers)
    assert [(await enter(one)).waited for _ in range(places)] == [0.0] * places
