"""Law 1: no edit leaves a body as it is, and an edit changes the value that it names and nothing else."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from providers.conformance.recorded import Recorded
from providers.wire.splice import read_members, splice
from tests.providers.laws.exchanges import each_exchange

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)
blanks = st.text(alphabet=" \t\r\n", max_size=3)


@st.composite
def bodies(draw: Any) -> bytes:
    """An object, spelled with any blanks and escapes that JSON allows."""
    members = draw(st.dictionaries(st.text(max_size=8), values, max_size=6))
    pieces = [
        f"{draw(blanks)}{json.dumps(name, ensure_ascii=draw(st.booleans()))}{draw(blanks)}:{draw(blanks)}"
        f"{json.dumps(value, ensure_ascii=draw(st.booleans()))}{draw(blanks)}"
        for name, value in members.items()
    ]
    text = f"{draw(blanks)}{{{','.join(pieces) or draw(blanks)}}}{draw(blanks)}"
    return text.encode()


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


@each_exchange
def test_law_1_no_edit_changes_no_byte(recorded: Recorded):
    assert splice(read_members(recorded.request), {}) == recorded.request


@each_exchange
def test_law_1_each_member_can_be_changed_alone(recorded: Recorded):
    members, before = read_members(recorded.request), json.loads(recorded.request)
    for span in members.spans:
        edited = splice(members, {span.name: b'"edited"'})
        assert edited == recorded.request[: span.start] + b'"edited"' + recorded.request[span.end :]
        assert json.loads(edited) == before | {span.name: "edited"}


@settings(max_examples=100, deadline=None)
@given(raw=bodies())
def test_law_1_no_edit_changes_no_byte_of_any_body(raw: bytes):
    assert splice(read_members(raw), {}) == raw


@settings(max_examples=150, deadline=None)
@given(raw=bodies(), value=values, data=st.data())
def test_law_1_an_edit_changes_that_value_only(raw: bytes, value: Any, data: st.DataObject):
    before = json.loads(raw)
    name = data.draw(st.sampled_from(sorted(before)) if before else st.text()) if data.draw(st.booleans()) else "new"
    assert json.loads(splice(read_members(raw), {name: as_json(value)})) == before | {name: value}


@settings(max_examples=150, deadline=None)
@given(raw=bodies(), data=st.data())
def test_law_1_members_can_be_removed(raw: bytes, data: st.DataObject):
    before = json.loads(raw)
    gone = data.draw(st.sets(st.sampled_from(sorted(before)))) if before else set()
    after = json.loads(splice(read_members(raw), dict.fromkeys(gone)))
    assert after == {name: value for name, value in before.items() if name not in gone}
