"""Errors in Google's shape, both ways, and as google-genai raises them."""

import json

import httpx2
import pytest
from google import genai
from google.genai import errors as sdk
from google.genai import types

from providers.dialects.gemini.errors import error_frame, is_error_body, read_error, read_failure, write_error
from tenants.errors import (
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


def body(code: int, message: str, status: str, *details: object) -> bytes:
    error = {"code": code, "message": message, "status": status, "details": list(details)}
    return json.dumps({"error": error}).encode()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidRequest("no"), "INVALID_ARGUMENT"),
        (BodyTooLarge("no"), "INVALID_ARGUMENT"),
        (Unauthenticated("no"), "UNAUTHENTICATED"),
        (Forbidden("no"), "PERMISSION_DENIED"),
        (NotFound("no"), "NOT_FOUND"),
        (RateLimited("no"), "RESOURCE_EXHAUSTED"),
        (Unavailable("no"), "UNAVAILABLE"),
        (UpstreamFailed("no"), "INTERNAL"),
        (UpstreamTimeout("no"), "DEADLINE_EXCEEDED"),
        (GatewayError("no"), "INTERNAL"),
    ],
)
def test_each_kind_has_its_status_of_google(error: GatewayError, status: str):
    written = json.loads(write_error(error, "req_1"))["error"]
    assert (written["code"], written["status"], written["message"]) == (error.status, status, "no")


def test_details_tell_the_code_the_request_the_field_and_when_to_try_again():
    error = InvalidRequest("'contents' is missing.", code="missing_field", param="contents")
    error.retry_after_seconds = 7.5
    details = {detail["@type"].rpartition(".")[2]: detail for detail in _details(write_error(error, "req_1"))}
    assert details["ErrorInfo"]["reason"] == "MISSING_FIELD"
    assert details["RequestInfo"]["requestId"] == "req_1"
    assert details["BadRequest"]["fieldViolations"][0]["field"] == "contents"
    assert details["RetryInfo"]["retryDelay"] == "7.5s"


def _details(written: bytes) -> list[dict[str, str]]:
    return json.loads(written)["error"]["details"]


def test_what_was_written_is_read_again():
    error = RateLimited("Slow down.", retry_after_seconds=3)
    failure = read_failure(429, write_error(error, "req_1"))
    assert (failure.message, failure.code, failure.retry_after_seconds) == ("Slow down.", "RESOURCE_EXHAUSTED", 3.0)


def test_a_frame_is_one_line_that_begins_as_the_sdk_wants_it():
    frame = error_frame(UpstreamFailed("It\nbroke."), "req_1")
    assert frame.startswith(b'data: {"error":{')
    assert frame.endswith(b"}\r\n\r\n")
    assert frame.count(b"\n") == 2


@pytest.mark.parametrize("wrap", [b"%s", b"[%s]"])
def test_an_error_may_stand_in_a_list(wrap: bytes):
    written = wrap % body(400, "Bad.", "INVALID_ARGUMENT")
    assert read_error(written) == "Bad."
    assert read_failure(400, written).code == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    "written",
    [
        body(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT"),
        body(400, "API key expired. Please renew the API key.", "INVALID_ARGUMENT"),
        body(400, "No.", "INVALID_ARGUMENT", {"@type": "ErrorInfo", "reason": "API_KEY_INVALID"}),
    ],
)
def test_a_key_that_is_not_valid_is_told_from_a_bad_request(written: bytes):
    failure = read_failure(400, written)
    assert failure.code == "API_KEY_INVALID"
    assert failure.is_credential_refused


def test_a_prompt_that_is_too_long_is_recognised():
    message = "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576)."
    assert read_failure(400, body(400, message, "INVALID_ARGUMENT")).is_context_length
    assert not read_failure(400, body(400, "Bad.", "INVALID_ARGUMENT")).is_context_length


def test_an_empty_account_is_recognised():
    message = "Your prepayment credits are depleted. Please go to AI Studio to manage your billing."
    assert read_failure(429, body(429, message, "RESOURCE_EXHAUSTED")).is_account_empty
    assert not read_failure(429, body(429, "Quota exceeded.", "RESOURCE_EXHAUSTED")).is_account_empty


def test_the_field_and_the_delay_are_found_among_the_details():
    details = [
        {"@type": "type.googleapis.com/google.rpc.Help", "links": []},
        {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field": "contents[0].parts"}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.074824224s"},
    ]
    failure = read_failure(429, body(429, "Slow down.", "RESOURCE_EXHAUSTED", *details))
    assert failure.param == "contents[0].parts"
    assert failure.retry_after_seconds == 34.074824224


@pytest.mark.parametrize("written", [b"", b"<html>", b"[]", b"{}", b'{"error": null}', b'{"error": {"details": [1]}}'])
def test_what_says_nothing_is_read_as_nothing(written: bytes):
    assert read_error(written) == ""
    assert read_failure(500, written).message == ""


def test_an_error_may_come_with_status_200():
    assert is_error_body(body(500, "Bad.", "INTERNAL"))
    assert not is_error_body(b'{"candidates": [], "note": "error"}')
    assert not is_error_body(b'{"candidates": [{"content": {"parts": [{"text": "an \\"error\\""}]}}]}')


@pytest.fixture
def client(http_client: httpx2.Client) -> genai.Client:
    return genai.Client(api_key="tg_x", http_options=types.HttpOptions(base_url="http://g", httpx_client=http_client))


def test_google_genai_raises_what_was_written(client: genai.Client, upstream_answer: dict[str, object]):
    upstream_answer |= {"status_code": 429, "content": write_error(RateLimited("Slow down."), "req_1")}
    with pytest.raises(sdk.ClientError) as raised:
        client.models.generate_content(model="m", contents="hi")
    assert (raised.value.code, raised.value.status, raised.value.message) == (429, "RESOURCE_EXHAUSTED", "Slow down.")


def test_google_genai_raises_in_mid_stream(client: genai.Client, upstream_answer: dict[str, object]):
    words = b'data: {"candidates":[{"content":{"role":"model","parts":[{"text":"a"}]}}]}\r\n\r\n'
    upstream_answer |= {"status_code": 200, "content": words + error_frame(UpstreamFailed("It broke."), "req_1")}
    stream = client.models.generate_content_stream(model="m", contents="hi")
    assert next(stream).text == "a"
    with pytest.raises(sdk.ServerError, match=r"It broke\."):
        next(stream)
