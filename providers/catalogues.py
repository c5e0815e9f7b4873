"""Which models providers say they have: `GET models` in each one's own shape, kept with the provider for routing.

    OpenAI and whoever follows it   {"data": [{"id"}]}
    Anthropic                       {"data": [{"id"}], "has_more", "last_id"}; the next page is ?after_id=
    Gemini                          {"models": [{"name": "models/…"}], "nextPageToken"}; the next page is ?pageToken=

Sources: https://platform.openai.com/docs/api-reference/models/list, https://docs.anthropic.com/en/api/models-list,
https://ai.google.dev/api/models#method:-models.list. How it is asked: `inquiry.py`. Nobody is asked until a tenant may
use models that have no route, for nobody else needs it. Whatever goes wrong, what was known before stays.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import structlog
from django.db import transaction
from django.utils import timezone

from gateway_site.infra import secrets
from providers.inquiry import Answers, Inquiry, NoAnswer, ask_all, get, inquiry
from providers.models import Provider
from providers.registry import DIALECTS
from providers.transport import Transport
from providers.wire.json import read_json
from tenants.models import Tenant

log = structlog.get_logger("tollgate.catalogues")

PROVIDER_SECONDS = 30.0  # for all pages of one provider
MAX_PAGE_BYTES = 4 * 1024 * 1024  # some describe their models at length
MOST_PAGES = 5
MOST_NAMES = 2_000
LONGEST_NAME = 200
GENERATE = "generateContent"

type Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How a family of vendors lists its models."""

    path: str
    size: Mapping[str, str]  # asks for large pages
    cursor: str  # the parameter that asks for the next page
    names: Callable[[Document], Iterable[object]]  # raises TypeError, KeyError and AttributeError for what is no list
    next: Callable[[Document], object]  # where the next page begins; nothing: this is the last


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One provider, and how its models are asked for."""

    provider: Provider
    shape: Shape
    inquiry: Inquiry


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What came of it, by the providers' slugs."""

    is_needed: bool = True  # False: no tenant may use models without a route
    answered: Sequence[str] = ()
    changed: Sequence[str] = ()
    failed: Sequence[str] = ()


def fetch() -> Fetched:
    """Ask every enabled provider, and keep what is new; keeping it is what publishes it."""
    if not Tenant.objects.filter(allows_catalogue=True).exists():
        return Fetched(is_needed=False)
    asked, failed = prepare()
    answers = asyncio.run(ask(asked))
    failed += [question.provider.slug for question in answers.failed]
    for slug in failed:
        log.warning("catalogue_not_fetched", provider=slug)
    if not answers.is_finished:
        log.warning("catalogues_unfinished", answered=len(answers.given), asked=len(asked))
    told = [(question.provider, names) for question, names in answers.given if names is not None]
    changed = [provider.slug for provider, names in told if keep(provider, names)]
    return Fetched(answered=[provider.slug for provider, _ in told], changed=changed, failed=sorted(failed))


def prepare() -> tuple[list[Question], list[str]]:
    """Return what to ask, and which providers cannot be asked."""
    questions, failed = [], []
    for provider in Provider.objects.filter(is_enabled=True).order_by("slug"):
        try:
            questions.append(question_for(provider))
        except (secrets.SecretUnreadable, ValueError, LookupError):
            failed.append(provider.slug)
    return questions, failed


def question_for(provider: Provider) -> Question:
    """Return how a provider is asked; raises SecretUnreadable, ValueError for its address, LookupError for its format."""
    dialect = provider.effective_dialects[0]
    shape = SHAPES[dialect]
    asked = inquiry(provider, name="models", path=shape.path, headers=dict(DIALECTS[dialect].headers))
    return Question(provider=provider, shape=shape, inquiry=asked)


# --- Asking ------------------------------------------------------------------------------------------------


async def ask(questions: Sequence[Question], *, patience: float = PROVIDER_SECONDS) -> Answers[Question, Any]:
    """Ask for all pages of each; an answer is its names, None where there is no list."""
    return await ask_all(questions, _ask, patience=patience)


async def _ask(transport: Transport, question: Question) -> list[str] | None:
    shape, query, found = question.shape, dict(question.shape.size), set[str]()
    for _ in range(MOST_PAGES):
        body = await get(transport, question.inquiry, query=urlencode(query), most_bytes=MAX_PAGE_BYTES)
        if body is None:
            return None
        document = read_document(body)
        found.update(_names(shape, document))
        cursor = shape.next(document)
        if not isinstance(cursor, str) or not cursor:
            break
        query[shape.cursor] = cursor
    return sorted(found)[:MOST_NAMES]


def read_names(shape: Shape, body: bytes) -> list[str]:
    """Return the models on one page; raises NoAnswer for what is no list."""
    return _names(shape, read_document(body))


def _names(shape: Shape, document: Document) -> list[str]:
    try:
        return list(_usable(shape.names(document)))
    except (TypeError, KeyError, AttributeError):
        raise NoAnswer from None


def read_document(body: bytes) -> Document:
    """Return a page as it came; raises NoAnswer for what is no object."""
    try:
        found = read_json(body)
    except ValueError:
        raise NoAnswer from None
    if not isinstance(found, dict):
        raise NoAnswer
    return found


def _usable(names: Iterable[object]) -> Iterator[str]:
    """Leave out what nobody could send as a model's name."""
    for name in names:
        if isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable() and name == name.strip():
            yield name


# --- Shapes ------------------------------------------------------------------------------------------------


def _ids(document: Document) -> Iterator[object]:
    for model in document["data"]:
        yield model.get("id")


def _after(document: Document) -> object:
    return document.get("last_id") if document.get("has_more") is True else None


def _gemini_names(document: Document) -> Iterator[object]:
    """Yield the models that generate; there are others, for embeddings and pictures."""
    for model in document.get("models", ()):  # an empty list is left out
        methods, name = model.get("supportedGenerationMethods"), model.get("name")
        does_generate = not isinstance(methods, list) or GENERATE in methods
        if does_generate and isinstance(name, str) and name.startswith("models/"):
            yield name.removeprefix("models/")


def _next_token(document: Document) -> object:
    return document.get("nextPageToken")


OPENAI = Shape(path="/models", size={}, cursor="after", names=_ids, next=lambda document: None)
SHAPES: dict[str, Shape] = {
    "openai_chat": OPENAI,
    "openai_responses": OPENAI,
    "anthropic_messages": Shape(path="/v1/models", size={"limit": "1000"}, cursor="after_id", names=_ids, next=_after),
    "gemini": Shape(
        path="/models", size={"pageSize": "1000"}, cursor="pageToken", names=_gemini_names, next=_next_token
    ),
}


# --- Keeping -----------------------------------------------------------------------------------------------


def keep(provider: Provider, names: list[str]) -> bool:
    """Store a provider's names; only what is new is saved, and saving it is what publishes it."""
    with transaction.atomic():
        same = Provider.objects.filter(
            pk=provider.pk, adapter=provider.adapter, base_url=provider.base_url, dialects=provider.dialects
        )
        row = same.select_for_update().first()
        if row is None:
            return False  # it was deleted or is somebody else by now
        is_news = row.catalogue != names
        row.catalogue, row.catalogue_at = names, timezone.now()
        if is_news:
            row.save(update_fields=["catalogue", "catalogue_at"])
        else:
            same.update(catalogue_at=row.catalogue_at)
    return is_news
