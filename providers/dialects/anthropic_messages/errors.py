"""Errors in Anthropic's shape: {"type": "error", "error": {"type", "message"}, "request_id"}."""

import json
import re
from typing import Any

from providers.dialects.base import Failure
from providers.dialects.fields import read_object
from tenants.errors import GatewayError

TYPES = {
    "authentication": "authentication_error",
    "permission": "permission_error",
    "not_found": "not_found_error",
    "invalid_request": "invalid_request_error",
    "too_large": "request_too_large",
    "rate_limit": "rate_limit_error",
    "billing": "billing_error",
    "timeout": "timeout_error",
    "upstream_timeout": "timeout_error",
    "overloaded": "overloaded_error",
}

TOO_LONG = "prompt is too long"  # clients look for these words, and for the two numbers behind them
_TOO_LONG = re.compile(r"prompt is too long|exceed(?:s|ed)? (?:the )?context (?:limit|window)", re.IGNORECASE)
_POLICY = re.compile(r"blocked by (?:our )?content filtering policy|violates? (?:our )?usage policy", re.IGNORECASE)
_NO_CREDIT = re.compile(r"credit balance is too low", re.IGNORECASE)
_FIELD = re.compile(r"([a-z_]+(?:\.[\w-]+)*): ")  # a refusal begins with the field that it blames
_LIMIT = re.compile(r"(?:maximum|max|limit|window|at most)\D{0,60}?(\d[\d,]*)", re.IGNORECASE)
_NUMBER = re.compile(r"\d[\d,]*")


def write_error(error: GatewayError, request_id: str) -> bytes:
    """Return the body of an error answer."""
    return json.dumps({"type": "error", "error": _error(error), "request_id": request_id}).encode()


def error_frame(error: GatewayError, request_id: str) -> bytes:
    """Return the frame that ends a stream in mid-answer; the SDK raises on it."""
    retry_after = error.retry_after_seconds
    body = {
        **_error(error),
        "retryable": error.retryable,
        "retry_after_ms": None if retry_after is None else round(retry_after * 1000),
        "severity": "error",
    }
    data = json.dumps({"type": "error", "error": body, "request_id": request_id}).encode()
    return b"event: error\ndata: " + data + b"\n\n"


def read_error(body: bytes) -> str:
    """Return what an upstream's error body says; empty when it says nothing readable."""
    answer = read_object(body)
    error: Any = answer.get("error") if answer is not None else None
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else ""


def read_failure(status: int, body: bytes) -> Failure:
    """Return what an upstream's error answer says."""
    answer = read_object(body)
    error: Any = answer.get("error") if answer is not None else None
    message, code = read_error(body), error.get("type") if isinstance(error, dict) else ""
    field = _FIELD.match(message)
    return Failure(
        message=message,
        code=code if isinstance(code, str) else "",
        param=field[1] if field else None,
        is_context_length=status in (400, 413) and _TOO_LONG.search(message) is not None,
        is_content_policy=_POLICY.search(message) is not None,
        is_account_empty=code == "billing_error" or _NO_CREDIT.search(message) is not None,
    )


def is_error_body(body: bytes) -> bool:
    """Whether a body that came with status 200 is an error all the same."""
    if b'"error"' not in body:
        return False
    answer = read_object(body)
    return answer is not None and answer.get("type") == "error"


def _error(error: GatewayError) -> dict[str, Any]:
    message = _as_too_long(error.message) if error.code == "context_length_exceeded" else error.message
    return {"type": TYPES.get(error.kind, "api_error"), "message": message}


def _as_too_long(message: str) -> str:
    """Return an upstream's words of a prompt that does not fit after those that clients of this format look for.

    The two numbers are told only where the upstream told them.
    """
    if TOO_LONG in message.lower():
        return message
    limit = _LIMIT.search(message)
    maximum = _number(limit[1]) if limit else 0
    prompt = max((_number(number) for number in _NUMBER.findall(message)), default=0)
    if 0 < maximum < prompt:
        return f"{TOO_LONG}: {prompt} tokens > {maximum} maximum. {message}"
    return f"{TOO_LONG}: {message}"


def _number(text: str) -> int:
    return int(text.replace(",", ""))
