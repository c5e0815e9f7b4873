"""POST /v1/embeddings"""

from django.http import HttpRequest
from ninja import Router

from providers.dialects.openai_chat.wire import EMBEDDINGS
from routing.pipeline import Response, serve

router = Router(tags=["OpenAI"])


@router.post("/v1/embeddings", url_name="embeddings")
async def create_embedding(request: HttpRequest) -> Response:
    """Turn texts into vectors."""
    return await serve(request, EMBEDDINGS)  # type: ignore[arg-type]
