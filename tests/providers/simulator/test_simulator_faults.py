import asyncio
import time
from datetime import datetime

import anthropic
import httpx2
import openai
import pytest
from simulator_client import CHAT_HEADERS, MESSAGES_HEADERS, http_request

FRAGMENT = "chatcmpl-sim-broken"


@pytest.mark.parametrize(
    ("status", "type_", "code"),
    [
        (400, "invalid_request_error", None),
        (401, "invalid_request_error", "invalid_api_key"),
        (403, "request_forbidden", "unsupported_country_region_territory"),
        (404, "invalid_request_error", "model_not_found"),
        (418, "invalid_request_error", None),
        (429, "requests", "rate_limit_exceeded"),
        (500, "server_error", None),
        (502, "server_error", None),
        (503, "server_error", "overloaded"),
        (529, "server_error", "overloaded"),
    ],
)
async def test_it_fails_with_a_status_as_openai_does(chat, status, type_, code):
    reply = await chat(f"[[status={status}]]", stream=True)
    error = reply.json()["error"]
    assert (reply.status, error["type"], error["code"]) == (status, type_, code)
    assert reply.headers["x-request-id"]


@pytest.mark.parametrize(
    ("status", "type_"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
async def test_it_fails_with_a_status_as_anthropic_does(message, status, type_):
    reply = await message(f"[[status={status}]]", stream=True)
    assert (reply.status, reply.json()["error"]["type"]) == (status, type_)


async def test_it_says_when_to_come_back(chat, message):
    reply = await chat("[[status=429 retry_after=2 retry_after_ms=1500 should_retry=false]]")
    assert (reply.headers["retry-after"], reply.headers["retry-after-ms"]) == ("2", "1500")
    assert reply.headers["x-should-retry"] == "false"
    assert reply.headers["x-ratelimit-remaining-requests"] == "0"
    limited = (await message("[[status=429]]")).headers
    resets_at = datetime.fromisoformat(limited["anthropic-ratelimit-requests-reset"])
    assert 0 < resets_at.timestamp() - time.time() <= 2
    reply = await message('[[status=429 retry_after="Wed, 21 Oct 2026 07:28:00 GMT"]]')
    assert reply.headers["retry-after"] == "Wed, 21 Oct 2026 07:28:00 GMT"
    assert reply.headers["anthropic-ratelimit-requests-remaining"] == "0"


async def test_it_knows_the_providers_wording_of_special_errors(chat, message):
    too_long = "[[status=400 code=context_length_exceeded]]"
    assert (await chat(too_long)).json()["error"]["code"] == "context_length_exceeded"
    assert (await message(too_long)).json()["error"]["message"] == (
        "prompt is too long: 200001 tokens > 200000 maximum"
    )
    error = (await chat("[[status=429 code=insufficient_quota]]")).json()["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")


async def test_an_sdk_retries_until_it_succeeds(simulator):
    asked = {"model": "sim-fast", "messages": [{"role": "user", "content": "[[fail=2 fail_id=a]]"}]}
    async with openai.AsyncOpenAI(base_url=f"{simulator.url}/v1", api_key="x", max_retries=0) as client:
        for _ in range(2):
            with pytest.raises(openai.InternalServerError):
                await client.chat.completions.create(**asked)
        assert await client.chat.completions.create(**asked)


async def test_failures_are_counted_by_id(chat):
    statuses = [(await chat(f"[[fail=1 fail_id={fail_id}]]")).status for fail_id in ("a", "b", "a", "b")]
    assert statuses == [500, 500, 200, 200]


async def test_any_fault_can_be_the_one_that_passes(chat):
    text = "[[fail=1 fail_id=c status=503 retry_after=1]]"
    assert [(await chat(text)).status for _ in range(2)] == [503, 200]
    text = "[[fail=1 fail_id=d cut=1]]"
    assert [(await chat(text, stream=True)).is_complete for _ in range(2)] == [False, True]


async def test_it_can_fail_every_so_often(chat):
    statuses = [(await chat("hello", model="sim-flaky")).status for _ in range(6)]
    assert statuses == [200, 200, 500, 200, 200, 500]


async def test_it_accepts_and_never_answers(chat):
    reply = await chat("[[hang=1]]", quiet=0.1)
    assert reply.is_open
    assert reply.raw == b""


async def test_it_closes_without_a_byte(chat):
    reply = await chat("[[drop=1]]")
    assert (reply.raw, reply.is_open) == (b"", False)


@pytest.mark.parametrize("key", ["cut", "truncate", "stall", "reset"])
async def test_it_ends_after_some_chunks(chat, message, key):
    reply = await chat(f"[[{key}=2 interval=0.002]]", stream=True, quiet=1.0)
    deltas = [chunk["choices"][0]["delta"].get("content") for chunk in reply.chunks()]
    assert deltas == ["", "The", " simulator"]
    assert reply.is_complete == (key == "truncate")
    assert reply.is_open == (key == "stall")
    assert (reply.error is not None) == (key == "reset")
    reply = await message(f"[[{key}=2]]", stream=True, quiet=1.0)
    assert [name for name, _ in reply.events()].count("content_block_delta") == 2
    assert "message_stop" not in [name for name, _ in reply.events()]


async def test_it_ends_before_the_first_chunk(chat):
    reply = await chat("[[cut=0]]", stream=True)
    assert [chunk["choices"][0]["delta"]["role"] for chunk in reply.chunks()] == ["assistant"]


@pytest.mark.parametrize("key", ["cut", "stall", "reset"])
async def test_it_breaks_off_a_whole_answer(chat, key):
    reply = await chat(f"[[{key}=1]]", quiet=1.0)
    assert reply.status == 200
    assert 0 < len(reply.body) < int(reply.headers["content-length"])


@pytest.mark.parametrize("key", ["cut", "reset"])
async def test_an_sdk_notices_a_broken_connection(openai_client, anthropic_client, key):
    messages = [{"role": "user", "content": f"[[{key}=2 interval=0.002]]"}]
    stream = await openai_client.chat.completions.create(model="x", messages=messages, stream=True)
    with pytest.raises(openai.APIConnectionError):
        async for _ in stream:
            pass
    with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
        async with anthropic_client.messages.stream(model="x", max_tokens=9, messages=messages) as stream:
            await stream.until_done()


@pytest.mark.parametrize(("position", "before"), [(0, 1), (2, 3)])
async def test_it_sends_a_frame_which_is_not_json(chat, position, before):
    reply = await chat(f"[[malformed={position}]]", stream=True)
    frames = [data for _, data in reply.events()]
    [broken] = [index for index, data in enumerate(frames) if FRAGMENT in data]
    assert broken == before
    assert frames[-1] == "[DONE]"


async def test_it_sends_a_whole_answer_which_is_not_json(message):
    reply = await message("[[malformed=1]]")
    assert reply.is_complete
    assert not reply.body.endswith(b"}")


async def test_an_error_can_be_the_first_event(chat, message):
    reply = await message("[[error_event=0]]", stream=True)
    assert reply.status == 200
    assert reply.events() == [("error", '{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}')]
    reply = await chat("[[error_event=0 status=500]]", stream=True)
    assert [chunk["error"]["type"] for chunk in reply.chunks()] == ["server_error"]


async def test_an_error_in_the_stream_is_the_end_of_it(message, chat):
    names = [name for name, _ in (await message("[[error_event=2]]", stream=True)).events()]
    assert names[-1] == "error"
    assert names.count("content_block_delta") == 2
    assert "[DONE]" not in [data for _, data in (await chat("[[error_event=2]]", stream=True)).events()]


async def test_a_whole_answer_can_be_an_error_with_status_200(chat):
    reply = await chat("[[error_event=1 status=503]]")
    assert (reply.status, reply.json()["error"]["code"]) == (200, "overloaded")


async def test_it_can_leave_the_terminal_event_out(chat, message):
    reply = await chat("[[no_done=1]]", stream=True)
    assert reply.is_complete
    assert reply.chunks()[-1]["choices"][0]["finish_reason"] == "stop"
    assert reply.events()[-1][1] != "[DONE]"
    assert (await message("[[no_done=1]]", stream=True)).events()[-1][0] == "message_delta"


@pytest.mark.parametrize("stream", [True, False])
async def test_it_answers_nothing_or_html(chat, stream):
    reply = await chat("[[empty=1]]", stream=stream)
    assert (reply.status, reply.body, reply.headers["content-length"]) == (200, b"", "0")
    reply = await chat("[[html=1]]", stream=stream)
    assert (reply.status, reply.headers["content-type"]) == (502, "text/html")
    assert reply.body.startswith(b"<html>")
    assert (await chat("[[html=1 status=504]]", stream=stream)).status == 504


async def test_it_waits_before_the_first_chunk_and_between_chunks(chat):
    reply = await chat("[[first=1 interval=0.3 chunks=3]]", stream=True)
    opening, first, _, third = reply.times
    assert opening < 0.9
    assert first > 0.9
    assert third > 1.5
    assert b"[DONE]" in reply.packets[-1]


async def test_it_can_wait_before_what_ends_the_stream(chat, message):
    for reply, before, last in (
        (await chat("[[linger=0.6 chunks=1]]", stream=True), b'"finish_reason":"stop"', b"[DONE]"),
        (await message("[[linger=0.6 chunks=1]]", stream=True), b'"message_delta"', b"message_stop"),
    ):
        assert before in reply.packets[-2]
        assert last in reply.packets[-1]
        assert reply.times[-1] - reply.times[-2] > 0.2


async def test_a_whole_answer_takes_as_long_as_its_stream(chat):
    started = time.perf_counter()
    await chat("[[first=0.05 interval=0.02 chunks=4]]")
    assert time.perf_counter() - started > 0.1


async def test_it_can_delay_the_status_line_and_drip_the_headers(chat):
    reply = await chat("[[head=0.05 drip_headers=0.005]]")
    assert reply.times[0] > 0.04
    assert reply.packets[0] == b"HTTP/1.1 200 OK\r\n"
    assert len(reply.packets) > 10
    assert reply.json()["object"] == "chat.completion"


async def test_it_keeps_the_connection_alive_while_it_makes_you_wait(chat, message):
    reply = await message("[[first=0.06 pings=2 chunks=1]]", stream=True)
    assert [name for name, _ in reply.events()].count("ping") == 3
    assert len(reply.packets) == 4
    reply = await chat("[[first=0.06 pings=2 chunks=1]]", stream=True)
    assert reply.packets[1].count(b": keep-alive\n\n") == 1


async def test_it_can_close_after_an_answer_without_having_said_so(simulator):
    body = b'{"model":"x","messages":[{"role":"user","content":"[[hangup=1]]"}]}'
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    writer.write(http_request("/v1/chat/completions", body, CHAT_HEADERS))
    answer = await asyncio.wait_for(reader.read(-1), 2)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" not in answer.lower()


async def test_an_anthropic_sdk_sees_its_own_error_classes(anthropic_client):
    asked = {"max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]}
    for model, error in (
        ("sim-rate-limited", anthropic.RateLimitError),
        ("sim-unauthorized", anthropic.AuthenticationError),
        ("sim-overloaded", anthropic.InternalServerError),
        ("sim-too-long", anthropic.BadRequestError),
    ):
        with pytest.raises(error):
            await anthropic_client.messages.create(model=model, **asked)


async def test_it_refuses_a_body_over_32_megabytes_as_anthropic_does(send):
    body = b'{"model":"x"' + b" " * (32 * 1024 * 1024) + b"}"
    reply = await send("/v1/messages", body, MESSAGES_HEADERS)
    assert (reply.status, reply.json()["error"]["type"]) == (413, "request_too_large")
