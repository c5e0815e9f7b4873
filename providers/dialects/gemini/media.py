"""Files in a body or at an address: inlineData and fileData, both ways."""

import re
from base64 import b64decode, b64encode
from typing import Any, Literal

from providers.canonical.losses import form_of
from providers.canonical.parts import Media
from providers.dialects.gemini.spelling import Reading
from providers.dialects.gemini.wire import NAME
from providers.dialects.nodes import Node, as_object, optional_text, text

type Kind = Literal["image", "document", "audio", "video"]

# What Gemini itself can open: Google's stores, and YouTube.
_STORES = re.compile(r"gs://|https://generativelanguage\.googleapis\.com/")
_YOUTUBE = re.compile(r"https?://(?:www\.|m\.)?(?:youtube\.com/|youtu\.be/)")
_KIND_OF_SUFFIX: dict[str, Kind] = {
    **dict.fromkeys(("png", "jpg", "jpeg", "gif", "webp", "heic", "heif", "bmp"), "image"),
    **dict.fromkeys(("mp3", "wav", "flac", "aac", "ogg", "m4a", "aiff"), "audio"),
    **dict.fromkeys(("mp4", "mov", "mpeg", "mpg", "webm", "avi", "wmv", "3gp"), "video"),
}
_TYPE_OF_KIND = {"image": "image/png", "document": "application/pdf", "audio": "audio/wav", "video": "video/mp4"}
_TO_STANDARD = str.maketrans("-_", "+/")
_TO_URL_SAFE = str.maketrans("+/", "-_")
PLAIN = "text/plain"


def read_inline(reading: Reading, at: str, **form: Any) -> Media:
    """Read inlineData: base64 in either alphabet, as google-genai writes the URL-safe one; plain text is decoded."""
    node = as_object(reading.node["inlineData"], reading.path("inlineData"))
    media_type = optional_text(node, "mimeType", reading.path("inlineData")) or ""
    written = text(node, "data", reading.path("inlineData"))
    data = _standard(written)
    words = _decoded(data, written) if media_type == PLAIN else None
    form |= {"alphabet": "url" if "-" in written or "_" in written else None}
    form |= {"is_unpadded": True if len(data) != len(written) and words is None else None}
    return Media(
        kind=kind_of(media_type, ""),
        media_type=media_type,
        data=data if words is None else "",
        text=words or "",
        title=optional_text(node, "displayName", at) or "",
        at=at,
        native=reading.native(is_own=True, **form),
    )


def read_file(reading: Reading, at: str, **form: Any) -> Media:
    """Read fileData: a file of a store of Google's, or an address."""
    node = as_object(reading.node["fileData"], reading.path("fileData"))
    address = text(node, "fileUri", reading.path("fileData"))
    media_type = optional_text(node, "mimeType", at) or ""
    is_stored = _STORES.match(address) is not None or "://" not in address
    return Media(
        kind=kind_of(media_type, address),
        media_type=media_type,
        file_id=address if is_stored else "",
        url="" if is_stored else address,
        title=optional_text(node, "displayName", at) or "",
        at=at,
        native=reading.native(is_own=True, **form),
    )


def kind_of(media_type: str, address: str) -> Kind:
    """Return what sort of thing a file is."""
    family = media_type.partition("/")[0]
    if family in {"image", "audio", "video"}:
        return family  # type: ignore[return-value]
    if media_type:
        return "document"
    if _YOUTUBE.match(address):
        return "video"
    return _KIND_OF_SUFFIX.get(address.partition("?")[0].rpartition(".")[2].lower(), "document")


def can_open(media: Media) -> bool:
    """Whether Gemini reads a file at its address; what its own client names is for Gemini to judge."""
    address = media.url or media.file_id
    return _is_own(media) or _STORES.match(address) is not None or _YOUTUBE.match(address) is not None


def write_media(media: Media) -> Node:
    """Return inlineData or fileData; whether Gemini can open the address is for the caller to see."""
    title = {"displayName": media.title} if media.title and _is_own(media) else {}
    if media.url or media.file_id:
        kind = {"mimeType": media.media_type} if media.media_type else {}
        return {"fileData": {"fileUri": media.url or media.file_id, **kind, **title}}
    media_type = media.media_type or (PLAIN if media.text else _TYPE_OF_KIND[media.kind])
    kind = {} if _is_own(media) and not media.media_type else {"mimeType": media_type}
    return {"inlineData": {**kind, "data": _data(media), **title}}


def _data(media: Media) -> str:
    """Return base64 in the alphabet of its client."""
    form = form_of(media.native, NAME) or {}
    data = b64encode(media.text.encode()).decode() if media.text else media.data
    data = data.translate(_TO_URL_SAFE) if form.get("alphabet") == "url" else data
    return data.rstrip("=") if form.get("is_unpadded") else data


def _is_own(media: Media) -> bool:
    return media.native is not None and media.native.origin == NAME


def _standard(data: str) -> str:
    """Return base64 in the standard alphabet, padded."""
    data = data.translate(_TO_STANDARD)
    return data + "=" * (-len(data) % 4)


def _decoded(data: str, written: str) -> str | None:
    """Return the text that base64 stands for, if the same base64 comes of it again."""
    try:
        words = b64decode(data, validate=True).decode()
    except ValueError:
        return None
    return words if words and b64encode(words.encode()).decode() == written else None
