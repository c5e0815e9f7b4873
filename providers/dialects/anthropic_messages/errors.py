"""Errors in Anthropic's shape: {"type": "error", "error": {"type", "message"}, "request_id"}."""

import json
from typing import Any

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


def is_error_body(body: bytes) -> bool:
    """Whether a body that came with status 200 is an error all the same."""
    if b'"error"' not in body:
        return False
    answer = read_object(body)
    return answer is not None and answer.get("type") == "error"


def _error(error: GatewayError) -> dict[str, Any]:
    return {"type": TYPES.get(error.kind, "api_error"), "message": error.message}
