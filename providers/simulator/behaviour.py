"""How the simulator is told to behave: by the model ``sim-<preset>`` or a marker in the last user message.

A marker, ``[[key=value …]]``, changes only the keys it names, on top of the model's preset. Values with
spaces are quoted: ``[[text="two words" first=0.2]]``. Times are in seconds. A chunk is one content-bearing
frame. A marker with ``model=name`` counts where that model is asked for, and nowhere else.
"""

import math
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import lru_cache
from types import NoneType
from typing import Any, get_args

MARKER = re.compile(r"\[\[([a-z][a-z0-9_]*=[^\]]*)\]\]")
FOR_MODEL = re.compile(r"(?:^|(?<=\s))model=(\S+)\s*")
LARGEST_COUNT = 1_000_000


class Tools(StrEnum):
    ONE = "one"
    PARALLEL = "parallel"
    SPLIT = "split"  # one call, its arguments one character at a time
    INTERLEAVED = "interleaved"  # parallel; chat: the calls' fragments alternate, messages: text between the calls


class Thinking(StrEnum):
    SIGNED = "1"
    UNSIGNED = "unsigned"
    REDACTED = "redacted"


class Finish(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    REFUSAL = "refusal"
    CONTENT_FILTER = "content_filter"
    FAILED = "failed"
    NONE = "none"


class UsageShape(StrEnum):
    REPORTED = "reported"
    NONE = "none"
    ZERO = "zero"
    NEGATIVE = "negative"
    TWICE = "twice"
    HUGE = "huge"
    CACHED = "cached"
    WITH_CHOICES = "with_choices"


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """One request's instructions; the defaults are a healthy provider that answers at once."""

    # Pace.
    first: float = 0.0  # before the first chunk; what opens the stream is sent at once
    interval: float = 0.0  # between chunks
    head: float = 0.0  # before the status line
    drip_headers: float = 0.0  # between the lines of the head
    pings: int = 0  # keep-alives spread over `first`
    linger: float = 0.0  # before what ends the stream

    # What is said.
    text: str | None = None  # "echo": the last user message. None: a sentence of our own
    chunks: int | None = None  # None = as many as the text has words
    tools: Tools | None = None
    call: str | None = None  # which of the request's tools, comma separated. None = the first ones
    thinking: Thinking | None = None
    finish: Finish | None = None  # None = what fits what was said
    reason: str | None = None  # the finish reason in the dialect's own word, whatever it is
    block: str | None = None  # Gemini: the prompt is blocked, for this reason
    agent: bool = False  # play a coding agent with the tools of the request
    seals: bool = False  # refuse a tool loop that goes on without the thoughts that began it
    usage: UsageShape = UsageShape.REPORTED

    # Faults: of the first `fail` requests or of every `fail_every`th, counted per `fail_id`; while an outage lasts; else
    # of all.
    fail: int = 0
    fail_every: int = 0
    fail_id: str = ""
    outage: str = ""  # the name of one that is switched on and off: see `Outages`
    id: str = ""  # requests are counted under it, by model
    status: int | None = None
    code: str | None = None
    retry_after: str | None = None
    retry_after_ms: str | None = None
    should_retry: str | None = None
    hang: bool = False  # accept and never answer
    drop: bool = False  # close without a byte
    empty: bool = False  # 200 and no body
    html: bool = False  # an HTML error page, 502 unless `status` says otherwise
    cut: int | None = None  # close the socket after n chunks
    reset: int | None = None  # the same with a TCP reset
    stall: int | None = None  # stop after n chunks, keep the socket open
    truncate: int | None = None  # end the body as if all were well after n chunks
    malformed: int | None = None  # a frame which is not JSON after n chunks
    error_event: int | None = None  # an error in the stream after n chunks, 0: as the first event
    failed: int | None = None  # the same; in Responses as response.failed
    no_done: bool = False  # leave out [DONE], message_stop

    # Wire.
    crlf: bool = False
    cr: bool = False
    nospace: bool = False  # "data:" without the space
    comments: bool = False  # a comment before every frame
    split_utf8: bool = False  # packets end inside UTF-8 sequences and inside CRLF, and only there
    one_packet: bool = False  # all frames in one write
    packet: int = 0  # packets of n bytes, whatever the frames
    gzip: bool = False
    json_for_stream: bool = False
    stream_for_json: bool = False
    no_type: bool = False  # leave out Content-Type
    no_length: bool = False  # neither Content-Length nor chunked: the body ends where the socket does
    hangup: bool = False  # close after the answer without having said so

    def __post_init__(self) -> None:
        if self.status is not None and not 400 <= self.status <= 599:
            raise ValueError(f"status must be an error, 400 to 599, and is {self.status}")

    def with_faults(self) -> "Behaviour":
        """As asked; a plain 500 where no fault was named."""
        is_named = any(getattr(self, name) != healthy for name, healthy in _FAULTS.items())
        return self if is_named else replace(self, status=500)

    def without_faults(self) -> "Behaviour":
        return replace(self, **_FAULTS)

    def on_http_1_0(self) -> "Behaviour":
        """HTTP/1.0 knows no chunked bodies."""
        return replace(self, no_length=True)

    @property
    def ends_after(self) -> int | None:
        """How many chunks are sent before the stream is cut, stalled or truncated. None = all."""
        asked = [n for n in (self.cut, self.reset, self.stall, self.truncate) if n is not None]
        return min(asked, default=None)


_FAULTS: dict[str, Any] = {
    **dict.fromkeys(("hang", "drop", "empty", "html", "no_done"), False),
    **dict.fromkeys(("status", "cut", "reset", "stall", "truncate", "malformed", "error_event", "failed")),
}

PRESETS: dict[str, str] = {
    "fast": "",
    "echo": "text=echo",
    "steady": "first=0.2 interval=0.02 chunks=100",
    "slow": "first=5 interval=0.2 chunks=50",
    "large": "interval=0.005 chunks=2000",
    "embedding": "",
    "image": "",
    "speech": "",
    "thinking": "thinking=1",
    "tools": "tools=one",
    "parallel-tools": "tools=parallel",
    "agent": "agent=1 thinking=1",
    "sealed-agent": "agent=1 thinking=1 seals=1",
    "gemini-3": "thinking=1",
    "cached": "usage=cached",
    "unmetered": "usage=none",
    "refusal": "finish=refusal",
    "flaky": "fail_every=3 fail_id=sim-flaky",
    "down": "status=500",
    "overloaded": "status=529",
    "rate-limited": "status=429 retry_after=2",
    "out-of-credit": "status=429 code=insufficient_quota",
    "unauthorized": "status=401",
    "too-long": "status=400 code=context_length_exceeded",
    "hang": "hang=1",
    "stall": "interval=0.02 stall=3",
    "cut": "interval=0.02 cut=3",
}


class UnknownModel(LookupError):
    """The model is called ``sim-something``, and there is no such preset."""


def markers(text: str, model: str = "") -> str:
    """All that stands in markers for every model or for this one, one space between them."""
    if "[[" not in text:
        return ""
    marked: list[str] = MARKER.findall(text)
    if "model=" not in text:
        return " ".join(marked)
    meant = ((set(FOR_MODEL.findall(each)), FOR_MODEL.sub("", each).strip()) for each in marked)
    return " ".join(rest for models, rest in meant if rest and models <= {model})


@lru_cache(maxsize=4096)
def read_behaviour(model: str, marked: str) -> Behaviour:
    """The model's preset with the marker's keys on top; ValueError for keys and values that mean nothing."""
    preset = ""
    if model.startswith("sim-"):
        name = model.removeprefix("sim-")
        if name not in PRESETS:
            raise UnknownModel(f"The model `{model}` does not exist. Presets: {', '.join(PRESETS)}.")
        preset = PRESETS[name]
    return Behaviour(**_parse(f"{preset} {marked}"))


def _parse(text: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for pair in shlex.split(text):
        key, _, value = pair.partition("=")
        if key not in _PARSERS:
            raise ValueError(f"unknown key {key!r}; known: {', '.join(_PARSERS)}")
        try:
            values[key] = _PARSERS[key](value)
        except ValueError as error:
            raise ValueError(f"{key}={value} means nothing: {error}") from error
    return values


def _flag(text: str) -> bool:
    if text not in {"0", "1"}:
        raise ValueError("expected 0 or 1")
    return text == "1"


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError("expected seconds")
    return seconds


def _count(text: str) -> int:
    count = int(text)
    if not 0 <= count <= LARGEST_COUNT:
        raise ValueError(f"expected 0 to {LARGEST_COUNT}")
    return count


def _parser(kind: Any) -> Callable[[str], object]:
    """The parser of an annotation; an enum parses its own values."""
    [named] = [choice for choice in get_args(kind) or (kind,) if choice is not NoneType]
    parsers: dict[Any, Callable[[str], object]] = {bool: _flag, float: _seconds, int: _count, str: str}
    parser: Callable[[str], object] = parsers.get(named, named)
    return parser


_PARSERS = {field.name: _parser(field.type) for field in fields(Behaviour)}
