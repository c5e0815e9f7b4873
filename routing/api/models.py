"""GET /v1/models, in the shape of the caller's dialect: what is listed is what routing would serve to this key."""

from types import ModuleType
from typing import Any

import orjson
from ninja import Router

from providers.dialects.anthropic_messages import wire as anthropic_wire
from providers.dialects.gemini import wire as gemini_wire
from providers.dialects.openai_chat import wire as openai_wire
from routing.pipeline import usable_names
from routing.request import DataPlaneRequest
from routing.response import WholeResponse
from tenants.errors import NotFound

router = Router(tags=["models"])

WIRES: dict[str, ModuleType] = {"anthropic_messages": anthropic_wire, "gemini": gemini_wire}
JSON = ((b"content-type", b"application/json"),)


@router.get("/v1beta/models", url_name="models_beta")
@router.get("/v1/models", url_name="models")
async def list_models(request: DataPlaneRequest) -> WholeResponse:
    """List the aliases that this key may use."""
    names = usable_names(request.runtime.snapshot, request.principal)
    return _answer(_wire(request).model_list(names))


@router.get("/v1beta/models/{path:name}", url_name="model_beta")
@router.get("/v1/models/{path:name}", url_name="model")
async def get_model(request: DataPlaneRequest, name: str) -> WholeResponse:
    """Describe one alias."""
    if name not in usable_names(request.runtime.snapshot, request.principal):
        raise NotFound(f"There is no model {name!r} that this API key may use.", code="model_not_found", param="model")
    return _answer(_wire(request).model(name))


def _wire(request: DataPlaneRequest) -> ModuleType:
    """Return the shapes of the caller's dialect, which its path and headers tell."""
    return WIRES.get(request.exchange.dialect, openai_wire)


def _answer(content: dict[str, Any]) -> WholeResponse:
    return WholeResponse(200, JSON, orjson.dumps(content))
