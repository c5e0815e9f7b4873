"""Reading the parts of messages and of what tools gave back, and reasoning."""

from typing import Any

from msgspec.structs import replace

from providers.canonical.losses import Native
from providers.canonical.parts import Citation, Media, Text, Thinking
from providers.canonical.seals import SealBox
from providers.dialects.nodes import (
    Node,
    as_object,
    missing,
    optional_list,
    optional_object,
    optional_text,
    text,
    wrong,
)
from providers.dialects.openai_responses import items
from providers.dialects.openai_responses.spelling import Form, compare, keep
from providers.dialects.openai_responses.weights import PART, REASONING_ITEM
from providers.dialects.openai_responses.wire import NAME

TEXT = frozenset({"type", "text", "annotations", "prompt_cache_breakpoint"})
REFUSAL = frozenset({"type", "refusal"})
IMAGE = frozenset({"type", "image_url", "file_id", "prompt_cache_breakpoint"})
FILE = frozenset({"type", "file_data", "file_url", "file_id", "filename", "prompt_cache_breakpoint"})
SOUND = frozenset({"type", "input_audio"})
REASONING = frozenset({"type", "summary", "content", "encrypted_content"})
SEPARATOR = "\n\n"  # between the summaries of one reasoning item


def read_part(node: Node, at: str, role: str) -> Text | Media | None:
    """Return a part of a message's content; None for one of a type that is not known."""
    match text(node, "type", at):
        case "input_text" | "output_text" | "text":
            part = Text(text=text(node, "text", at), citations=_citations(node, at), cache=_cache(node, at), at=at)
            return _kept(part, node, TEXT, role)
        case "refusal":
            return _kept(Text(text=text(node, "refusal", at), is_refusal=True, at=at), node, REFUSAL, role)
        case "input_image":
            return _kept(_image(node, at), node, IMAGE | _meaningless(node), role)
        case "input_file":
            return _kept(_document(node, at), node, FILE | _meaningless(node), role)
        case "input_audio":
            return _kept(_sound(node, at), node, SOUND, role)
    return None


def plain_text(value: str, at: str) -> Text:
    """Return a content that is no list of parts."""
    return Text(text=value, at=at, native=Native(origin=NAME, form=Form(is_text=True)))


def _kept[P: (Text, Media)](part: P, node: Node, known: frozenset[str], role: str) -> P:
    plain = items.content_part(part, role) or {}
    native = keep(node, known, PART, Form(spelling=compare(node, plain, known)))
    return replace(part, native=native)


def _meaningless(node: Node) -> frozenset[str]:
    """Return the members that say what happens anyway."""
    return frozenset({"detail"}) if node.get("detail") == "auto" else frozenset()


def _cache(node: Node, at: str) -> str | None:
    mark = optional_object(node, "prompt_cache_breakpoint", at)
    return None if mark is None else optional_text(mark, "ttl", f"{at}.prompt_cache_breakpoint") or ""


def _citations(node: Node, at: str) -> tuple[Citation, ...]:
    found = optional_list(node, "annotations", at) or []
    return tuple(read_citation(as_object(each, f"{at}.annotations[{i}]")) for i, each in enumerate(found))


def read_citation(node: Node) -> Citation:
    """Return a source, however little of it is known here."""
    start, end = node.get("start_index"), node.get("end_index")
    return Citation(
        url=str(node.get("url") or ""),
        title=str(node.get("title") or node.get("filename") or ""),
        start=start if isinstance(start, int) else None,
        end=end if isinstance(end, int) else None,
        native=None if node.get("type") == "url_citation" else Native(origin=NAME, form=Form(whole=node)),
    )


def _image(node: Node, at: str) -> Media:
    url, file_id = optional_text(node, "image_url", at), optional_text(node, "file_id", at)
    media_type, data = split_data_url(url or "")
    if url is None and file_id is None:
        raise missing(f"{at}.image_url")
    return Media(
        kind="image",
        media_type=media_type,
        data=data,
        url="" if data else url or "",
        file_id=file_id or "" if url is None else "",
        cache=_cache(node, at),
        at=at,
    )


def _document(node: Node, at: str) -> Media:
    found = {name: optional_text(node, name, at) for name in ("file_data", "file_url", "file_id")}
    if not any(found.values()):
        raise missing(f"{at}.file_data")
    content = found["file_data"] or ""
    media_type, data = split_data_url(content)
    if content and not data:  # base64 alone is taken too
        media_type, data = "application/pdf", content
    words = items.plain_text_in(media_type, data)
    return Media(
        kind="document",
        media_type=media_type,
        data=data if words is None else "",
        text=words or "",
        url="" if data else found["file_url"] or "",
        file_id="" if data or found["file_url"] else found["file_id"] or "",
        title=optional_text(node, "filename", at) or "",
        cache=_cache(node, at),
        at=at,
    )


def _sound(node: Node, at: str) -> Media:
    sound = as_object(node.get("input_audio"), f"{at}.input_audio")
    format = text(sound, "format", f"{at}.input_audio")
    if format not in items.SOUND_TYPES:
        raise wrong(f"{at}.input_audio.format", "one of " + ", ".join(items.SOUND_TYPES))
    data = text(sound, "data", f"{at}.input_audio")
    return Media(kind="audio", media_type=items.SOUND_TYPES[format], data=data, at=at)


def split_data_url(url: str) -> tuple[str, str]:
    """Return media type and base64 of a data URL; both empty for any other address."""
    found = items.DATA_URL.fullmatch(url) if url.startswith("data:") else None
    return (found[1], found[2]) if found else ("", "")


def read_reasoning(node: Node, at: str, seals: SealBox) -> Thinking:
    """Return a reasoning item: its summaries in one, or its text, and what it is sealed with."""
    packed = optional_text(node, "encrypted_content", at)
    thinking = Thinking(
        text=reasoning_text(node),
        seal=seals.open(packed, NAME) if packed else None,
        at=at,
    )
    plain = items.reasoning_item(thinking, packed or None)
    form = Form(spelling=compare(node, plain, REASONING))
    return replace(thinking, native=keep(node, REASONING, REASONING_ITEM, form))


def reasoning_text(item: Node) -> str:
    """Return what is to be read of a reasoning item: the summaries, or else the reasoning itself."""
    return SEPARATOR.join(_texts(item.get("summary")) or _texts(item.get("content")))


def _texts(pieces: Any) -> list[str]:
    found = pieces if isinstance(pieces, list) else []
    return [str(each["text"]) for each in found if isinstance(each, dict) and each.get("text")]
