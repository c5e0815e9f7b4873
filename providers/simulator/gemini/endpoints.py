"""The paths of models: ``/v1beta/models/{model}:generateContent`` and its like, under ``/v1`` too."""

from typing import Any

import orjson

from providers.simulator.ask import Ask, Json
from providers.simulator.endpoint import Endpoint
from providers.simulator.envelopes import GEMINI, JSON, ApiError
from providers.simulator.gemini.reader import model_of, read, read_count, read_stream
from providers.simulator.gemini.writer import array_frames, frames, whole, whole_count
from providers.simulator.models import MODELS
from providers.simulator.requests import Request
from providers.simulator.turn import Turn

VERSIONS = ("/v1beta", "/v1")
METHODS = ["generateContent", "streamGenerateContent", "countTokens"]


def route_gemini(request: Request) -> Endpoint[Any] | None:
    """The endpoint of a path that is Gemini's, or that the caller takes for Gemini's; None = it is not."""
    version = next((version for version in VERSIONS if request.path.startswith(f"{version}/models")), None)
    if version is None:
        return None
    name = request.path.removeprefix(f"{version}/models")
    operation = name.rpartition(":")[2]
    if operation == "streamGenerateContent":
        return STREAM if "alt=sse" in request.query.split("&") else ARRAY
    if operation in OPERATIONS:
        return OPERATIONS[operation]
    if not is_gemini(request) or request.method != "GET":
        return None
    return ONE_MODEL if name.strip("/") else ALL_MODELS


def is_gemini(request: Request) -> bool:
    """Whether the caller speaks to Google."""
    return (
        request.path.startswith("/v1beta/")
        or bool(request.header(b"x-goog-api-key"))
        or request.query.startswith("key=")
        or "&key=" in request.query
    )


def _read_all(request: Request) -> Ask:
    return Ask()


def _read_one(request: Request) -> Ask:
    name = model_of(request)
    if name not in MODELS:
        advice = "Call ListModels to see the list of available models and their supported methods."
        raise ApiError(404, f"models/{name} is not found for API version v1beta. {advice}")
    return Ask(text=name)


def _whole_all(ask: Ask, turn: Turn) -> bytes:
    return orjson.dumps({"models": [_model(name) for name in MODELS]})


def _whole_one(ask: Ask, turn: Turn) -> bytes:
    return orjson.dumps(_model(ask.text))


def _model(name: str) -> Json:
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name.replace("-", " ").capitalize(),
        "description": "A preset of the simulator.",
        "inputTokenLimit": 200_000,
        "outputTokenLimit": 64_000,
        "supportedGenerationMethods": METHODS,
        "temperature": 1,
        "maxTemperature": 2,
        "thinking": True,
    }


GENERATE = Endpoint(method="POST", envelope=GEMINI, read=read, whole=whole, frames=frames)
STREAM = Endpoint(method="POST", envelope=GEMINI, read=read_stream, whole=whole, frames=frames)
ARRAY = Endpoint(method="POST", envelope=GEMINI, read=read_stream, whole=whole, frames=array_frames, stream_type=JSON)
COUNT = Endpoint(method="POST", envelope=GEMINI, read=read_count, whole=whole_count)
ALL_MODELS = Endpoint(method="GET", envelope=GEMINI, read=_read_all, whole=_whole_all)
ONE_MODEL = Endpoint(method="GET", envelope=GEMINI, read=_read_one, whole=_whole_one)
OPERATIONS: dict[str, Endpoint[Any]] = {"generateContent": GENERATE, "countTokens": COUNT}
