"""docs/conformance.md, from what was found. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from providers.conformance.matrix import (
    Finding,
    Observation,
    Pair,
    Verdict,
    by_feature,
    verdict_on_answer,
    verdict_on_request,
)

type Judge = Callable[[Iterable[Finding]], Verdict]

REQUESTS: tuple[Verdict, ...] = ("exact", "lossy", "refused")
ANSWERS: tuple[Verdict, ...] = ("exact", "lossy")

INTRODUCTION = """\
# Conformance

What gets across when a client speaks one format and the upstream another. `manage.py conformance` wrote this page by
sending every [recorded exchange](../tests/exchanges/README.md) in every direction; a test fails when it is out of date.

A client that speaks its upstream's own format is *passed through*: nothing is translated, so nothing can be lost. For
every other pair there is a table. Its first column is what an exchange shows; the second says what becomes of such a
**request** on its way to the upstream, the third what becomes of such an **answer** on its way back to the client.

- **exact**: everything that was said arrives.
- **lossy**: it is sent, and what is listed is not. A *cosmetic* loss changes nothing that anybody reads; one that
  *degrades* may make the answer worse.
- **refused**: without it, another question would be answered. Such a request gets a 400 that names the field;
  a tenant's translation policy may allow it, and may refuse lossy ones too. Answers are never refused: what the client's
  format has no place for is left out.
- **-**: no recorded exchange shows it on that side.

Fields are named as the client names them, by the last words of their path. Every loss of a real request is in the
response header `x-tollgate-losses` and in its usage record. Models differ beyond their format (some take no sampling,
some no forced tools): such gates depend on the model and are not on this page.
"""


def render(pairs: Sequence[Pair], labels: Mapping[str, str]) -> str:
    """Return the page."""
    return "\n".join([INTRODUCTION, *_overview(pairs, labels), *_tables(pairs, labels)])


def summary(pair: Pair) -> str:
    """Return one line about a pair: how many got across, and how."""
    if pair.is_passed_through:
        return "passed through"
    requests, answers = _verdicts(pair.requests, verdict_on_request), _verdicts(pair.answers, verdict_on_answer)
    return f"requests: {_counts(requests, *REQUESTS)}; answers: {_counts(answers, *ANSWERS)}"


def _verdicts(observations: Iterable[Observation], judge: Judge) -> list[Verdict]:
    return [judge(each.findings) for each in observations]


def _counts(verdicts: Sequence[Verdict], *kinds: Verdict) -> str:
    return ", ".join(f"{verdicts.count(kind)} {kind}" for kind in kinds)


def _overview(pairs: Sequence[Pair], labels: Mapping[str, str]) -> Iterator[str]:
    yield "## Overview\n"
    yield "Requests of the client (rows) that an upstream (columns) gets exactly, with losses, and not at all.\n"
    yield f"| Client | {' | '.join(labels.values())} |"
    yield f"|---|{'---|' * len(labels)}"
    for client, label in labels.items():
        cells = (
            _share(pair) for upstream in labels for pair in pairs if (pair.client, pair.upstream) == (client, upstream)
        )
        yield f"| {label} | {' | '.join(cells)} |"
    yield ""


def _share(pair: Pair) -> str:
    if pair.is_passed_through:
        return "passed through"
    verdicts = _verdicts(pair.requests, verdict_on_request)
    return " / ".join(str(verdicts.count(kind)) for kind in REQUESTS)


def _tables(pairs: Iterable[Pair], labels: Mapping[str, str]) -> Iterator[str]:
    for pair in pairs:
        if pair.is_passed_through:
            continue
        yield f"## {labels[pair.client]} to {labels[pair.upstream]}\n"
        yield "| Feature | Request | Answer |"
        yield "|---|---|---|"
        requests, answers = by_feature(pair.requests), by_feature(pair.answers)
        for feature in sorted(requests.keys() | answers.keys()):
            yield (
                f"| {feature} | {_cell(requests.get(feature), verdict_on_request)} | "
                f"{_cell(answers.get(feature), verdict_on_answer)} |"
            )
        yield ""


def _cell(findings: Sequence[Finding] | None, judge: Judge) -> str:
    if findings is None:
        return "-"
    if not findings:
        return "exact"
    listed = "; ".join(_told(finding) for finding in findings)
    return f"**{judge(findings)}** {listed}"


def _told(finding: Finding) -> str:
    what = finding.what if " " in finding.what else f"`{finding.what}`"
    return f"{what} ({finding.weight.word.replace('_', ' ')}): {_plain(finding.why)}"


def _plain(text: str) -> str:
    """Return words that cannot end a table's cell."""
    return " ".join(text.replace("|", "\\|").split())
