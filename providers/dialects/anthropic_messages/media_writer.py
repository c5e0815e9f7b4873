"""Images and documents as this format takes them: four kinds of image, PDF and plain text."""

import re
from base64 import b64decode
from typing import NamedTuple

from providers.canonical.parts import Media
from providers.dialects.anthropic_messages.wire import PDF
from providers.dialects.anthropic_messages.writing import Writing
from providers.dialects.nodes import Node

_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_DATA_URL = re.compile(r"data:([^;,]*)[^,]*,", re.IGNORECASE)
_BLANKS = re.compile(r"\s+")
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", PDF),
    (b"<svg", "image/svg+xml"),
    (b"<?xml", "image/svg+xml"),
)


class _Data(NamedTuple):
    media_type: str
    base64: str


def media_source(media: Media, writing: Writing) -> Node | None:
    """Return where an image or document is to be had; None, with a loss, when the upstream cannot have it."""
    source, why = _source(media, writing)
    if source is None:
        writing.losses.changes_answer(media.at, why)
    return source


def _source(media: Media, writing: Writing) -> tuple[Node | None, str]:
    if media.kind not in ("image", "document"):
        return None, f"the upstream does not take {media.kind}"
    profile = writing.destination.profile
    if not (profile.takes_images if media.kind == "image" else profile.takes_documents):
        return None, f"the upstream's model does not take a part that is {media.kind}"
    if media.text:
        return {"type": "text", "media_type": "text/plain", "data": media.text}, ""
    if media.file_id:
        return _file(media, writing)
    data = _cleaned(media.data or media.url, media.media_type)
    if data is None:
        return _url(media, writing)
    return _from_data(media, data, writing)


def _file(media: Media, writing: Writing) -> tuple[Node | None, str]:
    if not writing.is_own:
        return None, "the upstream does not have this file"
    return {"type": "file", "file_id": media.file_id}, ""


def _url(media: Media, writing: Writing) -> tuple[Node | None, str]:
    if not media.url.lower().startswith(("http://", "https://")):
        return None, "the upstream fetches from http and https addresses only"
    if media.media_type not in ("", PDF if media.kind == "document" else ""):
        writing.losses.cosmetic(f"{media.at}.media_type", "the upstream sees for itself what is at the address")
    return {"type": "url", "url": media.url}, ""


def _from_data(media: Media, data: _Data, writing: Writing) -> tuple[Node | None, str]:
    allowed = _IMAGES if media.kind == "image" else {PDF}
    if data.media_type in allowed:
        if media.media_type not in ("", data.media_type):
            writing.losses.cosmetic(f"{media.at}.media_type", f"its bytes are {data.media_type}")
        return {"type": "base64", "media_type": data.media_type, "data": data.base64}, ""
    if media.kind == "document" and data.media_type.startswith("text/"):
        words = _decoded(data.base64)
        if words is not None:
            writing.losses.cosmetic(media.at, "the upstream takes it as plain text")
            return {"type": "text", "media_type": "text/plain", "data": words}, ""
    return None, f"the upstream does not take {data.media_type or 'data of an unknown type'}"


def _cleaned(value: str, media_type: str) -> _Data | None:
    """Return base64 without blanks and without a data: prefix, and what its first bytes say it is; None for an address."""
    prefix = _DATA_URL.match(value)
    if prefix is None and "://" in value[:16]:
        return None
    if prefix is not None:
        value, media_type = value[prefix.end() :], media_type or prefix[1].lower()
    base64 = _BLANKS.sub("", value)
    return _Data(_sniffed(base64) or media_type, base64)


def _sniffed(base64: str) -> str:
    """Return the media type that the first bytes tell; empty when they tell none."""
    try:
        head = b64decode(base64[:24])
    except ValueError:
        return ""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:8] == b"ftyp":
        return "image/heic"  # or another of its family: none is taken
    return next((media_type for magic, media_type in _MAGIC if head.startswith(magic)), "")


def _decoded(base64: str) -> str | None:
    try:
        return b64decode(base64).decode()
    except ValueError:
        return None
