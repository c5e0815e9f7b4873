"""Values that are made once a second, however many ask."""

import asyncio

import pytest

from gateway_site.infra import kept
from gateway_site.infra.kept import Kept, in_thread


async def test_those_who_ask_at_once_get_the_same():
    made = []

    async def make() -> object:
        made.append(object())
        await asyncio.sleep(0.01)
        return made[-1]

    value = Kept(make)
    assert {id(found) for found in await asyncio.gather(*(value.get() for _ in range(9)))} == {id(made[0])}
    assert await value.get() is made[0]
    assert len(made) == 1


async def test_what_is_old_is_made_anew(monkeypatch):
    monkeypatch.setattr(kept, "FRESH_SECONDS", 0.0)
    numbers = iter(range(9))

    async def make() -> int:
        return next(numbers)

    value = Kept(make)
    assert [await value.get(), await value.get()] == [0, 1]


async def test_a_failure_is_told_and_not_kept():
    answers = iter([ValueError("no"), "yes"])

    async def make() -> str:
        match next(answers):
            case Exception() as error:
                raise error
            case answer:
                return answer

    value = Kept(make)
    with pytest.raises(ValueError, match="no"):
        await value.get()
    assert await value.get() == "yes"


async def test_whoever_leaves_takes_nothing_from_those_who_stay():
    may_go_on = asyncio.Event()

    async def make() -> str:
        await may_go_on.wait()
        return "made"

    value = Kept(make)
    leaving, staying = asyncio.create_task(value.get()), asyncio.create_task(value.get())
    await asyncio.sleep(0)
    leaving.cancel()
    may_go_on.set()
    assert await staying == "made"


async def test_a_thread_tells_its_failures():
    assert await in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 7, 0)
