"""Outages: who takes part in one, when it begins, when it ends, and what it does meanwhile."""

import httpx
import pytest

from providers.simulator.outages import Outages


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def outages(clock):
    return Outages(clock=clock)


@pytest.fixture
async def control(simulator):
    async with httpx.AsyncClient(base_url=simulator.url) as client:
        yield client


def test_who_was_never_down_is_up(outages):
    assert not outages.is_down("mine")


def test_it_is_down_for_its_seconds_and_nobody_else_is(outages, clock):
    outages.begin("mine", [6])
    assert outages.is_down("mine")
    assert not outages.is_down("charlie")
    clock.now += 5.9
    assert outages.is_down("mine")
    clock.now += 0.2
    assert not outages.is_down("mine")


def test_it_flaps(outages, clock):
    outages.begin("mine", [2, 1, 2, 1])
    seen = ""
    for _ in range(8):
        seen += "down " if outages.is_down("mine") else "up "
        clock.now += 1
    assert seen.split() == ["down", "down", "up", "down", "down", "up", "up", "up"]


def test_a_new_one_takes_the_place_of_the_old_one(outages, clock):
    outages.begin("mine", [60])
    outages.begin("mine", [1])
    clock.now += 2
    assert not outages.is_down("mine")


async def test_it_fails_while_it_is_down(chat, control, simulator, clock):
    simulator.outages._clock = clock
    assert (await chat("[[outage=mine]]")).status == 200
    reply = await control.post("/_simulator/outage", json={"id": "mine", "seconds": 0.2})
    assert reply.json() == {"id": "mine", "seconds": [0.2]}
    assert (await chat("[[outage=mine]]")).status == 500
    assert (await chat("[[outage=mine status=503]]")).status == 503
    assert (await chat("[[outage=mine hang=1]]", quiet=0.05)).raw == b""
    assert (await chat("[[outage=charlie status=503]]")).status == 200
    clock.now += 0.25
    assert (await chat("[[outage=mine status=503]]")).status == 200


async def test_it_can_be_told_to_flap(chat, control, simulator, clock):
    simulator.outages._clock = clock
    await control.post("/_simulator/outage", json={"id": "mine", "seconds": [0, 0.1, 60]})
    assert (await chat("[[outage=mine]]")).status == 200
    clock.now += 0.15
    assert (await chat("[[outage=mine]]")).status == 500


@pytest.mark.parametrize("body", ["{}", '{"id": "a"}', '{"id": "a", "seconds": -1}', '{"id": 1, "seconds": 1}', "no"])
async def test_it_says_what_is_wrong_with_an_outage(control, body):
    reply = await control.post("/_simulator/outage", content=body)
    assert reply.status_code == 400
    assert reply.json()["error"]
