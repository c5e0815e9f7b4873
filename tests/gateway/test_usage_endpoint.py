"""GET /v1/usage: a key is told what it has used and what it may still use, and nothing of anybody else's."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tenants.keys import generate
from tests.gateway.calls import CHAT, MESSAGES, bearer
from tests.gateway.stack import Stack, wait_for

CONFIGURATION = """
deployments:
  - {slug: usage-chat, provider: sim, model: sim-fast, prices: {input: "0", output: "1000"}}
  - {slug: usage-euro, provider: sim, model: sim-fast, prices: {input: "0", output: "1000", currency: EUR}}
routes:
  - {alias: usage-chat, retries: 0, targets: [{deployment: usage-chat}]}
  - {alias: usage-euro, retries: 0, targets: [{deployment: usage-euro}]}
tenants:
  - slug: usage-alice
    timezone: America/New_York
    limits:
      - {requests: 100, per: hour}
      - {tokens: 100_000, per: day}
      - {concurrency: 5}
      - {requests: 50, per: minute, per_end_user: true}
    budgets:
      - {amount: "10", per: month}
      - {amount: "5.5", per: rolling, days: 30}
      - {amount: "3", per: total, hard: false}
      - {amount: "1", per: day, per_end_user: true}
    projects:
      - {slug: research, budgets: [{amount: "2", per: week}]}
    api_keys:
      - {name: main, secret: "${MAIN_KEY}", project: research}
      - name: other
        secret: "${OTHER_KEY}"
        limits: [{requests: 7, per: minute, model: usage-chat}]
        budgets: [{amount: "4", per: credit}]
  - slug: usage-charlie
    api_keys: [{name: main, secret: "${OUTSIDER_KEY}"}]
"""
EACH = Decimal("0.012")  # an answer of 12 tokens

type Keys = Mapping[str, str]


@pytest.fixture(scope="module")
def secrets(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Keys that have asked: main twice and once in euros, other once, the outsider never."""
    made = {name: generate() for name in ("main", "other", "outsider")}
    declared: Path = tmp_path_factory.mktemp("declared") / "usage.yaml"
    declared.write_text(CONFIGURATION)
    stack.manage("apply", str(declared), **{f"{name.upper()}_KEY": secret for name, secret in made.items()})
    wait_for(lambda: ask(stack, made["main"]).status_code == 200, "the route")
    replies = [
        ask(stack, made["main"], user="dora", stream=True),
        ask(stack, made["main"], max_tokens=5),
        ask(stack, made["other"]),
        ask(stack, made["other"], messages=1),  # refused before it is charged to anything
    ]
    assert [reply.status_code for reply in replies] == [200, 200, 200, 400]
    for reply in replies[:3]:
        stack.record(reply.headers["x-request-id"])
    time.sleep(1.5)  # what was reserved ahead of requests that did not come counts for a second
    return made


def ask(stack: Stack, key: str, **fields: Any) -> httpx.Response:
    return stack.post(CHAT.path, key, CHAT.body(**{"model": "usage-chat", "max_tokens": 12, **fields}))


def usage(stack: Stack, key: str, **headers: str) -> dict[str, Any]:
    reply = httpx.get(f"{stack.url}/v1/usage", headers={**bearer(key), **headers}, timeout=10)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json"), reply.text
    return dict(reply.json())


def budgets(told: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(each["scope"], each["period"]): each for each in told["budgets"]}


def moment(text: str) -> datetime:
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


def test_a_key_is_told_what_it_has_used(stack, secrets):
    told = usage(stack, secrets["main"])
    assert (told["object"], told["key"], told["tenant"], told["project"]) == (
        "usage",
        "main",
        "usage-alice",
        "research",
    )
    expected = {"requests": 3, "errors": 0, "output_tokens": 29}
    for period in ("today", "month"):
        assert {name: told[period][name] for name in expected} == expected
        assert told[period]["tokens"] == told[period]["input_tokens"] + 29
        assert {currency: Decimal(cost) for currency, cost in told[period]["cost"].items()} == {"USD": Decimal("0.029")}
    today = datetime.now(UTC).date()
    assert told["today"]["begins"] in {str(today), str(today - timedelta(days=1))}  # midnight may just have passed
    assert told["month"]["begins"].endswith("-01")


def test_it_is_told_how_its_budgets_stand_with_what_the_whole_tenant_spent(stack, secrets):
    found = budgets(usage(stack, secrets["main"]))
    tenants = Decimal("0.029") + EACH
    stands = {key: (Decimal(each["spent"]), Decimal(each["held"])) for key, each in found.items()}
    assert stands == {
        ("tenant", "month"): (tenants, 0),
        ("tenant", "rolling"): (tenants, 0),
        ("tenant", "total"): (tenants, 0),
        ("project", "week"): (Decimal("0.029"), 0),
    }
    for each in found.values():
        assert Decimal(each["remaining"]) == Decimal(each["limit"]) - Decimal(each["spent"])
        assert (each["currency"], each["model"], each["per_end_user"]) == ("USD", None, False)
    assert [each["hard"] for each in found.values()].count(False) == 1
    assert found["tenant", "rolling"]["days"] == 30
    assert found["project", "week"]["name"] == "research"


def test_it_is_told_when_they_begin_anew_by_its_tenants_clock(stack, secrets):
    found, now = budgets(usage(stack, secrets["main"])), datetime.now(UTC)
    month, week = (moment(found[key]["resets_at"]) for key in (("tenant", "month"), ("project", "week")))
    assert (month.hour, month.day) in {(4, 1), (5, 1)}  # midnight in New York
    assert now - timedelta(minutes=1) < month < now + timedelta(days=32)
    assert week.hour in {4, 5}
    assert week.weekday() == 0
    assert moment(found["tenant", "rolling"]["resets_at"]) < now + timedelta(days=1, hours=1)
    assert found["tenant", "total"]["resets_at"] is None


def test_it_is_told_of_its_limits(stack, secrets):
    limits = {(each["scope"], each["kind"]): each for each in usage(stack, secrets["main"])["limits"]}
    requests, tokens, concurrency = (limits["tenant", kind] for kind in ("requests", "tokens", "concurrency"))
    assert (requests["per"], requests["limit"], requests["used"], requests["remaining"]) == ("hour", 100, 4, 96)
    now = datetime.now(UTC)
    assert now < moment(requests["resets_at"]) < now + timedelta(hours=1, minutes=4)
    assert tokens["used"] == sum(usage(stack, secrets[name])["today"]["tokens"] for name in ("main", "other"))
    assert (concurrency["used"], concurrency["remaining"], concurrency["resets_at"]) == (0, 5, None)


def test_an_end_users_own_limits_are_told_to_who_names_it(stack, secrets):
    told = usage(stack, secrets["main"], **{"x-user-id": "dora"})
    (own,) = (each for each in told["budgets"] if each["per_end_user"])
    assert (Decimal(own["spent"]), Decimal(own["limit"])) == (EACH, 1)
    (requests,) = (each for each in told["limits"] if each["per_end_user"])
    assert (requests["used"], requests["limit"]) == (1, 50)
    stranger = usage(stack, secrets["main"], **{"x-user-id": "nobody"})
    assert [Decimal(each["spent"]) for each in stranger["budgets"] if each["per_end_user"]] == [0]


def test_another_key_of_the_tenant_is_told_its_own_usage_only(stack, secrets):
    told = usage(stack, secrets["other"])
    assert (told["key"], told["project"]) == ("other", None)
    assert (told["today"]["requests"], told["today"]["output_tokens"]) == (1, 12)
    found = budgets(told)
    assert found.keys() == {("tenant", "month"), ("tenant", "rolling"), ("tenant", "total"), ("api_key", "credit")}
    assert Decimal(found["api_key", "credit"]["spent"]) == EACH
    assert found["api_key", "credit"]["resets_at"] is None
    assert [each["model"] for each in told["limits"] if each["scope"] == "api_key"] == ["usage-chat"]
    assert "research" not in str(told)


def test_what_is_under_way_is_held_until_it_is_settled(stack, secrets):
    with httpx.Client(base_url=stack.url, headers=bearer(secrets["other"]), timeout=10) as client:
        body = CHAT.stream("[[chunks=6 interval=0.2]] slowly", model="usage-chat", max_tokens=100)
        with client.stream("POST", CHAT.path, json=body) as reply:
            pieces = reply.iter_bytes()
            next(pieces)
            meanwhile = usage(stack, secrets["other"])
            assert b"[DONE]" in b"".join(pieces)
        afterwards = usage(stack, secrets["other"])
    held = [Decimal(budgets(told)["api_key", "credit"]["held"]) for told in (meanwhile, afterwards)]
    assert held == [Decimal("0.1"), 0]
    under_way = [each["used"] for each in meanwhile["limits"] if each["kind"] == "concurrency"]
    assert under_way == [1]
    assert Decimal(budgets(afterwards)["api_key", "credit"]["spent"]) > EACH


def test_costs_are_told_by_currency(stack, secrets):
    refused = ask(stack, secrets["other"], model="usage-euro")
    assert refused.status_code == 403  # its hard budgets are in dollars
    before = usage(stack, secrets["outsider"])
    assert before["today"]["cost"] == {}
    reply = ask(stack, secrets["outsider"], model="usage-euro")
    stack.record(reply.headers["x-request-id"])
    after = usage(stack, secrets["outsider"])
    assert {currency: Decimal(cost) for currency, cost in after["today"]["cost"].items()} == {"EUR": EACH}


def test_charlie_is_told_nothing_of_alices(stack, secrets):
    told = usage(stack, secrets["outsider"], **{"x-user-id": "dora"})
    assert (told["tenant"], told["limits"], told["budgets"]) == ("usage-charlie", [], [])
    assert "alice" not in str(told)
    assert told["today"]["requests"] <= 1


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer tg_wrong"}], ids=["no key", "a wrong key"])
def test_without_a_key_nothing_is_told(stack, secrets, headers):
    reply = httpx.get(f"{stack.url}/v1/usage", headers=headers, timeout=10)
    assert reply.status_code == 401
    assert CHAT.refusal(reply.content).code in {"missing_api_key", "invalid_api_key"}
    assert "alice" not in reply.text


def test_errors_are_told_in_the_callers_dialect_and_other_methods_are_refused(stack, secrets):
    reply = httpx.get(f"{stack.url}/v1/usage", headers={"anthropic-version": "2023-06-01"}, timeout=10)
    assert (reply.status_code, MESSAGES.refusal(reply.content).type) == (401, "authentication_error")
    assert stack.post("/v1/usage", secrets["main"], {}).status_code == 405
