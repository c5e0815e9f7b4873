"""POST /v1/chat/completions"""

from ninja import Router

from providers.dialects.openai_chat.wire import CHAT
from routing.pipeline import Response, serve
from routing.request import DataPlaneRequest

router = Router(tags=["OpenAI"])


@router.post("/v1/chat/completions", url_name="chat_completions")
async def create_chat_completion(request: DataPlaneRequest) -> Response:
    """Answer a conversation, streamed or whole."""
    return await serve(request, CHAT)
