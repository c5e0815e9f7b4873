"""Fields of a request are read as what they must be, or the client's own path is named."""

from collections.abc import Callable
from typing import Any

import pytest

from providers.canonical.request import Request
from providers.dialects import nodes
from providers.wire.splice import read_members
from tenants.errors import InvalidRequest

AT = "messages[0]"


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (nodes.text, "", ""),
        (nodes.optional_text, None, None),
        (nodes.optional_flag, False, False),
        (nodes.optional_number, 0, 0),
        (nodes.optional_number, 1.5, 1.5),
        (nodes.optional_count, 7.0, 7),
        (nodes.optional_count, 0, 0),
        (nodes.optional_count, 10**30, 10**30),
        (nodes.optional_object, {}, {}),
        (nodes.optional_list, [], []),
    ],
)
def test_what_is_right_is_read(read: Callable[..., Any], value: Any, expected: Any):
    assert read({"x": value}, "x", AT) == expected


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (nodes.text, 1),
        (nodes.text, None),
        (nodes.optional_text, []),
        (nodes.optional_flag, 1),
        (nodes.optional_number, True),
        (nodes.optional_number, "1"),
        (nodes.optional_count, -1),
        (nodes.optional_count, 1.5),
        (nodes.optional_count, float("inf")),
        (nodes.optional_count, float("nan")),
        (nodes.optional_object, []),
        (nodes.optional_list, {}),
        (nodes.name_text, ""),
        (nodes.name_text, "x" * 201),
    ],
)
def test_what_is_wrong_is_named_by_its_path(read: Callable[..., Any], value: Any):
    with pytest.raises(InvalidRequest, match=r"'messages\[0\]\.x'") as caught:
        read({"x": value}, "x", AT)
    assert caught.value.param == "messages[0].x"


def test_a_word_is_one_of_some():
    assert nodes.optional_word({"x": "low"}, "x", "", ("low", "high")) == "low"
    with pytest.raises(InvalidRequest, match="'x' must be one of low, high"):
        nodes.optional_word({"x": "max"}, "x", "", ("low", "high"))


def test_members_are_built_and_null_is_none():
    members = read_members(b'{"a": {"b": [1, 2.0]}, "n": null, "c": 3}')
    assert nodes.read_body(members) == {"a": {"b": [1, 2.0]}, "n": None, "c": 3}
    assert nodes.read_body(members, frozenset({"c"})) == {"c": 3}


def test_a_number_that_no_double_holds_cannot_be_read():
    with pytest.raises(InvalidRequest, match="'temperature' cannot be read"):
        nodes.read_member(read_members(b'{"temperature": 1e999}'), "temperature")


def test_what_cannot_be_carried_is_named_as_the_client_names_it():
    request = Request(model="m", names={"sampling.stop": "stop_sequences"})
    error = nodes.cannot(request, "sampling.stop", "the upstream has none")
    assert (error.param, error.code) == ("stop_sequences", "not_translatable")
