"""What a request is billed, however it ends: in the ledger, to the last digit.

A tenant pays for what was delivered, and for what an upstream had begun to work on for a client that left. What nobody
delivered costs nothing, and is recorded all the same.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from typing import Any

import httpx
import pytest

from tenants.keys import generate
from tests.gateway.calls import BOTH, CHAT, MESSAGES, Dialect, Event, Wire, bearer, events, mark
from tests.gateway.conftest import Keys
from tests.gateway.console import every_worker
from tests.gateway.stack import ROOT, Stack, wait_for

CONFIGURATION = ROOT / "tests/gateway/bills.yaml"
SENTENCE = 12  # tokens of what the simulator says
MILLION = Decimal(1_000_000)
DEAR, CHEAP = "bills-dear", "bills-cheap"

both_dialects = pytest.mark.parametrize("dialect", BOTH, ids=lambda dialect: dialect.name)


@dataclass(frozen=True, slots=True)
class Billed:
    """The keys of a tenant whose bills are checked."""

    main: str
    slow: str  # one request a day
    poor: str  # a budget for nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What the ledger says of a request."""

    outcome: str
    status: int
    error_code: str
    input: int | None
    cache_read: int | None
    cache_write: int | None
    output: int | None
    reasoning: int | None
    cost: Decimal
    cost_status: str
    deployment: str
    attempts: tuple[tuple[str, str], ...]  # deployment and result

    @property
    def end(self) -> tuple[str, int, str]:
        return self.outcome, self.status, self.error_code

    @property
    def worth(self) -> Decimal:
        """What these tokens cost at the prices of bills.yaml."""
        output, reasoning = self.output or 0, self.reasoning or 0
        counted = ((self.input, "2"), (self.cache_read, "0.3"), (self.cache_write, "2.5"))
        spent = sum((count or 0) * Decimal(price) for count, price in counted)
        return (spent + (output - reasoning) * 15 + reasoning * 19) / MILLION


@pytest.fixture(scope="module")
def billed(stack: Stack, keys: Keys) -> Billed:
    made = Billed(generate(), generate(), generate())
    secrets = {"BILLED_KEY": made.main, "SLOW_KEY": made.slow, "POOR_KEY": made.poor}
    stack.manage("apply", str(CONFIGURATION), **secrets)
    with every_worker(stack) as workers:
        for worker in workers:
            body = CHAT.body(model="bills-fall-back")
            wait_for(
                lambda: worker.post(CHAT.path, json=body, headers=bearer(made.main)).status_code == 200 or None,  # noqa: B023
                "the routes",
            )
    return made


def bill_of(stack: Stack, request_id: str) -> Bill:
    """Return a request's bill, as soon as the ledger has it; the money as it is stored."""
    sql = "SELECT to_jsonb(r), cost FROM tenants_usagerecord r WHERE request_id = %s"
    row, cost = wait_for(lambda: stack.query(sql, request_id), f"the bill of {request_id}")[0]
    return Bill(
        outcome=row["outcome"],
        status=row["status"],
        error_code=row["error_code"],
        input=row["input_tokens"],
        cache_read=row["cache_read_tokens"],
        cache_write=row["cache_write_5m_tokens"],
        output=row["output_tokens"],
        reasoning=row["reasoning_tokens"],
        cost=cost,
        cost_status=row["cost_status"],
        deployment=row["deployment"],
        attempts=tuple((attempt["deployment"], attempt["result"]) for attempt in row["attempts"]),
    )


def bill_of_end_user(stack: Stack, name: str) -> Bill:
    """Return the bill of an end user's only request."""
    sql = "SELECT request_id FROM tenants_usagerecord WHERE end_user = %s"
    rows = wait_for(lambda: stack.query(sql, name), f"a record of {name}")
    assert len(rows) == 1
    return bill_of(stack, str(rows[0][0]))


def alias_of(dialect: Dialect) -> str:
    return f"bills-on-{dialect.name}"


def ask(stack: Stack, key: str, dialect: Dialect, text: str, **fields: Any) -> httpx.Response:
    return stack.post(dialect.path, key, dialect.body(text, **{"model": alias_of(dialect), **fields}))


def begin(stack: Stack, key: str, dialect: Dialect, text: str, name: str, **fields: Any) -> tuple[Wire, int]:
    """Send a request of an end user on a connection of its own; return it with the size of the body."""
    user: dict[str, Any] = {"safety_identifier": name} if dialect is CHAT else {"metadata": {"user_id": name}}
    body = json.dumps(dialect.stream(text, **{"model": alias_of(dialect), **user, **fields})).encode()
    wire = Wire(stack.url)
    wire.request(dialect.path, body, *(f"{header}: {value}" for header, value in bearer(key).items()))
    return wire, len(body)


def wait_for_upstream(stack: Stack, name: str) -> None:
    wait_for(lambda: any(name.encode() in row.body for row in stack.upstream_requests()), "the upstream's request")


# Clients that leave.


@both_dialects
def test_a_client_that_leaves_before_its_stream_was_accepted_pays_nothing(
    stack: Stack, billed: Billed, dialect: Dialect
) -> None:
    name = mark()
    wire, _ = begin(stack, billed.main, dialect, "[[head=5]]", name)
    with closing(wire):
        wait_for_upstream(stack, name)
    bill = bill_of_end_user(stack, name)
    assert bill.end == ("client_gone", 499, "")
    assert (bill.input, bill.output, bill.cost, bill.cost_status) == (None, None, Decimal(0), "exact")
    assert bill.attempts == ((bill.deployment, "cancelled"),)


@both_dialects
def test_a_client_that_leaves_before_the_first_byte_pays_what_went_in(
    stack: Stack, billed: Billed, dialect: Dialect
) -> None:
    """The upstream works on it, and charges us for it."""
    name = mark()
    wire, size = begin(stack, billed.main, dialect, "[[first=2.5]]", name)
    with closing(wire):
        wait_for_upstream(stack, name)
        wait_for(lambda: stack.upstream_request(name).outcome == "open" or None, "the stream")
        assert not wire_has_data(wire, seconds=0.5)
    bill = bill_of_end_user(stack, name)
    assert bill.end == ("client_gone", 499, "")
    assert (bill.input, bill.output, bill.cost_status) == (size // 4, 0, "estimated")
    assert bill.cost == bill.worth > 0


@both_dialects
def test_a_client_that_does_not_wait_for_a_whole_answer_pays_what_went_in(
    stack: Stack, billed: Billed, dialect: Dialect
) -> None:
    name = mark()
    wire, size = begin(stack, billed.main, dialect, "[[first=5]]", name, stream=False)
    with closing(wire):
        wait_for_upstream(stack, name)
    bill = bill_of_end_user(stack, name)
    assert bill.end == ("client_gone", 499, "")
    assert (bill.input, bill.output, bill.cost_status) == (size // 4, 0, "estimated")
    assert bill.cost == bill.worth > 0


@both_dialects
def test_a_client_that_leaves_in_the_middle_pays_what_it_got(stack: Stack, billed: Billed, dialect: Dialect) -> None:
    name = mark()
    wire, size = begin(stack, billed.main, dialect, "[[interval=0.05 chunks=100]]", name)
    with closing(wire):
        wire.read_until(b"simulator")
        wire.read_until(b"twelve")
    bill = bill_of_end_user(stack, name)
    assert bill.end == ("client_gone", 200, "")
    # What Anthropic reports at the start is known; Chat Completions say nothing before the end.
    assert bill.input == (2 if dialect is MESSAGES else size // 4)
    assert 7 <= (bill.output or 0) <= 40
    assert bill.cost_status == "estimated"
    assert bill.cost == bill.worth > 0


@pytest.mark.parametrize(
    ("dialect", "options", "last"),
    [
        pytest.param(
            CHAT, {"stream_options": {"include_usage": True}}, b'"completion_tokens":12', id="chat, asked for"
        ),
        pytest.param(CHAT, {}, b'"finish_reason":"stop"', id="chat, withheld"),
        pytest.param(MESSAGES, {}, b'"message_delta"', id="messages"),
    ],
)
def test_a_client_that_leaves_after_the_usage_pays_exactly_that(
    stack: Stack, billed: Billed, dialect: Dialect, options: dict[str, Any], last: bytes
) -> None:
    name = mark()
    wire, _ = begin(stack, billed.main, dialect, "[[linger=5]] one two", name, **options)
    with closing(wire):
        wire.read_until(last)
    bill = bill_of_end_user(stack, name)
    assert bill.end == ("client_gone", 200, "")
    assert (bill.input, bill.output, bill.cost_status) == (3, SENTENCE, "exact")
    assert bill.cost == bill.worth > 0


def test_a_client_whose_answer_is_read_on_pays_all_of_it(stack: Stack, billed: Billed) -> None:
    name = mark()
    text = "[[interval=0.05 chunks=20]]"
    wire, _ = begin(stack, billed.main, CHAT, text, name, model="bills-read-on")
    with closing(wire):
        wire.read_until(b"simulator")
    bill = bill_of_end_user(stack, name)
    assert bill.end == ("client_gone", 200, "")
    assert (bill.input, bill.output, bill.cost_status) == (2, 20, "exact")
    assert bill.cost == bill.worth > 0


def wire_has_data(wire: Wire, *, seconds: float) -> bool:
    """Whether something comes within so many seconds."""
    wire.socket.settimeout(seconds)
    try:
        return bool(wire.read())
    except TimeoutError:
        return False


# Upstreams that fail, and usage that only we asked for: asked for at once, for the ledger takes a second.

BREAKS = {"cut=3": "upstream_cut", "error_event=3": "upstream_failed", "malformed=3": "upstream_failed"}
FAILURES = {
    "status=500": ("upstream_failed", 500, "upstream_failed"),
    "status=429": ("upstream_failed", 429, "upstream_failed"),
    "status=400": ("rejected", 400, "upstream_rejected"),
    "drop=1": ("upstream_failed", 502, "upstream_failed"),
}
FALLS = {"status=500": "status_500", "status=429": "status_429", "drop=1": "broken", "status=401": "status_401"}
EARLY_BREAKS = ("cut=0", "error_event=0", "malformed=0", "truncate=0")
WITH_USAGE = {"stream_options": {"include_usage": True}}
UPSTREAMS = ("openai_chat", "anthropic_messages", "openai_responses", "gemini")
ways = pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])

type Case = tuple[Any, ...]


def cases() -> Iterator[tuple[Case, Dialect, dict[str, Any]]]:
    """Yield what is asked, each with the name under which its answer is found."""
    for dialect, fault in product(BOTH, BREAKS):
        body = dialect.stream(f"[[{fault} interval=0.01]]", model=alias_of(dialect))
        yield ("break", dialect.name, fault), dialect, body
    for dialect, fault, is_stream in product(BOTH, FAILURES, (False, True)):
        body = dialect.body(f"[[{fault}]]", model=alias_of(dialect), stream=is_stream)
        yield ("failure", dialect.name, fault, is_stream), dialect, body
    for fault, is_stream in [*product(FALLS, (False, True)), *product(EARLY_BREAKS, (True,))]:
        body = CHAT.body(f"[[model=dear {fault}]] one two", model="bills-fall-back", stream=is_stream)
        yield ("fall", fault, is_stream), CHAT, body
    yield ("nobody",), CHAT, CHAT.body("[[status=500]]", model="bills-fall-back")
    for upstream, options in product(UPSTREAMS, ({}, WITH_USAGE)):
        body = CHAT.stream("one two", model=f"bills-on-{upstream}", **options)
        yield ("usage", upstream, bool(options)), CHAT, body


@pytest.fixture(scope="module")
def replies(stack: Stack, billed: Billed) -> dict[Case, httpx.Response]:
    """The answers to all of it, by name."""

    def send(dialect: Dialect, body: dict[str, Any]) -> httpx.Response:
        return stack.post(dialect.path, billed.main, body)

    names, dialects, bodies = zip(*cases(), strict=True)
    with ThreadPoolExecutor(8) as threads:
        return dict(zip(names, threads.map(send, dialects, bodies), strict=True))


@both_dialects
@pytest.mark.parametrize(("fault", "code"), BREAKS.items())
def test_an_answer_that_its_upstream_broke_off_is_billed_as_far_as_it_went(
    stack: Stack, replies: dict[Case, httpx.Response], dialect: Dialect, fault: str, code: str
) -> None:
    reply = replies["break", dialect.name, fault]
    bill = bill_of(stack, reply.headers["x-request-id"])
    assert bill.end == ("cut", 200, code)
    assert (bill.input or 0) > 0
    assert 3 <= (bill.output or 0) <= 10
    assert bill.cost_status == "estimated"
    assert bill.cost == bill.worth > 0


@both_dialects
@ways
@pytest.mark.parametrize(("fault", "end"), FAILURES.items())
def test_an_answer_that_never_came_costs_nothing_and_is_recorded(
    stack: Stack,
    replies: dict[Case, httpx.Response],
    dialect: Dialect,
    fault: str,
    end: tuple[str, int, str],
    is_stream: bool,
) -> None:
    reply = replies["failure", dialect.name, fault, is_stream]
    bill = bill_of(stack, reply.headers["x-request-id"])
    assert bill.end == end
    assert (bill.input, bill.output, bill.cost, bill.cost_status) == (None, None, Decimal(0), "exact")
    assert [deployment for deployment, _ in bill.attempts] == [bill.deployment]


@ways
@pytest.mark.parametrize(("fault", "result"), FALLS.items())
def test_of_a_failover_both_attempts_are_recorded_and_the_answer_is_billed(
    stack: Stack, replies: dict[Case, httpx.Response], fault: str, result: str, is_stream: bool
) -> None:
    reply = replies["fall", fault, is_stream]
    assert reply.headers["x-tollgate-deployment"] == CHEAP
    bill = bill_of(stack, reply.headers["x-request-id"])
    assert bill.end == ("served", 200, "")
    assert bill.attempts == ((DEAR, result), (CHEAP, "streaming" if is_stream else "answered"))
    assert (bill.deployment, bill.input, bill.output, bill.cost_status) == (CHEAP, 4, SENTENCE, "exact")
    assert bill.cost == Decimal(4 * 1 + SENTENCE * 2) / MILLION


@pytest.mark.parametrize("fault", EARLY_BREAKS)
def test_a_stream_that_broke_before_its_first_content_is_not_billed_beside_the_next(
    stack: Stack, replies: dict[Case, httpx.Response], fault: str
) -> None:
    bill = bill_of(stack, replies["fall", fault, True].headers["x-request-id"])
    assert bill.end == ("served", 200, "")
    assert [deployment for deployment, _ in bill.attempts] == [DEAR, CHEAP]
    assert bill.cost == Decimal(4 * 1 + SENTENCE * 2) / MILLION


def test_when_nobody_answers_nobody_is_paid(stack: Stack, replies: dict[Case, httpx.Response]) -> None:
    bill = bill_of(stack, replies["nobody",].headers["x-request-id"])
    assert bill.end == ("upstream_failed", 500, "upstream_failed")
    assert bill.attempts == ((DEAR, "status_500"), (CHEAP, "status_500"))
    assert (bill.input, bill.output, bill.cost) == (None, None, Decimal(0))


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("asked", [True, False], ids=["asked for", "not asked for"])
def test_a_chat_client_sees_usage_where_it_asked_for_it_and_pays_either_way(
    stack: Stack, replies: dict[Case, httpx.Response], upstream: str, asked: bool
) -> None:
    reply = replies["usage", upstream, asked]
    reports = [data["usage"] for data in map(read_data, events(reply.content)) if data.get("usage")]
    assert [report["completion_tokens"] for report in reports] == ([SENTENCE] if asked else [])
    bill = bill_of(stack, reply.headers["x-request-id"])
    assert (bill.input, bill.output, bill.cost_status) == (2, SENTENCE, "exact")


def read_data(event: Event) -> dict[str, Any]:
    return {} if event.data == "[DONE]" else dict(json.loads(event.data))


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": False}}, {"stream_options": None}])
def test_a_chat_upstream_is_always_asked_for_usage(stack: Stack, billed: Billed, options: dict[str, Any]) -> None:
    word = mark()
    ask(stack, billed.main, CHAT, word, stream=True, **options)
    assert json.loads(stack.upstream_request(word).body)["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("client", ["anthropic_messages", "openai_responses", "gemini"])
def test_a_chat_upstream_is_asked_for_usage_whoever_asks(stack: Stack, billed: Billed, client: str) -> None:
    word = mark()
    path, body = REQUESTS[client]("bills-on-openai_chat", word, True)
    assert stack.post(path, billed.main, body).status_code == 200
    assert json.loads(stack.upstream_request(word).body)["stream_options"] == {"include_usage": True}


# Refusals of our own.


def spent(stack: Stack, key_name: str) -> Decimal:
    """Return what a key has been billed, once all that came before this is in the ledger."""
    sql = """
        SELECT coalesce(sum(r.cost), 0) FROM tenants_usagerecord r JOIN tenants_apikey k ON k.id = r.api_key_id
        WHERE k.name = %s AND r.tenant_id = (SELECT id FROM tenants_tenant WHERE slug = 'billed')
    """
    return Decimal(stack.query(sql, key_name)[0][0])


def test_a_request_beyond_its_limit_costs_nothing_and_asks_nobody(stack: Stack, billed: Billed) -> None:
    first = ask(stack, billed.slow, CHAT, "one two")
    paid = bill_of(stack, first.headers["x-request-id"]).cost
    word = mark()
    refused = ask(stack, billed.slow, CHAT, word)
    assert refused.status_code == 429
    later = ask(stack, billed.main, CHAT, "one two")
    bill_of(stack, later.headers["x-request-id"])
    assert spent(stack, "slow") == paid > 0
    assert not any(word.encode() in row.body for row in stack.upstream_requests())


def test_a_request_beyond_its_budget_costs_nothing_and_asks_nobody(stack: Stack, billed: Billed) -> None:
    word = mark()
    refused = ask(stack, billed.poor, CHAT, word)
    assert (refused.status_code, refused.headers["x-tollgate-error"]) == (402, "budget_exhausted")
    later = ask(stack, billed.main, CHAT, "one two")
    bill_of(stack, later.headers["x-request-id"])
    assert spent(stack, "poor") == 0
    assert not any(word.encode() in row.body for row in stack.upstream_requests())


def test_charlie_is_billed_nothing_for_what_is_not_his(stack: Stack, keys: Keys, billed: Billed) -> None:
    reply = ask(stack, keys.charlie, CHAT, "one two", model="bills-fall-back")
    assert reply.status_code == 404
    served = ask(stack, billed.main, CHAT, "one two", model="bills-fall-back")
    assert bill_of(stack, served.headers["x-request-id"]).cost > 0
    found = "SELECT count(*) FROM tenants_usagerecord WHERE deployment = ANY(%s) AND tenant_id <> %s"
    owner = stack.query("SELECT id FROM tenants_tenant WHERE slug = 'billed'")[0][0]
    assert stack.query(found, [DEAR, CHEAP], owner) == [(0,)]


# Streamed and whole, in every dialect, on every upstream.

TEXTS = {
    "plain": "one two three",
    "cached and thinking": "[[usage=cached thinking=1]] " + "word " * 39,
    "twice": "[[usage=twice]] hm",
}

type Asked = tuple[str, dict[str, Any]]  # path and body


def chat_request(model: str, text: str, is_stream: bool) -> Asked:
    return CHAT.path, CHAT.body(text, model=model, stream=is_stream)


def messages_request(model: str, text: str, is_stream: bool) -> Asked:
    return MESSAGES.path, MESSAGES.body(text, model=model, stream=is_stream)


def responses_request(model: str, text: str, is_stream: bool) -> Asked:
    return "/v1/responses", {"model": model, "input": text, "stream": is_stream, "store": False}


def gemini_request(model: str, text: str, is_stream: bool) -> Asked:
    call = "streamGenerateContent?alt=sse" if is_stream else "generateContent"
    return f"/v1beta/models/{model}:{call}", {"contents": [{"role": "user", "parts": [{"text": text}]}]}


REQUESTS: dict[str, Callable[[str, str, bool], Asked]] = {
    "openai_chat": chat_request,
    "anthropic_messages": messages_request,
    "openai_responses": responses_request,
    "gemini": gemini_request,
}
PAIRS = [(client, upstream) for client in REQUESTS for upstream in REQUESTS]


@pytest.fixture(scope="module")
def both_ways(stack: Stack, billed: Billed) -> dict[tuple[str, str, str], tuple[Bill, Bill]]:
    """What each text cost, whole and streamed, by client and upstream."""
    asked: dict[tuple[str, str, str], list[str]] = {}
    with httpx.Client(base_url=stack.url, headers=bearer(billed.main), timeout=30) as client:
        for (speaks, upstream), (name, text) in product(PAIRS, TEXTS.items()):
            for is_stream in (False, True):
                path, body = REQUESTS[speaks](f"bills-on-{upstream}", text, is_stream)
                reply = client.post(path, json=body)
                assert reply.status_code == 200, reply.text
                asked.setdefault((speaks, upstream, name), []).append(reply.headers["x-request-id"])
    return {case: (bill_of(stack, whole), bill_of(stack, streamed)) for case, (whole, streamed) in asked.items()}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize(("client", "upstream"), PAIRS, ids=[f"{client} on {upstream}" for client, upstream in PAIRS])
def test_streamed_and_whole_cost_the_same_to_the_last_digit(
    both_ways: dict[tuple[str, str, str], tuple[Bill, Bill]], client: str, upstream: str, name: str
) -> None:
    whole, streamed = both_ways[client, upstream, name]
    assert whole.cost == streamed.cost == whole.worth > 0
    assert (whole.cost_status, streamed.cost_status) == ("exact", "exact")
    for unit in ("input", "cache_read", "cache_write", "output", "reasoning"):
        assert getattr(whole, unit) == getattr(streamed, unit)
    passed_through, _ = both_ways[upstream, upstream, name]
    assert whole.cost == passed_through.cost
