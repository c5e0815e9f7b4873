"""What becomes of every recorded exchange between every two dialects. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from providers.canonical.losses import Loss, Weight
from providers.conformance.crossing import answer_events, bring_back, may_be_asked_by, read_request, send
from providers.conformance.recorded import Recorded
from providers.conformance.words import last_words, subject_of
from providers.dialects.base import Dialect
from tenants.errors import InvalidRequest

type Verdict = Literal["exact", "lossy", "refused"]


class Finding(NamedTuple):
    """One thing that does not get across, whichever message or part it was in."""

    weight: Weight
    what: str  # the last words of the client's path
    why: str


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one request or one answer."""

    features: tuple[str, ...]
    findings: frozenset[Finding] = frozenset()


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Two dialects: the requests of clients that speak one, and the answers of upstreams that speak the other."""

    client: str
    upstream: str
    requests: tuple[Observation, ...] = ()
    answers: tuple[Observation, ...] = ()

    @property
    def is_passed_through(self) -> bool:
        """Whether nothing is translated."""
        return self.client == self.upstream


def compare(recorded: Sequence[Recorded], dialects: Mapping[str, Dialect]) -> Iterator[Pair]:
    """Send every exchange in every direction."""
    for client in dialects.values():
        for upstream in dialects.values():
            if client is upstream:
                yield Pair(client=client.name, upstream=upstream.name)
                continue
            yield Pair(
                client=client.name,
                upstream=upstream.name,
                requests=tuple(_ask(each, client, upstream) for each in recorded if each.dialect == client.name),
                answers=tuple(
                    _answer(each, client, upstream)
                    for each in recorded
                    if each.dialect == upstream.name and may_be_asked_by(each, client)
                ),
            )


def _ask(recorded: Recorded, client: Dialect, upstream: Dialect) -> Observation:
    try:
        losses = send(read_request(recorded, client), upstream).losses
    except InvalidRequest as refusal:
        losses = (Loss(refusal.param or "request", Weight.CHANGES_ANSWER, str(refusal)),)
    return _observation(recorded, losses)


def _answer(recorded: Recorded, client: Dialect, upstream: Dialect) -> Observation:
    events = answer_events(recorded, upstream)
    return _observation(recorded, bring_back(events, client, read_request(recorded, upstream)).losses)


def _observation(recorded: Recorded, losses: Iterable[Loss]) -> Observation:
    findings = frozenset(Finding(loss.weight, last_words(loss.path), loss.why) for loss in losses)
    return Observation(features=recorded.features, findings=findings)


def verdict_on_request(findings: Iterable[Finding]) -> Verdict:
    """Return how a request gets across: one that would ask something else is refused unless its tenant allows it."""
    weight = max((finding.weight for finding in findings), default=None)
    if weight is None:
        return "exact"
    return "refused" if weight is Weight.CHANGES_ANSWER else "lossy"


def verdict_on_answer(findings: Iterable[Finding]) -> Verdict:
    """Return how an answer gets across: nobody refuses one."""
    return "lossy" if any(True for _ in findings) else "exact"


def by_feature(observations: Sequence[Observation]) -> dict[str, list[Finding]]:
    """Return the findings of each feature, the heaviest first.

    An exchange shows several features. A finding belongs to the one that its field's name tells, else to the one that it
    goes with most: whose exchanges are most nearly those in which it was found.
    """
    found: dict[str, list[Finding]] = {feature: [] for each in observations for feature in each.features}
    for finding in sorted({finding for each in observations for finding in each.findings}):
        found.setdefault(_feature_of(finding, observations), []).append(finding)
    return {feature: sorted(each, key=lambda finding: (-finding.weight, finding)) for feature, each in found.items()}


def _feature_of(finding: Finding, observations: Sequence[Observation]) -> str:
    subject = subject_of(finding.what)
    if subject:
        return subject
    having = {index for index, each in enumerate(observations) if finding in each.findings}
    features = {feature for index in having for feature in observations[index].features}

    def agreement(feature: str) -> float:
        showing = {index for index, each in enumerate(observations) if feature in each.features}
        return len(showing & having) / len(showing | having)

    return min(features, key=lambda feature: (-agreement(feature), feature))
