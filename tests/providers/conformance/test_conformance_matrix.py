"""What was found in many exchanges is told once, under the feature that it goes with."""

import pytest

from providers.canonical.losses import Weight
from providers.conformance.matrix import (
    Finding,
    Observation,
    Pair,
    by_feature,
    verdict_on_answer,
    verdict_on_request,
)
from providers.conformance.page import render, summary
from providers.conformance.words import last_words

SEED = Finding(Weight.DEGRADES, "seed", "the upstream has no seed")
MARK = Finding(Weight.COSMETIC, "content.cache_control", "the upstream has no cache marks")
FILE = Finding(Weight.CHANGES_ANSWER, "content.file_id", "the file is in another store")
NAME = Finding(Weight.COSMETIC, "tools.name", "the upstream takes other names")
LABELS = {"one": "One", "two": "Two"}


def seen(*features: str, findings: frozenset[Finding] = frozenset()) -> Observation:
    return Observation(features=features, findings=findings)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("seed", "seed"),
        ("messages[2].content[0].cache_control", "content.cache_control"),
        ("messages[0].content[1]", "messages.content"),
        ("tools[0]", "tools"),
        ("tools[0].name", "tools.name"),
        ("generationConfig.thinkingConfig.thinkingBudget", "thinkingConfig.thinkingBudget"),
        ("messages[0].x_note", "a field that nobody knows"),
        ("", ""),
    ],
)
def test_a_path_is_told_by_its_last_words(path: str, words: str):
    assert last_words(path) == words


@pytest.mark.parametrize(
    ("findings", "verdict"),
    [(frozenset(), "exact"), ({SEED, MARK}, "lossy"), ({MARK}, "lossy"), ({SEED, FILE}, "refused")],
)
def test_the_heaviest_finding_decides(findings: set[Finding], verdict: str):
    assert verdict_on_request(findings) == verdict


def test_an_answer_is_never_refused():
    assert (verdict_on_answer([]), verdict_on_answer([FILE])) == ("exact", "lossy")


def test_a_finding_belongs_to_what_its_field_is_about():
    observations = [seen("text", findings=frozenset({SEED, MARK}))]
    assert by_feature(observations) == {"text": [], "cache": [MARK], "sampling": [SEED]}


def test_a_finding_belongs_to_the_feature_that_it_goes_with_most():
    observations = [
        seen("text", "documents", findings=frozenset({FILE})),
        seen("text", "tools", findings=frozenset({NAME})),
        seen("text", "tools", "images", findings=frozenset({NAME})),
        seen("text"),
    ]
    assert by_feature(observations) == {"text": [], "documents": [FILE], "tools": [NAME], "images": []}


def test_what_is_found_everywhere_belongs_to_what_is_shown_everywhere():
    observations = [seen("text", each, findings=frozenset({NAME})) for each in ("a", "b", "c")]
    assert by_feature(observations)["text"] == [NAME]


def test_a_feature_tells_the_heaviest_first():
    observations = [seen("text", findings=frozenset({NAME, FILE}))]
    assert by_feature(observations) == {"text": [FILE, NAME]}


PAIRS = [
    Pair(client="one", upstream="one"),
    Pair(
        client="one",
        upstream="two",
        requests=(seen("text"), seen("images", findings=frozenset({FILE})), seen("cache", findings=frozenset({MARK}))),
        answers=(seen("text", "citations"),),
    ),
]


def test_the_page_has_a_row_for_each_feature_of_either_side():
    rows = [line for line in render(PAIRS, LABELS).split("## One to Two")[1].splitlines() if line.startswith("|")][2:]
    assert rows == [
        "| cache | **lossy** `content.cache_control` (cosmetic): the upstream has no cache marks | - |",
        "| citations | - | exact |",
        "| images | **refused** `content.file_id` (changes answer): the file is in another store | - |",
        "| text | exact | exact |",
    ]


def test_the_page_says_what_is_passed_through():
    assert "| One | passed through | 1 / 1 / 1 |" in render(PAIRS, LABELS)
    assert "## One to One" not in render(PAIRS, LABELS)


def test_no_sentence_can_break_a_table():
    odd = Finding(Weight.COSMETIC, "a", "one | two\nthree")
    pair = Pair(client="one", upstream="two", requests=(seen("text", findings=frozenset({odd})),))
    assert "| text | **lossy** `a` (cosmetic): one \\| two three | - |" in render([pair], LABELS)


def test_the_order_of_exchanges_does_not_matter():
    turned = [Pair(client=p.client, upstream=p.upstream, requests=p.requests[::-1], answers=p.answers) for p in PAIRS]
    assert render(turned, LABELS) == render(PAIRS, LABELS)


def test_a_summary_counts():
    assert summary(PAIRS[0]) == "passed through"
    assert summary(PAIRS[1]) == "requests: 1 exact, 1 lossy, 1 refused; answers: 1 exact, 0 lossy"
