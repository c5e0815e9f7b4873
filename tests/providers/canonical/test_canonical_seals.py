"""What is sealed for alice goes to the origin that minted it, through alice, and charlie can do nothing with it."""

from base64 import b64decode, b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.canonical.seals import MARK, PREFIX, Seal, SealBox, native_origin

ALICE = SealBox([b"secret"], 1)
BOB = SealBox([b"secret"], 2)  # another tenant of the same gateway
CHARLIE = SealBox([b"another gateway's secret"], 1)
SEAL = Seal(origin="anthropic/claude-x", payload="EqQBCkYI/+==", form="thinking")

anything = st.text(alphabet=st.characters(codec=None), max_size=60)  # lone surrogates too


@settings(max_examples=200, deadline=None)
@given(origin=anything, payload=anything, form=anything)
def test_what_is_packed_can_be_opened(origin: str, payload: str, form: str):
    seal = Seal(origin=origin, payload=payload, form=form)
    assert ALICE.open(ALICE.pack(seal), "gemini") == seal


def test_it_is_standard_base64_that_begins_with_the_mark():
    packed = ALICE.pack(SEAL)
    assert packed.encode().startswith(MARK)
    assert b64encode(b64decode(packed, validate=True)).decode() == packed


def test_it_does_not_show_its_payload():
    assert SEAL.payload not in ALICE.pack(SEAL)


def test_the_same_seal_is_packed_alike():
    assert ALICE.pack(SEAL) == ALICE.pack(SEAL)


@settings(max_examples=100, deadline=None)
@given(payload=st.text(max_size=40))
def test_the_url_safe_alphabet_without_padding_opens_too(payload: str):
    seal = Seal(origin="p/m", payload=payload)
    spelled = ALICE.pack(seal).replace("+", "-").replace("/", "_").rstrip("=")
    assert ALICE.open(spelled, "gemini") == seal


def test_what_is_not_ours_is_native():
    assert ALICE.open("EqQBCkYI", "gemini") == Seal(origin=native_origin("gemini"), payload="EqQBCkYI")


@pytest.mark.parametrize("box", [BOB, CHARLIE])
def test_nobody_else_can_open_it(box: SealBox):
    assert box.open(ALICE.pack(SEAL), "anthropic_messages") is None


@pytest.mark.parametrize("box", [BOB, CHARLIE])
def test_nobody_else_can_forge_it(box: SealBox):
    assert ALICE.open(box.pack(SEAL), "anthropic_messages") is None


def test_it_is_refused_wherever_it_is_cut():
    packed = ALICE.pack(SEAL).rstrip("=")
    opened = [ALICE.open(packed[:length], "gemini") for length in range(len(PREFIX), len(packed))]
    assert opened == [None] * len(opened)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_byte_of_it_can_be_changed(data: st.DataObject):
    raw = bytearray(b64decode(ALICE.pack(SEAL)))
    position = data.draw(st.integers(min_value=len(b64decode(PREFIX)), max_value=len(raw) - 1))
    raw[position] ^= data.draw(st.integers(min_value=1, max_value=255))
    assert ALICE.open(b64encode(raw).decode(), "gemini") is None


@settings(max_examples=200, deadline=None)
@given(rest=anything)
def test_what_only_claims_to_be_ours_is_no_seal(rest: str):
    assert ALICE.open(PREFIX + rest, "gemini") is None


def test_a_new_secret_packs_and_the_old_one_still_opens():
    rotated = SealBox([b"new secret", b"secret"], 1)
    assert rotated.open(ALICE.pack(SEAL), "gemini") == SEAL
    assert rotated.open(rotated.pack(SEAL), "gemini") == SEAL
    assert ALICE.open(rotated.pack(SEAL), "gemini") is None
