"""GET /v1/models, in the shape of the caller's dialect: what is listed is what routing would serve to this key."""

from typing import Any

import orjson
from django.http import HttpRequest
from ninja import Router

from providers.dialects.anthropic_messages import wire as anthropic_wire
from providers.dialects.openai_chat import wire as openai_wire
from routing.pipeline import usable_names
from routing.request import DataPlaneRequest
from routing.response import WholeResponse
from tenants.errors import NotFound

router = Router(tags=["models"])

JSON = ((b"content-type", b"application/json"),)


@router.get("/v1/models", url_name="models")
async def list_models(request: HttpRequest) -> WholeResponse:
    """List the aliases that this key may use."""
    names, is_anthropic = await _names(request)  # type: ignore[arg-type]
    return _answer(anthropic_wire.model_list(names) if is_anthropic else openai_wire.model_list(names))


@router.get("/v1/models/{path:name}", url_name="model")
async def get_model(request: HttpRequest, name: str) -> WholeResponse:
    """Describe one alias."""
    names, is_anthropic = await _names(request)  # type: ignore[arg-type]
    if name not in names:
        raise NotFound(f"There is no model {name!r} that this API key may use.", code="model_not_found", param="model")
    return _answer(anthropic_wire.model(name) if is_anthropic else openai_wire.model(name))


async def _names(request: DataPlaneRequest) -> tuple[list[str], bool]:
    runtime, exchange = request.runtime, request.exchange
    is_anthropic = any(name == b"anthropic-version" for name, _ in request.header_pairs)
    if is_anthropic:
        exchange.operation = anthropic_wire.CHAT
    exchange.principal = await runtime.authenticator.authenticate(request.header_pairs)
    return usable_names(runtime.snapshot, exchange.principal), is_anthropic


def _answer(content: dict[str, Any]) -> WholeResponse:
    return WholeResponse(200, JSON, orjson.dumps(content))
