"""Few requests begin in a turn of the event loop, in their order, and nobody is forgotten at the entrance."""

import asyncio

from gateway_site.serving.entrance import AT_ONCE, Entrance

MANY = 5 * AT_ONCE + 3


async def enter(entrance: Entrance) -> None:
    place = entrance.place()
    if place is not None:
        await place


async def test_what_has_begun_goes_on_before_more_begins():
    entrance, story = Entrance(), []

    async def request(number: int) -> None:
        await enter(entrance)
        story.append(("begins", number))
        await asyncio.sleep(0)
        story.append(("goes on", number))

    await asyncio.gather(*map(request, range(MANY)))

    assert [number for what, number in story if what == "begins"] == list(range(MANY))
    assert [number for what, number in story if what == "goes on"] == list(range(MANY))
    under_way = most_under_way = 0
    for what, _ in story:
        under_way += 1 if what == "begins" else -1
        most_under_way = max(most_under_way, under_way)
    assert most_under_way <= 2 * AT_ONCE  # those of one turn begin while those of the turn before go on


async def test_who_gives_up_at_the_entrance_takes_nobodys_place():
    entrance, begun = Entrance(), []

    async def request(number: int) -> None:
        await enter(entrance)
        begun.append(number)

    tasks = [asyncio.create_task(request(number)) for number in range(MANY)]
    await asyncio.sleep(0)
    for task in tasks[AT_ONCE : 3 * AT_ONCE]:
        task.cancel()
    await asyncio.wait(tasks, timeout=5)

    assert begun == [*range(AT_ONCE), *range(3 * AT_ONCE, MANY)]


async def test_one_after_the_other_nobody_waits():
    entrance = Entrance()
    for _ in range(MANY):
        assert entrance.place() is None
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_the_last_who_wait_may_all_give_up():
    entrance = Entrance()
    places = [entrance.place() for _ in range(AT_ONCE + 2)]
    assert places[:AT_ONCE] == [None] * AT_ONCE
    for place in places[AT_ONCE:]:
        place.cancel()
    await asyncio.sleep(0.01)

    assert entrance.place() is None
