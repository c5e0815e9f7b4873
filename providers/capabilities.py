"""What upstreams say of their models: `GET /v1/models/{id}` of Anthropic, kept with the deployment for `profiles.py`.

Source: https://docs.anthropic.com/en/api/models. How it is asked: `inquiry.py`. Whatever goes wrong, what was known before
stays.
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

from gateway_site.infra import secrets
from providers.inquiry import Inquiry, NoAnswer, ask_all, get, inquiry
from providers.models import Deployment
from providers.registry import ADAPTERS, DIALECTS
from providers.transport import Transport

log = structlog.get_logger("tollgate.capabilities")

DIALECT = "anthropic_messages"
ANSWER_SECONDS = 10.0  # for one answer
MAX_ANSWER_BYTES = 256 * 1024

type Capabilities = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request, and the deployments that its answer is about."""

    deployments: tuple[Deployment, ...]
    model: str
    inquiry: Inquiry


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
    path = f"/v1/models/{quote(model, safe='')}"
    asked = inquiry(provider, name="model", path=path, headers=dict(DIALECTS[DIALECT].headers))
    return Question(deployments=deployments, model=model, inquiry=asked)


# --- Asking ------------------------------------------------------------------------------------------------


async def _ask_all(asked: list[Question], *, patience: float = ANSWER_SECONDS) -> list[tuple[Question, Capabilities]]:
    answers = await ask_all(asked, _ask, patience=patience)
    for question in answers.failed:
        _warn(question.deployments)
    if not answers.is_finished:
        log.warning("capabilities_unfinished", answered=len(answers.given), asked=len(asked))
    return [(question, answer) for question, answer in answers.given if answer is not None]


async def _ask(transport: Transport, question: Question) -> Capabilities | None:
    """Return what the upstream says, None when it does not tell; raises NoAnswer and TransportError."""
    body = await get(transport, question.inquiry, most_bytes=MAX_ANSWER_BYTES)
    return None if body is None else _told(body)


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
