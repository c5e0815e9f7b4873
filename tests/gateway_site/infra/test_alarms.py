"""Alarms that are mostly cancelled."""

import asyncio
import gc
from time import monotonic
from typing import Any
from weakref import ref

import pytest

from gateway_site.infra import alarms as module
from gateway_site.infra.alarms import Alarms
from tests.gateway_site.infra.own_valkey import eventually


@pytest.fixture
def alarms() -> Alarms:
    return Alarms()


async def test_they_go_off_in_their_order_and_never_early(alarms):
    began, heard = monotonic(), []
    for seconds in (0.12, 0.01):
        alarms.set(seconds, lambda seconds=seconds: heard.append((seconds, monotonic() - began)))
    await eventually(lambda: len(heard) == 2)
    assert [seconds for seconds, _ in heard] == [0.01, 0.12]
    assert all(later >= seconds for seconds, later in heard)


async def test_one_that_is_cancelled_does_not_go_off(alarms):
    heard: list[str] = []
    alarm = alarms.set(0.01, lambda: heard.append("cancelled"))
    alarms.set(0.01, lambda: heard.append("kept"))
    alarm.cancel()
    alarm.cancel()
    await eventually(lambda: heard)
    assert heard == ["kept"]


async def test_one_may_cancel_another_that_is_due(alarms):
    heard: list[str] = []

    def first() -> None:
        heard.append("first")
        second.cancel()

    alarms.set(0.01, first)
    second = alarms.set(0.01, lambda: heard.append("second"))
    third = alarms.set(0.02, lambda: heard.append("third"))
    await eventually(lambda: "third" in heard)
    assert heard == ["first", "third"]
    third.cancel()


async def test_one_that_raises_is_heard_of_and_keeps_nobody_from_going_off(alarms):
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
    heard: list[str] = []
    alarms.set(0.01, lambda: [][0])
    alarms.set(0.01, lambda: heard.append("after it"))
    await eventually(lambda: heard)
    assert [type(error) for error in told] == [IndexError]


async def test_nobody_looks_where_there_is_nothing_to_do_for_long(alarms, monkeypatch):
    monkeypatch.setattr(module, "TICK_SECONDS", 0.001)
    monkeypatch.setattr(module, "REST_AFTER", 3)
    alarms.set(30, list).cancel()
    await eventually(lambda: not alarms._is_ticking)
    heard: list[int] = []
    alarms.set(0.001, lambda: heard.append(1))
    await eventually(lambda: heard)


async def test_one_that_is_over_leaves_nothing_for_the_garbage_collector(alarms):
    heard: list[bool] = []

    class Owner:
        def __init__(self, *, cancels: bool) -> None:
            self.alarm = alarms.set(0.01, self.ring)
            if cancels:
                self.alarm.cancel()

        def ring(self) -> None:
            heard.append(True)

    gc.disable()
    try:
        owners = [Owner(cancels=True), Owner(cancels=False)]
        known = [ref(owner) for owner in owners]
        await eventually(lambda: heard)
        owners.clear()
        assert [each() for each in known] == [None, None]
    finally:
        gc.enable()


# --- Time limits ---------------------------------------------------------------------------------------------


async def test_what_takes_too_long_ends_with_a_timeout(alarms):
    began = monotonic()
    with pytest.raises(TimeoutError), alarms.within(0.02):
        await asyncio.sleep(30)
    assert 0.02 <= monotonic() - began < 10
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    await asyncio.sleep(0)  # nothing is left of it


async def test_what_is_done_in_time_is_left_alone(alarms):
    with alarms.within(0.02):
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)


async def test_without_any_time_nothing_begins(alarms):
    with pytest.raises(TimeoutError), alarms.within(0):
        pytest.fail("It has begun.")


async def test_errors_of_its_own_pass(alarms):
    with pytest.raises(LookupError), alarms.within(30):
        raise LookupError


@pytest.mark.parametrize("also_times_out", [False, True])
async def test_somebody_elses_cancelling_stays_one(alarms, also_times_out):
    begun = asyncio.Event()

    async def work() -> None:
        with alarms.within(30):
            if also_times_out:
                next(iter(alarms._pending)).go_off()
            begun.set()
            await asyncio.sleep(30)

    task = asyncio.create_task(work())
    if not also_times_out:
        await asyncio.wait_for(begun.wait(), 5)
    else:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_the_inner_of_two_is_told_apart_from_the_outer(alarms):
    with alarms.within(30):
        with pytest.raises(TimeoutError), alarms.within(0.01):
            await asyncio.sleep(30)
        await asyncio.sleep(0)  # the outer one goes on
