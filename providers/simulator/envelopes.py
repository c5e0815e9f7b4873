"""How a provider signs its answers, whichever endpoint they come from: header names and error shapes.

https://platform.openai.com/docs/guides/error-codes, https://docs.claude.com/en/api/errors and
https://ai.google.dev/gemini-api/docs/troubleshooting
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs

import orjson

from providers.simulator.frames import Frame, Kind
from providers.simulator.requests import Request

JSON = b"content-type: application/json"
INVALID_KEY = "API_KEY_INVALID"
GOOGLE_TYPES = "type.googleapis.com/google.rpc."
GOOGLE_SERVICE = "generativelanguage.googleapis.com"
EVENT_STREAM = b"content-type: text/event-stream; charset=utf-8"


class ApiError(Exception):
    """An error as the client will see it; without a message, the provider's usual one."""

    def __init__(
        self,
        status: int,
        message: str | None = None,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    """What a provider usually says at a status or under an error code."""

    type: str
    message: str
    code: str | None = None


type FrameAfter = Callable[[list[Frame], ApiError, Usual], Frame]


def header_key(request: Request) -> bytes:
    """The API key of a request, in either of the headers; b"" = there is none."""
    key = request.header(b"x-api-key")
    if key:
        return key
    scheme, _, key = request.header(b"authorization").partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One provider's way of signing answers and of failing."""

    request_id: bytes
    limits: tuple[bytes, ...]  # header lines
    limits_spent: Callable[[], tuple[bytes, ...]]  # on a 429
    no_credentials: str
    no_credentials_status: int = 401
    wrong_credentials_status: int = 401
    wrong_credentials_code: str | None = None
    find_key: Callable[[Request], bytes] = header_key
    by_status: Mapping[int, Usual]
    by_code: Mapping[str, Usual]
    shape: Callable[[ApiError, Usual, str | None], dict[str, object]]
    event: bytes | None = None  # the name of an error event; None = nameless
    error_frame_after: FrameAfter | None = None  # an error after some frames, where it depends on them
    failed_frame_after: FrameAfter | None = None  # the same for an answer that failed; None = an error
    keep_alive: Frame
    malformed: Frame
    line_end: bytes = b"\n"
    retries_in_body: bool = False  # when to come back is said in the body, not in headers

    def usual(self, error: ApiError) -> Usual:
        family = self.by_status[400 if error.status < 500 else 500]
        return self.by_code.get(error.code or "") or self.by_status.get(error.status) or family

    def body(self, error: ApiError, request_id: str | None = None) -> bytes:
        return orjson.dumps(self.shape(error, self.usual(error), request_id))

    def error_frame(self, error: ApiError, before: list[Frame], *, is_failure: bool = False) -> Frame:
        """An error in a stream, after the frames that went before; a failure is told otherwise by some."""
        make = self.failed_frame_after if is_failure and before else None
        make = make or self.error_frame_after
        if make is not None:
            return make(before, error, self.usual(error))
        body = self.body(error)
        if self.event is None:
            return Frame.data(Kind.CLOSING, body)
        return Frame.event(Kind.CLOSING, self.event, body)

    def headers(self, request_id: str, *, content_type: bytes = JSON, spent: bool = False) -> list[bytes]:
        limits = self.limits_spent() if spent else self.limits
        return [content_type, self.request_id + b": " + request_id.encode(), *limits]


def _openai_shape(error: ApiError, usual: Usual, request_id: str | None) -> dict[str, object]:
    return {
        "error": {
            "message": error.message or usual.message,
            "type": usual.type,
            "param": error.param,
            "code": error.code or usual.code,
        }
    }


def _anthropic_shape(error: ApiError, usual: Usual, request_id: str | None) -> dict[str, object]:
    body: dict[str, object] = {
        "type": "error",
        "error": {"type": usual.type, "message": error.message or usual.message},
    }
    if request_id is not None:
        body["request_id"] = request_id
    return body


def google_key(request: Request) -> bytes:
    """The API key of a request to Google: in its own header or in the query; b"" = there is none."""
    key = request.header(b"x-goog-api-key")
    if key or "key=" not in request.query:
        return key
    return parse_qs(request.query).get("key", [""])[0].encode()


def _google_shape(error: ApiError, usual: Usual, request_id: str | None) -> dict[str, object]:
    details: list[dict[str, object]] = []
    if error.code == INVALID_KEY:
        info = {"reason": error.code, "domain": "googleapis.com", "metadata": {"service": GOOGLE_SERVICE}}
        details.append({"@type": f"{GOOGLE_TYPES}ErrorInfo", **info})
    if error.param is not None and error.status == 400:
        violation = ({"field": error.param} if error.param else {}) | {"description": error.message}
        details.append({"@type": f"{GOOGLE_TYPES}BadRequest", "fieldViolations": [violation]})
    if error.retry_after is not None and error.retry_after.isdecimal():
        details.append({"@type": f"{GOOGLE_TYPES}RetryInfo", "retryDelay": f"{error.retry_after}s"})
    said: dict[str, object] = {"code": error.status, "message": error.message or usual.message, "status": usual.type}
    return {"error": said | ({"details": details} if details else {})}


TOKENS_LEFT = 1000  # when no requests are left: that limit is the one that is told


def _openai_limits(remaining: int) -> tuple[bytes, ...]:
    return (
        b"openai-processing-ms: 1",
        b"openai-version: 2020-10-01",
        b"x-ratelimit-limit-requests: 10000",
        b"x-ratelimit-limit-tokens: 2000000",
        b"x-ratelimit-remaining-requests: %d" % remaining,
        b"x-ratelimit-remaining-tokens: %d" % (remaining * 200 or TOKENS_LEFT),
        b"x-ratelimit-reset-requests: 6ms",
        b"x-ratelimit-reset-tokens: 6m0s",
    )


def _anthropic_limits(remaining: int, resets_at: bytes = b"2030-01-01T00:00:00Z") -> tuple[bytes, ...]:
    return (
        b"anthropic-organization-id: org_sim",
        b"anthropic-ratelimit-requests-limit: 10000",
        b"anthropic-ratelimit-requests-remaining: %d" % remaining,
        b"anthropic-ratelimit-requests-reset: " + resets_at,
        b"anthropic-ratelimit-tokens-limit: 2000000",
        b"anthropic-ratelimit-tokens-remaining: %d" % (remaining * 200 or TOKENS_LEFT),
        b"anthropic-ratelimit-tokens-reset: " + resets_at,
    )


def _anthropic_limits_spent() -> tuple[bytes, ...]:
    """They begin anew in a second; the moments of this header are whole seconds."""
    resets_at = datetime.fromtimestamp(math.ceil(time.time() + 1), tz=UTC)
    return _anthropic_limits(0, resets_at.strftime("%Y-%m-%dT%H:%M:%SZ").encode())


OPENAI_LIMITS_SPENT = _openai_limits(0)
OPENAI = Envelope(
    request_id=b"x-request-id",
    limits=_openai_limits(9999),
    limits_spent=lambda: OPENAI_LIMITS_SPENT,
    no_credentials="You didn't provide an API key. Provide it in an Authorization header with Bearer auth.",
    by_status={
        400: Usual(type="invalid_request_error", message="The request is invalid."),
        401: Usual(
            type="invalid_request_error",
            code="invalid_api_key",
            message="Incorrect API key provided.",
        ),
        402: Usual(type="billing_error", code="billing_error", message="Your account has no credit left."),
        403: Usual(
            type="request_forbidden",
            code="unsupported_country_region_territory",
            message="Country, region, or territory not supported",
        ),
        404: Usual(
            type="invalid_request_error",
            code="model_not_found",
            message="The model does not exist or you do not have access to it.",
        ),
        408: Usual(type="timeout_error", message="Request timed out."),
        409: Usual(type="conflict_error", message="The resource was changed by another request."),
        413: Usual(type="invalid_request_error", message="The request is too large."),
        429: Usual(type="requests", code="rate_limit_exceeded", message="Rate limit reached for requests."),
        500: Usual(type="server_error", message="The server had an error while processing your request."),
        503: Usual(type="server_error", code="overloaded", message="The engine is currently overloaded."),
        529: Usual(type="server_error", code="overloaded", message="The engine is currently overloaded."),
    },
    by_code={
        "context_length_exceeded": Usual(
            type="invalid_request_error",
            message="This model's maximum context length is 200000 tokens. However, your messages resulted "
            "in 200001 tokens. Please reduce the length of the messages.",
        ),
        "insufficient_quota": Usual(
            type="insufficient_quota",
            message="You exceeded your current quota, please check your plan and billing details.",
        ),
        "content_filter": Usual(
            type="invalid_request_error",
            message="The response was filtered due to the prompt triggering the content management policy.",
        ),
    },
    shape=_openai_shape,
    event=None,
    keep_alive=Frame(Kind.OPENING, b": keep-alive\n\n"),
    malformed=Frame.data(Kind.OPENING, b'{"id":"chatcmpl-sim-broken","choices":[{"index":0,"delta":{"con'),
)

ANTHROPIC = Envelope(
    request_id=b"request-id",
    limits=_anthropic_limits(9999),
    limits_spent=_anthropic_limits_spent,
    no_credentials="x-api-key header is required",
    by_status={
        400: Usual(type="invalid_request_error", message="The request is invalid."),
        401: Usual(type="authentication_error", message="invalid x-api-key"),
        402: Usual(type="billing_error", message="Your organization has no credit left."),
        403: Usual(type="permission_error", message="Your API key may not use the specified resource."),
        404: Usual(type="not_found_error", message="The requested resource could not be found."),
        409: Usual(type="conflict_error", message="The resource was changed by another request."),
        413: Usual(type="request_too_large", message="Request exceeds the maximum size"),
        429: Usual(type="rate_limit_error", message="This request would exceed your rate limit."),
        500: Usual(type="api_error", message="Internal server error"),
        504: Usual(type="timeout_error", message="The request timed out."),
        529: Usual(type="overloaded_error", message="Overloaded"),
    },
    by_code={
        "context_length_exceeded": Usual(
            type="invalid_request_error", message="prompt is too long: 200001 tokens > 200000 maximum"
        ),
        "insufficient_quota": Usual(
            type="invalid_request_error",
            message="Your credit balance is too low to access the Anthropic API.",
        ),
        "content_filter": Usual(type="invalid_request_error", message="Output blocked by content filtering policy"),
    },
    shape=_anthropic_shape,
    event=b"error",
    keep_alive=Frame.event(Kind.OPENING, b"ping", b'{"type":"ping"}'),
    malformed=Frame.event(
        Kind.OPENING, b"content_block_delta", b'{"type":"content_block_delta","index":0,"delta":{"ty'
    ),
)

GOOGLE_HEADERS = (
    b"vary: Origin, X-Origin, Referer",
    b"server-timing: gfet4t7; dur=1",
    b"x-content-type-options: nosniff",
)

GEMINI = Envelope(
    request_id=b"x-goog-request-id",
    limits=GOOGLE_HEADERS,
    limits_spent=lambda: GOOGLE_HEADERS,
    no_credentials="Method doesn't allow unregistered callers (callers without established identity). Please use API "
    "Key or other form of API consumer identity to call this API.",
    no_credentials_status=403,
    wrong_credentials_status=400,
    wrong_credentials_code=INVALID_KEY,
    find_key=google_key,
    by_status={
        400: Usual(type="INVALID_ARGUMENT", message="Request contains an invalid argument."),
        401: Usual(type="UNAUTHENTICATED", message="Request had invalid authentication credentials."),
        403: Usual(type="PERMISSION_DENIED", message="The caller does not have permission"),
        404: Usual(type="NOT_FOUND", message="Requested entity was not found."),
        429: Usual(
            type="RESOURCE_EXHAUSTED",
            message="You exceeded your current quota, please check your plan and billing details.",
        ),
        499: Usual(type="CANCELLED", message="The operation was cancelled."),
        500: Usual(type="INTERNAL", message="An internal error has occurred. Please retry."),
        503: Usual(type="UNAVAILABLE", message="The model is overloaded. Please try again later."),
        504: Usual(type="DEADLINE_EXCEEDED", message="The request timed out. Please try again."),
        529: Usual(type="UNAVAILABLE", message="The model is overloaded. Please try again later."),
    },
    by_code={
        INVALID_KEY: Usual(type="INVALID_ARGUMENT", message="API key not valid. Please pass a valid API key."),
        "context_length_exceeded": Usual(
            type="INVALID_ARGUMENT",
            message="The input token count (200001) exceeds the maximum number of tokens allowed (200000).",
        ),
    },
    shape=_google_shape,
    keep_alive=Frame(Kind.OPENING, b"\n"),
    malformed=Frame.data(Kind.OPENING, b'{"candidates":[{"content":{"parts":[{"te'),
    line_end=b"\r\n",
    retries_in_body=True,
)
