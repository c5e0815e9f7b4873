"""POST /v1/messages and /v1/messages/count_tokens"""

from ninja import Router

from providers.dialects.anthropic_messages.wire import CHAT, COUNT_TOKENS
from routing.counting import count
from routing.pipeline import Response, serve
from routing.request import DataPlaneRequest
from routing.response import WholeResponse

router = Router(tags=["Anthropic"])


@router.post("/v1/messages", url_name="messages")
async def create_message(request: DataPlaneRequest) -> Response:
    """Answer a conversation, streamed or whole."""
    return await serve(request, CHAT)


@router.post("/v1/messages/count_tokens", url_name="count_tokens")
async def count_message_tokens(request: DataPlaneRequest) -> WholeResponse:
    """Count the tokens of a conversation."""
    return await count(request, COUNT_TOKENS)
