"""A model without a price is billed at the floor, for nothing, or refused; once it has one, the period is rated again."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from tenants.keys import generate
from tests.gateway.calls import CHAT, bearer
from tests.gateway.conftest import Keys
from tests.gateway.console import every_worker
from tests.gateway.stack import ROOT, Stack, wait_for

CONFIGURATION = ROOT / "tests/gateway/priced_later.yaml"
MILLION = Decimal(1_000_000)


def rows_of(stack: Stack, tenant: str) -> list[tuple[str, str, str, Decimal]]:
    """A tenant's records of this model: outcome, status, currency and cost, in their order."""
    return stack.query(
        "SELECT outcome, cost_status, currency, cost FROM tenants_usagerecord r JOIN tenants_tenant t ON t.id = r.tenant_id"
        " WHERE t.slug = %s AND deployment = 'priced-later' ORDER BY started_at, outcome DESC, currency",
        tenant,
    )


def worth(stack: Stack, request_id: str, prompt: int, answer: int) -> Decimal:
    """What a request's tokens cost at so much for a million."""
    record = stack.record(request_id)
    return (record["input_tokens"] * prompt + record["output_tokens"] * answer) / MILLION


def wait_until_known(stack: Stack, key: str) -> None:
    with every_worker(stack) as workers:
        for worker in workers:
            body = CHAT.body(model="no-such-model")
            wait_for(
                lambda: worker.post(CHAT.path, json=body, headers=bearer(key)).status_code == 404 or None,  # noqa: B023
                "the key",
            )


def test_what_was_unpriced_is_billed_when_it_has_a_price(stack: Stack, keys: Keys, tmp_path: Path):
    floored, refusing = generate(), generate()
    secrets = {"FLOORED_KEY": floored, "REFUSING_KEY": refusing}
    stack.manage("apply", str(CONFIGURATION), **secrets)
    for key in (floored, refusing):
        wait_until_known(stack, key)
    body = CHAT.body("one two three", model="priced-later")

    def ask(key: str) -> str:
        return wait_for(
            lambda: reply if (reply := stack.post(CHAT.path, key, body)).status_code == 200 else None, "the route"
        ).headers["x-request-id"]

    request_id = ask(floored)
    ask(keys.charlie)
    refusal = stack.post(CHAT.path, refusing, body)
    assert (refusal.status_code, CHAT.refusal(refusal.content).code) == (403, "model_unpriced")
    at_floor = worth(stack, request_id, 1000, 2000)
    assert at_floor > 0
    assert rows_of(stack, "floored") == [("served", "unpriced", "EUR", at_floor)]
    wait_for(lambda: rows_of(stack, "charlie"), "the record")
    assert rows_of(stack, "charlie") == [("served", "unpriced", "USD", 0)]

    priced = tmp_path / "priced.yaml"
    priced.write_text(
        "deployments: [{slug: priced-later, provider: sim, model: sim-fast,"
        ' prices: {input: "3", output: "9", effective_from: 2026-01-01}}]'
    )
    stack.manage("apply", str(priced))
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    period = ("rerate", f"--from={today}", f"--to={today}", "--deployment=priced-later")
    assert "2 records, 3 corrections" in stack.manage(*period).stdout
    assert len(rows_of(stack, "floored")) == 1
    stack.manage(*period, "--apply")
    exact = worth(stack, request_id, 3, 9)
    assert rows_of(stack, "floored")[1:] == [
        ("correction", "exact", "EUR", -at_floor),
        ("correction", "exact", "USD", exact),
    ]
    assert rows_of(stack, "charlie")[1:] == [("correction", "exact", "USD", exact)]
    assert "0 corrections" in stack.manage(*period, "--apply").stdout
    # And what comes now is billed so at once.
    assert stack.record(ask(refusing))["cost_status"] == "exact"
    assert rows_of(stack, "refusing") == [("served", "exact", "USD", exact)]
