"""Bodies through a running gateway: kept where the tenant's policy says so, never of charlie, who keeps none."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.gateway.calls import CHAT, MESSAGES, mark
from tests.gateway.conftest import Keys
from tests.gateway.stack import Stack, wait_for

FAILS = "[[status=400]]"


def row(stack: Stack, answer: httpx.Response) -> tuple[int, int, bytes]:
    """Sizes and content of what is kept of a request, as soon as it is there."""
    request_id = answer.headers["x-request-id"]
    found = wait_for(lambda: kept(stack, request_id), f"the body of {request_id}")
    return found[0]  # type: ignore[return-value]


def kept(stack: Stack, request_id: str) -> list[tuple[object, ...]]:
    return stack.query(
        "SELECT request_size, answer_size, content FROM tenants_requestbody WHERE request_id = %s", request_id
    )


def nothing_is_kept(stack: Stack, keys: Keys, answer: httpx.Response) -> bool:
    """Whether nothing is, though what came later is there already."""
    row(stack, stack.post(CHAT.path, keys.keeper, CHAT.body("later")))
    return not kept(stack, answer.headers["x-request-id"])


@pytest.mark.parametrize("dialect", [CHAT, MESSAGES], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("is_stream", [False, True], ids=["whole", "stream"])
def test_it_keeps_request_and_answer_encrypted(stack: Stack, keys: Keys, dialect: object, is_stream: bool):
    word = mark()
    body = dialect.stream(word) if is_stream else dialect.body(word)  # type: ignore[attr-defined]
    answer = stack.post(dialect.path, keys.keeper, body)  # type: ignore[attr-defined]
    assert answer.status_code == 200
    request_size, answer_size, content = row(stack, answer)
    assert (request_size, answer_size) == (len(json.dumps(body)), len(answer.content))
    assert word.encode() not in bytes(content)


def test_it_keeps_large_bodies_in_part(stack: Stack, keys: Keys):
    answer = stack.post(CHAT.path, keys.keeper, CHAT.body("word " * 200_000))
    request_size, _, content = row(stack, answer)
    assert request_size > 900_000
    assert len(bytes(content)) < 300_000
    ((is_cut,),) = stack.query(
        "SELECT is_request_cut FROM tenants_requestbody WHERE request_id = %s", answer.headers["x-request-id"]
    )
    assert is_cut


def test_it_keeps_what_the_upstream_rejected(stack: Stack, keys: Keys):
    answer = stack.post(CHAT.path, keys.troubled, CHAT.body(FAILS))
    assert answer.status_code == 400
    assert row(stack, answer)[1] == len(answer.content)


def test_it_keeps_a_stream_that_was_cut(stack: Stack, keys: Keys):
    answer = stack.post(CHAT.path, keys.troubled, CHAT.stream("[[cut=2]]"))
    assert row(stack, answer)[1] == len(answer.content)


def test_a_policy_of_errors_keeps_no_others(stack: Stack, keys: Keys):
    answer = stack.post(CHAT.path, keys.troubled, CHAT.body("hello"))
    assert answer.status_code == 200
    assert nothing_is_kept(stack, keys, answer)


def test_charlies_bodies_are_not_kept(stack: Stack, keys: Keys):
    for text in ("hello", FAILS):
        answer = stack.post(CHAT.path, keys.charlie, CHAT.body(text))
        assert nothing_is_kept(stack, keys, answer)
