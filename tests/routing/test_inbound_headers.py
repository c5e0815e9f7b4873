"""What a request's headers say of it: of several of one name the same one counts whichever way they are read."""

from types import SimpleNamespace
from typing import Any

import pytest

from providers.canonical.inbound import Facts
from providers.dialects.openai_chat import OPENAI_CHAT
from providers.dialects.openai_chat.wire import CHAT
from routing.exchange import Exchange
from routing.inbound_body import read_body
from routing.pipeline import read_inbound
from tenants.errors import BodyTooLarge
from tests.gateway_site.serving.cycles import OneWriteCycle, make_cycle
from tests.gateway_site.serving.test_one_write import Wire

X_USER_ID, SESSION = b"x-user-id", b"x-claude-code-session-id"
LONG = b"x" * 300


def facts(*headers: tuple[bytes, bytes], body: bytes = b'{"model": "m", "messages": []}') -> Facts:
    exchange = Exchange("POST", "/v1/chat/completions", headers)
    request: Any = SimpleNamespace(body=body, header_pairs=headers, exchange=exchange, scope={})
    return read_inbound(request, OPENAI_CHAT, CHAT).facts


# --- Whom they name: limits of end users depend on it ---------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ([b"alice"], "alice"),
        ([b"alice", b"bob"], "bob"),
        ([b"alice", b""], "alice"),
        ([b"alice", LONG], "alice"),
        ([b"alice", b"\x00"], "alice"),
        ([b"", b"bob"], "bob"),
        ([], "zoe"),
        ([b""], "zoe"),
        ([LONG], "zoe"),
    ],
)
def test_the_last_end_user_that_can_be_used_counts_before_the_bodys(values: list[bytes], named: str):
    pairs = [(X_USER_ID, value) for value in values]
    assert facts(*pairs, body=b'{"model": "m", "messages": [], "user": "zoe"}').end_user == named
    assert facts(*pairs).end_user == (named if named != "zoe" else "")


@pytest.mark.parametrize(
    ("values", "named"), [([b"one"], "one"), ([b"one", b"two"], "one"), ([b"", b"two"], "two"), ([LONG], "")]
)
def test_the_first_session_that_can_be_used_counts(values: list[bytes], named: str):
    assert facts(*[(SESSION, value) for value in values]).session == named


def test_a_session_that_the_body_names_counts_before_it():
    body = b'{"model": "m", "messages": [], "prompt_cache_key": "mine"}'
    assert facts((SESSION, b"one"), body=body).session == "mine"


# --- What it is called, and which dialect it speaks -----------------------------------------------------------


@pytest.mark.parametrize("is_first", [True, False])
def test_a_correlation_id_counts_before_a_request_id(is_first: bool):
    pairs = [(b"x-correlation-id", b"theirs"), (b"x-request-id", b"r")]
    assert Exchange("GET", "/", pairs if is_first else pairs[::-1]).correlation_id == "theirs"


@pytest.mark.parametrize("value", [b"", b"two words", b"a\nb", b"x" * 129])
def test_one_that_cannot_be_logged_is_not_taken(value: bytes):
    exchange = Exchange("GET", "/", [(b"x-correlation-id", value)])
    assert exchange.correlation_id == exchange.request_id


@pytest.mark.parametrize(
    ("path", "names", "dialect"),
    [
        ("/v1/models", [], "openai_chat"),
        ("/v1/models", [b"anthropic-version"], "anthropic_messages"),
        ("/v1/models", [b"x-goog-api-key", b"anthropic-version"], "gemini"),
        ("/v1/models", [b"anthropic-version", b"x-goog-api-key"], "anthropic_messages"),
        ("/v1/responses", [b"anthropic-version"], "openai_responses"),
    ],
)
def test_a_path_tells_its_dialect_before_the_headers_do(path: str, names: list[bytes], dialect: str):
    assert Exchange("GET", path, [(name, b"1") for name in names]).dialect == dialect


# --- A body that our server has already -----------------------------------------------------------------------


class Untold(OneWriteCycle):
    """A request whose body need not be asked for."""

    async def receive(self) -> Any:
        raise AssertionError("it was asked for")


def request_with(body: bytes) -> Untold:
    cycle = make_cycle(Wire(), body=body)
    cycle.__class__ = Untold
    return cycle  # type: ignore[return-value]


async def test_a_body_that_is_there_is_not_asked_for():
    assert await read_body({}, request_with(b"12345").receive, limit=5, timeout=0) == b"12345"


async def test_it_may_be_too_large_all_the_same():
    with pytest.raises(BodyTooLarge):
        await read_body({}, request_with(b"123456").receive, limit=5, timeout=0)
