"""Law 7: a seal goes back to the origin that minted it, through its own tenant, and nowhere else."""

import json
from collections.abc import Iterable

from providers.canonical.answer import fold
from providers.canonical.request import Request
from providers.canonical.seals import MARK, Seal, SealBox
from providers.conformance.crossing import (
    MODEL,
    ORIGIN,
    SEALS,
    answer_events,
    bring_back,
    chat_operation,
    read_request,
    send,
)
from providers.conformance.recorded import Recorded
from providers.dialects.base import Dialect
from providers.registry import DIALECTS
from providers.wire.splice import read_members
from tests.providers.laws.exchanges import DIRECTIONS, each_pair
from tests.providers.laws.histories import next_request, seals_of

OPAQUE = (b"signature", b"encrypted_content", b"thoughtSignature", b"thought_signature", b"redacted_thinking")
CHARLIE = SealBox([b"a secret of the conformance run"], 3)
OTHER_ORIGIN = "somebody-else/their-model"
URL_SAFE = bytes.maketrans(b"+/", b"-_")


def is_sealed(body: bytes) -> bool:
    return any(word in body for word in OPAQUE)


each_sealed_answer = each_pair((recorded, other) for recorded, other in DIRECTIONS if is_sealed(recorded.answer))
each_sealed_request = each_pair(
    (recorded, other)
    for recorded, other in DIRECTIONS
    if is_sealed(recorded.request) and other.name != recorded.dialect
)


def minted(recorded: Recorded) -> list[Seal]:
    """Return the seals of a recorded answer."""
    answer = fold(answer_events(recorded, DIALECTS[recorded.dialect]))
    return [seal for part in answer.parts if (seal := getattr(part, "seal", None)) is not None]


def whole_for(recorded: Recorded, other: Dialect) -> bytes:
    upstream = DIALECTS[recorded.dialect]
    return bring_back(answer_events(recorded, upstream), other, read_request(recorded, upstream)).whole


def sent_again(request: Request, upstream: Dialect, origin: str) -> tuple[bytes, set[str]]:
    """Write a history for an upstream; return the body, and the payloads of the seals that are in it."""
    body = send(request, upstream, origin=origin).body
    members = read_members(body)
    after = upstream.read_request(members, upstream.read_facts(members, chat_operation(upstream)), SEALS)
    return body, {seal.payload for seal in seals_of(after)}


def leaked(body: bytes, seals: Iterable[Seal]) -> list[str]:
    """Return what must not be in a body and is: payloads and packed seals."""
    text = body.decode()
    found = [seal.payload for seal in seals if seal.payload in text or json.dumps(seal.payload)[1:-1] in text]
    return found + ([MARK.decode()] if MARK in body else [])


@each_sealed_answer
def test_law_7_a_client_never_sees_what_is_sealed(recorded: Recorded, other: Dialect):
    upstream = DIALECTS[recorded.dialect]
    returned = bring_back(answer_events(recorded, upstream), other, read_request(recorded, upstream))
    for body in (returned.whole, returned.stream):
        assert not [seal.payload for seal in minted(recorded) if seal.payload in body.decode()]
    assert (MARK in returned.whole) == (MARK in returned.stream)


@each_sealed_answer
def test_law_7_a_seal_that_a_client_cannot_carry_is_named_as_lost(recorded: Recorded, other: Dialect):
    upstream = DIALECTS[recorded.dialect]
    returned = bring_back(answer_events(recorded, upstream), other, read_request(recorded, upstream))
    carried = [seal for seal in minted(recorded) if SEALS.pack(seal).encode() in returned.whole]
    assert len(carried) == len(minted(recorded)) or returned.losses


@each_sealed_answer
def test_law_7_it_goes_back_to_the_origin_that_minted_it(recorded: Recorded, other: Dialect):
    whole = whole_for(recorded, other)
    carried = {seal.payload for seal in minted(recorded) if SEALS.pack(seal).encode() in whole}
    _, came_back = sent_again(next_request(other, whole), DIALECTS[recorded.dialect], ORIGIN)
    assert carried <= came_back


@each_sealed_answer
def test_law_7_a_client_may_send_it_in_the_url_safe_alphabet(recorded: Recorded, other: Dialect):
    whole = whole_for(recorded, other)
    for seal in minted(recorded):
        packed = SEALS.pack(seal).encode()
        whole = whole.replace(packed, packed.translate(URL_SAFE))
    expected = {seal.payload for seal in seals_of(next_request(other, whole_for(recorded, other)))}
    assert {seal.payload for seal in seals_of(next_request(other, whole))} == expected


@each_sealed_answer
def test_law_7_it_goes_to_no_other_origin(recorded: Recorded, other: Dialect):
    history = next_request(other, whole_for(recorded, other))
    for upstream in DIALECTS.values():
        body, came_back = sent_again(history, upstream, OTHER_ORIGIN)
        assert leaked(body, minted(recorded)) == [], upstream.name
        assert came_back.isdisjoint(seal.payload for seal in minted(recorded)), upstream.name


@each_sealed_answer
def test_law_7_charlie_cannot_open_what_is_alices(recorded: Recorded, other: Dialect):
    stolen = next_request(other, whole_for(recorded, other), CHARLIE)
    assert not [seal for seal in seals_of(stolen) if seal.origin == ORIGIN]
    body, _ = sent_again(stolen, DIALECTS[recorded.dialect], ORIGIN)
    assert leaked(body, minted(recorded)) == []


@each_sealed_request
def test_law_7_what_a_client_has_from_its_own_dialect_goes_to_no_other(recorded: Recorded, other: Dialect):
    request = read_request(recorded, DIALECTS[recorded.dialect])
    body = send(request, other, model=MODEL, origin=OTHER_ORIGIN).body
    assert leaked(body, seals_of(request)) == []
