"""A body is written back as its client spelled it."""

from typing import Any

import pytest

from providers.canonical.losses import Native, Weight, Weights
from providers.dialects.gemini.spelling import LEAF, Shape, read_node, respell

SHAPE: Shape = {"maxTokens": LEAF, "text": LEAF, "config": {"topK": LEAF, "inner": {"isOn": LEAF}}}
WEIGHTS: Weights = {"safeMode": (Weight.COSMETIC, "a"), "config.audioOut": (Weight.CHANGES_ANSWER, "b")}


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {"maxTokens": 1, "text": None},
        {"max_tokens": None, "config": {}},
        {"config": {"top_k": 1, "inner": {"is_on": True, "unknown_thing": {"a_b": 1}}}},
        {"config": {"inner": None, "audio_out": [1], "audioIn": 2}},
        {"maxTokens": 1, "max_tokens": 2},
        {"safe_mode": 1, "something_new": None, "config": 5},
        {"config.topK": 1, "a.b": 2},
    ],
)
def test_any_spelling_comes_back(raw: dict[str, Any]):
    reading = read_node(raw, SHAPE, WEIGHTS, "")
    assert respell(reading.node, reading.native()) == raw


def test_it_is_read_in_one_spelling_and_named_in_the_clients():
    reading = read_node({"max_tokens": 1, "config": {"top_k": 2, "inner": {"is_on": True}}}, SHAPE, WEIGHTS, "at")
    assert reading.node == {"maxTokens": 1, "config": {"topK": 2, "inner": {"isOn": True}}}
    assert reading.path("maxTokens") == "at.max_tokens"
    assert reading.path("config.inner.isOn") == "at.config.inner.is_on"
    assert reading.path("config.topP") == "at.config.topP"


def test_what_is_known_and_has_no_meaning_has_its_weight_in_either_spelling():
    reading = read_node({"safe_mode": 1, "config": {"audioOut": 2, "new_thing": 3}}, SHAPE, WEIGHTS, "")
    assert [(field.name, field.weight) for field in reading.fields] == [
        ("safe_mode", Weight.COSMETIC),
        ("config.audioOut", Weight.CHANGES_ANSWER),
        ("config.new_thing", Weight.DEGRADES),
    ]


def test_another_dialects_spelling_is_not_ours():
    node = {"text": "a"}
    assert respell(node, Native(origin="openai_chat", form={"names": {"text": "words"}})) == {"text": "a"}


def test_what_is_spelled_plainly_leaves_nothing_to_remember():
    assert read_node({"text": "a"}, SHAPE, WEIGHTS, "").native() is None
