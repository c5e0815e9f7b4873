"""Errors of Responses, written and read."""

import json
from typing import Any

import openai
import pytest

from providers.dialects.openai_responses import OPENAI_RESPONSES
from providers.dialects.openai_responses.errors import failure_of, seconds_in
from tenants.errors import GatewayError, InvalidRequest, RateLimited, Unavailable, UpstreamFailed


def body(**error: Any) -> bytes:
    return json.dumps({"error": error}).encode()


def test_the_sdk_raises_what_we_write(openai_client: openai.OpenAI, upstream_answer: dict[str, object]):
    error = InvalidRequest("'input[1]' is wrong.", param="input[1]")
    upstream_answer |= {"status_code": 400, "content": OPENAI_RESPONSES.write_error(error, "r1")}
    with pytest.raises(openai.BadRequestError) as raised:
        openai_client.responses.create(model="m", input="hi")
    assert (raised.value.param, raised.value.code, raised.value.type) == (
        "input[1]",
        "invalid_request",
        "invalid_request_error",
    )


def test_a_stream_that_fails_ends_in_an_error_event(openai_client: openai.OpenAI, upstream_answer: dict[str, object]):
    frame = OPENAI_RESPONSES.error_frame(UpstreamFailed("It broke."), "r1")
    assert frame.startswith(b"event: error\ndata: {")
    upstream_answer |= {"status_code": 200, "content": frame, "headers": {"content-type": "text/event-stream"}}
    with openai_client.responses.create(model="m", input="hi", stream=True) as stream:
        (event,) = stream
    assert event.type == "error"
    assert (event.code, event.message) == ("server_error", "It broke.")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            RateLimited("Slow down.", retry_after_seconds=1.5),
            "rate_limit_exceeded",
            "Slow down. Please try again in 1.5s.",
        ),
        (RateLimited("Try again in 3s.", retry_after_seconds=3), "rate_limit_exceeded", "Try again in 3s."),
        (InvalidRequest("Too long.", code="context_length_exceeded"), "context_length_exceeded", "Too long."),
        (InvalidRequest("No."), "invalid_prompt", "No."),
        (Unavailable("Busy."), "server_error", "Busy."),
    ],
)
def test_codes_are_those_that_codex_looks_for(error: GatewayError, code: str, message: str):
    assert failure_of(error) == (code, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (body(message="no", type="x"), "no"),
        (b'{"detail":"missing"}', "missing"),
        (b'{"error":"plain"}', "plain"),
        (b'{"id":"resp_1","status":"failed","error":{"code":"server_error","message":"late"}}', "late"),
        (b"<html>", ""),
        (b"", ""),
    ],
)
def test_an_upstreams_own_words_are_found(content: bytes, message: str):
    assert OPENAI_RESPONSES.read_error(content) == message


def test_a_failure_tells_what_can_be_done():
    long = OPENAI_RESPONSES.read_failure(400, body(message="x", code="context_length_exceeded", param="input"))
    assert (long.is_context_length, long.param, long.code) == (True, "input", "context_length_exceeded")
    worded = OPENAI_RESPONSES.read_failure(400, body(message="Your input exceeds the context window of this model."))
    assert worded.is_context_length
    assert OPENAI_RESPONSES.read_failure(429, body(message="x", code="insufficient_quota")).is_account_empty
    assert OPENAI_RESPONSES.read_failure(429, body(message="x", type="insufficient_quota")).is_account_empty
    limited = OPENAI_RESPONSES.read_failure(
        429, body(message="Please try again in 1m2.5s.", code="rate_limit_exceeded")
    )
    assert (limited.retry_after_seconds, limited.is_account_empty) == (62.5, False)
    assert OPENAI_RESPONSES.read_failure(502, b"<html>").message == ""


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("try again in 20ms.", 0.02),
        ("try again in 1.2s", 1.2),
        ("try again in 2m", 120),
        ("try again in 1h1m1s", 3661),
        ("try again later", None),
        ("try again in ...s", None),
        ("", None),
    ],
)
def test_the_time_to_wait_is_found_in_words(message: str, seconds: float | None):
    assert seconds_in(message) == seconds


@pytest.mark.parametrize(
    ("content", "is_error"),
    [
        (b'{"id":"resp_1","object":"response","error":null,"output":[]}', False),
        (b'{"id":"resp_1","object":"response","error": {"code":"x","message":"y"}}', True),
        (b'{"error":{"message":"no"}}', True),
        (b'{"output":[{"text":"\\"error\\":{"}],"error":null}', False),
        (b'{"output":[]}', False),
        (b'oops "error"', False),
    ],
)
def test_an_error_with_status_200_is_told_from_an_answer(content: bytes, is_error: bool):
    assert OPENAI_RESPONSES.is_error_body(content) is is_error
