"""An upstream's error in the words that a client's SDK looks for, and the status of one that came in a stream."""

import pytest

from providers.dialects.base import Failure
from routing.outbound import rejection, status_of_code


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "not_found_error", (404, "not_found", "model_not_found")),
        (429, "RESOURCE_EXHAUSTED", (429, "rate_limit", "rate_limit_exceeded")),
        (529, "overloaded_error", (503, "overloaded", "overloaded")),
        (422, "", (400, "invalid_request", "upstream_rejected")),
        (400, "unsupported_value", (400, "invalid_request", "unsupported_value")),
        (500, "INTERNAL", (500, "upstream", "INTERNAL")),
    ],
)
def test_codes_are_those_that_clients_know(status: int, code: str, expected: tuple[int, str, str]):
    error = rejection(status, Failure(message="No.", code=code))
    assert (error.status, error.kind, error.code) == expected
    assert error.message == "No."


def test_a_prompt_that_is_too_long_is_told_as_such_whatever_its_status():
    assert rejection(413, Failure(message="No.", is_context_length=True)).code == "context_length_exceeded"


def test_how_long_to_wait_is_told():
    assert rejection(429, Failure(message="Slow down.", retry_after_seconds=34.07)).retry_after_seconds == 34.07


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("context_length_exceeded", 400),
        ("overloaded_error", 503),
        ("RESOURCE_EXHAUSTED", 429),
        ("429", 429),
        ("200", None),
        ("api_error", None),
        ("", None),
    ],
)
def test_an_errors_code_tells_its_status(code: str, status: int | None):
    assert status_of_code(code) == status
