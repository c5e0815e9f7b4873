"""Budgets and limits against the whole installation, two web workers at once: hard, exact, and told in each dialect's words.

Every tenant of budgets.yaml has room for ten requests of 12 tokens: those may cost 0.012 each, and do.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import anthropic
import httpx
import openai
import pytest
import redis
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from tenants.keys import generate
from tests.gateway.calls import CHAT, MESSAGES, bearer, mark
from tests.gateway.console import every_worker
from tests.gateway.stack import ROOT, Stack, wait_for

CONFIGURATION = ROOT / "tests/gateway/budgets.yaml"
NAMES = (
    *("TENANT", "PROJECT", "KEY", "USER", "MODEL", "ROLLING", "CREDIT", "LIAR", "EMPTY", "LIMITED", "NARROW", "POOR"),
    *("SLOW", "CHANGED", "SOFT", "REFUSES", "FLOOR", "ALLOWS"),
)
EACH = Decimal("0.012")  # what a request holds, and costs
ROOM = 10  # requests in a budget
CALLERS = 200  # at once
SECONDS = 1.0  # until every worker knows of a change
CHAT_PATH, MESSAGES_PATH = CHAT.path, MESSAGES.path

type Keys = Mapping[str, str]
type Asked = tuple[str, dict[str, Any], dict[str, str]]  # path, body, headers


@pytest.fixture(scope="module")
def secrets(stack: Stack) -> Keys:
    """The secrets of the keys in budgets.yaml, by name in lower case."""
    made = {name.lower(): generate() for name in NAMES}
    stack.manage("apply", str(CONFIGURATION), **{f"{name.upper()}_KEY": secret for name, secret in made.items()})
    with every_worker(stack) as workers:
        for worker in workers:
            wait_for(lambda: _models(worker, made["tenant"]) >= {"budgets-chat", "budgets-unpriced"}, "the routes")  # noqa: B023
    return made


@pytest.fixture(scope="module")
def valkey(stack: Stack) -> Iterator[redis.Redis]:
    stored = json.loads((stack.state_dir / "environment.json").read_text())
    with redis.Redis.from_url(stored["VALKEY_URL"], protocol=2, decode_responses=True) as client:
        yield client


def _models(worker: httpx.Client, key: str) -> set[str]:
    return {model["id"] for model in worker.get("/v1/models", headers=bearer(key)).json()["data"]}


# --- What is asked -------------------------------------------------------------------------------------------


def chat(text: str = "one two", *, model: str = "budgets-chat", **fields: Any) -> Asked:
    return CHAT_PATH, CHAT.body(text, **{"model": model, "max_tokens": 12, **fields}), {}


def messages(text: str = "one two", *, model: str = "budgets-messages", **fields: Any) -> Asked:
    return MESSAGES_PATH, MESSAGES.body(text, **{"model": model, "max_tokens": 12, **fields}), {}


def for_end_user(name: str, how: int) -> Asked:
    """Name an end user in a header, in OpenAI's field, or in Anthropic's."""
    if how == 0:
        path, body, headers = chat()
        return path, body, {**headers, "x-user-id": name}
    return chat(user=name) if how == 1 else messages(metadata={"user_id": name})


def ask(stack: Stack, key: str, asked: Asked) -> httpx.Response:
    path, body, headers = asked
    return stack.post(path, key, body, **headers)


async def ask_at_once(stack: Stack, key: str, asked: list[Asked]) -> list[httpx.Response]:
    """Send them all before the first is answered."""
    limits = httpx.Limits(max_connections=len(asked))
    async with httpx.AsyncClient(base_url=stack.url, headers=bearer(key), timeout=60, limits=limits) as client:
        return await asyncio.gather(*(client.post(path, json=body, headers=headers) for path, body, headers in asked))


def mixed(count: int = CALLERS, *, first: float = 0.2, **fields: Any) -> list[Asked]:
    """Return requests in two dialects, every other one streamed, that are under way together."""
    made = []
    for number in range(count):
        make = (chat, messages)[number % 2]
        made.append(make(f"[[first={first}]] one two", stream=number % 4 < 2, **fields))
    return made


def statuses(replies: list[httpx.Response]) -> Counter[int]:
    return Counter(reply.status_code for reply in replies)


# --- What came of it -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What each place says of a tenant's money."""

    held: Decimal
    counter: Decimal  # in Valkey
    spent: Decimal  # in BudgetSpend
    ledger: Decimal
    rollups: tuple[Decimal, ...]
    written_off: Decimal
    records: Counter[str]  # by outcome

    @property
    def amounts(self) -> set[Decimal]:
        return {self.counter, self.spent, self.ledger, *self.rollups}


def books(stack: Stack, valkey: redis.Redis, tenant: str) -> Books:
    """Add up what was spent, once the ledger has it all; of a tenant whose requests are all charged to one budget."""
    settle_down(valkey)
    ((tenant_id, budget_id),) = stack.query(
        "SELECT t.id, min(b.id) FROM tenants_tenant t JOIN tenants_budget b ON b.tenant_id = t.id"
        " WHERE t.slug = %s GROUP BY t.id",
        tenant,
    )
    hashes = [valkey.hgetall(key) for key in valkey.scan_iter(f"tollgate:budget:{budget_id}.*", count=10_000)]
    held = sum(int(each.pop("held", 0)) for each in hashes)
    counted = sum(int(value) for each in hashes for value in each.values())
    rollups = ("tenants_usagehour", "tenants_usageday")
    return Books(
        held=Decimal(held).scaleb(-9),
        counter=Decimal(counted).scaleb(-9),
        spent=total(stack, "SELECT sum(spent) FROM tenants_budgetspend WHERE budget_id = %s", budget_id),
        ledger=total(stack, "SELECT sum(cost) FROM tenants_usagerecord WHERE tenant_id = %s", tenant_id),
        rollups=tuple(
            total(stack, f"SELECT sum(cost) FROM {each} WHERE tenant_id = %s", tenant_id) for each in rollups
        ),
        written_off=total(stack, "SELECT sum(written_off) FROM tenants_usagerecord WHERE tenant_id = %s", tenant_id),
        records=Counter(
            outcome
            for (outcome,) in stack.query("SELECT outcome FROM tenants_usagerecord WHERE tenant_id = %s", tenant_id)
        ),
    )


def total(stack: Stack, sql: str, *parameters: Any) -> Decimal:
    return stack.query(sql, *parameters)[0][0] or Decimal(0)


def settle_down(valkey: redis.Redis) -> None:
    """Wait until nothing is on its way to the ledger."""
    wait_for(lambda: valkey.xlen("tollgate:usage") == 0, "an empty stream", seconds=60)


def spent_by(stack: Stack, key: str, **headers: str) -> dict[str, Any]:
    """Return the first budget that a key's requests are charged to, as it is told."""
    reply = httpx.get(f"{stack.url}/v1/usage", headers={**bearer(key), **headers}, timeout=10)
    assert reply.status_code == 200, reply.text
    return dict(reply.json()["budgets"][0])


# --- Two hundred at once, and room for ten -------------------------------------------------------------------

SCOPES = {
    "tenant": ("budget-tenant", "tenant 'budget-tenant'", "a month"),
    "project": ("budget-project", "project 'research'", "a week"),
    "key": ("budget-key", "API key 'main'", "a day"),
    "rolling": ("budget-rolling", "tenant 'budget-rolling'", "in 7 days"),
}


@pytest.mark.parametrize("name", SCOPES)
async def test_of_two_hundred_requests_at_once_ten_are_served_where_ten_can_be_paid(stack, secrets, valkey, name):
    tenant, whose, period = SCOPES[name]
    replies = await ask_at_once(stack, secrets[name], mixed())
    check_ten_were_served(replies)
    refused = next(reply for reply in replies if reply.status_code == 402)
    assert f"budget of 0.12 USD {period} of {whose}" in refused.json()["error"]["message"]
    found = books(stack, valkey, tenant)
    assert found.amounts == {EACH * ROOM}
    assert (found.held, found.written_off, found.records) == (0, 0, {"served": ROOM})
    told = spent_by(stack, secrets[name])
    assert (Decimal(told["spent"]), Decimal(told["held"]), Decimal(told["remaining"])) == (EACH * ROOM, 0, 0)


async def test_each_end_user_has_room_for_ten_however_it_is_named(stack, secrets, valkey):
    key, names = secrets["user"], ("dora", "emil: the 2nd")
    asked = [for_end_user(names[number % 2], number % 3) for number in range(CALLERS)]
    replies = await ask_at_once(stack, key, asked)
    for name in names:
        mine = [reply for reply, (_, body, headers) in zip(replies, asked, strict=True) if name in f"{body}{headers}"]
        check_ten_were_served(mine)
    assert ask(stack, key, for_end_user("frida", 0)).status_code == 200
    found = books(stack, valkey, "budget-user")
    assert found.amounts == {EACH * (2 * ROOM + 1)}
    assert found.held == 0
    remaining = [spent_by(stack, key, **{"x-user-id": name})["remaining"] for name in (*names, "frida", "gerd")]
    assert [Decimal(each) for each in remaining] == [0, 0, EACH * 9, EACH * 10]


async def test_a_budget_for_one_model_is_spent_by_that_model_alone(stack, secrets, valkey):
    key = secrets["model"]
    chats = [chat(stream=number % 2 == 0) for number in range(CALLERS)]
    others = [chat(model="budgets-other") for _ in range(20)]
    replies = await ask_at_once(stack, key, chats + others)
    check_ten_were_served(replies[:CALLERS])
    assert statuses(replies[CALLERS:]) == {200: 20}
    refused = next(reply for reply in replies if reply.status_code == 402)
    assert "for model 'budgets-chat'" in refused.json()["error"]["message"]
    found = books(stack, valkey, "budget-model")
    assert (found.counter, found.spent, found.held) == (EACH * ROOM, EACH * ROOM, 0)
    assert found.ledger == EACH * (ROOM + 20)


async def test_prepaid_credit_is_spent_once_and_topped_up(stack, secrets, valkey):
    key = secrets["credit"]
    check_ten_were_served(await ask_at_once(stack, key, mixed()))
    refused = ask(stack, key, chat())
    assert refused.status_code == 402
    assert "credit of 0.12 USD" in refused.json()["error"]["message"]
    assert "does not reset" in refused.json()["error"]["message"]
    change(stack, "budget-credit", "credit", "budgets.top_up(budget=budget, amount=Decimal('0.06'))")
    await asyncio.sleep(SECONDS)
    assert statuses(await ask_at_once(stack, key, mixed()))[200] == 5
    found = books(stack, valkey, "budget-credit")
    assert (found.amounts, found.held) == ({EACH * 15}, 0)


async def test_what_upstreams_charge_beyond_what_was_held_is_written_off_and_never_billed(stack, secrets, valkey):
    """They think, and count it beyond what the client said that an answer may have."""
    asked = [chat("[[thinking=1 first=0.2]] hm", max_tokens=1, stream=number % 2 == 0) for number in range(CALLERS)]
    replies = await ask_at_once(stack, secrets["liar"], asked)
    served = statuses(replies)[200]
    found = books(stack, valkey, "budget-liar")
    assert found.amounts == {EACH * ROOM}
    assert found.held == 0
    assert found.records == {"served": served}
    used = total(
        stack,
        "SELECT sum(output_tokens) FROM tenants_usagerecord r JOIN tenants_tenant t"
        " ON t.id = r.tenant_id WHERE t.slug = 'budget-liar'",
    )
    assert found.written_off == used / 1000 - EACH * ROOM > 0


def test_the_proof_says_that_all_of_it_adds_up(stack, secrets, valkey):
    settle_down(valkey)
    assert "say the same" in stack.manage("verify_ledger").stdout


def check_ten_were_served(replies: list[httpx.Response]) -> None:
    """Ten whole answers, and nothing but refusals that are meant: no 5xx, no other limit."""
    found = statuses(replies)
    assert found[200] == ROOM, found
    for reply in replies:
        if reply.status_code == 200:
            is_stream = reply.headers["content-type"] != "application/json"
            assert not is_stream or reply.content.endswith((CHAT.end, MESSAGES.end))
        else:
            expected = 429 if reply.request.url.path == MESSAGES_PATH else 402
            assert (reply.status_code, reply.headers["x-tollgate-error"]) == (expected, "budget_exhausted")


def change(stack: Stack, tenant: str, period: str, statement: str) -> None:
    """Change a tenant's budget, as the console does."""
    stack.manage(
        "shell",
        "-v",
        "0",
        "-c",
        "from datetime import timedelta; from decimal import Decimal; from django.utils import timezone;"
        "from tenants import budgets; from tenants.models import Budget;"
        f"budget = Budget.objects.get(tenant__slug={tenant!r}, period={period!r}); {statement}",
    )


# --- Refusals, as the SDKs see them --------------------------------------------------------------------------


def test_openais_sdk_is_told_that_there_is_no_money_and_does_not_try_again(stack, secrets):
    marked = mark()
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=secrets["empty"], max_retries=3) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(
                model="budgets-chat",
                max_tokens=12,
                messages=[{"role": "user", "content": f"[[id={marked}]] hi"}],
                extra_headers={"x-correlation-id": marked},
            )
        with pytest.raises(openai.APIStatusError) as responses:
            client.responses.create(model="budgets-responses", input="hi", max_output_tokens=12, store=False)
    for error in (caught.value, responses.value):
        assert (error.status_code, error.code, error.type) == (402, "budget_exhausted", "insufficient_quota")
        assert "budget of 0.00 USD a month of tenant 'budget-empty'" in error.message
        assert "it resets at 20" in error.message.lower()
    assert requests_of(stack, marked) == 1
    assert marked not in stack.counters()["by_id"]


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
def test_anthropics_sdk_is_told_that_there_is_no_money_and_does_not_try_again(stack, secrets, is_stream):
    marked = mark()
    with (
        anthropic.Anthropic(base_url=stack.url, api_key=secrets["empty"], max_retries=3) as client,
        pytest.raises(anthropic.RateLimitError) as caught,
    ):
        client.messages.create(
            model="budgets-messages",
            max_tokens=12,
            messages=[{"role": "user", "content": f"[[id={marked}]] hi"}],
            stream=is_stream,
            extra_headers={"x-correlation-id": marked},
        )
    body: Any = caught.value.body
    assert body["error"]["type"] == "billing_error"
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in caught.value.response.headers
    assert requests_of(stack, marked) == 1
    assert marked not in stack.counters()["by_id"]


def test_googles_sdk_is_told_that_there_is_no_money(stack, secrets):
    options = types.HttpOptions(base_url=stack.url, retry_options=types.HttpRetryOptions(attempts=1))
    client = genai.Client(api_key=secrets["empty"], http_options=options)
    with pytest.raises(genai_errors.ClientError) as caught:
        client.models.generate_content(
            model="budgets-gemini", contents="hi", config=types.GenerateContentConfig(max_output_tokens=12)
        )
    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")
    assert "budget of 0.00 USD a month of tenant 'budget-empty'" in str(caught.value.message)


def requests_of(stack: Stack, correlation_id: str) -> int:
    """Count the access lines of a correlation id, once there is one."""

    def look() -> list[str]:
        return [line for line in stack.log().splitlines() if correlation_id in line and '"event":"request"' in line]

    wait_for(look, "its access line")
    time.sleep(1.0)  # a second try would have come by now
    return len(look())


def test_no_endpoint_goes_around_an_empty_budget(stack, secrets):
    gemini = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": {"maxOutputTokens": 12}}
    everywhere: list[Asked] = [
        chat(),
        chat(stream=True),
        chat(model="budgets-messages"),
        messages(),
        messages(stream=True),
        messages(model="budgets-gemini"),
        ("/v1/responses", {"model": "budgets-responses", "input": "hi", "store": False}, {}),
        ("/v1/responses", {"model": "budgets-chat", "input": "hi", "store": False, "stream": True}, {}),
        ("/v1beta/models/budgets-gemini:generateContent", gemini, {}),
        ("/v1beta/models/budgets-chat:streamGenerateContent?alt=sse", gemini, {}),
        ("/v1/embeddings", {"model": "budgets-embed", "input": "hi"}, {}),
    ]
    replies = [ask(stack, secrets["empty"], asked) for asked in everywhere]
    assert {reply.status_code for reply in replies} == {402, 429}
    assert {reply.headers.get("x-tollgate-error") for reply in replies} == {"budget_exhausted"}


def test_what_costs_nothing_needs_no_money(stack, secrets):
    body = {"model": "budgets-messages", "messages": [{"role": "user", "content": "hi"}]}
    assert stack.post("/v1/messages/count_tokens", secrets["empty"], body).status_code == 200
    assert ask(stack, secrets["empty"], chat(model="budgets-unpriced")).status_code == 200


# --- Rates ---------------------------------------------------------------------------------------------------


def test_successes_and_refusals_tell_of_requests_and_tokens_in_each_dialects_words(stack, secrets):
    key = secrets["limited"]
    told = ask(stack, key, chat()).headers
    assert (told["x-ratelimit-limit-requests"], told["x-ratelimit-remaining-requests"]) == ("5", "4")
    assert told["x-ratelimit-limit-tokens"] == "20000"
    first = int(told["x-ratelimit-remaining-tokens"])
    assert 19_900 < first < 20_000
    assert {"x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"} <= told.keys()
    theirs = ask(stack, key, messages(stream=True)).headers
    assert (theirs["anthropic-ratelimit-requests-limit"], theirs["anthropic-ratelimit-requests-remaining"]) == (
        "5",
        "3",
    )
    assert (theirs["anthropic-ratelimit-tokens-limit"], theirs["anthropic-ratelimit-tokens-reset"][-1]) == (
        "20000",
        "Z",
    )
    assert not [name for name in theirs if name.startswith("x-ratelimit")]
    codes = [ask(stack, key, chat()).status_code for _ in range(5)]
    assert codes == [200, 200, 200, 429, 429]
    refused, their_refusal = ask(stack, key, chat()), ask(stack, key, messages())
    assert refused.json()["error"]["code"] == "rate_limited"
    assert "The limit of 5 requests per minute of tenant 'budget-limited' is reached" in refused.text
    assert (refused.headers["x-ratelimit-remaining-requests"], 1 <= int(refused.headers["retry-after"]) <= 63) == (
        "0",
        True,
    )
    assert their_refusal.json()["error"]["type"] == "rate_limit_error"
    assert their_refusal.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert int(their_refusal.headers["retry-after"]) >= 1


def test_a_request_of_more_tokens_than_a_limit_has_is_told_that_waiting_is_no_use(stack, secrets):
    reply = ask(stack, secrets["narrow"], chat("word " * 20_000))
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "request_exceeds_limit")
    assert reply.headers["x-should-retry"] == "false"


async def test_no_more_requests_are_under_way_than_a_key_may_have(stack, secrets, valkey):
    asked = mixed(20, first=2)  # who is served goes on until all have asked
    replies = await ask_at_once(stack, secrets["narrow"], asked)
    assert statuses(replies) == {200: 3, 429: 17}
    refused = next(reply for reply in replies if reply.status_code == 429)
    assert "The limit of 3 requests at once of API key 'main' is reached" in refused.text
    assert refused.headers["x-tollgate-error"] == "too_many_requests_at_once"
    settle_down(valkey)
    used = {(scope, kind): amount for scope, kind, amount in limits_of(stack, secrets["narrow"])}
    assert used == {("tenant", "tokens"): used_tokens(stack, "budget-narrow"), **dict.fromkeys(LEASES, 0)}


def test_what_one_limit_refuses_consumes_none_of_the_others_and_reaches_nobody(stack, secrets, valkey):
    key, marked = secrets["poor"], mark()
    assert ask(stack, key, chat()).status_code == 200  # now this key's money is spent
    settled = limits_of(stack, key)
    refused = [ask(stack, key, chat(f"[[id={marked}]] hi")) for _ in range(10)]
    assert statuses(refused) == {402: 10}
    assert limits_of(stack, key) == settled
    assert ask(stack, secrets["slow"], chat()).status_code == 200  # now this one's request of the day
    before = limits_of(stack, key)
    refused += [ask(stack, secrets["slow"], chat(f"[[id={marked}]] hi")) for _ in range(10)]
    assert statuses(refused) == {402: 10, 429: 10}
    assert limits_of(stack, key) == before
    assert marked not in stack.counters()["by_id"]
    found = books(stack, valkey, "budget-many")
    assert (found.held, found.ledger, found.records) == (0, 2 * EACH, {"served": 2})
    request_ids = [reply.headers["x-request-id"] for reply in refused]
    assert stack.query("SELECT 1 FROM tenants_usagerecord WHERE request_id = ANY(%s::uuid[])", request_ids) == []


LEASES = (("project", "concurrency"), ("api_key", "concurrency"))


def used_tokens(stack: Stack, tenant: str) -> Decimal:
    """Add up the tokens that the ledger has of a tenant."""
    sums = "sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0))"
    sql = f"SELECT {sums} FROM tenants_usagerecord r JOIN tenants_tenant t ON t.id = r.tenant_id WHERE t.slug = %s"
    return total(stack, sql, tenant)


def limits_of(stack: Stack, key: str) -> list[tuple[Any, ...]]:
    """Return how much of each limit and budget is used."""
    told = httpx.get(f"{stack.url}/v1/usage", headers=bearer(key), timeout=10).json()
    limits = [(each["scope"], each["kind"], each["used"]) for each in told["limits"]]
    return limits + [(each["scope"], each["spent"], each["held"]) for each in told["budgets"]]


# --- What is changed while requests come ---------------------------------------------------------------------


def test_changes_of_a_budget_reach_every_worker_within_a_second(stack, secrets):
    key = secrets["changed"]

    def each_worker(expected: int) -> Callable[[], bool]:
        return lambda: all(
            worker.post(CHAT_PATH, json=chat()[1], headers=bearer(key)).status_code == expected for worker in workers
        )

    with every_worker(stack) as workers:
        assert each_worker(402)()
        change(stack, "budget-changed", "credit", "budgets.top_up(budget=budget, amount=Decimal(100))")
        change(stack, "budget-changed", "month", "budget.amount = Decimal('0.03'); budget.save()")
        wait_for(each_worker(200), "a higher amount and a top-up", seconds=SECONDS)
        wait_for(each_worker(402), "the end of the money", seconds=SECONDS)
        change(stack, "budget-changed", "month", "budgets.reset(budget=budget)")
        wait_for(each_worker(200), "a reset", seconds=SECONDS)
        wait_for(each_worker(402), "the end of the money", seconds=SECONDS)
        change(
            stack,
            "budget-changed",
            "month",
            "budgets.increase(budget=budget, amount=Decimal(10), until=timezone.now() + timedelta(seconds=4))",
        )
        wait_for(each_worker(200), "an increase", seconds=SECONDS)
        wait_for(each_worker(402), "its end, which nobody announces", seconds=30)
        change(stack, "budget-changed", "month", "budget.is_hard = False; budget.save()")
        wait_for(each_worker(200), "a soft budget", seconds=SECONDS)
        change(stack, "budget-changed", "month", "budget.is_hard = True; budget.save()")
        wait_for(each_worker(402), "a hard one", seconds=SECONDS)
        change(stack, "budget-changed", "month", "budget.delete()")
        wait_for(each_worker(200), "no budget at all", seconds=SECONDS)


def test_a_key_with_a_new_secret_spends_what_is_left_of_its_budget(stack, secrets):
    new, old = generate(), secrets["key"]
    assert ask(stack, old, chat()).status_code == 402  # by the two hundred
    with every_worker(stack) as workers:
        stack.manage(
            "shell",
            "-v",
            "0",
            "-c",
            "from tenants.models import ApiKey; from tenants.services import give_secret;"
            f"key = ApiKey.objects.get(tenant__slug='budget-key', name='main'); give_secret(key, {new!r}); key.save()",
        )

        def codes(key: str) -> set[int]:
            return {worker.post(CHAT_PATH, json=chat()[1], headers=bearer(key)).status_code for worker in workers}

        wait_for(lambda: codes(old) == {401} and codes(new) == {402}, "the new secret", seconds=SECONDS)


# --- Soft budgets, and models without a price that fits ------------------------------------------------------


def test_a_soft_budget_is_counted_and_refuses_nobody(stack, secrets, valkey):
    key = secrets["soft"]
    assert statuses([ask(stack, key, chat(stream=number % 2 == 0)) for number in range(4)]) == {200: 4}
    assert ask(stack, key, chat(model="budgets-euro")).status_code == 200
    settle_down(valkey)
    told = httpx.get(f"{stack.url}/v1/usage", headers=bearer(key), timeout=10).json()
    assert {each["currency"]: Decimal(each["spent"]) for each in told["budgets"]} == {"USD": 4 * EACH, "EUR": EACH}
    assert {Decimal(each["remaining"]) for each in told["budgets"]} == {0}
    assert told["today"]["cost"] == {"EUR": "0.0120000000", "USD": "0.0480000000"}


def test_absurd_lengths_are_no_way_around_the_limits_of_a_tenant_with_a_soft_budget(stack, secrets):
    reply = ask(stack, secrets["soft"], chat(max_tokens=99_999_999_999, n=99_999_999_999))
    assert reply.status_code in {200, 400}
    lines = wait_for(lambda: stack.access_lines(reply.headers["x-request-id"]), "its access line")
    assert len(lines) == 1
    assert "admission_degraded" not in stack.log()
    wait_for(  # another worker may have reserved ahead: for a second
        lambda: Decimal(spent_by(stack, secrets["soft"])["held"]) == 0, "nothing that is held"
    )


def test_a_model_without_a_price_is_refused_billed_at_a_floor_or_free_as_the_tenant_wants(stack, secrets, valkey):
    unpriced = chat(model="budgets-unpriced")
    for asked in (unpriced, chat(model="budgets-half")):
        refused = ask(stack, secrets["refuses"], asked)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_unpriced")
    floored = ask(stack, secrets["floor"], unpriced)
    assert floored.status_code == 200
    assert ask(stack, secrets["floor"], unpriced).status_code == 402  # a second one would be more than the budget has
    free = ask(stack, secrets["allows"], unpriced)
    assert free.status_code == 200
    bills = [stack.record(reply.headers["x-request-id"]) for reply in (floored, free)]
    assert [(Decimal(str(bill["cost"])), bill["cost_status"]) for bill in bills] == [
        (2 * EACH, "unpriced"),
        (0, "unpriced"),
    ]
    found = books(stack, valkey, "budget-floor")
    assert (found.amounts, found.held) == ({2 * EACH}, 0)


def test_a_model_in_another_currency_than_a_hard_budget_is_refused(stack, secrets, valkey):
    refused = ask(stack, secrets["refuses"], chat(model="budgets-euro"))
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "budget_currency")
    assert (
        "budget of tenant 'budget-refuses' is in USD, and this model is sold in EUR"
        in refused.json()["error"]["message"]
    )
    assert books(stack, valkey, "budget-refuses").amounts == {0}


# --- Charlie -------------------------------------------------------------------------------------------------


async def test_charlie_neither_sees_nor_spends_anybody_elses_budget(stack, keys, secrets, valkey):
    before = books(stack, valkey, "budget-user")
    replies = await ask_at_once(stack, keys.charlie, [for_end_user("dora", number % 3) for number in range(20)])
    assert statuses(replies) == {200: 20}
    assert books(stack, valkey, "budget-user") == before
    told = httpx.get(f"{stack.url}/v1/usage", headers={**bearer(keys.charlie), "x-user-id": "dora"}, timeout=10)
    assert told.json()["budgets"] == []
    assert "budget-" not in told.text
