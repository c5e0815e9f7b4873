"""Models that write their thinking into the text: nothing is taken out of it, wherever the tags are cut."""

import json

import pytest

from providers.canonical.answer import fold
from providers.canonical.parts import Text
from providers.dialects.openai_chat import OPENAI_CHAT

SAID = "<think>Hm.</think>Yes."


def chunk(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return b"data: " + json.dumps({"id": "c", "model": "m", "choices": [choice]}).encode() + b"\n\n"


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_edge_36_think_tags_in_the_text_stay_text_wherever_they_are_cut(size: int):
    pieces = [SAID[start : start + size] for start in range(0, len(SAID), size)]
    reader = OPENAI_CHAT.reader("p/m")
    stream = b"".join(chunk({"content": piece}) for piece in pieces) + chunk({}, "stop") + b"data: [DONE]\n\n"
    (part,) = fold([*reader.feed(stream), *reader.close()]).parts
    assert isinstance(part, Text)
    assert part.text == SAID
