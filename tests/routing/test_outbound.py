"""One request on its way to deployments of several dialects: what each gets, and what the client gets back.

All of the data plane below its endpoints, with upstreams that are functions and an admission that keeps what it is told.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from gateway_site.data_plane import error_response
from providers.canonical.answer import fold
from providers.canonical.parts import Text
from providers.canonical.seals import PREFIX, Seal, SealBox
from providers.dialects.anthropic_messages.wire import CHAT as MESSAGES
from providers.dialects.anthropic_messages.wire import COUNT_TOKENS
from providers.dialects.gemini.wire import CHAT as GENERATE
from providers.dialects.openai_chat.wire import CHAT, EMBEDDINGS
from providers.dialects.openai_responses.wire import CHAT as RESPONSES
from providers.dialects.openai_responses.wire import COUNT_TOKENS as COUNT_INPUT
from providers.registry import DIALECTS
from providers.transport import UpstreamBroken, UpstreamUnreachable
from routing.api.responses import _forward
from routing.policy import attempts
from routing.snapshot import Timeouts
from routing.stored_responses import StoredValue
from tenants.errors import GatewayError, InvalidRequest, Unavailable, UpstreamFailed
from tests.routing.planes import (
    ANSWERS,
    ASKED,
    EVENTS,
    JSON,
    SAID,
    FakeTransport,
    FakeUpstream,
    Plane,
    refusal,
    whole,
)

OPERATIONS = {operation.dialect: operation for operation in (CHAT, MESSAGES, GENERATE, RESPONSES)}
ASKED_OF_CLAUDE = {**ASKED, "max_tokens": 64}
QUESTIONS: dict[str, dict[str, Any]] = {
    "openai_chat": ASKED,
    "anthropic_messages": ASKED_OF_CLAUDE,
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
    "openai_responses": {"model": "alias", "input": "hi", "store": False},
}


def events(*found: dict[str, Any]) -> bytes:
    """Frames of Anthropic's."""
    return b"".join(b"event: %b\ndata: %b\n\n" % (each["type"].encode(), json.dumps(each).encode()) for each in found)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch) -> None:
    """Who is asked again is asked at once."""
    monkeypatch.setattr(attempts, "BACKOFF_SECONDS", 0.0)


@pytest.fixture
def make_plane(make_route) -> Callable[..., Plane]:
    """Make a plane with one provider per target, each of one dialect, tried in the order given."""

    def make(targets: dict[str, str], answers: Mapping[str, list[Any]], *, retries: int = 0, **principal: Any) -> Plane:
        details = {
            slug: {
                "priority": number,
                "provider": {"slug": slug, "dialects": (dialect,), "base_url": f"https://{slug}/v1"},
            }
            for number, (slug, dialect) in enumerate(targets.items())
        }
        return Plane(make_route(details, retries=retries), answers, **principal)

    return make


@pytest.fixture
def canonical_work(monkeypatch) -> Counter[str]:
    """Count how often each dialect reads and writes a request canonically."""
    counted: Counter[str] = Counter()

    def counting(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def do(*arguments: Any) -> Any:
            counted[name] += 1
            return work(*arguments)

        return do

    for name, dialect in list(DIALECTS.items()):
        read, write = counting(f"read {name}", dialect.read_request), counting(f"write {name}", dialect.write_request)
        monkeypatch.setitem(DIALECTS, name, replace(dialect, read_request=read, write_request=write))
    return counted


def said(answer: Any, dialect: str) -> str:
    """Return the text of a whole answer; fails unless it is one of the dialect's."""
    (part,) = fold(DIALECTS[dialect].read_answer(answer.content, "any")).parts
    assert isinstance(part, Text)
    return part.text


def losses_of(answer: Any) -> bytes:
    return dict(answer.pairs).get(b"x-tollgate-losses", b"")


# --- How often a request is read and written -----------------------------------------------------------------


@pytest.mark.parametrize("dialect", OPERATIONS)
async def test_what_passes_through_is_never_read_canonically(make_plane, canonical_work, dialect: str):
    others = {name: name for name in OPERATIONS if name != dialect}
    plane = make_plane({"own": dialect, **others}, {"own": [whole(dialect)]})
    answer = await plane.ask(OPERATIONS[dialect], QUESTIONS[dialect])
    assert json.loads(answer.content) == ANSWERS[dialect]
    assert plane.transport.asked == ["own"]
    assert not canonical_work


async def test_a_request_is_read_once_and_written_once_per_destination_however_many_attempts(
    make_plane, canonical_work
):
    answers: dict[str, list[Any]] = {slug: [refusal(503) for _ in range(3)] for slug in ("a", "g", "r")}
    answers["a"][1] = UpstreamUnreachable("refused")
    answers["r"][2] = whole("openai_responses")
    targets = {"a": "anthropic_messages", "g": "gemini", "r": "openai_responses"}
    plane = make_plane(targets, answers, retries=2)
    answer = await plane.ask(CHAT, ASKED)
    assert plane.transport.asked == [*"aaagggrrr"]
    assert said(answer, "openai_chat") == SAID
    assert canonical_work == {
        "read openai_chat": 1,
        "write anthropic_messages": 1,
        "write gemini": 1,
        "write openai_responses": 1,
    }


async def test_a_fallback_is_translated_when_its_turn_comes(make_plane, canonical_work):
    plane = make_plane({"own": "openai_chat", "g": "gemini"}, {"own": [refusal(503)], "g": [whole("gemini")]})
    assert said(await plane.ask(CHAT, ASKED), "openai_chat") == SAID
    assert canonical_work == {"read openai_chat": 1, "write gemini": 1}


# --- From one dialect to the next ----------------------------------------------------------------------------


@pytest.mark.parametrize("client", OPERATIONS)
@pytest.mark.parametrize("first", OPERATIONS)
@pytest.mark.parametrize("second", OPERATIONS)
async def test_the_answer_and_its_record_are_of_the_target_that_gave_it(make_plane, client, first, second):
    plane = make_plane({"one": first, "two": second}, {"one": [refusal(503)], "two": [whole(second)]})
    answer = await plane.ask(OPERATIONS[client], QUESTIONS[client])
    assert said(answer, client) == SAID
    assert dict(answer.pairs)[b"x-tollgate-deployment"] == b"two"
    assert dict(answer.pairs)[b"x-tollgate-attempts"] == b"2"
    record = plane.record
    assert (record.outcome, record.deployment, record.dialect_upstream) == ("served", "two", second)
    assert (record.input_tokens, record.output_tokens) == (7, 3)
    assert [attempt["result"] for attempt in record.attempts] == ["status_503", "answered"]


@pytest.mark.parametrize("client", OPERATIONS)
@pytest.mark.parametrize("last", OPERATIONS)
async def test_the_last_error_comes_in_the_clients_dialect(make_plane, client: str, last: str):
    plane = make_plane({"one": "gemini", "two": last}, {"one": [refusal(503)], "two": [refusal(429, "Slow down.")]})
    answer = await plane.ask(OPERATIONS[client], QUESTIONS[client])
    assert answer.status_code == 429
    assert DIALECTS[client].read_error(answer.content) == "Slow down."
    assert plane.record.outcome == "upstream_failed"


async def test_losses_are_those_of_the_target_that_answered(make_plane):
    asked = {**ASKED, "seed": 7}
    answers: dict[str, list[Any]] = {"a": [refusal(503)], "own": [whole("openai_chat")]}
    plane = make_plane({"a": "anthropic_messages", "own": "openai_chat"}, answers)
    assert losses_of(await plane.ask(CHAT, asked)) == b""
    assert plane.record.losses == []
    plane = make_plane({"a": "anthropic_messages"}, {"a": [whole("anthropic_messages")]})
    assert b"seed;degrades" in losses_of(await plane.ask(CHAT, asked))
    assert "seed" in {loss.path for loss in plane.record.losses}


async def test_a_tool_call_that_broke_off_leaves_nothing_to_the_next_attempt(make_plane):
    """The two attempts share what turns tool calls back into the client's own."""
    broken = events(
        {"type": "message_start", "message": {**ANSWERS["anthropic_messages"], "content": []}},
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "tool_use", "id": "t1", "name": "patch", "input": {}},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"inp'}},
    )
    call = {"type": "tool_use", "id": "t2", "name": "f", "input": {"a": 1}}
    good = {**ANSWERS["anthropic_messages"], "stop_reason": "tool_use", "content": [call]}
    answers = [FakeUpstream(200, EVENTS, broken), FakeUpstream(200, JSON, json.dumps(good).encode())]
    plane = make_plane({"a": "anthropic_messages"}, {"a": answers}, retries=1)
    tools = [
        {"type": "custom", "custom": {"name": "patch"}},
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}},
    ]
    answer = json.loads((await plane.ask(CHAT, {**ASKED, "tools": tools})).content)
    (made,) = answer["choices"][0]["message"]["tool_calls"]
    assert (made["function"]["name"], json.loads(made["function"]["arguments"])) == ("f", {"a": 1})


# --- What cannot be read or may not be translated ------------------------------------------------------------

ODD = {**ASKED_OF_CLAUDE, "messages": [{"role": "what-comes-next", "content": "hi"}]}


async def test_what_we_cannot_read_still_passes_through(make_plane):
    targets = {"own": "anthropic_messages", "g": "gemini"}
    plane = make_plane(targets, {"own": [whole("anthropic_messages")]})
    assert (await plane.ask(MESSAGES, ODD)).status_code == 200
    plane = make_plane(dict(reversed(targets.items())), {"own": [whole("anthropic_messages")]})
    assert (await plane.ask(MESSAGES, ODD)).status_code == 200


async def test_what_we_cannot_read_is_not_translated_for_a_fallback(make_plane):
    plane = make_plane({"own": "anthropic_messages", "g": "gemini"}, {"own": [refusal(529, "Overloaded.")]})
    answer = await plane.ask(MESSAGES, ODD)
    assert (answer.status_code, plane.transport.asked) == (529, ["own"])


async def test_where_everything_is_translated_the_field_is_named_before_anybody_is_asked(make_plane):
    plane = make_plane({"g": "gemini", "c": "openai_chat"}, {})
    with pytest.raises(InvalidRequest) as caught:
        await plane.ask(MESSAGES, ODD)
    assert caught.value.param == "messages[0].role"
    assert (plane.transport.sent, plane.admission.events) == ([], [])


@pytest.mark.parametrize("policy", ["allow", "no_degrading", "never"])
async def test_the_tenants_policy_holds_for_fallbacks_too(make_plane, policy: str):
    answers = {"own": [refusal(503, "Away.")], "a": [whole("anthropic_messages")]}
    plane = make_plane({"own": "openai_chat", "a": "anthropic_messages"}, answers, translation_policy=policy)
    answer = await plane.ask(CHAT, {**ASKED, "seed": 7})
    assert (answer.status_code, plane.transport.asked) == ((200, ["own", "a"]) if policy == "allow" else (503, ["own"]))


@pytest.mark.parametrize(
    ("operation", "body", "target"),
    [
        (COUNT_TOKENS, ODD, "gemini"),
        (MESSAGES, {**ODD, "system": f"{PREFIX} in the history"}, "anthropic_messages"),
    ],
    ids=["counted", "with a seal of ours"],
)
async def test_what_turns_out_unreadable_when_it_is_sent_gives_its_reservation_back(
    make_plane, operation, body, target
):
    plane = make_plane({"t": target}, {})
    with pytest.raises(InvalidRequest):
        await plane.ask(operation, body)
    assert (plane.record.outcome, plane.record.status) == ("rejected", 400)


def nested(depth: int) -> str:
    return '{"type":"object","anyOf":[' * depth + "{}" + "]}" * depth


@pytest.mark.parametrize("depth", [1_500, 5_000, 50_000])
async def test_what_is_nested_too_deeply_is_refused_and_not_a_defect(make_plane, depth: int):
    format = '{"type":"json_schema","json_schema":{"name":"s","schema":%s}}' % nested(depth)  # noqa: UP031
    body = '{"model":"alias","messages":[{"role":"user","content":"hi"}],"response_format":%s}' % format  # noqa: UP031
    plane = make_plane({"a": "anthropic_messages"}, {})
    with pytest.raises(InvalidRequest):
        await plane.ask(CHAT, body.encode())


# --- Seals ---------------------------------------------------------------------------------------------------


def thought(box: SealBox, origin: str) -> dict[str, Any]:
    packed = box.pack(Seal(origin=origin, payload="SIGNED"))
    thinking = {"type": "thinking", "thinking": "hm", "signature": packed}
    history = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [thinking, {"type": "text", "text": "a"}]},
    ]
    return {**ASKED_OF_CLAUDE, "messages": [*history, {"role": "user", "content": "go on"}]}


@pytest.mark.parametrize(
    ("tenant_id", "origin", "arrives"),
    [(1, "own/model-of-own", True), (1, "other/model", False), (2, "own/model-of-own", False)],
    ids=["its own", "another model's", "charlie's"],
)
async def test_a_seal_reaches_only_its_own_tenants_own_model(make_plane, tenant_id: int, origin: str, arrives: bool):
    plane = make_plane({"own": "anthropic_messages"}, {"own": [whole("anthropic_messages")]})
    await plane.ask(MESSAGES, thought(SealBox([b"secret"], tenant_id), origin))
    ((_, body),) = plane.transport.sent
    assert (b"SIGNED" in body) is arrives
    assert PREFIX.encode() not in body


async def test_a_text_to_embed_may_say_the_word_that_seals_begin_with(make_route):
    details = {"kind": "embedding", "provider": {"slug": "e"}}
    answer = FakeUpstream(200, JSON, b'{"object":"list","data":[],"usage":{"prompt_tokens":3,"total_tokens":3}}')
    plane = Plane(make_route({"e": details}), {"e": [answer]})
    assert (await plane.ask(EMBEDDINGS, {"model": "alias", "input": PREFIX})).status_code == 200


# --- What an upstream keeps ----------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", [RESPONSES, COUNT_INPUT], ids=["asked", "counted"])
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ('"conversation":"conv_1","input":"hi"', "conversation"),
        ('"conversation":{"id":"conv_1"}', "conversation"),
        ('"background":true,"input":"hi"', "background"),
        ('"background":1,"input":"hi"', "background"),
        ('"input":[{"type":"item_reference","id":"msg_1"}]', "input"),
        (r'"input":[{"role":"user","content":"hi"},{"type":"item\u005freference","\u0069d":"msg_1"}]', "input"),
        ('"input":[{"id":"msg_1"}]', "input"),
        ('"input":[{"type":null,"id":"msg_1"}]', "input"),
        (r'"input":[{"role":"user","content":"\ud800"},{"type":"item_reference","id":"msg_1"}]', "input"),
    ],
)
async def test_what_an_upstream_would_look_up_in_the_account_of_all_tenants_is_refused(
    make_plane, operation, fields: str, param: str
):
    plane = make_plane({"r": "openai_responses"}, {})
    with pytest.raises(InvalidRequest) as caught:
        await plane.ask(operation, b'{"model":"alias","store":false,%b}' % fields.encode())
    assert (caught.value.code, caught.value.param) == ("not_kept", param)


@pytest.mark.parametrize(
    "fields",
    [
        {"conversation": None, "background": False},
        {"background": None, "previous_response_id": None},
        {"input": [{"role": "user", "content": "item_reference"}, {"id": "msg_1", "type": "message", "role": "user"}]},
        {"input": [{"role": "user", "content": "hi"}, {"type": "what-comes-next"}]},
    ],
)
async def test_what_names_nothing_that_is_kept_passes_through(make_plane, fields: dict[str, Any]):
    plane = make_plane({"r": "openai_responses"}, {"r": [whole("openai_responses")]})
    body = {"model": "alias", "store": False, "input": "hi", **fields}
    assert (await plane.ask(RESPONSES, body)).status_code == 200
    ((_, sent),) = plane.transport.sent
    assert json.loads(sent) == {**body, "model": "model-of-r"}


async def test_a_tenant_that_stores_nothing_says_so_to_the_upstream(make_plane):
    plane = make_plane({"r": "openai_responses"}, {"r": [whole("openai_responses")]}, stores_responses=False)
    await plane.ask(RESPONSES, {"model": "alias", "input": "hi"})
    ((_, sent),) = plane.transport.sent
    assert json.loads(sent)["store"] is False


# --- Connections and accounts --------------------------------------------------------------------------------

START = {"type": "message_start", "message": {**ANSWERS["anthropic_messages"], "content": []}}
PING = events({"type": "ping"})
STREAM = events(
    START,
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": SAID}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 3},
    },
    {"type": "message_stop"},
)


@pytest.mark.parametrize("client", ["openai_chat", "anthropic_messages"])
async def test_a_stream_that_breaks_before_its_content_is_let_go_and_asked_again(make_plane, client: str):
    cut = FakeUpstream(200, EVENTS, events(START), PING, UpstreamBroken("reset by 10.0.0.7"))
    empty, good = FakeUpstream(200, EVENTS), FakeUpstream(200, EVENTS, STREAM)
    plane = make_plane({"a": "anthropic_messages"}, {"a": [cut, empty, good]}, retries=2)
    answer = await plane.ask(OPERATIONS[client], {**QUESTIONS[client], "stream": True})
    streamed = b"".join([data async for data in answer.body])
    assert streamed.count(SAID.encode()) == 1
    assert streamed.count(b"message_start" if client == "anthropic_messages" else b'"role":"assistant"') <= 2
    assert (cut.finished, empty.finished, good.finished) == ([False], [False], [True])
    assert (plane.record.outcome, plane.record.output_tokens) == ("served", 3)


def text_delta(text: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}


@pytest.mark.parametrize("ending", ["whole", "broken"])
async def test_the_first_content_does_not_wait_for_what_came_with_it(make_plane, ending: str):
    frames = STREAM.replace(events(text_delta(SAID)), events(*map(text_delta, ("One, ", "two.", " Three."))))
    packet = frames if ending == "whole" else frames.partition(b"event: content_block_stop")[0]
    upstream = FakeUpstream(200, EVENTS, packet + b"event: cut in the mid")
    plane = make_plane({"a": "anthropic_messages"}, {"a": [upstream]})
    answer = await plane.ask(CHAT, {**ASKED, "stream": True})
    sent = [data async for data in answer.body]
    assert b"One, " in sent[0]
    assert b"two." not in sent[0]
    assert b'two."' in sent[1]
    assert b" Three." in sent[1]
    assert plane.record.outcome == ("served" if ending == "whole" else "cut")


async def test_an_error_right_behind_the_first_content_cuts_the_answer(make_plane):
    failure = {"type": "error", "error": {"type": "overloaded_error", "message": "Busy."}}
    packet = STREAM.partition(b"event: content_block_stop")[0] + events(failure)
    plane = make_plane({"a": "anthropic_messages"}, {"a": [FakeUpstream(200, EVENTS, packet)]})
    answer = await plane.ask(CHAT, {**ASKED, "stream": True})
    sent = [data async for data in answer.body]
    assert SAID.encode() in sent[0]
    assert b"Busy." in sent[-1]
    assert plane.record.outcome == "cut"


async def test_a_client_that_leaves_takes_its_upstream_and_its_reservation_along(make_plane):
    class Silent(FakeUpstream):
        async def read_chunk(self) -> bytes:
            await asyncio.sleep(60)
            return b""

    silent = Silent(200, EVENTS)
    plane = make_plane({"a": "anthropic_messages"}, {"a": [silent]})
    asking = asyncio.create_task(plane.ask(CHAT, {**ASKED, "stream": True}))
    while not plane.transport.sent:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    plane.exchange.is_client_gone = True
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert silent.finished == [False]
    assert plane.record.outcome == "client_gone"


@pytest.mark.parametrize("client", OPERATIONS)
async def test_where_an_upstream_stands_is_not_told(make_plane, client: str):
    gone = UpstreamUnreachable("Cannot connect to host 10.0.0.7:8000")
    plane = make_plane({"g": "gemini"}, {"g": [gone]})
    with pytest.raises(UpstreamFailed) as caught:
        await plane.ask(OPERATIONS[client], QUESTIONS[client])
    assert b"10.0.0.7" not in DIALECTS[client].write_error(caught.value, "id")


@pytest.mark.parametrize("upstream", OPERATIONS)
@pytest.mark.parametrize("wait", ["9" * 400 + "s", "9" * 5_000 + "h", "1..2s", "0.5s"])
async def test_an_absurd_time_to_wait_is_not_believed(make_plane, upstream: str, wait: str):
    body = {"error": {"message": f"Please try again in {wait}.", "details": [{"retryDelay": wait}]}}
    plane = make_plane({"u": upstream}, {"u": [FakeUpstream(429, JSON, json.dumps(body).encode())]})
    answer = await plane.ask(CHAT, ASKED)
    assert answer.status_code == 429
    assert int(dict(answer.pairs).get(b"retry-after", b"1")) == 1


# --- Counting ------------------------------------------------------------------------------------------------


async def test_a_count_that_no_upstream_knows_is_served_from_an_estimate(make_plane):
    plane = make_plane({"a": "anthropic_messages"}, {"a": [refusal(404, "Not found.")]})
    answer = await plane.ask(COUNT_TOKENS, ASKED)
    assert json.loads(answer.content)["input_tokens"] > 0
    assert dict(answer.pairs)[b"x-tollgate-count"] == b"estimated"
    assert (plane.record.outcome, plane.record.status, plane.record.error_code) == ("served", 200, "")


async def test_an_estimate_of_what_cannot_be_read_is_refused_and_given_back(make_plane):
    plane = make_plane({"c": "openai_chat"}, {})
    with pytest.raises(InvalidRequest):
        await plane.ask(COUNT_TOKENS, ODD)
    assert (plane.record.outcome, plane.record.status) == ("rejected", 400)


# --- What upstreams call their errors ------------------------------------------------------------------------


async def test_an_upstreams_own_code_gets_neither_into_headers_nor_into_the_ledger(make_plane):
    code = "rate_limit_error"
    event = {"type": "error", "error": {"type": code, "message": "Slow down.\r\nx-evil: 1"}}
    plane = make_plane({"a": "anthropic_messages"}, {"a": [FakeUpstream(200, EVENTS, events(event))]})
    with pytest.raises(GatewayError) as caught:
        await plane.ask(CHAT, {**ASKED, "stream": True})
    answer = error_response(caught.value, plane.exchange)
    assert not any(b"evil" in value for _, value in answer.pairs)
    assert (answer.status_code, plane.record.outcome) == (429, "upstream_failed")
    assert b"x-tollgate-error" not in dict(answer.pairs)
    assert plane.record.error_code == "upstream_rejected"


@pytest.mark.parametrize("code", ["9" * 5_000, "²²²", "4\u0660\u0660", "x\r\ny: z"], ids=ascii)
async def test_a_code_of_a_stream_may_be_anything(make_plane, code: str):
    event = {"type": "error", "error": {"type": code, "message": "Odd."}}
    plane = make_plane({"a": "anthropic_messages"}, {"a": [FakeUpstream(200, EVENTS, events(event))]})
    with pytest.raises(UpstreamFailed, match="Odd") as caught:
        await plane.ask(CHAT, {**ASKED, "stream": True})
    assert caught.value.code == "upstream_failed"
    assert plane.record.error_code == "upstream_failed"


# --- Keeping answers -----------------------------------------------------------------------------------------


async def test_an_answer_that_cannot_be_stored_is_delivered_all_the_same(make_plane):
    """Its request is settled already. Clients that read JSON as Python does take NaN for a number."""
    content = b'{"id":"resp_1","object":"response","output":[],"odd":NaN,"usage":null}'
    plane = make_plane({"r": "openai_responses"}, {"r": [FakeUpstream(200, JSON, content)]})
    answer = await plane.ask(RESPONSES, {"model": "alias", "input": "hi"})
    assert (answer.content, plane.record.outcome) == (content, "served")


async def test_an_upstream_that_keeps_a_response_and_never_gives_it_is_given_up(make_deployment):
    class Silent(FakeUpstream):
        async def read_chunk(self) -> bytes:
            await asyncio.sleep(60)
            return b""

    deployment = make_deployment(provider={"slug": "r", "timeouts": Timeouts(total=0.05)})
    runtime = SimpleNamespace(
        snapshot=SimpleNamespace(deployments={"d": deployment}), transport=FakeTransport({"r": [Silent(200, JSON)]})
    )
    request: Any = SimpleNamespace(runtime=runtime, scope={"query_string": b""})
    stored = StoredValue(body=None, deployment="d", dialect="openai_responses")
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable) as caught:
            await _forward(request, stored, "resp_1", "GET")
    assert caught.value.code == "response_out_of_reach"
