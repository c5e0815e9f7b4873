"""POST /v1/messages"""

from ninja import Router

from providers.dialects.anthropic_messages.wire import CHAT
from routing.pipeline import Response, serve
from routing.request import DataPlaneRequest

router = Router(tags=["Anthropic"])


@router.post("/v1/messages", url_name="messages")
async def create_message(request: DataPlaneRequest) -> Response:
    """Answer a conversation, streamed or whole."""
    return await serve(request, CHAT)
