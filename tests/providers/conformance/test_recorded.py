"""A recorded exchange is read from its file, or the file is named."""

from pathlib import Path

import pytest

from providers.conformance.recorded import load, parse

FILE = b"""What it shows.
features: text, tools
model: m-1

-- request.json --
{"model": "m-1"}

-- stream.sse --
data: {}

data: [DONE]

-- answer.json --
{"id": 1}
"""


def test_it_has_its_parts():
    recorded = parse(FILE, dialect="toy", name="hello")
    assert (recorded.title, recorded.features, recorded.model) == ("What it shows.", ("text", "tools"), "m-1")
    assert (recorded.request, recorded.answer) == (b'{"model": "m-1"}', b'{"id": 1}')


def test_the_stream_is_kept_byte_for_byte():
    assert parse(FILE, dialect="toy", name="hello").stream == b"data: {}\n\ndata: [DONE]\n\n"


@pytest.mark.parametrize("section", [b"request.json", b"stream.sse", b"answer.json"])
def test_a_file_without_a_section_is_named(section: bytes):
    with pytest.raises(ValueError, match=f"toy/hello.*{section.decode()}"):
        parse(FILE.replace(b"-- " + section, b"-- x"), dialect="toy", name="hello")


def test_files_are_found_by_their_place(tmp_path: Path):
    (tmp_path / "toy").mkdir()
    for name in ("b", "a"):
        (tmp_path / "toy" / f"{name}.txtar").write_bytes(FILE)
    assert [(each.dialect, each.name) for each in load(tmp_path)] == [("toy", "a"), ("toy", "b")]
