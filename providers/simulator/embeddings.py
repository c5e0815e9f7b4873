"""Embeddings: https://platform.openai.com/docs/api-reference/embeddings

A vector is a hashed bag of words, of length 1: the same text always has the same vector, and texts that
share words are near each other.
"""

import base64
import math
from array import array
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import orjson

from providers.simulator.ask import Ask, Json, count_words
from providers.simulator.endpoint import Endpoint, json_object
from providers.simulator.envelopes import OPENAI, ApiError
from providers.simulator.requests import Request
from providers.simulator.turn import Turn

DIMENSIONS = 1536
MOST_DIMENSIONS = 4096
MOST_INPUTS = 2048
POSITIONS_PER_WORD = 8
INPUT_KINDS = "a string, an array of strings or of tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingAsk(Ask):
    inputs: tuple[str, ...]
    dimensions: int
    is_base64: bool


def read(request: Request) -> EmbeddingAsk:
    body = json_object(request)
    for field in ("model", "input"):
        if field not in body:
            message = f"Missing required parameter: '{field}'."
            raise ApiError(400, message, param=field, code="missing_required_parameter")
    if not isinstance(body["model"], str) or not body["model"]:
        raise _wrong_type("model", "a model name")
    inputs = _inputs(body["input"])
    return EmbeddingAsk(
        model=body["model"],
        text=inputs[-1],
        input_tokens=count_words(inputs),
        inputs=inputs,
        dimensions=_dimensions(body),
        is_base64=_is_base64(body),
    )


def whole(ask: EmbeddingAsk, turn: Turn) -> bytes:
    vectors = [embed(text, ask.dimensions) for text in ask.inputs]
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(vector, ask)}
        for index, vector in enumerate(vectors)
    ]
    body: Json = {"object": "list", "data": data, "model": ask.model}
    if turn.usage is not None:
        body["usage"] = {"prompt_tokens": turn.usage.input, "total_tokens": turn.usage.input}
    return orjson.dumps(body)


@lru_cache(maxsize=1024)
def embed(text: str, dimensions: int) -> "array[float]":
    """The text's vector of length 1, as 32-bit floats."""
    values: dict[int, float] = {}
    for word in text.lower().split() or [""]:
        digest = blake2b(word.encode(errors="replace"), digest_size=POSITIONS_PER_WORD * 4).digest()
        for start in range(0, len(digest), 4):
            position = int.from_bytes(digest[start : start + 3]) % dimensions
            values[position] = values.get(position, 0.0) + (1.0 if digest[start + 3] & 1 else -1.0)
    length = math.sqrt(sum(value * value for value in values.values())) or 1.0
    vector = array("f", bytes(4 * dimensions))
    for position, value in values.items():
        vector[position] = value / length
    return vector


def _encoded(vector: "array[float]", ask: EmbeddingAsk) -> object:
    return base64.b64encode(vector.tobytes()).decode() if ask.is_base64 else vector.tolist()


def _inputs(given: object) -> tuple[str, ...]:
    """Texts, or token arrays with each token standing for a word."""
    if isinstance(given, str) or _is_tokens(given):
        given = [given]
    if not isinstance(given, list) or not given:
        raise _wrong_type("input", INPUT_KINDS)
    if len(given) > MOST_INPUTS:
        raise ApiError(400, f"'$.input' is too long: at most {MOST_INPUTS} inputs.", param="input")
    is_uniform = all(isinstance(entry, str) for entry in given) or all(_is_tokens(entry) for entry in given)
    if not is_uniform:
        raise _wrong_type("input", INPUT_KINDS)
    if "" in given:
        raise ApiError(400, "'$.input' is invalid: an input cannot be an empty string.", param="input")
    return tuple(entry if isinstance(entry, str) else " ".join(map(str, entry)) for entry in given)


def _is_tokens(given: object) -> bool:
    return isinstance(given, list) and given != [] and all(type(token) is int for token in given)


def _dimensions(body: Json) -> int:
    dimensions = body.get("dimensions", DIMENSIONS)
    if type(dimensions) is not int or not 1 <= dimensions <= MOST_DIMENSIONS:
        raise _wrong_type("dimensions", f"an integer from 1 to {MOST_DIMENSIONS}")
    return dimensions


def _is_base64(body: Json) -> bool:
    wanted = body.get("encoding_format", "float")
    if wanted not in ("float", "base64"):
        message = f"Invalid value: {wanted!r}. Supported values are: 'float' and 'base64'."
        raise ApiError(400, message, param="encoding_format", code="invalid_value")
    return bool(wanted == "base64")


def _wrong_type(param: str, expected: str) -> ApiError:
    message = f"Invalid type for '{param}': expected {expected}."
    return ApiError(400, message, param=param, code="invalid_type")


EMBEDDINGS = Endpoint(method="POST", envelope=OPENAI, read=read, whole=whole)
