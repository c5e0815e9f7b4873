"""Errors in OpenAI's shape: {"error": {"message", "type", "param", "code"}}, and the events that end a stream."""

import json
import re
from typing import Any

import msgspec

from providers.dialects.base import Failure
from providers.dialects.fields import read_object
from providers.dialects.openai_responses.wire import FAILURE_CODES, KNOWN_CODES, frame
from tenants.errors import GatewayError

TYPES = {
    "authentication": "invalid_request_error",
    "permission": "invalid_request_error",
    "not_found": "invalid_request_error",
    "invalid_request": "invalid_request_error",
    "too_large": "invalid_request_error",
    "rate_limit": "rate_limit_error",
    "billing": "insufficient_quota",
    "timeout": "timeout_error",
}
FAILED = "The upstream failed."

_TOO_LONG = re.compile(
    r"context[ _](?:length|window)|prompt is too long|maximum context|too many (?:input )?tokens"
    r"|exceeds? the (?:model's )?(?:context|maximum)",
    re.IGNORECASE,
)
_EMPTY_ACCOUNT = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "402"})
_POLICY = frozenset({"content_filter", "content_policy_violation", "bio_policy", "misalignment_policy_violation"})
_TRY_AGAIN = re.compile(r"try again in (?:(\d{1,6})h)?(?:(\d{1,6})m(?!s))?(?:([\d.]+)(ms|s))?", re.IGNORECASE)


class _Outcome(msgspec.Struct):
    """The one member that tells; the rest is skipped without being built."""

    error: Any = None


_decode_outcome = msgspec.json.Decoder(_Outcome).decode


def write_error(error: GatewayError, request_id: str) -> bytes:
    """Return the body of an error answer."""
    return json.dumps({"error": _error(error)}).encode()


def error_frame(error: GatewayError, request_id: str) -> bytes:
    """Return the frame that ends a stream in mid-answer: that of a stream whose own numbers nobody counted."""
    code, message = failure_of(error)
    return frame({"type": "error", "sequence_number": 0, "code": code, "message": message, "param": error.param})


def failure_of(error: GatewayError) -> tuple[str, str]:
    """Return code and message as clients look for them: Codex waits as long as the message of a rate limit says."""
    code = error.code if error.code in KNOWN_CODES else FAILURE_CODES.get(error.kind, "server_error")
    message, seconds = error.message, error.retry_after_seconds
    if code == "rate_limit_exceeded" and seconds is not None and "try again in" not in message.lower():
        message = f"{message} Please try again in {seconds:g}s."
    return code, message


def read_error(body: bytes) -> str:
    """Return what an upstream's error body says; empty when it says nothing readable."""
    answer = read_object(body)
    if answer is None:
        return ""
    error: Any = answer.get("error") or answer
    message = error.get("message", error.get("detail")) if isinstance(error, dict) else error  # FastAPI says detail
    if isinstance(message, list):
        return json.dumps(message)
    return message if isinstance(message, str) else ""


def read_failure(status: int, body: bytes) -> Failure:
    """Read an error answer; of a body that says nothing readable, the status is all there is."""
    answer = read_object(body) or {}
    error: Any = answer.get("error") or answer
    fields = error if isinstance(error, dict) else {}
    message, code = read_error(body), str(fields.get("code") or fields.get("type") or "")
    param = fields.get("param")
    return Failure(
        message=message,
        code=code,
        param=param if isinstance(param, str) else None,
        is_context_length=code == "context_length_exceeded"
        or (status in {400, 413} and bool(_TOO_LONG.search(message))),
        is_content_policy=code in _POLICY,
        is_account_empty=status == 402 or code in _EMPTY_ACCOUNT or fields.get("type") in _EMPTY_ACCOUNT,
        retry_after_seconds=seconds_in(message),
    )


def seconds_in(message: str) -> float | None:
    """Return how long a message says to wait ("try again in 1m2.5s"); None when it says nothing."""
    found = _TRY_AGAIN.search(message)
    if found is None or not any(found.groups()):
        return None
    hours, minutes, number, unit = found.groups()
    try:
        seconds = float(number or 0)
    except ValueError:
        return None
    return (
        int(hours or 0) * 3600 + int(minutes or 0) * 60 + (seconds / 1000 if unit and unit.lower() == "ms" else seconds)
    )


def is_error_body(body: bytes) -> bool:
    """Whether a body that came with status 200 is an error all the same: an error, or a response that failed."""
    if b'"error"' not in body:
        return False
    try:
        return bool(_decode_outcome(body).error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return bool((read_object(body) or {}).get("error"))


def error_text(error: Any) -> str:
    """Return what an error object says."""
    if isinstance(error, dict):
        return str(error.get("message") or error.get("code") or FAILED)
    return str(error or FAILED)


def _error(error: GatewayError) -> dict[str, Any]:
    return {
        "message": error.message,
        "type": TYPES.get(error.kind, "server_error"),
        "param": error.param,
        "code": error.code,
    }
