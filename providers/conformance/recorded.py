"""Recorded exchanges: request, stream and whole answer of one exchange in one file (txtar). Pure but for `load`.

    What this exchange shows, in one line.
    features: text, tools
    model: gemini-3-pro

    -- request.json --
    {...}                what the client sends for a whole answer
    -- stream.sse --
    data: ...            the stream that the upstream answers with, byte for byte
    -- answer.json --
    {...}                the same answer, whole

`features` name rows of docs/conformance.md; `model` is needed where the body does not name it.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

_SECTION = re.compile(rb"^-- (\S+) --\r?\n", re.MULTILINE)


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """One exchange."""

    dialect: str
    name: str
    title: str
    features: tuple[str, ...]
    model: str
    request: bytes
    stream: bytes
    answer: bytes


def parse(text: bytes, *, dialect: str, name: str) -> Recorded:
    """Read one file; raises ValueError naming what is missing."""
    head, *rest = _SECTION.split(text)
    sections = {rest[i].decode(): rest[i + 1] for i in range(0, len(rest), 2)}
    for needed in ("request.json", "stream.sse", "answer.json"):
        if needed not in sections:
            raise ValueError(f"{dialect}/{name}: there is no section {needed}")
    title, *lines = head.decode().strip().splitlines()
    settings = dict(line.split(": ", 1) for line in lines if ": " in line)
    return Recorded(
        dialect=dialect,
        name=name,
        title=title,
        features=tuple(settings["features"].split(", ")),
        model=settings.get("model", "m"),
        request=sections["request.json"].strip(),
        stream=sections["stream.sse"],
        answer=sections["answer.json"].strip(),
    )


def load(folder: Path) -> Iterator[Recorded]:
    """Read `folder`/<dialect>/*.txtar."""
    for path in sorted(folder.glob("*/*.txtar")):
        yield parse(path.read_bytes(), dialect=path.parent.name, name=path.stem)
