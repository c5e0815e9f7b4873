"""What upstreams say of their models: `GET /v1/models/{id}` of Anthropic, kept with the deployment for `profiles.py`.

Source: https://docs.anthropic.com/en/api/models. It is asked through the same transport as everything else, so the same
checks of addresses hold. One provider's models are asked about one after the other, and no further ones when it cannot be
reached. Whatever goes wrong, what was known before stays.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from urllib.parse import quote

import msgspec
import structlog
from django.db import DataError, transaction
from django.utils import timezone
from yarl import URL

from gateway_site.infra import secrets
from providers.addresses import refuse_private_address
from providers.models import Deployment, Provider
from providers.pool import Pool
from providers.registry import ADAPTERS
from providers.transport import Transport, TransportError, Upstream

log = structlog.get_logger("tollgate.capabilities")

DIALECT = "anthropic_messages"
HEADERS = {"accept": "application/json", "user-agent": "tollgate", "anthropic-version": "2023-06-01"}
ANSWER_SECONDS = 10.0  # for one answer
TOTAL_SECONDS = 120.0  # for all of them: a Celery process waits
PROVIDERS_AT_ONCE = 4
MAX_ANSWER_BYTES = 256 * 1024
NOT_TOLD = frozenset({404, 405, 501})  # many servers that speak the dialect have no such endpoint

type Capabilities = dict[str, Any]


class NoAnswer(Exception):
    """The upstream did not say anything that can be kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request, and the deployments that its answer is about."""

    deployments: tuple[Deployment, ...]
    model: str
    pool: Pool
    url: str
    headers: tuple[tuple[str, str], ...]


def fetch() -> int:
    """Ask for every model that may be asked for, and keep what is new; returns how many deployments it changed."""
    answers = asyncio.run(_ask_all(list(questions())))
    return sum(
        _keep(deployment, question.model, answer) for question, answer in answers for deployment in question.deployments
    )


def questions() -> Iterable[Question]:
    """What to ask, a provider's questions in a row: once for each model of enabled deployments."""
    rows = (
        Deployment.objects.filter(is_enabled=True, provider__is_enabled=True, kind=Deployment.Kind.CHAT)
        .select_related("provider")
        .order_by("provider__slug", "model", "slug")
    )
    asked = [row for row in rows if DIALECT in row.effective_dialects and row.provider.adapter in ADAPTERS]
    for _, group in groupby(asked, key=lambda row: (row.provider.slug, row.model)):
        deployments = tuple(group)
        try:
            yield _question(deployments)
        except (secrets.SecretUnreadable, ValueError):
            _warn(deployments)


def _question(deployments: tuple[Deployment, ...]) -> Question:
    provider, model = deployments[0].provider, deployments[0].model
    if not provider.allow_private_address:
        refuse_private_address(provider.effective_base_url)
    path = f"/v1/models/{quote(model, safe='')}"
    return Question(
        deployments=deployments,
        model=model,
        pool=provider.pool(),
        url=ADAPTERS[provider.adapter].url(provider.effective_base_url, "model", path),
        headers=_headers(provider),
    )


def _headers(provider: Provider) -> tuple[tuple[str, str], ...]:
    """The operator's own come before the adapter's, and these before ours."""
    adapter = ADAPTERS[provider.adapter]
    credential = secrets.decrypt(provider.credential_encrypted) if provider.has_credential else ""
    own = {name.lower(): value for name, value in provider.headers.items()}
    return tuple((HEADERS | dict(adapter.headers) | own).items()) + adapter.authorize(credential)


# --- Asking ------------------------------------------------------------------------------------------------


async def _ask_all(asked: list[Question], *, patience: float = ANSWER_SECONDS) -> list[tuple[Question, Capabilities]]:
    transport = Transport()
    answers: list[tuple[Question, Capabilities]] = []
    places = asyncio.Semaphore(PROVIDERS_AT_ONCE)
    try:
        async with asyncio.timeout(TOTAL_SECONDS), asyncio.TaskGroup() as group:
            for _, of_provider in groupby(asked, key=lambda question: question.pool):
                group.create_task(_ask_provider(transport, list(of_provider), places, patience, answers))
    except TimeoutError:
        log.warning("capabilities_unfinished", answered=len(answers), asked=len(asked))
    finally:
        await transport.aclose()
    return answers


async def _ask_provider(
    transport: Transport,
    asked: list[Question],
    places: asyncio.Semaphore,
    patience: float,
    answers: list[tuple[Question, Capabilities]],
) -> None:
    async with places:
        for question in asked:
            try:
                async with asyncio.timeout(patience):
                    answer = await _ask(transport, question)
            except NoAnswer:
                _warn(question.deployments)
            except (TransportError, TimeoutError):
                _warn(question.deployments)
                return
            else:
                if answer is not None:
                    answers.append((question, answer))


async def _ask(transport: Transport, question: Question) -> Capabilities | None:
    """Return what the upstream says, None when it does not tell; raises NoAnswer and TransportError."""
    url = URL(question.url, encoded=True)
    upstream = await transport.open(question.pool, url, headers=question.headers, body=b"", method="GET")
    try:
        if upstream.status in NOT_TOLD:
            return None
        if upstream.status != 200:
            raise NoAnswer
        return _told(await _read(upstream))
    finally:
        upstream.finish(is_answered=False)


async def _read(upstream: Upstream) -> bytes:
    body = b""
    while chunk := await upstream.read_chunk():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise NoAnswer
    return body


def _told(body: bytes) -> Capabilities | None:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        raise NoAnswer from None
    return found if isinstance(found, dict) and "capabilities" in found else None


# --- Keeping -----------------------------------------------------------------------------------------------


def _keep(deployment: Deployment, model: str, found: Capabilities) -> bool:
    """Store an answer; only what is new is saved, and saving it is what publishes it."""
    try:
        with transaction.atomic():
            row = Deployment.objects.select_for_update().filter(pk=deployment.pk, model=model).first()
            if row is None:
                return False  # it was deleted or serves another model by now
            is_news = (row.capabilities, row.capabilities_of) != (found, model)
            row.capabilities, row.capabilities_of, row.capabilities_at = found, model, timezone.now()
            if is_news:
                row.save(update_fields=["capabilities", "capabilities_of", "capabilities_at"])
            else:
                Deployment.objects.filter(pk=row.pk).update(capabilities_at=row.capabilities_at)
    except DataError:  # JSON that Postgres cannot keep, such as a text with NUL in it
        _warn((deployment,))
        return False
    return is_news


def _warn(deployments: Iterable[Deployment]) -> None:
    for deployment in deployments:
        log.warning("capabilities_not_fetched", deployment=deployment.slug)
