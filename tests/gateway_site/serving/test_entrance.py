"""Few requests begin in a turn of the event loop, in their order, and nobody is forgotten at the entrance."""

import asyncio
from collections.abc import Callable

from gateway_site.serving.entrance import AT_ONCE, Entrance

MANY = 5 * AT_ONCE + 3


def arrive(entrance: Entrance, begin: Callable[[], bool]) -> None:
    if entrance.enter(begin):
        begin()


async def until_all(story: list[object], length: int) -> None:
    async with asyncio.timeout(5):
        while len(story) < length:
            await asyncio.sleep(0)


async def test_what_has_begun_goes_on_before_more_begins():
    entrance, story = Entrance(), []
    loop = asyncio.get_running_loop()

    def request(number: int) -> Callable[[], bool]:
        def begin() -> bool:
            story.append(("begins", number))
            loop.call_soon(story.append, ("goes on", number))
            return True

        return begin

    for number in range(MANY):
        arrive(entrance, request(number))
    assert len(story) == AT_ONCE
    await until_all(story, 2 * MANY)

    assert [number for what, number in story if what == "begins"] == list(range(MANY))
    assert [number for what, number in story if what == "goes on"] == list(range(MANY))
    under_way = most_under_way = 0
    for what, _ in story:
        under_way += 1 if what == "begins" else -1
        most_under_way = max(most_under_way, under_way)
    assert most_under_way <= 2 * AT_ONCE  # those of one turn begin while those of the turn before go on


async def test_who_gives_up_at_the_entrance_takes_nobodys_place():
    entrance, begun = Entrance(), []

    def request(number: int) -> Callable[[], bool]:
        def begin() -> bool:
            if number % 2:
                return False
            begun.append(number)
            return True

        return begin

    for number in range(0, 2 * AT_ONCE, 2):
        arrive(entrance, request(number))
    for number in range(2 * AT_ONCE, 4 * AT_ONCE):
        arrive(entrance, request(number))
    await asyncio.sleep(0)
    assert begun == list(range(0, 4 * AT_ONCE, 2))  # in one turn as many as may, of those who still want to


async def test_one_after_the_other_nobody_waits():
    entrance = Entrance()
    for _ in range(MANY):
        assert entrance.enter(lambda: True)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_who_comes_later_does_not_overtake():
    entrance, begun = Entrance(), []

    def request(number: int) -> Callable[[], bool]:
        return lambda: begun.append(number) is None

    for number in range(AT_ONCE + 1):
        arrive(entrance, request(number))
    await asyncio.sleep(0)
    for number in range(AT_ONCE + 1, 3 * AT_ONCE):
        arrive(entrance, request(number))
    await until_all(begun, 3 * AT_ONCE)
    assert begun == list(range(3 * AT_ONCE))


async def test_the_last_who_wait_may_all_give_up():
    entrance = Entrance()
    for _ in range(AT_ONCE):
        assert entrance.enter(lambda: True)
    for _ in range(2):
        assert not entrance.enter(lambda: False)
    await asyncio.sleep(0.01)

    assert entrance.enter(lambda: True)
