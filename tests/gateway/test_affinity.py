"""Requests of one session go to the same deployment, whichever web process takes them."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.gateway.calls import CHAT, MESSAGES, Dialect, bearer
from tests.gateway.conftest import Keys
from tests.gateway.console import every_worker
from tests.gateway.stack import Stack

HEADER = "x-claude-code-session-id"
SESSIONS = [f"session-{number}" for number in range(12)]
DEPLOYMENTS = {"sticky-a", "sticky-b", "sticky-c"}


class Workers:
    """A connection to each web process."""

    def __init__(self, clients: list[httpx.Client]) -> None:
        self.clients = clients

    def deployments(self, key: str, dialect: Dialect = CHAT, *, session: str = "", **members: Any) -> list[str]:
        """Return who answers, asked three times through each process."""
        headers = bearer(key) | ({HEADER: session} if session else {})
        answers = [
            client.post(dialect.path, headers=headers, json={**dialect.body(model="sticky"), **members})
            for client in self.clients * 3
        ]
        assert {answer.status_code for answer in answers} == {200}, answers[0].text
        return [answer.headers["x-tollgate-deployment"] for answer in answers]

    def deployment(self, key: str, dialect: Dialect = CHAT, *, session: str = "", **members: Any) -> str:
        """Return the only one that answers."""
        (deployment,) = set(self.deployments(key, dialect, session=session, **members))
        return deployment


@pytest.fixture(scope="module")
def workers(stack: Stack) -> Iterator[Workers]:
    with every_worker(stack) as clients:
        assert len(clients) == 2
        yield Workers(clients)


def test_claude_code_names_its_session_in_a_header(workers: Workers, keys: Keys) -> None:
    found = {workers.deployment(keys.alice, MESSAGES, session=session) for session in SESSIONS}
    assert len(found) > 1  # sessions spread


def test_openais_clients_name_a_key_of_the_cache(workers: Workers, keys: Keys) -> None:
    found = [workers.deployment(keys.alice, prompt_cache_key=session) for session in SESSIONS]
    assert len(set(found)) > 1
    assert found == [workers.deployment(keys.alice, session=session) for session in SESSIONS]


def test_the_session_in_the_body_comes_before_the_one_in_the_header(workers: Workers, keys: Keys) -> None:
    one = workers.deployment(keys.alice, prompt_cache_key="session-0")
    other = next(name for name in SESSIONS if workers.deployment(keys.alice, prompt_cache_key=name) != one)
    assert workers.deployment(keys.alice, prompt_cache_key="session-0", session=other) == one
    user_id = f"user_1_account_2_session_{other}"
    assert workers.deployment(keys.alice, MESSAGES, metadata={"user_id": user_id}, session="session-0") != one


@pytest.mark.parametrize("session", ["", "x" * 201])
def test_without_a_session_requests_spread(workers: Workers, keys: Keys, session: str) -> None:
    found = {name for _ in range(8) for name in workers.deployments(keys.alice, session=session)}
    assert found == DEPLOYMENTS


def test_charlies_sessions_are_not_alices(workers: Workers, keys: Keys) -> None:
    hers = [workers.deployment(keys.alice, session=session) for session in SESSIONS]
    assert hers != [workers.deployment(keys.charlie, session=session) for session in SESSIONS]
