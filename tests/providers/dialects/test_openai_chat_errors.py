"""Errors in OpenAI's shape, which OpenAI's own client understands."""

import json

import openai
import pytest

from providers.dialects.openai_chat.errors import error_frame, is_error_body, read_error, write_error
from tenants.errors import (
    BodyTooLarge,
    GatewayError,
    InvalidRequest,
    NotFound,
    RateLimited,
    Unauthenticated,
    Unavailable,
    UpstreamFailed,
    UpstreamTimeout,
)

MESSAGES = [{"role": "user", "content": "hi"}]
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
FIRST = {**CHUNK, "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]}


@pytest.mark.parametrize(
    ("error", "exception", "kind"),
    [
        (InvalidRequest("Bad.", param="model"), openai.BadRequestError, "invalid_request_error"),
        (Unauthenticated("No."), openai.AuthenticationError, "invalid_request_error"),
        (NotFound("No.", code="model_not_found", param="model"), openai.NotFoundError, "invalid_request_error"),
        (BodyTooLarge("Big."), openai.APIStatusError, "invalid_request_error"),
        (RateLimited("Slow."), openai.RateLimitError, "rate_limit_error"),
        (UpstreamFailed("Oops."), openai.InternalServerError, "server_error"),
        (Unavailable("Later."), openai.InternalServerError, "server_error"),
        (UpstreamTimeout("Late."), openai.InternalServerError, "server_error"),
    ],
)
def test_the_client_reads_an_error(
    openai_client: openai.OpenAI,
    upstream_answer: dict[str, object],
    error: GatewayError,
    exception: type[openai.APIStatusError],
    kind: str,
):
    upstream_answer |= {"status_code": error.status, "content": write_error(error, "req-1")}
    with pytest.raises(exception) as caught:
        openai_client.chat.completions.create(model="m", messages=MESSAGES)
    read = caught.value
    assert read.status_code == error.status
    assert (read.code, read.param, read.type) == (error.code, error.param, kind)
    assert read.body["message"] == error.message


def test_the_client_raises_on_an_error_in_mid_stream(openai_client: openai.OpenAI, upstream_answer: dict[str, object]):
    frame = error_frame(UpstreamFailed("It broke off.", code="upstream_cut"), "req-1")
    headers = {"content-type": "text/event-stream"}
    upstream_answer |= {
        "status_code": 200,
        "headers": headers,
        "content": b"data: " + json.dumps(FIRST).encode() + b"\n\n" + frame,
    }
    stream = openai_client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
    assert next(stream).choices[0].delta.content == "a"
    with pytest.raises(openai.APIError, match="It broke off") as caught:
        next(stream)
    assert caught.value.code == "upstream_cut"


def test_a_frame_says_whether_and_when_to_try_again():
    frame = error_frame(RateLimited("Slow.", retry_after_seconds=1.5), "req-1")
    assert frame.startswith(b"data: ")
    assert frame.endswith(b"\n\n")
    error = json.loads(frame[6:])["error"]
    assert (error["retryable"], error["retry_after_ms"], error["severity"]) == (True, 1500, "error")
    assert json.loads(error_frame(InvalidRequest("Bad."), "r")[6:])["error"]["retry_after_ms"] is None


def test_a_sentence_with_line_ends_stays_one_frame():
    frame = error_frame(UpstreamFailed("a\n\ndata: [DONE]\n\nb\u2028é\ud800"), "r")
    assert frame.count(b"\n") == 2
    assert json.loads(frame[6:])["error"]["message"].startswith("a\n\ndata")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"No."}}', "No."),
        (b'{"error":"No."}', "No."),
        (b'{"message":"No."}', "No."),
        (b'{"object":"error","message":"No."}', "No."),
        (b'{"error":{"message":5}}', ""),
        (b'{"error":null}', ""),
        (b'{"detail":"No."}', "No."),
        (b'{"detail":[{"msg":"No."}]}', '[{"msg": "No."}]'),
        (b'[{"error":{"message":"No."}}]', "No."),
        (b"<html>No.</html>", ""),
        (b"", ""),
        (b"[]", ""),
        (b"\xff", ""),
        pytest.param(b"[" * 200_000, "", id="nested too deeply"),
    ],
)
def test_it_reads_what_an_upstreams_error_says(body: bytes, message: str):
    assert read_error(body) == message


@pytest.mark.parametrize(
    ("body", "is_error"),
    [
        (b'{"error":{"message":"No."}}', True),
        (b'{"error":{"code":500}}', True),
        (b'{"error":"No."}', True),
        (b'{"object":"error","message":"No."}', True),
        (b'{"error":null,"choices":[]}', False),
        (b'{"error":null,"object":"x"}', False),
        (b'{"choices":[{"finish_reason":"error"}]}', False),
        (b'{"data":[],"error":{"message":"x"}}', False),
        (b'{"choices":[{"message":{"content":"\\"error\\""}}]}', False),
        (b'["error"]', False),
        (b'"error"', False),
    ],
)
def test_it_tells_an_error_that_came_with_status_200(body: bytes, is_error: bool):
    assert is_error_body(body) is is_error
