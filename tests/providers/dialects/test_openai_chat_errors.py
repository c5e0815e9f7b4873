"""Errors in OpenAI's shape, which OpenAI's own client understands."""

import json

import openai
import pytest

from providers.dialects.openai_chat.errors import error_frame, is_error_body, read_error, read_failure, write_error
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


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"message": "Too long.", "code": "context_length_exceeded"}),
        (400, {"message": "This model's maximum context length is 8192 tokens. However, you requested 9000."}),
        (400, {"message": "This endpoint's maximum context length is 200000 tokens.", "code": 400}),
        (400, {"message": "prompt is too long: 210000 tokens > 200000 maximum"}),
        (400, {"message": "Please reduce the length of the messages or completion."}),
        (400, {"message": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048575)."}),
    ],
)
def test_a_prompt_that_is_too_long_is_known_in_any_words(status: int, error: dict[str, object]):
    failure = read_failure(status, json.dumps({"error": error}).encode())
    assert failure.is_context_length
    assert not failure.is_account_empty
    assert failure.message == error["message"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (
            429,
            {"message": "You exceeded your current quota.", "type": "insufficient_quota", "code": "insufficient_quota"},
        ),
        (429, {"message": "Your account is suspended.", "type": "insufficient_quota", "code": None}),
        (402, {"message": "Insufficient Balance", "type": "unknown_error", "code": "invalid_request_error"}),
        (402, {"message": "This request requires more credits.", "code": 402}),
        (403, {"message": "Sorry, your account balance is insufficient", "code": 30001}),
    ],
)
def test_an_account_without_credit_is_known(status: int, error: dict[str, object]):
    failure = read_failure(status, json.dumps({"error": error}).encode())
    assert failure.is_account_empty
    assert not failure.is_context_length


def test_a_failure_says_which_field_and_how_long_to_wait():
    error = {
        "message": "Rate limit reached. Please try again in 1m2.5s.",
        "code": "rate_limit_exceeded",
        "param": "model",
    }
    failure = read_failure(429, json.dumps({"error": error}).encode())
    assert (failure.code, failure.param, failure.retry_after_seconds) == ("rate_limit_exceeded", "model", 62.5)
    soon = read_failure(429, b'{"error":{"message":"Try again in 20ms."}}')
    assert soon.retry_after_seconds == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (b'{"code":20012,"message":"Model does not exist.","data":null}', "Model does not exist.", "20012"),
        (b'{"success":false,"errors":[{"code":7009,"message":"No."}],"result":null}', "No.", "7009"),
        (b'[{"error":{"code":400,"message":"No.","status":"INVALID_ARGUMENT"}}]', "No.", "400"),
        (b'{"detail":"Not Found"}', "Not Found", ""),
        (b'{"error":"model is loading"}', "model is loading", ""),
        (b'{"object":"error","message":"No.","type":"BadRequestError","code":400}', "No.", "400"),
        (b"<html>", "", ""),
        (b"", "", ""),
        (b"[1]", "", ""),
    ],
)
def test_other_vendors_failures_are_read_too(body: bytes, message: str, code: str):
    failure = read_failure(400, body)
    assert (failure.message, failure.code) == (message, code)


def test_a_refused_credential_is_known_by_its_code():
    assert read_failure(400, b'{"error":{"message":"Bad key.","code":"invalid_api_key"}}').is_credential_refused
    assert not read_failure(400, b'{"error":{"message":"Bad.","code":null}}').is_credential_refused
