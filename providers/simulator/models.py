"""The catalogue: every preset is a model, listed in the shape of whoever asks."""

from dataclasses import replace
from urllib.parse import unquote

import orjson

from providers.simulator.ask import Ask, Json
from providers.simulator.behaviour import PRESETS
from providers.simulator.endpoint import Endpoint
from providers.simulator.envelopes import ANTHROPIC, OPENAI, ApiError
from providers.simulator.requests import Request
from providers.simulator.turn import Turn

MODELS = [f"sim-{preset}" for preset in PRESETS]
CREATED = 1_767_225_600
CREATED_AT = "2026-01-01T00:00:00Z"


def read(request: Request) -> Ask:
    return Ask()


def read_one(request: Request) -> Ask:
    """One model by its name, which stays out of the behaviour: a listed model always can be looked at."""
    name = unquote(request.path.partition("/models/")[2])
    if name not in MODELS:
        raise ApiError(404, f"The model '{name}' does not exist", param="model", code="model_not_found")
    return Ask(text=name)


def whole_openai(ask: Ask, turn: Turn) -> bytes:
    return orjson.dumps({"object": "list", "data": [_openai_model(name) for name in MODELS]})


def whole_anthropic(ask: Ask, turn: Turn) -> bytes:
    models = [_anthropic_model(name) for name in MODELS]
    return orjson.dumps({"data": models, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]})


def whole_openai_one(ask: Ask, turn: Turn) -> bytes:
    return orjson.dumps(_openai_model(ask.text))


def whole_anthropic_one(ask: Ask, turn: Turn) -> bytes:
    return orjson.dumps(_anthropic_model(ask.text))


def _openai_model(name: str) -> Json:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "simulator"}


def _anthropic_model(name: str) -> Json:
    return {
        "type": "model",
        "id": name,
        "display_name": name.replace("-", " ").capitalize(),
        "created_at": CREATED_AT,
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
        "capabilities": None,
    }


OPENAI_MODELS = Endpoint(method="GET", envelope=OPENAI, read=read, whole=whole_openai)
ANTHROPIC_MODELS = Endpoint(method="GET", envelope=ANTHROPIC, read=read, whole=whole_anthropic)
OPENAI_MODEL = replace(OPENAI_MODELS, read=read_one, whole=whole_openai_one)
ANTHROPIC_MODEL = replace(ANTHROPIC_MODELS, read=read_one, whole=whole_anthropic_one)
