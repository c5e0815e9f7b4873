"""Errors in OpenAI's shape: {"error": {"message", "type", "param", "code"}}."""

import json
import re
from typing import Any

from providers.dialects.base import Failure
from providers.dialects.fields import read_object
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

CONTEXT_CODES = frozenset({"context_length_exceeded", "model_max_prompt_tokens_exceeded", "context_window_exceeded"})
QUOTA_CODES = frozenset(
    {"insufficient_quota", "insufficient_balance", "billing_hard_limit_reached", "credits_exhausted"}
)
POLICY_CODES = frozenset(
    {"content_filter", "content_policy_violation", "moderation_blocked", "ResponsibleAIPolicyViolation"}
)
CREDENTIAL_CODES = frozenset({"invalid_api_key", "invalid_authentication_error", "account_deactivated"})

# Servers that speak this format and have codes of their own, or none: their words.
_TOO_LONG = re.compile(
    r"(?:maximum|max) context length|context (?:length|window|limit|size)|prompt is too long|too many (?:input )?tokens"
    r"|input token count .{0,40}exceeds|(?:prompt|input) (?:length|tokens?) .{0,60}exceed|reduce the length of the messages",
    re.IGNORECASE,
)
_NO_CREDIT = re.compile(
    r"insufficient (?:balance|quota|credits?|funds)|exceeded your current quota|(?:out of|more|no) credits|negative balance"
    r"|account balance",
    re.IGNORECASE,
)
_AGAIN = re.compile(r"try again in ((?:\d+(?:\.\d+)?(?:ms|h|m|s)\s?)+)", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def write_error(error: GatewayError, request_id: str) -> bytes:
    """Return the body of an error answer."""
    return json.dumps({"error": _error(error)}).encode()


def error_frame(error: GatewayError, request_id: str) -> bytes:
    """Return the frame that ends a stream in mid-answer; the SDK raises on it."""
    retry_after = error.retry_after_seconds
    body = {
        **_error(error),
        "retryable": error.retryable,
        "retry_after_ms": None if retry_after is None else round(retry_after * 1000),
        "severity": "error",
    }
    return b"data: " + json.dumps({"error": body}).encode() + b"\n\n"


def read_error(body: bytes) -> str:
    """Return what an upstream's error body says, whatever its shape; empty when it says nothing readable."""
    error = _read_error_object(body)
    message = error.get("message", error.get("detail")) if isinstance(error, dict) else error  # FastAPI says detail
    if isinstance(message, list):
        return json.dumps(message)
    return message if isinstance(message, str) else ""


def read_failure(status: int, body: bytes) -> Failure:
    """Return what an upstream's error answer says."""
    error, message = _read_error_object(body), read_error(body)
    fields: dict[str, Any] = error if isinstance(error, dict) else {}
    param = fields.get("param")
    codes = {error_code(fields), fields.get("type") if isinstance(fields.get("type"), str) else ""}
    return Failure(
        message=message,
        code=error_code(fields),
        param=param if isinstance(param, str) else None,
        is_context_length=not CONTEXT_CODES.isdisjoint(codes)
        or (status in (400, 413, 422) and _TOO_LONG.search(message) is not None),
        is_content_policy=not POLICY_CODES.isdisjoint(codes),
        is_account_empty=status == 402
        or not QUOTA_CODES.isdisjoint(codes)
        or (status in (400, 403, 429) and _NO_CREDIT.search(message) is not None),
        is_credential_refused=not CREDENTIAL_CODES.isdisjoint(codes),
        retry_after_seconds=_retry_after(message),
    )


def _read_error_object(body: bytes) -> Any:
    """Return the error of a body: OpenAI's shape, or that of a server that has its own."""
    answer = read_object(body.strip().removeprefix(b"[").removesuffix(b"]"))  # Gemini's compatible API wraps it
    if answer is None:
        return None
    errors = answer.get("errors")
    if isinstance(errors, list) and errors and "error" not in answer:  # Cloudflare's
        return errors[0]
    return answer.get("error", answer)


def _retry_after(message: str) -> float | None:
    """Return after how many seconds to try again, where the message says so ("6m0s", "20ms")."""
    told = _AGAIN.search(message)
    if told is None:
        return None
    return sum(float(number) * _SECONDS[unit.lower()] for number, unit in _DURATION.findall(told[1]))


def error_text(error: Any) -> str:
    """Return what an error object says."""
    if isinstance(error, dict):
        return str(error.get("message") or error.get("code") or "The upstream failed.")
    return str(error)


def error_code(error: Any) -> str:
    """Return the code of an error object, as text; empty when it has none."""
    code = (error.get("code") or error.get("type")) if isinstance(error, dict) else None
    return str(code) if isinstance(code, str | int) else ""


def is_error_body(body: bytes) -> bool:
    """Whether a body that came with status 200 is an error all the same."""
    if b'"error"' not in body or b'"choices"' in body or b'"data"' in body:
        return False
    answer = read_object(body)
    return answer is not None and bool(answer.get("error") or answer.get("object") == "error")


def _error(error: GatewayError) -> dict[str, Any]:
    return {
        "message": error.message,
        "type": TYPES.get(error.kind, "server_error"),
        "param": error.param,
        "code": error.code,
    }
