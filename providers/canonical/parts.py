"""What a turn consists of, in no vendor's words. Pure.

Every part knows `at`: where the client wrote it ("messages[3].content[1]"), so that losses and errors name the client's
own field. `native` keeps what one dialect alone knows of it.
"""

from typing import Any, Literal

import msgspec

from providers.canonical.losses import Native, Weight
from providers.canonical.seals import Seal


class Citation(msgspec.Struct, frozen=True, kw_only=True):
    """A source that a text names."""

    url: str = ""
    title: str = ""
    quote: str = ""  # what is cited
    start: int | None = None  # characters of the text, where the dialect counts them
    end: int | None = None
    native: Native | None = None


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """Words. A refusal is words too: the model's own, of why it will not."""

    text: str = ""
    is_refusal: bool = False
    citations: tuple[Citation, ...] = ()
    cache: str | None = None  # a cache breakpoint after this part: its lifetime ("5m", "1h", "30m"), "" for the default
    seal: Seal | None = None
    at: str = ""
    native: Native | None = None


class Media(msgspec.Struct, frozen=True, kw_only=True):
    """An image, a document, a sound or a film. Exactly one of `data`, `url`, `file_id`, `text` is set."""

    kind: Literal["image", "document", "audio", "video"]
    media_type: str = ""  # "image/png"; empty when only the address knows
    data: str = ""  # base64
    url: str = ""
    file_id: str = ""  # of a store of the client's dialect
    text: str = ""  # a document that is plain text
    title: str = ""  # a document's title or file name
    cache: str | None = None
    seal: Seal | None = None
    at: str = ""
    native: Native | None = None


class Thinking(msgspec.Struct, frozen=True, kw_only=True):
    """A model's reasoning: text where it shows some, a seal where it wants it back."""

    text: str = ""
    seal: Seal | None = None
    is_redacted: bool = False  # there is text, and nobody may see it: only the seal is left
    at: str = ""
    native: Native | None = None


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A model's wish to have a tool run."""

    id: str
    name: str
    arguments: str = ""  # JSON text as the model wrote it ("{}" for none); of a custom tool, its free text
    kind: Literal["function", "custom"] = "function"
    namespace: str = ""
    seal: Seal | None = None
    cache: str | None = None
    at: str = ""
    native: Native | None = None


class ToolResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool gave back; always in a user turn, before the user's own words."""

    call_id: str
    name: str = ""  # of the tool, from the call that it answers
    parts: "tuple[Text | Media | Foreign, ...]" = ()
    is_error: bool = False
    kind: Literal["function", "custom"] = "function"
    cache: str | None = None
    at: str = ""
    native: Native | None = None


class Foreign(msgspec.Struct, frozen=True, kw_only=True):
    """A part that only its own dialect knows (a server tool's result, a compaction, ...), whole."""

    origin: str  # a dialect
    what: str  # its type, as that dialect calls it
    value: Any  # as JSON
    weight: Weight = Weight.CHANGES_ANSWER
    why: str = "the upstream's format has no such part"
    at: str = ""


type Part = Text | Media | Thinking | ToolCall | ToolResult | Foreign
