"""Writing the parts of a message's content."""

from providers.canonical.parts import Foreign, Media, Text
from providers.dialects.nodes import Node
from providers.dialects.openai_chat.forms import add_kept
from providers.dialects.openai_chat.parts_reader import AUDIO_TYPES, BREAKPOINT, CACHE_FIELDS, cache_mark
from providers.dialects.openai_chat.wire import CACHE_LIFETIMES, DEFAULT_FILE_NAME, NAME
from providers.dialects.openai_chat.writing import Writing

AUDIO_FORMATS = {
    **{media_type: sound for sound, media_type in AUDIO_TYPES.items()},
    "audio/mp3": "mp3",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
}


def write_part(part: Text | Media | Foreign, writing: Writing) -> Node | None:
    """Return a part of a content list; None, and a loss, when the format has none like it."""
    match part:
        case Text():
            return _write_text(part, writing)
        case Media():
            return _write_media(part, writing)
        case Foreign() if part.origin == NAME:
            return dict(part.value)
    writing.lose_foreign(part)
    return None


def _write_text(part: Text, writing: Writing) -> Node:
    field = "refusal" if part.is_refusal else "text"
    node: Node = {"type": field, field: part.text}
    writing.lose_native(part.native, part.at)
    writing.lose_citations(part)
    add_kept(node, part.native)
    _mark(node, part, writing)
    return node


def _write_media(part: Media, writing: Writing) -> Node | None:
    node, inner = _media_node(part, writing)
    if node is None:
        return None
    writing.lose_native(part.native, part.at)
    if part.seal is not None:
        writing.lose_seal(part.at)
    add_kept(node, part.native, inner=inner)
    _mark(node, part, writing)
    return node


def _media_node(part: Media, writing: Writing) -> tuple[Node | None, str]:
    match part.kind:
        case "image":
            return _image(part, writing), "image_url"
        case "document":
            return _document(part, writing), "file"
        case "audio":
            return _audio(part, writing), "input_audio"
    writing.losses.changes_answer(part.at, "the upstream's format takes no films")
    return None, ""


def _image(part: Media, writing: Writing) -> Node | None:
    if not writing.to.profile.takes_images:
        return _lost(part, writing, "this model reads no images")
    url = part.url or _data_url(part)
    return {"type": "image_url", "image_url": {"url": url}} if url else _lost(part, writing, _NO_FILES)


def _document(part: Media, writing: Writing) -> Node | None:
    if part.text:
        return _as_words(part, writing)
    if not writing.to.profile.takes_documents:
        return _lost(part, writing, "this model reads no documents")
    if part.file_id and writing.is_own:
        file: Node = {"file_id": part.file_id}
        return {"type": "file", "file": {**file, "filename": part.title} if part.title else file}
    if not part.data:
        return _lost(part, writing, "the upstream's format cannot fetch a document" if part.url else _NO_FILES)
    name = part.title or ("" if writing.is_own else DEFAULT_FILE_NAME)
    content: Node = {"file_data": _data_url(part)}
    return {"type": "file", "file": {"filename": name, **content} if name else content}


def _as_words(part: Media, writing: Writing) -> Node:
    """Return a plain text document as words, under its title."""
    writing.losses.cosmetic(part.at, "the upstream's format has no documents of plain text: it gets the words")
    return {"type": "text", "text": f"{part.title}\n\n{part.text}" if part.title else part.text}


def _audio(part: Media, writing: Writing) -> Node | None:
    sound = AUDIO_FORMATS.get(part.media_type) or (part.media_type.removeprefix("audio/") if writing.is_own else "")
    if not part.data or not sound:
        return _lost(part, writing, "the upstream's format takes sound as wav or mp3 only, and in the request itself")
    return {"type": "input_audio", "input_audio": {"data": part.data, "format": sound}}


_NO_FILES = "the upstream does not have this file"


def _lost(part: Media, writing: Writing, why: str) -> Node | None:
    """Note that a file cannot be sent; there is nothing to write in its place."""
    writing.losses.changes_answer(part.at, why)
    return None


def _data_url(part: Media) -> str:
    return f"data:{part.media_type};base64,{part.data}" if part.data else ""


def _mark(node: Node, part: Text | Media, writing: Writing) -> None:
    """Write a part's cache mark."""
    if part.cache is None:
        return
    if not writing.takes_cache_breakpoints:
        for name in CACHE_FIELDS & node.keys():
            del node[name]
        writing.lose_cache(part.at, "the upstream takes no cache marks")
        return
    if CACHE_FIELDS.isdisjoint(node):
        lifetime = part.cache if part.cache in CACHE_LIFETIMES or writing.is_own else ""
        if lifetime != part.cache:
            writing.lose_cache(part.at, "the upstream's cache marks live longer or shorter")
        node[BREAKPOINT] = cache_mark(lifetime)
