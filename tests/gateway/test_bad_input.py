"""What callers get wrong, in both dialects: the status, the shape and the sentence that they can act on."""

import gzip
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.gateway.calls import BOTH, CHAT, MESSAGES, Dialect, Refusal, Wire, bearer, head, mark
from tests.gateway.conftest import Keys
from tests.gateway.stack import ROOT, Stack, dying_with_us, environment, free_port, wait_for

both_dialects = pytest.mark.parametrize("dialect", BOTH, ids=lambda dialect: dialect.name)

TYPES = {  # status → OpenAI's type and Anthropic's
    400: ("invalid_request_error", "invalid_request_error"),
    401: ("invalid_request_error", "authentication_error"),
    403: ("invalid_request_error", "permission_error"),
    404: ("invalid_request_error", "not_found_error"),
    405: ("invalid_request_error", "invalid_request_error"),
    408: ("timeout_error", "timeout_error"),
    413: ("invalid_request_error", "request_too_large"),
    415: ("invalid_request_error", "invalid_request_error"),
    429: ("rate_limit_error", "rate_limit_error"),
    502: ("server_error", "api_error"),
    503: ("server_error", "overloaded_error"),
}


def refused(reply: httpx.Response, dialect: Dialect, status: int, code: str, *, param: str | None = None) -> Refusal:
    """Read a refusal by the gateway in its dialect; fails unless everything about it is right."""
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-tollgate-error"] == code
    refusal = dialect.refusal(reply.content)
    assert refusal.type == TYPES[status][dialect is MESSAGES]
    if dialect is CHAT:
        assert (refusal.code, refusal.param) == (code, param)
    return refusal


def send(stack: Stack, dialect: Dialect, key: str, content: bytes, **headers: str) -> httpx.Response:
    """Send a body as it is; a header of None is left out."""
    return stack.post(dialect.path, key, content, **headers)


# Bodies.

NOT_JSON = {
    "a word": b"hello",
    "half": b'{"model":"chat","mess',
    "a trailing comma": b'{"model":"chat",}',
    "two objects": b'{"model":"chat"}{"model":"chat"}',
    "single quotes": b"{'model':'chat'}",
    "bytes that are no text": b'{"model":"\xff\xfe"}',
    "an unescaped control": b'{"model":"chat","messages":[{"role":"user","content":"a\x00b"}]}',
    "nothing": b"",
    "blanks": b" \r\n",
    "an array": b'[{"model":"chat"}]',
    "a number": b"1",
    "null": b"null",
    "NaN": b'{"model":"chat","messages":[],"temperature":NaN}',
    "a byte order mark": b'\xef\xbb\xbf{"model":"chat","messages":[]}',
    "deep nesting": b'{"model":"chat","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@both_dialects
@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_a_body_that_is_no_json_object_is_refused(stack: Stack, keys: Keys, dialect: Dialect, body: bytes) -> None:
    reply = send(stack, dialect, keys.alice, body)
    assert reply.status_code == 400, reply.text
    refusal = dialect.refusal(reply.content)
    assert refusal.type == "invalid_request_error"
    assert any(word in refusal.message for word in ("JSON", "nested", "'model'")), refusal


LONG = "x" * 201
WRONG_FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "no model": ({"model": ...}, "model"),
    "a null model": ({"model": None}, "model"),
    "a number as model": ({"model": 1}, "model"),
    "a list as model": ({"model": ["chat"]}, "model"),
    "an empty model": ({"model": ""}, "model"),
    "a model with a line break": ({"model": "chat\n"}, "model"),
    "a model with a header in it": ({"model": "chat\r\nx-injected: 1"}, "model"),
    "a model with a NUL": ({"model": "chat\x00"}, "model"),
    "a model with an escape": ({"model": "\x1b[31mchat"}, "model"),
    "half a surrogate as model": ({"model": "\ud800"}, "model"),
    "a very long model": ({"model": LONG}, "model"),
    "no messages": ({"messages": ...}, "messages"),
    "null messages": ({"messages": None}, "messages"),
    "a text as messages": ({"messages": "hi"}, "messages"),
    "an object as messages": ({"messages": {}}, "messages"),
    "a text as stream": ({"stream": "true"}, "stream"),
    "a number as stream": ({"stream": 1}, "stream"),
}


@both_dialects
@pytest.mark.parametrize(("change", "param"), WRONG_FIELDS.values(), ids=WRONG_FIELDS.keys())
def test_a_wrong_field_is_named(stack: Stack, keys: Keys, dialect: Dialect, change: dict[str, Any], param: str) -> None:
    body = {name: value for name, value in (dialect.body() | change).items() if value is not ...}
    reply = send(stack, dialect, keys.alice, json.dumps(body).encode())
    code = "missing_field" if change[param] is ... else "invalid_request"
    refusal = refused(reply, dialect, 400, code, param=param)
    assert f"'{param}'" in refusal.message
    assert "x-injected" not in reply.headers


def test_wrong_stream_options_are_named(stack: Stack, keys: Keys) -> None:
    reply = stack.post(CHAT.path, keys.alice, CHAT.stream(stream_options="yes"))
    refused(reply, CHAT, 400, "invalid_request", param="stream_options")


def test_embeddings_without_input_are_refused(stack: Stack, keys: Keys) -> None:
    reply = stack.post("/v1/embeddings", keys.alice, {"model": "embed"})
    refused(reply, CHAT, 400, "missing_field", param="input")


@both_dialects
@pytest.mark.parametrize("media_type", ["text/plain", "multipart/form-data; boundary=x", "application/xml"])
def test_a_body_of_another_type_is_refused(stack: Stack, keys: Keys, dialect: Dialect, media_type: str) -> None:
    content = json.dumps(dialect.body()).encode()
    reply = httpx.post(
        stack.url + dialect.path, content=content, headers={**bearer(keys.alice), "content-type": media_type}
    )
    refusal = refused(reply, dialect, 415, "unsupported_media_type")
    assert media_type.partition(";")[0] in refusal.message


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/x+json", ""]
)
def test_json_by_other_names_is_json(stack: Stack, keys: Keys, media_type: str) -> None:
    content = json.dumps(CHAT.body()).encode()
    headers = {**bearer(keys.alice), "content-type": media_type}
    assert httpx.post(stack.url + CHAT.path, content=content, headers=headers).status_code == 200


@both_dialects
@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "\u00e9"])
def test_a_body_packed_otherwise_is_refused(stack: Stack, keys: Keys, dialect: Dialect, encoding: str) -> None:
    with Wire(stack.url) as wire:
        lines = [f"{name}: {value}" for name, value in bearer(keys.alice).items()]
        wire.request(dialect.path, b"{}", *lines, f"Content-Encoding: {encoding}")
        status, headers, body = wire.read_answer()
    assert (status, headers["x-tollgate-error"]) == (415, "unsupported_media_type")
    assert "gzip" in dialect.refusal(body).message


@both_dialects
@pytest.mark.parametrize("content", [b"{}", gzip.compress(b"{}" * 100)[:-9], b""], ids=["plain", "cut", "empty"])
def test_a_body_that_is_not_packed_as_it_says_is_refused(
    stack: Stack, keys: Keys, dialect: Dialect, content: bytes
) -> None:
    reply = send(stack, dialect, keys.alice, content, content_encoding="gzip")
    refused(reply, dialect, 400, "invalid_encoding")


# Sizes and times, on a worker of its own with small caps.

SMALL_CAP = 100_000


@pytest.fixture(scope="module")
def small(stack: Stack) -> Iterator[str]:
    """A worker that takes 100,000 bytes within a second."""
    port = free_port()
    variables = {**environment(stack.state_dir), "MAX_BODY_BYTES": str(SMALL_CAP), "BODY_TIMEOUT": "1"}
    with (stack.state_dir / "small.log").open("wb") as log:
        command = dying_with_us(sys.executable, "manage.py", "serve", "--port", str(port))
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=log, stderr=log)
    try:
        wait_for(lambda: _is_listening(port) or None, "the small worker", seconds=60)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0


def _is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def lines_of(dialect: Dialect, key: str, *more: str) -> bytes:
    """Return a request's head with a key."""
    return head(dialect.path, *(f"{name}: {value}" for name, value in bearer(key).items()), *more)


@both_dialects
def test_a_body_over_the_cap_is_refused_before_it_is_sent(small: str, keys: Keys, dialect: Dialect) -> None:
    with Wire(small) as wire:
        wire.send(lines_of(dialect, keys.alice, f"Content-Length: {SMALL_CAP + 1}"))
        status, headers, body = wire.read_answer()
        assert (status, headers["x-tollgate-error"], headers["connection"]) == (413, "body_too_large", "close")
        assert "100,000 bytes" in dialect.refusal(body).message
        assert dialect.refusal(body).type == TYPES[413][dialect is MESSAGES]


def test_the_default_cap_holds_for_bodies_that_say_their_length(stack: Stack, keys: Keys) -> None:
    with Wire(stack.url) as wire:
        wire.send(lines_of(CHAT, keys.alice, f"Content-Length: {32 * 1024 * 1024 + 1}"))
        assert wire.read_head()[0] == 413


@both_dialects
def test_a_body_without_a_length_is_cut_off_at_the_cap(small: str, keys: Keys, dialect: Dialect) -> None:
    with Wire(small) as wire:
        wire.send(lines_of(dialect, keys.alice, "Transfer-Encoding: chunked"))
        for _ in range(SMALL_CAP // 1000 + 1):
            wire.send(b"3e8\r\n" + b"a" * 1000 + b"\r\n")
        status, _, body = wire.read_answer()
        assert status == 413
        assert dialect.refusal(body).type == TYPES[413][dialect is MESSAGES]


@both_dialects
def test_whoever_sends_it_all_first_gets_to_read_the_refusal(small: str, keys: Keys, dialect: Dialect) -> None:
    body = dialect.body("a" * 5_000_000)
    reply = httpx.post(small + dialect.path, json=body, headers=bearer(keys.alice))
    refused(reply, dialect, 413, "body_too_large")


@both_dialects
def test_a_body_just_under_the_cap_is_taken(small: str, keys: Keys, dialect: Dialect) -> None:
    content = json.dumps(dialect.body()).encode().ljust(SMALL_CAP)
    reply = httpx.post(small + dialect.path, content=content, headers=bearer(keys.alice))
    assert reply.status_code == 200
    over = httpx.post(small + dialect.path, content=content + b" ", headers=bearer(keys.alice))
    assert over.status_code == 413


@both_dialects
def test_a_packed_body_counts_unpacked(small: str, keys: Keys, dialect: Dialect) -> None:
    bomb = gzip.compress(json.dumps(dialect.body("a" * 50_000_000)).encode())
    assert len(bomb) < SMALL_CAP
    headers = {**bearer(keys.alice), "content-encoding": "gzip"}
    reply = httpx.post(small + dialect.path, content=bomb, headers=headers)
    refused(reply, dialect, 413, "body_too_large")


@both_dialects
def test_a_body_that_does_not_arrive_in_time_is_refused(small: str, keys: Keys, dialect: Dialect) -> None:
    began = time.monotonic()
    with Wire(small) as wire:
        wire.send(lines_of(dialect, keys.alice, "Content-Length: 1000") + b'{"model":')
        status, headers, body = wire.read_answer()
        assert 0.9 < time.monotonic() - began < 2
        assert (status, headers["x-tollgate-error"]) == (408, "body_timeout")
        assert dialect.refusal(body).type == "timeout_error"
        # The rest of that body may come at any time: nothing else can be said on this connection.
        assert headers["connection"] == "close"
        assert wire.is_closed()


def test_a_client_that_closes_in_the_middle_of_its_body_is_no_error_of_ours(stack: Stack, keys: Keys) -> None:
    name = mark()
    with Wire(stack.url) as wire:
        wire.send(lines_of(CHAT, keys.alice, "Content-Length: 1000", f"X-Correlation-ID: {name}") + b'{"model":')
    (line,) = wait_for(lambda: stack.access_lines(name), "the access line")
    assert line["status"] == 499
    assert "internal_error" not in str(line)


# Models.


@both_dialects
def test_an_unknown_model_is_refused_with_the_names_that_work(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    reply = stack.post(dialect.path, keys.alice, dialect.body(model="gpt-99"))
    refusal = refused(reply, dialect, 404, "model_not_found", param="model")
    assert "'gpt-99'" in refusal.message
    assert all(name in refusal.message for name in ("alice-only,", " both,", " chat,"))  # among those of other tests


@both_dialects
@pytest.mark.parametrize("model", ["CHAT", "chat ", "chat/../both", "%63hat", "chat*", "*", "{chat}", "chat'--", "😀"])
def test_a_name_that_only_resembles_a_model_is_unknown(stack: Stack, keys: Keys, dialect: Dialect, model: str) -> None:
    refused(
        stack.post(dialect.path, keys.alice, dialect.body(model=model)), dialect, 404, "model_not_found", param="model"
    )


@both_dialects
def test_a_model_that_the_key_may_not_use_is_refused_with_those_that_it_may(
    stack: Stack, keys: Keys, dialect: Dialect
) -> None:
    reply = stack.post(dialect.path, keys.narrow, dialect.body(model="both"))
    refusal = refused(reply, dialect, 403, "model_not_allowed", param="model")
    assert refusal.message.endswith("It may use: chat.")


def test_a_pattern_lets_a_narrow_key_use_what_it_matches(stack: Stack, keys: Keys) -> None:
    assert stack.post(CHAT.path, keys.narrow, CHAT.body(model="wild-anything")).status_code == 200
    assert stack.post(CHAT.path, keys.narrow, CHAT.body(model="wild")).status_code == 404


@both_dialects
def test_a_tenant_that_forbids_translation_is_told_why(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    reply = stack.post(dialect.path, keys.purist, dialect.body(model=dialect.other_alias))
    refusal = refused(reply, dialect, 400, "dialect_not_served", param="model")
    assert "forbids translation" in refusal.message
    assert next(other.name for other in BOTH if other is not dialect) in refusal.message


@both_dialects
def test_a_model_of_another_kind_is_refused(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    reply = stack.post(dialect.path, keys.alice, dialect.body(model="embed"))
    refused(reply, dialect, 400, "wrong_kind_of_model", param="model")


def test_a_chat_model_makes_no_embeddings(stack: Stack, keys: Keys) -> None:
    reply = stack.post("/v1/embeddings", keys.alice, {"model": "chat", "input": "hi"})
    refused(reply, CHAT, 400, "wrong_kind_of_model", param="model")


def test_a_model_that_is_switched_off_is_not_available(stack: Stack, keys: Keys) -> None:
    reply = stack.post(CHAT.path, keys.alice, CHAT.body(model="off"))
    refusal = refused(reply, CHAT, 503, "no_target_available")
    assert "'off' is switched off" in refusal.message


@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "streamed"])
def test_an_unreachable_upstream_is_not_described(stack: Stack, keys: Keys, is_stream: bool) -> None:
    reply = stack.post(CHAT.path, keys.alice, CHAT.body(model="dead", stream=is_stream))
    refused(reply, CHAT, 502, "upstream_unreachable")
    said = reply.text + str(reply.headers)
    assert not [inner for inner in ("127.0.0.1", ":9", "nowhere", "onnect") if inner in said.replace("connection", "")]


# Keys.


@both_dialects
def test_a_missing_key_is_asked_for(stack: Stack, dialect: Dialect) -> None:
    reply = httpx.post(stack.url + dialect.path, json=dialect.body())
    refusal = refused(reply, dialect, 401, "missing_api_key")
    assert reply.headers["www-authenticate"].startswith("Bearer")
    assert "Authorization: Bearer" in refusal.message


@both_dialects
def test_a_wrong_key_is_refused_before_the_body_is_sent(stack: Stack, dialect: Dialect) -> None:
    with Wire(stack.url) as wire:
        wire.send(lines_of(dialect, "tg_wrong", "Content-Length: 20000000"))
        status, headers, _ = wire.read_answer()
    assert (status, headers["x-tollgate-error"]) == (401, "invalid_api_key")


@both_dialects
def test_whoever_sends_a_large_body_with_a_wrong_key_gets_to_read_the_refusal(stack: Stack, dialect: Dialect) -> None:
    with httpx.Client(base_url=stack.url, headers=bearer("tg_wrong")) as client:
        refused(client.post(dialect.path, json=dialect.body("a" * 5_000_000)), dialect, 401, "invalid_api_key")
        refused(client.post(dialect.path, json=dialect.body()), dialect, 401, "invalid_api_key")


@both_dialects
@pytest.mark.parametrize("name", ["expired", "revoked"])
def test_a_key_whose_time_is_over_is_refused_with_the_reason(
    stack: Stack, keys: Keys, dialect: Dialect, name: str
) -> None:
    secret = getattr(keys, name)
    reply = stack.post(dialect.path, secret, dialect.body())
    refusal = refused(reply, dialect, 401, f"{name}_api_key")
    assert secret[:7] in refusal.message
    assert secret not in reply.text


@both_dialects
def test_a_suspended_tenant_is_refused(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    reply = stack.post(dialect.path, keys.suspended, dialect.body())
    assert "suspended" in refused(reply, dialect, 403, "tenant_suspended").message


WRONG_KEYS = {
    "another": "Authorization: Bearer tg_" + "x" * 40,
    "a very long one": "Authorization: Bearer tg_" + "x" * 20_000,
    "letters of elsewhere": "Authorization: Bearer tg_\u00e9\u00ff\u0080",
    "a blank": "Authorization: Bearer  ",
    "no scheme": "Authorization: {key}",
    "another scheme": "Authorization: Basic {key}",
    "the key twice": "Authorization: Bearer {key} {key}",
    "part of the key": "Authorization: Bearer {most}",
    "a quoted key": 'Authorization: Bearer "{key}"',
    "x-api-key": "x-api-key: tg_" + "x" * 40,
    "x-goog-api-key": "x-goog-api-key: nothing",
    "quotes": "x-api-key: ' OR 1=1 --",
    "a query": "x-not-a-key: {key}",
    "a folded key": "Authorization: Bearer {most}\r\n {last}",
    "a line feed": "Authorization: Bearer {key}\n x",
    "a carriage return": "Authorization: Bearer {key}\rx-injected: 1",
    "a NUL": "Authorization: Bearer {key}\x00",
}


@both_dialects
@pytest.mark.parametrize("line", WRONG_KEYS.values(), ids=WRONG_KEYS.keys())
def test_a_wrong_key_is_refused(stack: Stack, keys: Keys, dialect: Dialect, line: str) -> None:
    secret = keys.alice
    sent = line.format(key=secret, most=secret[:-1], last=secret[-1])
    with Wire(stack.url) as wire:
        wire.request(f"{dialect.path}?key={secret}", json.dumps(dialect.body()).encode(), sent)
        status, headers, body = wire.read_answer()
    assert secret.encode() not in body
    assert "x-injected" not in headers
    if status == 400:  # not HTTP at all
        assert body == b"Invalid HTTP request received."
        return
    assert (status, headers["www-authenticate"]) == (401, 'Bearer realm="tollgate"')
    assert dialect.refusal(body).type == TYPES[401][dialect is MESSAGES]


@pytest.mark.parametrize("line", ["authorization: bearer KEY", "AUTHORIZATION: BEARER KEY", "x-goog-api-key: KEY"])
def test_the_key_is_taken_from_every_usual_header(stack: Stack, keys: Keys, line: str) -> None:
    with Wire(stack.url) as wire:
        wire.request(CHAT.path, json.dumps(CHAT.body()).encode(), line.replace("KEY", keys.alice))
        assert wire.read_head()[0] == 200


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\x00", "%0d%0a"])
def test_a_correlation_id_injects_no_header(stack: Stack, end: str) -> None:
    with Wire(stack.url) as wire:
        wire.send(head("/v1/models", f"X-Correlation-ID: abc{end}x-injected: 1", method="GET"))
        status, headers, _ = wire.read_answer()
    assert status in {400, 401}
    assert "x-injected" not in headers
    assert headers.get("x-correlation-id") in {None, "abc", headers.get("x-request-id")}


# Paths and methods.


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    ("path", "headers", "dialect"),
    [
        ("/v1/nothing", {}, CHAT),
        ("/v1/chat/completions/", {}, CHAT),
        ("/v1/chat/completions/x", {}, CHAT),
        ("/v1//chat/completions", {}, CHAT),
        ("/v1/messages/", {}, MESSAGES),
        ("/v1/messages/count", {}, MESSAGES),
        ("/v1/messages/x", {}, MESSAGES),
        ("/v1/nothing", {"anthropic-version": "2023-06-01"}, MESSAGES),
    ],
)
def test_an_unknown_path_is_refused_in_the_callers_dialect(
    stack: Stack, method: str, path: str, headers: dict[str, str], dialect: Dialect
) -> None:
    reply = httpx.request(method, stack.url + path, headers=headers)
    refusal = refused(reply, dialect, 404, "endpoint_not_found")
    assert path in refusal.message


@pytest.mark.parametrize(
    ("method", "path", "headers", "dialect", "allowed"),
    [
        ("GET", "/v1/chat/completions", {}, CHAT, "POST"),
        ("PUT", "/v1/embeddings", {}, CHAT, "POST"),
        ("DELETE", "/v1/models", {}, CHAT, "GET"),
        ("GET", "/v1/messages", {}, MESSAGES, "POST"),
        ("DELETE", "/v1/messages", {}, MESSAGES, "POST"),
        ("DELETE", "/v1/models/chat", {"anthropic-version": "2023-06-01"}, MESSAGES, "GET, POST"),
    ],
)
def test_a_wrong_method_is_refused_in_the_callers_dialect(
    stack: Stack, keys: Keys, method: str, path: str, headers: dict[str, str], dialect: Dialect, allowed: str
) -> None:
    reply = httpx.request(method, stack.url + path, headers={**bearer(keys.alice), **headers})
    refusal = refused(reply, dialect, 405, "method_not_allowed")
    assert method in refusal.message
    assert sorted(reply.headers["allow"].split(", ")) == allowed.split(", ")


def test_an_unknown_model_is_refused_in_the_shape_of_who_lists(stack: Stack, keys: Keys) -> None:
    for dialect, more in ((CHAT, {}), (MESSAGES, {"anthropic-version": "2023-06-01"})):
        reply = httpx.get(f"{stack.url}/v1/models/nothing", headers={**bearer(keys.alice), **more})
        refused(reply, dialect, 404, "model_not_found", param="model")
        reply = httpx.get(f"{stack.url}/v1/models", headers=more)
        refused(reply, dialect, 401, "missing_api_key")


def test_after_a_refusal_the_connection_goes_on(stack: Stack, keys: Keys) -> None:
    with Wire(stack.url) as wire:
        wire.request("/v1/nothing", b"{}", "Content-Type: text/plain")
        assert wire.read_answer()[0] == 404
        wire.request(CHAT.path, b"<html>" * 1000, "Content-Type: text/html", f"Authorization: Bearer {keys.alice}")
        assert wire.read_answer()[0] == 415
        wire.request(MESSAGES.path, b"{}")
        assert wire.read_answer()[0] == 401
        wire.request(CHAT.path, json.dumps(CHAT.body()).encode(), f"Authorization: Bearer {keys.alice}")
        assert wire.read_answer()[0] == 200


# Limits.


def test_the_fourth_request_in_a_minute_is_refused_with_the_time_to_wait(stack: Stack, keys: Keys) -> None:
    for remaining in (2, 1, 0):
        reply = stack.post(CHAT.path, keys.limited, CHAT.body())
        assert reply.status_code == 200
        assert reply.headers["x-ratelimit-remaining-requests"] == str(remaining)
    for dialect in BOTH:
        reply = stack.post(dialect.path, keys.limited, dialect.body())
        refusal = refused(reply, dialect, 429, "rate_limited")
        assert "3 requests per minute of API key 'limited'" in refusal.message
        assert 0 < int(reply.headers["retry-after"]) <= 63  # a twentieth of a window late at most
        assert 0 < int(reply.headers["retry-after-ms"]) <= 63_000
        name = "x-ratelimit-{}-requests" if dialect is CHAT else "anthropic-ratelimit-requests-{}"
        assert reply.headers[name.format("limit")] == "3"
        assert reply.headers[name.format("remaining")] == "0"
    assert stack.post(CHAT.path, keys.alice, CHAT.body()).status_code == 200


def test_a_request_that_is_wrong_in_itself_is_not_counted(stack: Stack, keys: Keys) -> None:
    def remaining() -> int:
        time.sleep(1.5)  # what was reserved ahead is as old as a second, and may not have been needed
        return int(stack.post(CHAT.path, keys.alice, CHAT.body()).headers["x-ratelimit-remaining-requests"])

    before = remaining()
    stack.post(CHAT.path, keys.alice, CHAT.body(model="nothing"))
    stack.post(CHAT.path, keys.alice, b"{}")
    assert remaining() >= before - 1


@both_dialects
def test_one_at_a_time_is_one_at_a_time_and_then_works_again(stack: Stack, keys: Keys, dialect: Dialect) -> None:
    body = json.dumps(dialect.stream("[[first=0.1 interval=0.5 chunks=5]]")).encode()
    with Wire(stack.url) as wire:
        wire.request(dialect.path, body, f"Authorization: Bearer {keys.serial}")
        assert wire.read_head()[0] == 200
        reply = stack.post(dialect.path, keys.serial, dialect.body())
        refusal = refused(reply, dialect, 429, "too_many_requests_at_once")
        assert "1 requests at once of API key 'one-at-a-time'" in refusal.message
        assert int(reply.headers["retry-after"]) >= 1
        assert b"".join(wire.chunks()).endswith(dialect.end)
    assert stack.post(dialect.path, keys.serial, dialect.body()).status_code == 200


@both_dialects
@pytest.mark.parametrize("text", ["[[status=500]]", "[[cut=0]]", "[[cut=2]]", "[[error_event=2]]"])
def test_a_failure_gives_its_place_back(stack: Stack, keys: Keys, dialect: Dialect, text: str) -> None:
    stack.post(dialect.path, keys.serial, dialect.stream(text))
    assert stack.post(dialect.path, keys.serial, dialect.body()).status_code == 200


def test_a_client_that_leaves_gives_its_place_back(stack: Stack, keys: Keys) -> None:
    with Wire(stack.url) as wire:
        body = json.dumps(CHAT.stream("[[interval=0.1 chunks=100]]")).encode()
        wire.request(CHAT.path, body, f"Authorization: Bearer {keys.serial}")
        assert wire.read_head()[0] == 200
    wait_for(lambda: stack.post(CHAT.path, keys.serial, CHAT.body()).is_success, "the place")
