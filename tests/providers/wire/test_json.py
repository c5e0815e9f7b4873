"""JSON goes in and out again as it was, however odd."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.wire.json import read_any, read_json, write_json

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet=st.characters(codec=None)), inner),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(value=values)
def test_what_is_written_reads_the_same(value: object):
    assert read_json(write_json(value)) == value
    assert json.loads(write_json(value)) == value


@pytest.mark.parametrize(
    "text",
    ["123456789012345678901234567890", "18446744073709551616", '"\\ud800"', "-0.0", "1.5", "[]", '"<\\\\u003c>"'],
)
def test_odd_values_survive(text: str):
    assert write_json(read_json(text)).decode() == text


@pytest.mark.parametrize("text", ["", "nan", "NaN", "Infinity", "[1,]", "01", "{'a':1}", '{"a":1} x', "[", '"\x01"'])
def test_what_is_no_json_is_refused(text: str):
    with pytest.raises(ValueError):  # noqa: PT011
        read_json(text)


@pytest.mark.parametrize("text", ["1e999", "-1e400", '{"temperature":1e999}'])
def test_a_number_that_would_come_out_as_null_is_refused(text: str):
    with pytest.raises(ValueError, match="too large"):
        read_json(text)


def test_what_is_nested_too_deeply_is_refused():
    with pytest.raises(ValueError, match="deeply"):
        read_json("[" * 200_000 + "]" * 200_000)


def test_bytes_that_are_no_utf_8_are_refused():
    with pytest.raises(ValueError):  # noqa: PT011
        read_json(b'"\xff"')


@pytest.mark.parametrize("value", [object(), b"bytes", {(1, 2): 3}, {1}])
def test_what_json_cannot_say_is_refused(value: object):
    with pytest.raises(ValueError):  # noqa: PT011
        write_json(value)


def test_it_is_compact_and_keeps_its_characters():
    assert write_json({"a": "é<🙂"}) == '{"a":"é<🙂"}'.encode()


ODD = rb'{ } [ ] , : " "a" 1 -0 0.5 1e999 NaN -Infinity null 01 1. tru true \ud800 \u0041'.split()
PIECES = st.sampled_from([*ODD, b" ", b"\n", b"\x00", b"\xff", b"\xc3\xa9", b"\xef\xbb\xbf", b"9" * 30])


def outcome(read: Callable[[bytes], object], data: bytes) -> str:
    try:
        return repr(read(data))
    except (ValueError, RecursionError):
        return "refused"


@settings(max_examples=1000, deadline=None)
@given(data=st.lists(PIECES, max_size=12).map(b"".join) | values.map(lambda value: json.dumps(value).encode()))
def test_what_pythons_own_decoder_takes_is_read_alike(data: bytes):
    assert outcome(read_any, data) == outcome(json.loads, data)


@pytest.mark.parametrize(
    "text", [b'{"a":1e999}', b'{"a":NaN}', b'{"a":"\\ud800"}', b'\xef\xbb\xbf{"a":1}', b"[" * 100_000]
)
def test_what_the_fast_decoder_refuses_is_read_by_the_other(text: bytes):
    assert outcome(read_any, text) == outcome(json.loads, text)
