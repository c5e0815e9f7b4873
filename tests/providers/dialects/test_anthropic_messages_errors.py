"""Errors in Anthropic's shape, which Anthropic's own client understands."""

import json

import anthropic
import pytest

from providers.dialects.anthropic_messages.errors import (
    error_frame,
    is_error_body,
    read_error,
    read_failure,
    write_error,
)
from providers.dialects.base import Failure
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


def refused(message: str, kind: str = "invalid_request_error") -> bytes:
    error = {"type": kind, "message": message}
    return json.dumps({"type": "error", "error": error, "request_id": "req_1"}).encode()


TOO_LONG = "prompt is too long: 210000 tokens > 200000 maximum"
OVER = "input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000"
NO_CREDIT = "Your credit balance is too low to access the Anthropic API."
BLAMED = "messages.1.content.0.text: text content blocks must be non-empty"


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, refused(TOO_LONG), {"message": TOO_LONG, "is_context_length": True}),
        (400, refused(OVER), {"message": OVER, "is_context_length": True}),
        (400, refused(NO_CREDIT), {"message": NO_CREDIT, "is_account_empty": True}),
        (402, refused("Pay.", "billing_error"), {"message": "Pay.", "code": "billing_error", "is_account_empty": True}),
        (400, refused(BLAMED), {"message": BLAMED, "param": "messages.1.content.0.text"}),
        (529, refused("Overloaded", "overloaded_error"), {"message": "Overloaded", "code": "overloaded_error"}),
        (502, b"<html>Bad gateway</html>", {"message": "", "code": ""}),
        (500, b'{"error":"plain"}', {"message": "plain", "code": ""}),
        (500, b'{"error":{"type":5}}', {"message": "", "code": ""}),
    ],
)
def test_it_reads_what_an_upstream_says_of_its_failure(status: int, body: bytes, expected: dict[str, object]):
    assert read_failure(status, body) == Failure(**({"code": "invalid_request_error"} | expected))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (TOO_LONG, TOO_LONG),
        (
            "This model's maximum context length is 128000 tokens. However, your messages resulted in 130500 tokens.",
            "prompt is too long: 130500 tokens > 128000 maximum. ",
        ),
        (
            "The input token count (1,200,000) exceeds the maximum number of tokens allowed (1048576).",
            "prompt is too long: 1200000 tokens > 1048576 maximum. ",
        ),
        ("Your input exceeds the context window of this model.", "prompt is too long: "),
    ],
)
def test_a_prompt_that_does_not_fit_is_told_in_the_words_that_clients_look_for(said: str, told: str):
    error = InvalidRequest(said, code="context_length_exceeded")
    message = json.loads(write_error(error, "req-1"))["error"]["message"]
    assert message == (told if told == said else told + said)


def test_other_errors_keep_their_words():
    said = "messages: the limit is 5, and there are 9"
    assert json.loads(write_error(InvalidRequest(said), "req-1"))["error"]["message"] == said
