"""What a usage event keeps of a translation's losses."""

from decimal import Decimal

import pytest

from tenants.usage_event import (
    MAX_LOSS_TEXT,
    MAX_LOSSES,
    LossRecord,
    UsageEvent,
    decode,
    encode,
    heaviest,
    loss_records,
)

COSMETIC, DEGRADES, CHANGES = "cosmetic", "degrades", "changes_answer"


def event(**facts: object) -> UsageEvent:
    given = {"request_id": "r", "started_at": 0.0, "tenant_id": 1, "api_key_id": 1, "dialect": "openai_chat"}
    given |= {"alias": "smart", "status": 200, "outcome": "served", "cost_status": "exact", "latency_ms": 1}
    return UsageEvent(**given | facts)  # type: ignore[arg-type]


def test_losses_survive_the_stream():
    losses = [LossRecord(path="seed", weight=DEGRADES, why="the upstream has no seed")]
    sent = event(dialect_upstream="anthropic_messages", losses=losses, cost=Decimal(1))
    assert decode(encode(sent)) == sent


def test_a_request_that_lost_nothing_says_nothing_of_it():
    assert b"losses" not in encode(event())
    assert b"dialect_upstream" not in encode(event())


def test_few_losses_stay_in_the_order_in_which_they_were_found():
    found = [("seed", COSMETIC, "a"), ("messages[0]", CHANGES, "b"), ("top_k", DEGRADES, "c")]
    assert [(loss.path, loss.weight, loss.why) for loss in loss_records(found)] == found


def test_of_many_losses_the_heaviest_are_kept_and_the_rest_is_counted():
    found = [(f"c[{number}]", COSMETIC, "") for number in range(500)]
    found += [(f"d[{number}]", DEGRADES, "") for number in range(10)]
    kept = loss_records([*found, ("files", CHANGES, "")])
    assert len(kept) == MAX_LOSSES
    assert [loss.path for loss in kept[:3]] == ["files", "d[0]", "d[1]"]
    assert kept[-1] == LossRecord(path="", weight=COSMETIC, why="and 462 more")


def test_of_many_heavy_losses_the_rest_is_as_heavy():
    kept = loss_records((str(number), DEGRADES, "") for number in range(MAX_LOSSES + 1))
    assert kept[-1] == LossRecord(path="", weight=DEGRADES, why="and 2 more")


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("a\0b", "a\N{REPLACEMENT CHARACTER}b"),
        ("a\ud800b", "a?b"),
        ("ü" * MAX_LOSS_TEXT, "ü" * MAX_LOSS_TEXT),
        ("x" * 1_000_000, "x" * (MAX_LOSS_TEXT - 1) + "…"),
    ],
    ids=["nul", "surrogate", "long", "longer"],
)
def test_a_client_cannot_name_a_field_so_that_its_event_cannot_be_stored(path, kept):
    [loss] = loss_records([(path, DEGRADES, path)])
    assert (loss.path, loss.why) == (kept, kept)


def test_the_heaviest_weight_is_the_one_that_matters_most():
    assert heaviest([COSMETIC, CHANGES, DEGRADES]) == CHANGES
    assert heaviest([]) == ""
    assert heaviest([CHANGES, "from_a_newer_version"]) == "from_a_newer_version"
