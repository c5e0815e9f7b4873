"""Errors in OpenAI's shape: {"error": {"message", "type", "param", "code"}}."""

import json
from typing import Any

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
    answer = read_object(body.strip().removeprefix(b"[").removesuffix(b"]"))  # Gemini's compatible API wraps it
    if answer is None:
        return ""
    error: Any = answer.get("error", answer)
    message = error.get("message", error.get("detail")) if isinstance(error, dict) else error  # FastAPI says detail
    if isinstance(message, list):
        return json.dumps(message)
    return message if isinstance(message, str) else ""


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
