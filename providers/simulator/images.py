"""Images: https://platform.openai.com/docs/api-reference/images/create

A picture is one grey area of the size asked for: a real PNG that any reader opens, and small.
"""

import base64
import zlib
from dataclasses import dataclass
from functools import lru_cache

import orjson

from providers.simulator.ask import Ask, Json, count_words
from providers.simulator.endpoint import Endpoint, json_object
from providers.simulator.envelopes import OPENAI
from providers.simulator.openai_checks import check_numbers, require, require_fields, require_value
from providers.simulator.requests import Request
from providers.simulator.turn import Turn

SIZES = ("256x256", "512x512", "1024x1024", "1024x1536", "1536x1024", "1024x1792", "1792x1024", "auto")
DEFAULT_SIZE = "1024x1024"
MOST_PICTURES = 10
GREY_BITS = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageAsk(Ask):
    count: int
    size: str
    is_address: bool


def read(request: Request) -> ImageAsk:
    body = json_object(request)
    require_fields(body, ("model", "prompt"))
    for field in ("model", "prompt"):
        require(isinstance(body[field], str) and body[field] != "", field, "a string")
    check_numbers(body, {"n": (1, MOST_PICTURES)}, {})
    size = body.get("size") or DEFAULT_SIZE
    require_value(size, SIZES, "size")
    wanted = body.get("response_format") or "b64_json"
    require_value(wanted, ("b64_json", "url"), "response_format")
    return ImageAsk(
        model=body["model"],
        text=body["prompt"],
        input_tokens=count_words([body["prompt"]]),
        count=body.get("n") or 1,
        size=DEFAULT_SIZE if size == "auto" else size,
        is_address=wanted == "url",
    )


def whole(ask: ImageAsk, turn: Turn) -> bytes:
    packed = picture(ask.size)
    entry = {"url": f"data:image/png;base64,{packed}"} if ask.is_address else {"b64_json": packed}
    body: Json = {"created": turn.created, "data": [entry] * ask.count}
    if turn.usage is not None:
        body["usage"] = {
            "input_tokens": turn.usage.input,
            "output_tokens": ask.count,
            "total_tokens": turn.usage.input + ask.count,
        }
    return orjson.dumps(body)


@lru_cache(maxsize=len(SIZES))
def picture(size: str) -> str:
    """A PNG of "1024x1024" or another size, in base64."""
    width, height = (int(number) for number in size.split("x"))
    line = b"\0" + b"\xaa" * (width * GREY_BITS // 8)
    head = width.to_bytes(4) + height.to_bytes(4) + bytes((GREY_BITS, 0, 0, 0, 0))
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(line * height, 9)), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)
    return base64.b64encode(data).decode()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)


IMAGES = Endpoint(method="POST", envelope=OPENAI, read=read, whole=whole)
