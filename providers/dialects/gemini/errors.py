"""Errors in Google's shape: {"error": {"code", "message", "status", "details"}}.

https://google.aip.dev/193
"""

import re
from collections.abc import Iterator
from typing import Any

from providers.dialects.base import Failure
from providers.dialects.gemini.wire import frame
from providers.wire.json import read_json, write_json
from tenants.errors import GatewayError

STATUSES = {
    "authentication": "UNAUTHENTICATED",
    "permission": "PERMISSION_DENIED",
    "not_found": "NOT_FOUND",
    "invalid_request": "INVALID_ARGUMENT",
    "too_large": "INVALID_ARGUMENT",
    "rate_limit": "RESOURCE_EXHAUSTED",
    "billing": "RESOURCE_EXHAUSTED",
    "timeout": "DEADLINE_EXCEEDED",
    "upstream_timeout": "DEADLINE_EXCEEDED",
    "overloaded": "UNAVAILABLE",
}
TYPE = "type.googleapis.com/google.rpc."
KEY_INVALID = "API_KEY_INVALID"

_TOO_LONG = re.compile(r"exceeds the maximum number of (?:input )?tokens|input token count .* exceeds", re.IGNORECASE)
_KEY_REFUSED = re.compile(r"api key (?:not valid|expired|not found)", re.IGNORECASE)
_ACCOUNT_EMPTY = re.compile(r"credits? (?:are|is) depleted|billing (?:is|has been) disabled|BILLING_DISABLED")
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)s")


def write_error(error: GatewayError, request_id: str) -> bytes:
    """Return the body of an error answer."""
    return write_json({"error": _error(error, request_id)})


def error_frame(error: GatewayError, request_id: str) -> bytes:
    """Return the frame that ends a stream in mid-answer; the SDK raises on it."""
    return frame(write_error(error, request_id))


def read_error(body: bytes) -> str:
    """Return what an upstream's error body says; empty when it says nothing readable."""
    error = _read(body)
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else ""


def read_failure(status: int, body: bytes) -> Failure:
    """Return what an upstream's error body says; a refused key is a 400 here, with a code of its own."""
    error = _read(body)
    if not isinstance(error, dict):
        return Failure(message=error if isinstance(error, str) else "")
    message, details = str(error.get("message") or ""), list(_details(error))
    reasons = {detail.get("reason") for detail in details}
    is_key_refused = KEY_INVALID in reasons or _KEY_REFUSED.search(message) is not None
    return Failure(
        message=message,
        code=KEY_INVALID if is_key_refused else str(error.get("status") or ""),
        param=_field(details),
        is_context_length=_TOO_LONG.search(message) is not None,
        is_account_empty="BILLING_DISABLED" in reasons or _ACCOUNT_EMPTY.search(message) is not None,
        is_credential_refused=is_key_refused,
        retry_after_seconds=_delay(details),
    )


def is_error_body(body: bytes) -> bool:
    """Whether a body that came with status 200 is an error all the same."""
    return b'"error"' in body and b'"candidates"' not in body and bool(_read(body))


def _read(body: bytes) -> Any:
    """Return the error of a body, which may be wrapped in a list of one."""
    try:
        answer = read_json(body)
    except ValueError:
        return None
    if isinstance(answer, list) and answer:
        answer = answer[0]
    return answer.get("error") if isinstance(answer, dict) else None


def _details(error: dict[str, Any]) -> Iterator[dict[str, Any]]:
    details = error.get("details")
    return (detail for detail in (details if isinstance(details, list) else []) if isinstance(detail, dict))


def _field(details: list[dict[str, Any]]) -> str | None:
    for detail in details:
        violations = detail.get("fieldViolations")
        if isinstance(violations, list) and violations and isinstance(violations[0], dict):
            field = violations[0].get("field")
            return field if isinstance(field, str) and field else None
    return None


def _delay(details: list[dict[str, Any]]) -> float | None:
    for detail in details:
        match = _SECONDS.fullmatch(str(detail.get("retryDelay") or ""))
        if match:
            return float(match[1])
    return None


def _error(error: GatewayError, request_id: str) -> dict[str, Any]:
    details: list[dict[str, Any]] = [
        {"@type": f"{TYPE}ErrorInfo", "reason": error.code.upper(), "domain": "tollgate"},
        {"@type": f"{TYPE}RequestInfo", "requestId": request_id},
    ]
    if error.param:
        violation = {"field": error.param, "description": error.message}
        details.append({"@type": f"{TYPE}BadRequest", "fieldViolations": [violation]})
    if error.retry_after_seconds is not None:
        details.append({"@type": f"{TYPE}RetryInfo", "retryDelay": f"{error.retry_after_seconds:g}s"})
    return {
        "code": error.status,
        "message": error.message,
        "status": STATUSES.get(error.kind, "INTERNAL"),
        "details": details,
    }
