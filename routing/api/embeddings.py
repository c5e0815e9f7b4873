"""POST /v1/embeddings"""

from ninja import Router

from providers.dialects.openai_chat.wire import EMBEDDINGS
from routing.pipeline import Response, serve
from routing.request import DataPlaneRequest

router = Router(tags=["OpenAI"])


@router.post("/v1/embeddings", url_name="embeddings")
async def create_embedding(request: DataPlaneRequest) -> Response:
    """Turn texts into vectors."""
    return await serve(request, EMBEDDINGS)
