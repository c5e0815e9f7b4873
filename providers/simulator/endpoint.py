"""What every kind of endpoint has in common: the same three verbs over the same neutral values."""

from collections.abc import Callable
from dataclasses import dataclass

import orjson

from providers.simulator.ask import Ask, Json
from providers.simulator.envelopes import EVENT_STREAM, ApiError, Envelope, Usual
from providers.simulator.frames import Frame
from providers.simulator.requests import Request
from providers.simulator.turn import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint[A: Ask]:
    """One path: `read` raises ApiError; `whole` and `frames` say the same turn."""

    method: str
    envelope: Envelope
    read: Callable[[Request], A]
    whole: Callable[[A, Turn], bytes]
    frames: Callable[[A, Turn], list[Frame]] | None = None  # None = it cannot stream
    stream_type: bytes = EVENT_STREAM
    type_of: Callable[[A], bytes] | None = None  # of a whole answer; None = JSON
    failed: Callable[[bytes, ApiError, Usual], bytes] | None = (
        None  # a whole answer that says it failed; None = an error
    )
    keep: Callable[[A, Turn], None] | None = None  # remembers what was answered


def json_object(request: Request) -> Json:
    """The body, which must be declared as JSON, be JSON, and be an object."""
    content_type = request.header(b"content-type").decode("latin-1")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        message = f"Unsupported content type: '{content_type}'. This method only accepts 'application/json'."
        raise ApiError(400, message, code="unsupported_content_type")
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"The request body is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise ApiError(400, "The request body must be a JSON object.")
    return body
