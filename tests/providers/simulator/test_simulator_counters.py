import asyncio
import base64

import httpx
import orjson
import pytest
from simulator_client import CHAT_HEADERS, http_request

from providers.simulator.requests import KEPT_REQUESTS, Outcome, Request, RequestLog


@pytest.fixture
async def control(simulator):
    async with httpx.AsyncClient(base_url=simulator.url) as client:
        yield client


async def until(is_true):
    for _ in range(200):
        if is_true():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("It never came true.")


async def test_it_counts_what_reached_it(chat, message, control):
    await chat("hello")
    await chat("[[chunks=2]]", stream=True)
    await message("hello", model="other")
    counters = (await control.get("/_simulator/counters")).json()
    assert counters == {
        "requests": 3,
        "connections": 3,
        "open_connections": 0,
        "streams_started": 1,
        "streams_finished": 1,
        "disconnects": 0,
        "seals": 0,
        "by_path": {"/v1/chat/completions": 2, "/v1/messages": 1},
        "by_model": {"sim-fast": 2, "other": 1},
        "by_id": {},
    }


async def test_it_counts_by_id_and_model(chat, message, control):
    await chat("[[id=mine]]")
    await chat("[[id=mine status=500]]")
    await message("[[id=mine]]", model="other")
    await message("[[id=yours]]")
    counters = (await control.get("/_simulator/counters")).json()
    assert counters["by_id"] == {"mine": {"sim-fast": 2, "other": 1}, "yours": {"sim-fast": 1}}


async def test_asking_leaves_no_trace(simulator, control):
    await control.get("/_simulator/counters")
    await control.get("/_simulator/requests")
    assert (simulator.counters.requests, simulator.counters.connections) == (0, 0)
    assert not simulator.requests


@pytest.mark.parametrize("text", ["[[first=5]]", "[[hang=1]]", "[[stall=1]]", "[[interval=5]]"])
@pytest.mark.parametrize("stream", ["true", "false"])
async def test_it_notices_a_client_that_goes_away(simulator, text, stream):
    body = f'{{"model":"x","stream":{stream},"messages":[{{"role":"user","content":"{text}"}}]}}'.encode()
    _, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    writer.write(http_request("/v1/chat/completions", body, CHAT_HEADERS))
    await until(lambda: simulator.counters.requests == 1)
    assert simulator.counters.open_connections == 1
    writer.close()
    await until(lambda: simulator.counters.disconnects == 1)
    assert simulator.requests[-1].outcome is Outcome.DISCONNECTED
    assert (simulator.counters.open_connections, simulator.counters.streams_finished) == (0, 0)


async def test_a_client_that_leaves_after_its_answer_is_no_disconnect(simulator, openai_client):
    await openai_client.chat.completions.create(model="x", messages=[{"role": "user", "content": "hi"}])
    await openai_client.close()
    await until(lambda: simulator.counters.open_connections == 0)
    assert simulator.counters.disconnects == 0
    assert simulator.requests[-1].outcome is Outcome.FINISHED


async def test_a_cut_of_its_own_is_no_disconnect(simulator, chat):
    await chat("[[cut=1]]", stream=True)
    assert simulator.requests[-1].outcome is Outcome.CUT
    assert (simulator.counters.disconnects, simulator.counters.streams_finished) == (0, 0)
    assert simulator.counters.streams_started == 1


async def test_it_shows_requests_as_received(simulator, control):
    body = '{"model":"x", "messages":[{"role":"user","content":"żółć"}]}'.encode()
    headers = {**CHAT_HEADERS, "X-Mixed-Case": "Kept", "x-twice": "1"}
    request = http_request("/v1/chat/completions?a=b&a=c", body, headers)
    _, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    writer.write(request.replace(b"x-twice: 1", b"x-twice: 1\r\nx-twice: 2"))
    await until(lambda: simulator.counters.requests == 1)
    [seen] = (await control.get("/_simulator/requests")).json()
    writer.close()
    assert (seen["method"], seen["path"], seen["query"]) == ("POST", "/v1/chat/completions", "a=b&a=c")
    assert base64.b64decode(seen["body"]) == body
    assert seen["headers"][-3:] == [["X-Mixed-Case", "Kept"], ["x-twice", "1"], ["x-twice", "2"]]
    assert seen["outcome"] == "finished"


async def test_it_keeps_the_last_requests(simulator, openai_client, control):
    for number in range(KEPT_REQUESTS + 5):
        await openai_client.embeddings.create(model="x", input=str(number), dimensions=1)
    assert len(simulator.requests) == KEPT_REQUESTS
    kept = (await control.get("/_simulator/requests?limit=2")).json()
    inputs = [orjson.loads(base64.b64decode(request["body"]))["input"] for request in kept]
    assert inputs == [str(KEPT_REQUESTS + 3), str(KEPT_REQUESTS + 4)]
    assert len((await control.get("/_simulator/requests")).json()) == 50
    assert (await control.get("/_simulator/requests?limit=0")).json() == []


def test_it_keeps_fewer_requests_where_bodies_are_large():
    log = RequestLog(largest_bytes=3000)
    for size in (1000, 1000, 1000, 1000):
        log.append(Request(method="POST", target=b"/", headers=[], body=b"x" * size))
    assert len(log) == 3
    log.append(Request(method="POST", target=b"/", headers=[], body=b"x" * 5000))
    assert [len(request.body) for request in log] == [5000]


async def test_it_forgets_when_told_to(simulator, chat, control):
    await control.post("/_simulator/outage", json={"id": "r", "seconds": 60})
    assert (await chat("[[outage=r]]")).status == 500
    text = "[[fail=1 fail_id=r id=r]]"
    assert [(await chat(text)).status for _ in range(2)] == [500, 200]
    assert (await control.post("/_simulator/reset")).json() == {"reset": True}
    assert (simulator.counters.requests, len(simulator.requests)) == (0, 0)
    assert (await control.get("/_simulator/counters")).json()["by_id"] == {}
    reply = await chat(text)
    assert reply.status == 500
    assert reply.headers["x-request-id"] == "req_sim_000004"
    assert (await chat("[[outage=r]]")).status == 200


async def test_it_knows_no_other_controls(control):
    assert (await control.get("/_simulator/nothing")).status_code == 404
    assert (await control.get("/_simulator/reset")).status_code == 404
