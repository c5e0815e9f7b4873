"""Errors in Anthropic's shape, which Anthropic's own client understands."""

import json

import anthropic
import pytest

from providers.dialects.anthropic_messages.errors import error_frame, is_error_body, read_error, write_error
from tenants.errors import (
    BodyTimeout,
    BodyTooLarge,
    Forbidden,
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


@pytest.mark.parametrize(
    ("error", "exception", "kind"),
    [
        (InvalidRequest("Bad.", param="model"), anthropic.BadRequestError, "invalid_request_error"),
        (Unauthenticated("No."), anthropic.AuthenticationError, "authentication_error"),
        (Forbidden("No."), anthropic.PermissionDeniedError, "permission_error"),
        (NotFound("No."), anthropic.NotFoundError, "not_found_error"),
        (BodyTimeout("Late."), anthropic.APIStatusError, "timeout_error"),
        (BodyTooLarge("Big."), anthropic.APIStatusError, "request_too_large"),
        (RateLimited("Slow."), anthropic.RateLimitError, "rate_limit_error"),
        (UpstreamFailed("Oops."), anthropic.InternalServerError, "api_error"),
        (Unavailable("Later."), anthropic.InternalServerError, "overloaded_error"),
        (UpstreamTimeout("Late."), anthropic.InternalServerError, "timeout_error"),
    ],
)
def test_the_client_reads_an_error(
    anthropic_client: anthropic.Anthropic,
    upstream_answer: dict[str, object],
    error: GatewayError,
    exception: type[anthropic.APIStatusError],
    kind: str,
):
    upstream_answer |= {"status_code": error.status, "content": write_error(error, "req-1")}
    with pytest.raises(exception) as caught:
        anthropic_client.messages.create(model="m", max_tokens=9, messages=MESSAGES)
    assert caught.value.status_code == error.status
    assert caught.value.type == kind
    assert caught.value.body == {
        "type": "error",
        "error": {"type": kind, "message": error.message},
        "request_id": "req-1",
    }


def test_the_client_raises_on_an_error_in_mid_stream(
    anthropic_client: anthropic.Anthropic, upstream_answer: dict[str, object]
):
    content = b'event: ping\ndata: {"type":"ping"}\n\n' + error_frame(UpstreamFailed("It broke off."), "req-1")
    upstream_answer |= {"status_code": 200, "headers": {"content-type": "text/event-stream"}, "content": content}
    stream = anthropic_client.messages.create(model="m", max_tokens=9, messages=MESSAGES, stream=True)
    with pytest.raises(anthropic.APIStatusError, match="It broke off"):
        list(stream)


def test_a_frame_says_whether_and_when_to_try_again():
    event, data = error_frame(Unavailable("Later.", retry_after_seconds=2), "req-1").rstrip().split(b"\n")
    assert event == b"event: error"
    body = json.loads(data.removeprefix(b"data: "))
    assert (body["type"], body["request_id"]) == ("error", "req-1")
    assert body["error"] == {
        "type": "overloaded_error",
        "message": "Later.",
        "retryable": True,
        "retry_after_ms": 2000,
        "severity": "error",
    }


def test_a_sentence_with_line_ends_stays_one_frame():
    frame = error_frame(UpstreamFailed("a\n\nevent: message_stop\r\n\r\n\u2028\ud800"), "r")
    assert (frame.count(b"\n"), frame.count(b"\r")) == (3, 0)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"type":"error","error":{"type":"x","message":"No."}}', "No."),
        (b'{"error":"No."}', "No."),
        (b'{"error":{"message":null}}', ""),
        (b'{"message":"No."}', ""),
        (b"<html>", ""),
        (b"", ""),
        (b"\xff", ""),
        (b"[]", ""),
        pytest.param(b"[" * 200_000, "", id="nested too deeply"),
    ],
)
def test_it_reads_what_an_upstreams_error_says(body: bytes, message: str):
    assert read_error(body) == message


@pytest.mark.parametrize(
    ("body", "is_error"),
    [
        (b'{"type":"error","error":{"message":"No."}}', True),
        (b'{"type": "error"}', True),
        (b'{"type":"message","content":[{"type":"text","text":"\\"error\\""}]}', False),
        (b'{"type":"message","content":[{"type":"x","error":"error"}]}', False),
        (b'["error"]', False),
        (b'{"error"', False),
    ],
)
def test_it_tells_an_error_that_came_with_status_200(body: bytes, is_error: bool):
    assert is_error_body(body) is is_error
