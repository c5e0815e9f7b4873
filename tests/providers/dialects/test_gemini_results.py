"""What a tool gave back has to be an object."""

from typing import Any

import pytest

from providers.dialects.gemini.results import read_response, write_response


@pytest.mark.parametrize(
    ("texts", "is_error"),
    [([], False), ([""], False), (["28 °C"], False), (["no"], True), (["a", "b"], False), (["a", ""], True)],
)
def test_what_is_written_is_read_again(texts: list[str], is_error: bool):
    assert read_response(write_response(texts, is_error=is_error)) == (texts, is_error)


@pytest.mark.parametrize(
    ("response", "texts", "is_error"),
    [
        ({"output": "x"}, ["x"], False),
        ({"result": "x"}, ["x"], False),
        ({"error": "x"}, ["x"], True),
        ({"result": {"a": [1]}}, ['{"a":[1]}'], False),
        ({"output": ["x", "y"]}, ['["x","y"]'], False),
        ({"error": {"code": 5}}, ['{"code":5}'], True),
        ({"result": None}, ["null"], False),
        ({"hour": 12, "minute": 5}, ['{"hour":12,"minute":5}'], False),
        ({"temperature": 3}, ['{"temperature":3}'], False),
        ({"output": "x", "error": "y"}, ['{"output":"x","error":"y"}'], False),
        ({}, [], False),
    ],
)
def test_every_object_is_read(response: dict[str, Any], texts: list[str], is_error: bool):
    assert read_response(response) == (texts, is_error)


def test_an_error_without_words_is_an_error_all_the_same():
    assert write_response([], is_error=True) == {"error": ""}
