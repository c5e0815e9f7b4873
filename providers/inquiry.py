"""Asking upstreams about themselves: `capabilities.py` and `catalogues.py` do, from Celery and from commands.

It goes through the same transport as everything else, so the same proxies, certificates and checks of addresses hold.
One provider's questions are asked one after the other, and no further ones when it cannot be reached.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

from yarl import URL

from gateway_site.infra import secrets
from providers.addresses import refuse_private_address
from providers.models import Provider
from providers.pool import Pool
from providers.registry import ADAPTERS
from providers.transport import Transport, TransportError, Upstream

HEADERS = {"accept": "application/json", "user-agent": "tollgate"}
TOTAL_SECONDS = 120.0  # for all of them: a Celery process waits
PROVIDERS_AT_ONCE = 4
NOT_TOLD = frozenset({404, 405, 501})  # many servers have no such endpoint


class NoAnswer(Exception):
    """The upstream did not say anything that can be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """Where a provider is asked with GET, and how."""

    pool: Pool
    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)


class Question(Protocol):
    """Something that is asked of one provider."""

    @property
    def inquiry(self) -> Inquiry:
        """How it is asked."""


@dataclass(slots=True, kw_only=True)
class Answers[Q: Question, A]:
    """What came of questions; what is in neither list was not asked, or had no time left."""

    given: list[tuple[Q, A]] = field(default_factory=list)
    failed: list[Q] = field(default_factory=list)
    is_finished: bool = True  # False: the time was over before everybody was asked


def inquiry(provider: Provider, *, name: str, path: str, headers: dict[str, str]) -> Inquiry:
    """Prepare a question; raises SecretUnreadable, and ValueError for an address that may not be asked.

    `headers` are the dialect's: the adapter's come before them, the operator's own before those.
    """
    if not provider.allow_private_address:
        refuse_private_address(provider.effective_base_url)
    adapter = ADAPTERS[provider.adapter]
    credential = secrets.decrypt(provider.credential_encrypted) if provider.has_credential else ""
    own = {key.lower(): value for key, value in provider.headers.items()}
    return Inquiry(
        pool=provider.pool(),
        url=adapter.url(provider.effective_base_url, name, path),
        headers=tuple((HEADERS | headers | dict(adapter.headers) | own).items()) + adapter.authorize(credential),
    )


async def ask_all[Q: Question, A](
    questions: Sequence[Q],
    ask: Callable[[Transport, Q], Awaitable[A]],
    *,
    patience: float,
    seconds: float = TOTAL_SECONDS,
) -> Answers[Q, A]:
    """Ask several providers at once; `patience` is for one question, `seconds` for all, and providers stand in a row."""
    transport = Transport()
    answers: Answers[Q, A] = Answers()
    places = asyncio.Semaphore(PROVIDERS_AT_ONCE)

    async def ask_provider(asked: Sequence[Q]) -> None:
        async with places:
            for question in asked:
                try:
                    async with asyncio.timeout(patience):
                        answers.given.append((question, await ask(transport, question)))
                except NoAnswer:
                    answers.failed.append(question)
                except (TransportError, TimeoutError):
                    answers.failed.append(question)
                    return

    try:
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            for _, of_provider in groupby(questions, key=lambda question: question.inquiry.pool):
                group.create_task(ask_provider(list(of_provider)))
    except TimeoutError:
        answers.is_finished = False
    finally:
        await transport.aclose()
    return answers


async def get(transport: Transport, asked: Inquiry, *, query: str = "", most_bytes: int) -> bytes | None:
    """Return an answer's body, None when the upstream has no such endpoint; raises NoAnswer and TransportError."""
    url = URL(f"{asked.url}?{query}" if query else asked.url, encoded=True)
    upstream = await transport.open(asked.pool, url, headers=asked.headers, body=b"", method="GET")
    try:
        if upstream.status in NOT_TOLD:
            return None
        if upstream.status != 200:
            raise NoAnswer
        return await _read(upstream, most_bytes)
    finally:
        upstream.finish(is_answered=False)


async def _read(upstream: Upstream, most_bytes: int) -> bytes:
    body = bytearray()
    while chunk := await upstream.read_chunk():
        body += chunk
        if len(body) > most_bytes:
            raise NoAnswer
    return bytes(body)
