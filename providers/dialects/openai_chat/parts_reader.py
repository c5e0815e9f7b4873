"""Reading the parts of a message's content."""

import re
from typing import Any

from providers.canonical.parts import Foreign, Media, Text
from providers.dialects.nodes import Node, as_object, missing, optional_object, optional_text, path_of, text, wrong
from providers.dialects.openai_chat.forms import PartForm, flat, keep
from providers.dialects.openai_chat.weights import PART
from providers.dialects.openai_chat.wire import DEFAULT_FILE_NAME, NAME

BREAKPOINT = "prompt_cache_breakpoint"
CACHE_FIELDS = frozenset({BREAKPOINT, "cache_control"})  # the latter is Anthropic's, which OpenRouter takes
AUDIO_TYPES = {"mp3": "audio/mpeg"}

_DATA_URL = re.compile(r"data:([^;,]*);base64,(.*)", re.DOTALL)


def read_part(value: Any, at: str) -> Text | Media | Foreign:
    """Read one part of a content list; one of an unknown type is kept whole."""
    node = as_object(value, at)
    what = optional_text(node, "type", at) or ""
    match what:
        case "text" | "refusal":
            return _read_text(node, what, at)
        case "image_url":
            return _read_image(node, at)
        case "input_audio":
            return _read_audio(node, at)
        case "file":
            return _read_file(node, at)
    return Foreign(origin=NAME, what=what, value=node, at=at)


def read_cache(node: Node, at: str) -> tuple[str | None, Node]:
    """Return a node's cache mark, and how it was spelled if not as we spell it."""
    for name in (BREAKPOINT, "cache_control"):
        mark = optional_object(node, name, at)
        if mark is not None:
            cache = optional_text(mark, "ttl", path_of(at, name)) or ""
            return cache, {} if name == BREAKPOINT and mark == cache_mark(cache) else {name: mark}
    return None, {}


def cache_mark(lifetime: str) -> Node:
    """Return a cache breakpoint."""
    return {"mode": "explicit", "ttl": lifetime} if lifetime else {"mode": "explicit"}


def _read_text(node: Node, field: str, at: str) -> Text:
    cache, spelled = read_cache(node, at)
    return Text(
        text=text(node, field, at),
        is_refusal=field == "refusal",
        cache=cache,
        at=at,
        native=keep(node, CACHE_FIELDS | {"type", field}, PART, PartForm(spelled=spelled)),
    )


def _read_image(node: Node, at: str) -> Media:
    cache, spelled = read_cache(node, at)
    if isinstance(node.get("image_url"), str):  # as the Responses format has it
        spelled = {**spelled, "image_url": node["image_url"]}
        node = {**node, "image_url": {"url": node["image_url"]}}
    image = _required(node, "image_url", at)
    url = text(image, "url", path_of(at, "image_url"))
    if image.get("detail") == "auto":  # what it is without being said
        spelled = {**spelled, "image_url.detail": "auto"}
        node = {**node, "image_url": {name: value for name, value in image.items() if name != "detail"}}
    if not url:
        raise wrong(path_of(at, "image_url.url"), "an address, or an image itself")
    data = _DATA_URL.fullmatch(url)
    return Media(
        kind="image",
        media_type=data[1] if data else "",
        data=data[2] if data else "",
        url="" if data else url,
        cache=cache,
        at=at,
        native=keep(
            flat(node, "image_url"),
            CACHE_FIELDS | {"type", "image_url.url", "image_url"},
            PART,
            PartForm(spelled=spelled),
        ),
    )


def _read_audio(node: Node, at: str) -> Media:
    cache, spelled = read_cache(node, at)
    audio, place = _required(node, "input_audio", at), path_of(at, "input_audio")
    sound = text(audio, "format", place)
    known = CACHE_FIELDS | {"type", "input_audio.data", "input_audio.format"}
    return Media(
        kind="audio",
        media_type=AUDIO_TYPES.get(sound, f"audio/{sound}"),
        data=text(audio, "data", place),
        cache=cache,
        at=at,
        native=keep(flat(node, "input_audio"), known, PART, PartForm(spelled=spelled)),
    )


def _read_file(node: Node, at: str) -> Media:
    cache, spelled = read_cache(node, at)
    file, place = _required(node, "file", at), path_of(at, "file")
    content, file_id = optional_text(file, "file_data", place), optional_text(file, "file_id", place)
    if not content and not file_id:
        raise missing(path_of(place, "file_data"))
    data = _DATA_URL.fullmatch(content or "")
    if content and not data:  # bare base64
        spelled = {**spelled, "file.file_data": content}
    title = optional_text(file, "filename", place) or ""
    if title == DEFAULT_FILE_NAME:
        title, spelled = "", {**spelled, "file.filename": DEFAULT_FILE_NAME}
    if content and file_id:
        spelled = {**spelled, "file.file_id": file_id}
    known = CACHE_FIELDS | {"type", "file.file_data", "file.file_id", "file.filename"}
    return Media(
        kind="document",
        media_type=data[1] if data else "application/pdf" if content else "",
        data=data[2] if data else content or "",
        file_id="" if content else file_id or "",
        title=title,
        cache=cache,
        at=at,
        native=keep(flat(node, "file"), known, PART, PartForm(spelled=spelled)),
    )


def _required(node: Node, name: str, at: str) -> Node:
    held = optional_object(node, name, at)
    if held is None:
        raise missing(path_of(at, name))
    if not held:
        raise wrong(path_of(at, name), "an object that is not empty")
    return held
