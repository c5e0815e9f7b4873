"""Law 6: losses are complete and exact. What an upstream gets says all that the client said, but for what is named as
lost; and what is named as lost is lost.
"""

from collections.abc import Iterable

import pytest

from providers.canonical.events import PartStart
from providers.canonical.losses import Loss
from providers.canonical.parts import ToolCall
from providers.canonical.request import Request
from providers.conformance.crossing import SEALS, chat_operation, read_request, send
from providers.conformance.recorded import Recorded
from providers.dialects.base import Dialect
from providers.profiles import PERMISSIVE, Profile
from providers.registry import DIALECTS
from providers.wire.splice import read_members
from tenants.errors import InvalidRequest
from tests.providers.laws.difference import Difference, differences, pair_tools
from tests.providers.laws.exchanges import each_crossing, label

TAKES_LITTLE = Profile(
    takes_sampling=False,
    takes_stop=False,
    takes_forced_tools=False,
    takes_system_turns=False,
    takes_prefill=False,
    takes_images=False,
    takes_documents=False,
    takes_schema=False,
    thinking=frozenset({"adaptive"}),
    efforts=("low", "high"),
    max_output_tokens=1024,
)


def lost_in_silence(found: Iterable[Difference], losses: Iterable[Loss]) -> list[Difference]:
    """Return the differences that no loss tells of."""
    return [each for each in found if not each.is_free and not any(each.is_told_by(loss.path) for loss in losses)]


def about_nothing(found: Iterable[Difference], losses: Iterable[Loss]) -> list[Loss]:
    """Return the losses of what is not lost."""
    return [loss for loss in losses if not any(each.is_reason_for(loss.path) for each in found)]


def report(title: str, lines: Iterable[object]) -> str:
    return "\n".join([f"  {title}:", *(f"    {line}" for line in lines)]) if lines else f"  {title}: none"


def spelled(losses: Iterable[Loss]) -> list[str]:
    return [f"{loss.path} ({loss.weight.word}): {loss.why}" for loss in losses]


def read_back(body: bytes, dialect: Dialect) -> Request:
    members = read_members(body)
    return dialect.read_request(members, dialect.read_facts(members, chat_operation(dialect)), SEALS)


def explain(recorded: Recorded, other: Dialect, profile: Profile, *, is_exact: bool) -> str | None:
    """Say what is wrong with the losses of a crossing; None when nothing is."""
    before = read_request(recorded, DIALECTS[recorded.dialect])
    try:
        crossed = send(before, other, profile=profile)
    except InvalidRequest as refusal:
        return (
            None if refusal.param else f"{label(recorded)} is refused by {other.name} and no field is named: {refusal}"
        )
    found = differences(before, read_back(crossed.body, other))
    silent = lost_in_silence(found, crossed.losses)
    unfounded = about_nothing(found, crossed.losses) if is_exact else []
    if not silent and not unfounded:
        return None
    return "\n".join(
        [
            f"{label(recorded)} → {other.name}: {len(silent)} lost in silence, {len(unfounded)} losses of nothing",
            report("lost in silence", silent),
            report("named as lost, and nothing differs", spelled(unfounded)),
            report("all losses", spelled(crossed.losses)),
            report("all differences", found),
            f"  the client wrote: {recorded.request.decode()[:3000]}",
            f"  the upstream gets: {crossed.body.decode()[:3000]}",
        ]
    )


@each_crossing
def test_law_6_what_is_lost_is_named_and_what_is_named_is_lost(recorded: Recorded, other: Dialect):
    wrong = explain(recorded, other, PERMISSIVE, is_exact=True)
    if wrong:
        pytest.fail(wrong, pytrace=False)


@each_crossing
def test_law_6_nothing_is_lost_in_silence_on_a_model_that_takes_little(recorded: Recorded, other: Dialect):
    # Not exact: that a model does not go on with a begun answer is named, and the request says it all the same.
    wrong = explain(recorded, other, TAKES_LITTLE, is_exact=False)
    if wrong:
        pytest.fail(wrong, pytrace=False)


@each_crossing
def test_law_6_a_call_of_a_renamed_tool_comes_back_as_the_clients_own(recorded: Recorded, other: Dialect):
    before = read_request(recorded, DIALECTS[recorded.dialect])
    try:
        body, names, _ = send(before, other)
    except InvalidRequest:
        return
    for was, now in pair_tools(before, read_back(body, other)):
        if now is not None:
            called = ToolCall(id="c", name=now.name, namespace=now.namespace, kind=now.kind)
            (start,) = names.restore([PartStart(index=0, part=called)])
            assert isinstance(start, PartStart)
            restored = start.part
            assert isinstance(restored, ToolCall)
            assert (restored.name, restored.namespace, restored.kind) == (was.name, was.namespace, was.kind)
