"""What callers see when upstreams fail: a complete answer of another target, or an honest error. Never half an answer
that looks whole, never longer than configured, and every attempt in the ledger."""

import asyncio
import contextlib
import json
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import httpx
import httpx2  # the SDKs' own
import openai
import pytest
import yaml

from tenants.keys import generate
from tests.environment import STATE_DIR
from tests.gateway.calls import BOTH, CHAT, Dialect, Wire, bearer, mark
from tests.gateway.fault_cases import (
    CASES,
    OUTAGE,
    PIECES,
    RESTING,
    SILENT_OUTAGE,
    Expected,
    Run,
    configuration,
    runs_of,
)
from tests.gateway.stack import Stack, running_stack, wait_for
from tests.gateway.test_streaming import open_stream, said
from tests.providers.pem import identity

both_dialects = pytest.mark.parametrize("dialect", BOTH, ids=lambda dialect: dialect.name)

GRACE_SECONDS = 1.5  # beside what is configured
AT_ONCE = 24  # requests: what is tested is the gateway, not how busy this machine can be
OUTAGES = tuple(run for run in runs_of([OUTAGE, SILENT_OUTAGE]) if run.is_stream or run.case is OUTAGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How a run went for its caller."""

    run: Run
    request: str  # the name that the simulator counts it under
    seconds: float
    status: int
    headers: httpx.Headers
    content: bytes


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack of its own: five hundred providers, half of them ill, are no company for the other tests."""
    with running_stack(STATE_DIR / "faults") as stack:
        yield stack


@pytest.fixture(scope="module")
def charlie() -> str:
    """The key of the outsider."""
    return generate()


@pytest.fixture(scope="module")
def key(stack: Stack, charlie: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The key of a tenant for whom everything goes wrong."""
    document = yaml.safe_load(Path(__file__).with_name("faults.yaml").read_text())
    for section, entries in configuration([*runs_of([*CASES, RESTING]), *OUTAGES]).items():
        document[section] += entries
    path = tmp_path_factory.mktemp("faults") / "faults.yaml"
    path.write_text(json.dumps(document))
    secret = generate()
    with self_signed_server(path.parent) as self_signed_url:
        stack.manage(
            "apply",
            str(path),
            SIMULATOR_URL=stack.simulator_url,
            SIMULATOR_TLS_URL=stack.simulator_url.replace("http:", "https:"),
            SELF_SIGNED_URL=self_signed_url,
            FAULTS_KEY=secret,
            CHARLIE_KEY=charlie,
        )
        wait_for(lambda: all(_is_served(stack, secret) for _ in range(8)) or None, "the configuration")
        yield secret


@contextlib.contextmanager
def self_signed_server(directory: Path) -> Iterator[str]:
    """A server that speaks TLS with a certificate that nobody vouches for."""
    certificate = directory / "self-signed.pem"
    certificate.write_text("\n".join(identity("127.0.0.1")))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_shake_hands, args=(context, listener), daemon=True).start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def _shake_hands(context: ssl.SSLContext, listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                context.wrap_socket(connection, server_side=True).close()


def _is_served(stack: Stack, key: str) -> bool:
    reply = httpx.get(f"{stack.url}/v1/models", headers=bearer(key), verify=False)
    return OUTAGES[-1].name in reply.text


@pytest.mark.parametrize("is_stream", [True, False], ids=["streamed", "whole"])
@both_dialects
async def test_callers_get_a_complete_answer_or_an_honest_error(
    stack: Stack, key: str, dialect: Dialect, is_stream: bool
) -> None:
    runs = [run for run in runs_of(CASES) if run.dialect is dialect and run.is_stream is is_stream]
    seen = await ask_all(stack, key, runs)
    records = await asyncio.to_thread(records_of, stack, [each.headers["x-request-id"] for each in seen.values()])
    counted = stack.counters()["by_id"]
    problems = []
    for run in runs:
        problems += complaints(
            run,
            lambda: check_caller(seen[run.name]),  # noqa: B023 - called at once
            lambda: check_ledger(seen[run.name], records[seen[run.name].headers["x-request-id"]]),  # noqa: B023
            lambda: check_upstream(seen[run.name], counted.get(seen[run.name].request, {})),  # noqa: B023
        )
    assert not problems, "\n".join(["", *problems])


def complaints(run: Run, *checks: Callable[[], None]) -> Iterator[str]:
    """Say what does not hold for a run, by its name."""
    for check in checks:
        try:
            check()
        except AssertionError as error:
            yield f"{run.name}: {str(error).partition('\n')[0]}"


async def ask_all(stack: Stack, key: str, runs: Sequence[Run]) -> dict[str, Seen]:
    """Ask all of them, some at once."""
    places = asyncio.Semaphore(AT_ONCE)

    async def ask_one(run: Run) -> Seen:
        async with places:
            return await ask(client, run)

    async with client_for(stack, key) as client:
        seen = await asyncio.gather(*(ask_one(run) for run in runs))
    return {each.run.name: each for each in seen}


@contextlib.asynccontextmanager
async def client_for(stack: Stack, key: str) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(
        base_url=stack.url, headers=bearer(key), timeout=15, limits=limits, verify=False
    ) as client:
        yield client


async def ask(client: httpx.AsyncClient, run: Run, outage: str = "") -> Seen:
    """Ask as a client of the run's dialect would."""
    request = mark()
    text = run.text(request).replace("$outage", outage)
    body = run.dialect.body(text, model=run.name, stream=run.is_stream)
    began = time.monotonic()
    reply = await client.post(run.dialect.path, json=body)
    return Seen(
        run=run,
        request=request,
        seconds=time.monotonic() - began,
        status=reply.status_code,
        headers=reply.headers,
        content=reply.content,
    )


# --- What the caller sees -------------------------------------------------------------------------------------


def check_caller(seen: Seen) -> None:
    expected = seen.run.expected
    assert seen.seconds < expected.seconds + GRACE_SECONDS, f"took {seen.seconds:.2f} s"
    assert seen.seconds >= expected.at_least, f"took only {seen.seconds:.2f} s"
    assert seen.status == expected.status, f"{seen.status}: {seen.content[:300]!r}"
    if expected.by:
        check_answer(seen, expected)
    elif expected.is_broken:
        check_broken(seen)
    else:
        check_refusal(seen, expected)


def check_answer(seen: Seen, expected: Expected) -> None:
    deployment, attempts = seen.headers["x-tollgate-deployment"], seen.headers["x-tollgate-attempts"]
    assert deployment == f"{seen.run.name}-{expected.by}", deployment
    assert attempts == str(len(expected.attempts)), f"{attempts} attempts"
    if seen.run.is_stream:
        assert seen.content.endswith(seen.run.dialect.end), seen.content[-300:]
        assert said(seen.content) == PIECES, said(seen.content)
    text = SDKS[seen.run.dialect.name].read(seen)
    assert text == "".join(PIECES), text


def check_broken(seen: Seen) -> None:
    error = seen.run.dialect.error_in(seen.content)
    assert b"[DONE]" not in seen.content, "a clean end"
    assert b"message_stop" not in seen.content, "a clean end"
    assert said(seen.content) == PIECES[:3], said(seen.content)
    assert error["message"], "no message"
    assert (error["retryable"], error["severity"]) == (True, "error"), error
    with pytest.raises((openai.APIError, anthropic.APIError)):
        SDKS[seen.run.dialect.name].read(seen)


def check_refusal(seen: Seen, expected: Expected) -> None:
    assert seen.headers["content-type"] == "application/json", seen.headers["content-type"]
    refusal = seen.run.dialect.refusal(seen.content)
    assert refusal.message, "no message"
    assert seen.headers.get("retry-after", "") == expected.retry_after, seen.headers.get("retry-after")
    assert expected.says in refusal.message, refusal.message
    for secret in ("127.0.0.1", "sim-credential", "invalid:", "nowhere"):
        assert secret not in refusal.message, refusal.message
    with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as raised:
        SDKS[seen.run.dialect.name].read(seen)
    assert raised.value.status_code == expected.status, raised.value.status_code


class Sdk:
    """A dialect's SDK, to which an answer that has come is given again."""

    def __init__(self, dialect: Dialect) -> None:
        self.http = httpx2.Client(transport=httpx2.MockTransport(self._answer))
        self.dialect = dialect
        self._seen: Seen | None = None

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        assert self._seen is not None
        headers = {"content-type": self._seen.headers["content-type"]}
        return httpx2.Response(self._seen.status, headers=headers, content=self._seen.content)

    def read(self, seen: Seen) -> str:
        """Return the text of an answer; raises what the SDK raises."""
        self._seen = seen
        messages: Any = [{"role": "user", "content": "hi"}]
        if self.dialect is CHAT:
            return self._read_chat(messages, is_stream=seen.run.is_stream)
        return self._read_message(messages, is_stream=seen.run.is_stream)

    def _read_chat(self, messages: Any, *, is_stream: bool) -> str:
        sdk = openai.OpenAI(base_url="http://tollgate/v1", api_key="key", max_retries=0, http_client=self.http)
        if not is_stream:
            return sdk.chat.completions.create(model="any", messages=messages).choices[0].message.content or ""
        chunks = list(sdk.chat.completions.create(model="any", messages=messages, stream=True))
        assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"
        return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)

    def _read_message(self, messages: Any, *, is_stream: bool) -> str:
        sdk = anthropic.Anthropic(base_url="http://tollgate", api_key="key", max_retries=0, http_client=self.http)
        fields: Any = {"model": "any", "max_tokens": 64, "messages": messages}
        if is_stream:
            with sdk.messages.stream(**fields) as stream:
                message = stream.get_final_message()
        else:
            message = sdk.messages.create(**fields)
        assert message.stop_reason == "end_turn"
        return "".join(block.text for block in message.content if block.type == "text")


SDKS = {dialect.name: Sdk(dialect) for dialect in BOTH}


# --- What the ledger and the upstream have seen ---------------------------------------------------------------


def records_of(stack: Stack, request_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the ledger rows of requests by their ids, as soon as all are there."""
    sql = "SELECT to_jsonb(r) FROM tenants_usagerecord r WHERE request_id = ANY(%s::uuid[])"

    def look() -> dict[str, dict[str, Any]] | None:
        rows = [row for (row,) in stack.query(sql, list(request_ids))]
        return {row["request_id"].replace("-", ""): row for row in rows} if len(rows) == len(request_ids) else None

    return wait_for(look, f"{len(request_ids)} usage records")


def check_ledger(seen: Seen, record: dict[str, Any]) -> None:
    expected = seen.run.expected
    attempts = [(attempt["deployment"], attempt["result"]) for attempt in record["attempts"]]
    delivered = "streaming" if seen.run.is_stream else "answered"
    wanted = [tuple(attempt.replace(" answered", f" {delivered}").split()) for attempt in expected.attempts]
    assert attempts == [(f"{seen.run.name}-{target}", result) for target, result in wanted], attempts
    assert record["error_code"] == expected.error, record["error_code"]
    bill = {name: record[name] for name in ("outcome", "status", "cost_status", "output_tokens", "cost")}
    if expected.by:
        wanted_bill = {"outcome": "served", "status": 200, "cost_status": "exact", "output_tokens": len(PIECES)}
        assert bill == bill | wanted_bill, bill
        assert record["deployment"] == f"{seen.run.name}-{expected.by}", record["deployment"]
    elif expected.is_broken:
        assert bill == bill | {"outcome": "cut", "status": 200, "cost_status": "estimated"}, bill
        assert record["input_tokens"] > 0, "nothing for the prompt"
        assert 3 <= record["output_tokens"] <= 10, bill
        assert record["cost"] > 0, bill
    else:
        is_theirs = expected.status >= 500 or expected.status == 429
        outcome = "upstream_failed" if is_theirs else "rejected"
        assert bill == bill | {"outcome": outcome, "status": expected.status, "cost": 0}, bill


def check_upstream(seen: Seen, counted: dict[str, int]) -> None:
    """The upstream was asked as often as the ledger says, and not once more."""
    reached = [attempt.split() for attempt in seen.run.expected.attempts]
    wanted = Counter(target for target, result in reached if result != "unreachable")
    assert counted == wanted, f"the upstream saw {counted}"


async def test_charlie_sees_nothing_of_it(stack: Stack, charlie: str, key: str) -> None:
    reply = stack.post(CHAT.path, charlie, CHAT.body(model="nothing-wrong-chat-whole"))
    assert (reply.status_code, reply.headers["x-tollgate-error"]) == (404, "model_not_found")
    assert "nothing-wrong" not in httpx.get(f"{stack.url}/v1/models", headers=bearer(charlie)).text


# --- An outage ------------------------------------------------------------------------------------------------

DARK_SECONDS = 4.0
FLAPS = (0.4, 0.6, 0.4, 0.6)  # up, down, up, down
RECOVERY_SECONDS = 3.0
SHARED_SECONDS = 1.0  # in which workers tell each other that a breaker has opened
PER_SECOND = 20  # requests of each run
MOST_ATTEMPTS_IN_THE_DARK = 24  # two workers: their first failures, what was on its way then, and a probe a second


async def test_an_outage_is_not_noticed_and_the_dead_primary_is_left_alone(stack: Stack, key: str) -> None:
    async with client_for(stack, key) as client:
        seen = await asyncio.gather(*(outlive_outage(stack, client, run) for run in OUTAGES))
    by_id = (await asyncio.to_thread(stack.counters))["by_id"]
    problems = []
    for run, outage in zip(OUTAGES, seen, strict=True):
        problems += complaints(run, lambda: check_outage(outage, by_id))  # noqa: B023 - called at once
    assert not problems, "\n".join(["", *problems])


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """What was seen of one: in the dark, while it flapped, and after it."""

    seen: list[Seen]
    dark: int  # how many of them were asked in the dark


async def outlive_outage(stack: Stack, client: httpx.AsyncClient, run: Run) -> Outage:
    """Ask all the time while the primary dies and comes back."""
    outage, dark = mark(), 0
    asked: list[asyncio.Task[Seen]] = []
    await begin_outage(stack, outage)
    began = time.monotonic()
    while (passed := time.monotonic() - began) < DARK_SECONDS + sum(FLAPS) + RECOVERY_SECONDS:
        asked.append(asyncio.create_task(ask(client, run, outage)))
        dark += passed < DARK_SECONDS
        due = began + len(asked) / PER_SECOND
        await asyncio.sleep(max(due - time.monotonic(), 0.5 / PER_SECOND))  # late ones are not sent all at once
    return Outage(seen=await asyncio.gather(*asked), dark=dark)


def check_outage(outage: Outage, by_id: dict[str, dict[str, int]]) -> None:
    for each in outage.seen:
        assert each.status == 200, f"{each.status}: {each.content[:200]!r}"
        assert SDKS[each.run.dialect.name].read(each) == "".join(PIECES), each.content[-200:]
        assert each.seconds < SILENT_OUTAGE.route["first_token_timeout"] + GRACE_SECONDS, f"took {each.seconds:.2f} s"
    asked = sum(by_id[each.request].get("primary", 0) for each in outage.seen[: outage.dark])
    assert outage.dark > 2 * MOST_ATTEMPTS_IN_THE_DARK, f"only {outage.dark} requests: too few to tell"
    assert asked <= MOST_ATTEMPTS_IN_THE_DARK, f"asked {asked} times in the dark"
    last = Counter(each.headers["x-tollgate-deployment"] for each in outage.seen[-10:])
    assert last[f"{outage.seen[0].run.name}-primary"] >= 8, f"it has recovered, and asked are {last}"


async def begin_outage(stack: Stack, outage: str) -> None:
    async with httpx.AsyncClient(base_url=stack.simulator_url, verify=False) as client:
        reply = await client.post("/_simulator/outage", json={"id": outage, "seconds": [DARK_SECONDS, *FLAPS]})
        assert reply.status_code == 200


async def test_where_everything_rests_all_workers_say_so_at_once(stack: Stack, key: str) -> None:
    runs = list(runs_of([RESTING]))
    async with client_for(stack, key) as client:
        first = [await ask(client, run) for run in runs]
        assert [each.status for each in first] == [500] * len(runs)
        await asyncio.sleep(SHARED_SECONDS)
        seen = [await ask(client, run) for run in runs * 4]
    by_id = (await asyncio.to_thread(stack.counters))["by_id"]
    for each in seen:
        assert each.seconds < 1.0
        assert (each.status, each.headers["x-tollgate-error"]) == (503, "no_target_available")
        assert int(each.headers["retry-after"]) > 0
        assert each.run.dialect.refusal(each.content).message
        assert each.request not in by_id, "it was asked all the same"


# --- Slow and vanishing clients -------------------------------------------------------------------------------

WORD = "x" * 20_000
MEGABYTES = 16 * 1024 * 1024


async def test_a_slow_client_slows_its_upstream_down_and_nobody_else(stack: Stack, key: str) -> None:
    workers = stack.workers()
    before = sum(worker.memory_info().rss for worker in workers)
    names = {dialect.name: mark() for dialect in BOTH}
    with contextlib.ExitStack() as opened:
        wires = []
        for dialect in BOTH:  # 60 MB each, which the upstream would have sent in three seconds
            text = f"[[text={WORD} chunks=3000 interval=0.001]] {names[dialect.name]}"
            model = f"healthy-{dialect.name}"
            wires.append(opened.enter_context(open_stream(stack, key, dialect, text, model=model)))
        async with client_for(stack, key) as client:
            for _ in range(5):
                for wire in wires:
                    await asyncio.to_thread(wire.socket.recv, 1024)
                began = time.monotonic()
                replies = await asyncio.gather(*(_ask_quickly(client, dialect) for dialect in BOTH * 5))
                assert {reply.status_code for reply in replies} == {200}
                assert time.monotonic() - began < 5
                await asyncio.sleep(1.0 - (time.monotonic() - began))
        grown = sum(worker.memory_info().rss for worker in workers) - before
        assert {stack.upstream_request(name).outcome for name in names.values()} == {"open"}
        assert grown < MEGABYTES, f"{grown / 1024 / 1024:.1f} MB"
    for name in names.values():
        await asyncio.to_thread(
            wait_for,
            lambda: stack.upstream_request(name).outcome == "disconnected",  # noqa: B023
            "the disconnect",
            seconds=5,
        )


async def _ask_quickly(client: httpx.AsyncClient, dialect: Dialect) -> httpx.Response:
    return await client.post(dialect.path, json=dialect.body(model=f"healthy-{dialect.name}"))


@both_dialects
def test_a_client_that_vanishes_in_a_stream_pays_for_what_it_got(stack: Stack, key: str, dialect: Dialect) -> None:
    name = mark()
    with open_stream(
        stack, key, dialect, f"[[interval=0.05 chunks=100]] {name}", model=f"healthy-{dialect.name}"
    ) as wire:
        request_id = _read_some(wire)
    wait_for(lambda: stack.upstream_request(name).outcome == "disconnected", "the disconnect", seconds=5)
    record = stack.record(request_id)
    assert (record["outcome"], record["cost_status"]) == ("client_gone", "estimated")
    assert 8 <= record["output_tokens"] <= 90
    assert record["cost"] > 0
    assert [attempt["result"] for attempt in record["attempts"]] == ["streaming"]


@both_dialects
@pytest.mark.parametrize("is_stream", [True, False], ids=["streamed", "whole"])
def test_a_client_that_vanishes_before_the_answer_ends_the_attempts(
    stack: Stack, key: str, dialect: Dialect, is_stream: bool
) -> None:
    name = mark()
    user = {"safety_identifier": name} if dialect is CHAT else {"metadata": {"user_id": name}}
    model = f"healthy-{dialect.name}"
    with open_stream(stack, key, dialect, f"[[first=4]] {name}", model=model, stream=is_stream, **user):
        wait_for(lambda: any(name.encode() in row.body for row in stack.upstream_requests(100)), "the request")
    wait_for(lambda: stack.upstream_request(name).outcome == "disconnected", "the disconnect", seconds=5)
    sql = "SELECT to_jsonb(r) FROM tenants_usagerecord r WHERE end_user = %s"
    ((record,),) = wait_for(lambda: stack.query(sql, name), "the usage record")
    assert (record["outcome"], record["status"]) == ("client_gone", 499)
    assert [attempt["deployment"] for attempt in record["attempts"]] == [record["deployment"]]


@both_dialects
def test_where_the_route_drains_the_answer_is_read_to_its_end_and_billed_exactly(
    stack: Stack, key: str, dialect: Dialect
) -> None:
    name = mark()
    with open_stream(
        stack, key, dialect, f"[[interval=0.05 chunks=40]] {name}", model=f"drained-{dialect.name}"
    ) as wire:
        request_id = _read_some(wire)
    wait_for(lambda: stack.upstream_request(name).outcome == "finished", "the end of the answer")
    record = stack.record(request_id)
    assert (record["outcome"], record["cost_status"]) == ("client_gone", "exact")
    assert record["output_tokens"] == 40


def _read_some(wire: Wire) -> str:
    """Read the first words of a stream and return the request's id."""
    _, headers = wire.read_head()
    seen = b""
    for chunk in wire.chunks():
        seen += chunk
        if len(said(seen)) >= 8:
            break
    return headers["x-request-id"]
