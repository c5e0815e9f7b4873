"""POST /v1beta/models/{model}:generateContent, :streamGenerateContent and :countTokens, and the same under /v1."""

from collections.abc import AsyncGenerator, Awaitable, Callable

from providers.canonical.inbound import Operation
from providers.dialects.gemini.wire import CHAT, COUNT_TOKENS, STREAM
from providers.wire.sse import frame_event, frames
from routing.api.models import router
from routing.counting import count
from routing.pipeline import Response, serve
from routing.request import DataPlaneRequest
from routing.response import EventStreamResponse, WholeResponse
from tenants.errors import NotFound

JSON = (b"content-type", b"application/json")

type Serve = Callable[..., Awaitable[Response]]
VERBS: dict[str, tuple[Serve, Operation]] = {
    "generateContent": (serve, CHAT),
    "streamGenerateContent": (serve, STREAM),
    "countTokens": (count, COUNT_TOKENS),
}


async def _dispatch(request: DataPlaneRequest, target: str) -> Response:
    model, _, verb = target.rpartition(":")
    if verb not in VERBS or not model:
        raise NotFound(f"There is nothing at {request.path}.", code="endpoint_not_found")
    answer, operation = VERBS[verb]
    response = await answer(request, operation, model=model)
    is_stream = operation is STREAM and response.status_code < 400
    if is_stream and b"alt=sse" not in request.scope["query_string"]:
        # Without `alt=sse` Gemini streams the elements of one JSON array.
        pairs = [*(pair for pair in response.pairs if pair[0] != b"content-type"), JSON]
        if isinstance(response, EventStreamResponse):
            return EventStreamResponse(200, pairs, _as_array(response.body))
        elements = [payload for _, payload in map(frame_event, frames(response.content)) if payload]
        return WholeResponse(200, pairs, b"[" + b",\r\n".join(elements) + b"]")
    return response


async def _as_array(body: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    opening = b"["
    try:
        async for data in body:
            for _, payload in map(frame_event, frames(data)):
                if payload:
                    yield opening + payload
                    opening = b",\r\n"
        yield b"]" if opening != b"[" else b"[]"
    finally:
        await body.aclose()


# GET and POST of one path have to be on one router.
@router.post("/v1beta/models/{path:name}", url_name="generate_content_beta")
@router.post("/v1/models/{path:name}", url_name="generate_content")
async def generate_content(request: DataPlaneRequest, name: str) -> Response:
    """Answer a conversation, streamed or whole, or count its tokens."""
    return await _dispatch(request, name)
