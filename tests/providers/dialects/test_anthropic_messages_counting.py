"""Counting tokens as the format has it."""

import json

import pytest

from providers.dialects.anthropic_messages.counting import COUNTER

PROMPT = {"model": "m", "system": "s", "messages": [], "tools": [], "thinking": {"type": "adaptive"}}


def test_only_the_prompt_is_counted():
    body = json.dumps({**PROMPT, "max_tokens": 5, "stream": True, "temperature": 0, "metadata": {}}).encode()
    assert json.loads(COUNTER.write_body(body)) == PROMPT


@pytest.mark.parametrize(
    ("body", "tokens"),
    [(b'{"input_tokens":12}', 12), (b"{}", None), (b"<html>", None), (b'{"input_tokens":"x"}', None)],
)
def test_it_reads_a_count(body: bytes, tokens: int | None):
    assert COUNTER.read(body) == tokens


def test_it_writes_a_count():
    assert json.loads(COUNTER.write_answer(7)) == {"input_tokens": 7}
