"""What goes through the gateway is what went in: bodies byte for byte but for the model's name, and the headers that may."""

import gzip
import json
import zlib
from typing import Any

import httpx
import pytest

from tests.gateway.calls import BOTH, CHAT, MESSAGES, Dialect, Wire, anonymous, ask_upstream, bearer, head, mark
from tests.gateway.conftest import Keys
from tests.gateway.stack import Stack, UpstreamRequest

both_dialects = pytest.mark.parametrize("dialect", BOTH, ids=lambda dialect: dialect.name)

# Everything that a JSON library would write differently. MODEL and MARK are replaced; nothing else may be.
ODD_BODIES = {
    "white space": b' \r\n\t{ "model" :\t"MODEL" ,\n\n"max_tokens":64,'
    b'"messages"  :[ {"role":"user" , "content":"MARK"} ]  }\n ',
    "order of keys": b'{"zz":1,"messages":[{"content":"MARK","role":"user"}],"aa":2,"max_tokens":64,"model":"MODEL","mm":3}',
    "numbers": b'{"model":"MODEL","max_tokens":64,"x":[1.0E+2,-0,1e400,0.10,123456789012345678901234567890,1E-7],'
    b'"messages":[{"role":"user","content":"MARK"}]}',
    "escapes": rb'{"model":"MODEL","max_tokens":64,'
    rb'"messages":[{"role":"user","content":"MARK \u0041\/\u003c\t\u20ac"}]}',
    "surrogates": rb'{"model":"MODEL","max_tokens":64,'
    rb'"messages":[{"role":"user","content":"MARK"}],"x":"\ud83d \ude00 \ud83d\ude00"}',
    "utf-8": '{"model":"MODEL","max_tokens":64,'
    '"messages":[{"role":"user","content":"MARK zażółć 🙂 \u2028"}],"ż":"é"}'.encode(),
    "unknown fields": b'{"model":"MODEL","max_tokens":64,"future":{"a":[{},[],null,true]},"":0,'
    b'"messages":[{"role":"user","content":"MARK","cache":{"ttl":"1h"}}]}',
    "other models": b'{"metadata":{"model":"chat"},"models":["chat"],"tail":"\\"model\\":\\"chat\\"","model":"MODEL",'
    b'"max_tokens":64,"messages":[{"role":"user","content":"MARK \\"model\\": \\"chat\\"","model":"messages-only"}]}',
    "an escaped key": rb'{"\u006dodel":"MODEL","max_tokens":64,"messages":[{"role":"user","content":"MARK"}]}',
}


@both_dialects
@pytest.mark.parametrize("odd", ODD_BODIES.values(), ids=ODD_BODIES.keys())
def test_every_byte_but_the_models_name_goes_up(stack: Stack, keys: Keys, dialect: Dialect, odd: bytes) -> None:
    name = mark()
    body = odd.replace(b"MARK", name.encode())
    reply = stack.post(dialect.path, keys.alice, body.replace(b"MODEL", dialect.alias.encode()))
    assert stack.upstream_request(name).body == body.replace(b"MODEL", b"sim-fast"), reply.text


@both_dialects
@pytest.mark.parametrize("size", [200_000, 5_000_000])
def test_large_bodies_go_up_whole(stack: Stack, keys: Keys, dialect: Dialect, size: int) -> None:
    name = mark()
    body = dialect.body("hi", vendor=[name, "A" * size])
    reply = stack.post(dialect.path, keys.alice, body)
    assert reply.status_code == 200, reply.text
    assert stack.upstream_request(name).body == json.dumps({**body, "model": "sim-fast"}).encode()


def test_a_streams_body_gets_one_more_field_where_its_usage_was_not_asked_for(stack: Stack, keys: Keys) -> None:
    sent = b'{"stream" : true, "model":"chat", "n":1.0E+0, "messages":[{"role":"user","content":"MARK"}] }'
    name = mark()
    stack.post(CHAT.path, keys.alice, sent.replace(b"MARK", name.encode()))
    seen = stack.upstream_request(name).body
    expected = sent.replace(b'"chat"', b'"sim-fast"').replace(b"MARK", name.encode())
    assert seen == expected[:-1] + b',"stream_options":{"include_usage":true}}'


def test_other_options_of_a_stream_are_kept(stack: Stack, keys: Keys) -> None:
    name = mark()
    stack.post(CHAT.path, keys.alice, CHAT.stream(name, stream_options={"include_obfuscation": False}))
    options = json.loads(stack.upstream_request(name).body)["stream_options"]
    assert options == {"include_obfuscation": False, "include_usage": True}


def test_a_stream_that_asks_for_its_usage_goes_up_as_it_is(stack: Stack, keys: Keys) -> None:
    name = mark()
    body = CHAT.stream(name, stream_options={"include_usage": True})
    stack.post(CHAT.path, keys.alice, body)
    assert stack.upstream_request(name).body == json.dumps({**body, "model": "sim-fast"}).encode()


@both_dialects
@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)],
)
def test_packed_requests_are_unpacked(stack: Stack, keys: Keys, dialect: Dialect, encoding: str, pack: Any) -> None:
    name = mark()
    body = dialect.body(name)
    headers = {"content_encoding": encoding}
    reply = stack.post(dialect.path, keys.alice, pack(json.dumps(body).encode()), **headers)
    seen = stack.upstream_request(name)
    assert reply.status_code == 200, reply.text
    assert seen.body == json.dumps({**body, "model": "sim-fast"}).encode()
    assert seen.header("content-encoding") is None
    assert seen.header("content-length") == str(len(seen.body))


# Headers.


def sent_up(stack: Stack, dialect: Dialect, key: str, *headers: tuple[str, str]) -> UpstreamRequest:
    """Send a request with these headers and return what the upstream got."""
    name = mark()
    content = json.dumps(dialect.body(name)).encode()
    reply = httpx.post(stack.url + dialect.path, content=content, headers=[*bearer(key).items(), *headers], timeout=30)
    assert reply.status_code == 200, reply.text
    return stack.upstream_request(name)


@both_dialects
def test_the_vendors_own_headers_go_up(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    headers = {
        "anthropic-beta": "a-2026-01-01,b-2027-01-01",
        "anthropic-future-thing": "1",
        "openai-beta": "assistants=v2",
        "openai-future-thing": "2",
        "x-claude-code-session-id": "session",
        "x-codex-turn-state": "state",
    }
    seen = sent_up(stack, dialect, keys.alice, *headers.items())
    assert {name: seen.header(name) for name in headers} == headers


@both_dialects
def test_what_is_the_clients_or_the_gateways_own_does_not_go_up(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    kept_here = (
        ("x-goog-api-key", "client-secret"),
        ("api-key", "client-secret"),
        ("cookie", "session=client-secret"),
        ("x-forwarded-for", "10.1.2.3"),
        ("x-forwarded-host", "inner.example"),
        ("forwarded", "for=10.1.2.3"),
        ("cf-connecting-ip", "10.1.2.3"),
        ("x-stainless-lang", "python"),
        ("x-correlation-id", "mine"),
        ("x-request-id", "mine"),
        ("openai-organization", "org-client"),
        ("openai-project", "proj-client"),
        ("anthropic-workspace-id", "wrkspc-client"),
        ("referer", "https://inner.example"),
        ("te", "trailers"),
        ("x-anything", "else"),
    )
    seen = sent_up(stack, dialect, keys.alice, *kept_here)
    assert [name for name, _ in kept_here if seen.header(name) is not None] == []
    assert keys.alice not in str(seen.headers)
    assert seen.header("user-agent") == "tollgate"


def test_the_gateways_credential_replaces_the_clients(stack: Stack, keys: Keys) -> None:
    chat = sent_up(stack, CHAT, keys.alice)
    messages = sent_up(stack, MESSAGES, keys.alice)
    assert (chat.header("authorization"), chat.header("x-api-key")) == ("Bearer sim-credential", None)
    assert (messages.header("authorization"), messages.header("x-api-key")) == (None, "sim-credential")


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21"])
def test_the_version_of_anthropics_api_is_the_clients(stack: Stack, keys: Keys, version: str) -> None:
    seen = sent_up(stack, MESSAGES, keys.alice, ("anthropic-version", version))
    assert [value for name, value in seen.headers if name.lower() == "anthropic-version"] == [version]


def test_the_version_of_anthropics_api_has_a_default(stack: Stack, keys: Keys) -> None:
    assert sent_up(stack, MESSAGES, keys.alice).header("anthropic-version") == "2023-06-01"


def test_a_query_goes_up(stack: Stack, keys: Keys) -> None:
    name = mark()
    stack.post(f"{MESSAGES.path}?beta=true&x=%2Fa%20b", keys.alice, MESSAGES.body(name))
    assert stack.upstream_request(name).query == "beta=true&x=%2Fa%20b"


@both_dialects
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
def test_the_vendors_own_headers_come_down_and_its_account_does_not(
    stack: Stack, keys: Keys, dialect: Dialect, is_stream: bool
) -> None:
    reply = stack.post(dialect.path, keys.alice, dialect.body(stream=is_stream))
    direct = ask_upstream(stack.simulator_url, dialect, dialect.body(stream=is_stream))
    vendors = {name: value for name, value in direct.headers.items() if name.startswith(("openai-", "anthropic-"))}
    vendors.pop("anthropic-organization-id", None)
    ours = {
        name for name in vendors if name.startswith("anthropic-ratelimit-requests-")
    }  # its limit, not our account's
    told = {name: value for name, value in vendors.items() if name not in ours}
    assert told
    assert {name: reply.headers.get(name) for name in told} == told
    assert all(reply.headers[name] != vendors[name] for name in ours)
    assert "anthropic-organization-id" not in reply.headers
    assert reply.headers["content-type"] == direct.headers["content-type"]
    assert reply.headers["x-request-id"] != direct.headers.get("x-request-id", "")


@both_dialects
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
def test_the_gateway_says_what_it_did(stack: Stack, keys: Keys, dialect: Dialect, is_stream: bool) -> None:
    headers = stack.post(dialect.path, keys.alice, dialect.body(stream=is_stream)).headers
    assert {name: headers[f"x-tollgate-{name}"] for name in ("route", "attempts", "model")} == {
        "route": dialect.alias,
        "attempts": "1",
        "model": "sim-fast",
    }
    assert headers["x-tollgate-provider"] in {"sim", "sim-anthropic"}
    assert headers["x-tollgate-deployment"] in {"sim-chat", "sim-messages"}
    assert int(headers["x-tollgate-revision"]) > 0
    assert 0 < float(headers["x-tollgate-overhead-ms"]) < 1000
    assert len(headers["x-request-id"]) == 32
    assert headers.get("x-stream-id") == (headers["x-request-id"] if is_stream else None)
    assert ("x-tollgate-cost" in headers) is not is_stream


@pytest.mark.parametrize("name", ["x-correlation-id", "x-request-id", "X-Correlation-ID", "X-REQUEST-ID"])
def test_the_callers_own_id_is_echoed_beside_the_gateways(stack: Stack, keys: Keys, name: str) -> None:
    headers = {**bearer(keys.alice), name: "trace-7/a:b@c=d+e.f_g"}
    reply = httpx.get(f"{stack.url}/v1/models", headers=headers)
    assert reply.headers["x-correlation-id"] == "trace-7/a:b@c=d+e.f_g"
    assert reply.headers["x-request-id"] != reply.headers["x-correlation-id"]


def test_the_callers_own_id_stands_in_the_ledger_and_in_the_log(stack: Stack, keys: Keys) -> None:
    reply = stack.post(CHAT.path, keys.alice, CHAT.body(), x_correlation_id="trace-9")
    request_id = reply.headers["x-request-id"]
    assert stack.record(request_id)["correlation_id"] == "trace-9"
    (line,) = stack.access_lines(request_id)
    assert line["correlation_id"] == "trace-9"


def test_of_two_ids_the_correlation_id_counts(stack: Stack, keys: Keys) -> None:
    reply = stack.post(CHAT.path, keys.alice, CHAT.body(), x_request_id="one", x_correlation_id="two")
    assert reply.headers["x-correlation-id"] == "two"


@pytest.mark.parametrize("given", ["", "a b", "a\tb", '"quoted"', "<script>", "x" * 129, "\u00e9", "a;b", "%0d%0a"])
def test_an_id_that_could_do_harm_is_replaced(stack: Stack, given: str) -> None:
    with Wire(stack.url) as wire:
        wire.send(head("/v1/models", f"X-Correlation-ID: {given}", method="GET"))
        _, headers, body = wire.read_answer()
    assert headers["x-correlation-id"] == headers["x-request-id"]
    assert given == "" or given.encode("latin-1") not in body


def test_errors_carry_the_ids_too(stack: Stack) -> None:
    reply = stack.post(MESSAGES.path, "wrong", MESSAGES.body(), x_correlation_id="trace-8")
    assert reply.status_code == 401
    assert reply.headers["x-correlation-id"] == "trace-8"
    assert reply.headers["request-id"] == reply.headers["x-request-id"] == reply.json()["request_id"]


@pytest.mark.parametrize("path", ["/", "/?x=1"])
def test_head_of_the_root_is_answered_as_clients_ask_first(stack: Stack, path: str) -> None:
    with Wire(stack.url) as wire:
        wire.send(head(path, method="HEAD"))
        status, headers = wire.read_head()
        assert (status, headers["content-length"]) == (200, "0")
        wire.send(head("/healthz", method="GET"))
        assert wire.read_answer()[::2] == (200, b"ok")


# Answers.


@both_dialects
@pytest.mark.parametrize(
    "text",
    ["hi", "[[text='zażółć 🙂 \\u2028']]", "[[thinking=1]]", "[[finish=refusal]]", "[[usage=none]]", "[[gzip=1]]"],
)
def test_a_whole_answer_comes_down_byte_for_byte(stack: Stack, keys: Keys, dialect: Dialect, text: str) -> None:
    body = dialect.body(text)
    reply = stack.post(dialect.path, keys.alice, body)
    direct = ask_upstream(stack.simulator_url, dialect, body)
    assert reply.status_code == 200, reply.text
    assert anonymous(reply.content) == anonymous(direct.content)
    assert reply.headers["content-length"] == str(len(reply.content))
    assert "content-encoding" not in reply.headers


STREAMS = [
    "hi",
    "[[chunks=50 interval=0.002]]",
    "[[crlf=1]]",
    "[[cr=1]]",
    "[[nospace=1]]",
    "[[comments=1]]",
    "[[comments=1 interval=0.002]]",
    "[[comments=1 crlf=1 packet=31 chunks=3]]",
    "[[split_utf8=1]]",
    "[[one_packet=1]]",
    "[[packet=7 chunks=3]]",
    "[[gzip=1]]",
    "[[gzip=1 interval=0.002]]",
    "[[pings=3 first=0.04]]",
    "[[thinking=1 interval=0.002]]",
    "[[thinking=redacted]]",
    "[[finish=refusal]]",
    "[[finish=length]]",
    "[[finish=none]]",
    "[[usage=none]]",
    "[[usage=twice]]",
    "[[usage=with_choices]]",
    "[[no_length=1]]",
    "[[hangup=1]]",
]


@both_dialects
@pytest.mark.parametrize("text", STREAMS)
def test_a_stream_comes_down_byte_for_byte(stack: Stack, keys: Keys, dialect: Dialect, text: str) -> None:
    options = {"stream_options": {"include_usage": True}} if dialect is CHAT else {}
    body = dialect.stream(text, **options)
    reply = stack.post(dialect.path, keys.alice, body)
    direct = ask_upstream(stack.simulator_url, dialect, body)
    assert reply.status_code == 200, reply.text
    assert anonymous(reply.content) == anonymous(direct.content)


@pytest.mark.parametrize("text", STREAMS)
def test_without_its_usage_chunk_a_stream_is_the_same(stack: Stack, keys: Keys, text: str) -> None:
    reply = stack.post(CHAT.path, keys.alice, CHAT.stream(text))
    body = CHAT.stream(text, stream_options={"include_usage": True})
    direct = anonymous(ask_upstream(stack.simulator_url, CHAT, body).content)
    start = direct.find(b'"choices":[],')
    if start >= 0:
        frame = slice(direct.rindex(b"data:", 0, start), direct.index(b"data:", start))
        kept = direct[frame][direct[frame].index(b"}}}") + 3 :].lstrip(b"\r\n")  # a comment before the next frame
        direct = direct[: frame.start] + kept + direct[frame.stop :]
    assert anonymous(reply.content) == direct


@both_dialects
def test_tool_calls_come_down_byte_for_byte(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    tool = {"name": "get_weather"}
    tools: list[Any] = [{**tool, "input_schema": schema}]
    if dialect is CHAT:
        tools = [{"type": "function", "function": {**tool, "parameters": schema}}]
    for is_stream in (True, False):
        body = dialect.body("[[tools=interleaved]]", stream=is_stream, tools=tools)
        if is_stream and dialect is CHAT:
            body["stream_options"] = {"include_usage": True}
        reply = stack.post(dialect.path, keys.alice, body)
        direct = ask_upstream(stack.simulator_url, dialect, body)
        assert anonymous(without_numbers(reply.content)) == anonymous(without_numbers(direct.content))


def without_numbers(answer: bytes) -> bytes:
    """Return an answer without the running numbers in its calls' ids."""
    return anonymous(answer).replace(b"_0", b"").replace(b"_1", b"")


# The upstream's errors.


@both_dialects
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "fault",
    [
        "status=400 code=context_length_exceeded",
        "status=400 code=content_filter",
        "status=404",
        "status=409",
        "status=413",
        "status=422",
        "status=429 retry_after=7",
        "status=429 retry_after_ms=700 should_retry=false",
        "status=500",
        "status=503 retry_after=1",
        "status=529",
        "status=400 gzip=1",
    ],
)
def test_an_upstreams_error_comes_down_unchanged(
    stack: Stack, keys: Keys, dialect: Dialect, fault: str, is_stream: bool
) -> None:
    body = dialect.body(f"[[{fault}]]", stream=is_stream)
    reply = stack.post(dialect.path, keys.alice, body)
    direct = ask_upstream(stack.simulator_url, dialect, body)
    assert (reply.status_code, anonymous(reply.content)) == (direct.status_code, anonymous(direct.content))
    for name in ("retry-after", "retry-after-ms", "x-should-retry", "content-type"):
        assert reply.headers.get(name) == direct.headers.get(name)
    assert "x-tollgate-error" not in reply.headers
    assert reply.headers["x-tollgate-attempts"] == "1"


@both_dialects
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_of_the_gateways_credential_is_not_the_clients(
    stack: Stack, keys: Keys, dialect: Dialect, status: int, is_stream: bool
) -> None:
    body = dialect.body(f"[[status={status}]]", stream=is_stream)
    reply = stack.post(dialect.path, keys.alice, body)
    theirs = dialect.refusal(anonymous(ask_upstream(stack.simulator_url, dialect, body).content))
    assert reply.status_code == 502
    assert reply.headers["x-tollgate-error"] == "upstream_auth_failed"
    assert theirs.message not in reply.text
    assert "provider refused the gateway's credential" in dialect.refusal(reply.content).message


@both_dialects
def test_an_empty_account_of_the_gateway_is_not_the_clients(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    reply = stack.post(dialect.path, keys.alice, dialect.body("[[status=402]]"))
    assert reply.status_code == 503
    assert reply.headers["x-tollgate-error"] == "upstream_account_exhausted"
    assert reply.headers["x-should-retry"] == "false"
    assert "no credit" not in dialect.refusal(reply.content).message


@both_dialects
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("fault", ["html=1", "html=1 status=503", "empty=1", "drop=1", "malformed=0"])
def test_what_is_no_answer_of_the_format_becomes_an_error_of_it(
    stack: Stack, keys: Keys, dialect: Dialect, fault: str, is_stream: bool
) -> None:
    reply = stack.post(dialect.path, keys.alice, dialect.body(f"[[{fault}]]", stream=is_stream))
    assert reply.status_code == 502
    assert reply.headers["x-tollgate-error"] == "upstream_failed"
    assert reply.headers["content-type"] == "application/json"
    assert "html" not in dialect.refusal(reply.content).message


@both_dialects
def test_an_error_that_came_with_200_is_an_error(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    reply = stack.post(dialect.path, keys.alice, dialect.body("[[error_event=1]]"))
    assert reply.status_code == 502
    assert "overloaded" in dialect.refusal(reply.content).message.lower()
