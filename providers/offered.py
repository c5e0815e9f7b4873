"""What a provider tells of its models besides their names: sizes, abilities, prices. For an operator who chooses some.

Every family tells it in fields of its own; what is not told stays unknown. Sources, besides those of `catalogues.py`:
https://openrouter.ai/docs/api-reference/list-available-models, https://console.groq.com/docs/api-reference#models-list.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import msgspec

from providers.catalogues import LONGEST_NAME, MOST_NAMES, MOST_PAGES, Question, question_for, read_document
from providers.inquiry import NoAnswer, get
from providers.models import Provider
from providers.transport import Transport

SECONDS = 20.0  # somebody waits at a page
MAX_PAGE_BYTES = 4 * 1024 * 1024

CONTEXT = (
    "context_length",
    "context_window",
    "max_model_len",
    "max_input_tokens",
    "inputTokenLimit",
    "max_context_length",
)
OUTPUT = ("max_completion_tokens", "max_output_tokens", "outputTokenLimit", "max_tokens")
KINDS = (
    ("embed", "embedding"),
    ("rerank", "rerank"),
    ("moderation", "moderation"),
    ("whisper", "transcription"),
    ("transcribe", "transcription"),
    ("tts", "speech"),
    ("dall-e", "image"),
    ("gpt-image", "image"),
    ("imagen", "image"),
)
INPUTS = {"image": "images", "file": "documents", "audio": "audio"}
PARAMETERS = {"tools": "tools", "reasoning": "thinking", "structured_outputs": "schemas"}
CAPABILITIES = {
    "image_input": "images",
    "pdf_input": "documents",
    "thinking": "thinking",
    "structured_outputs": "schemas",
}
MILLION = Decimal(1_000_000)


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """One model; None: it is not told."""

    name: str
    kind: str = "chat"  # told by its name, mostly
    context_window: int | None = None
    max_output_tokens: int | None = None
    abilities: tuple[str, ...] = ()
    input_price: Decimal | None = None  # US dollars per million tokens
    output_price: Decimal | None = None


def fetch_offered(provider: Provider) -> list[Offered]:
    """Ask a provider for its models, by name; blocks, with an event loop of its own.

    Raises SecretUnreadable, ValueError, LookupError, NoAnswer, TransportError and TimeoutError; `connection_check.py` says
    which of them it was in words.
    """
    entries = asyncio.run(_fetch(question_for(provider)))
    found = {offered.name: offered for entry in entries if (offered := describe(entry)) is not None}
    return [found[name] for name in sorted(found)][:MOST_NAMES]


async def _fetch(question: Question) -> list[Any]:
    shape, query, entries = question.shape, dict(question.shape.size), list[Any]()
    transport = Transport()
    try:
        async with asyncio.timeout(SECONDS):
            for _ in range(MOST_PAGES):
                body = await get(transport, question.inquiry, query=urlencode(query), most_bytes=MAX_PAGE_BYTES)
                document = read_document(body or b"")
                entries += _entries(document)
                cursor = shape.next(document)
                if not isinstance(cursor, str) or not cursor:
                    break
                query[shape.cursor] = cursor
    finally:
        await transport.aclose()
    return entries


def _entries(document: Mapping[str, Any]) -> Iterable[Any]:
    found = document.get("data", document.get("models", ()))
    if not isinstance(found, list | tuple):
        raise NoAnswer
    return found


def describe(entry: Any) -> Offered | None:
    """Return what an entry of a list says; None when it names no model."""
    if not isinstance(entry, dict):
        return None
    name = entry.get("id") or str(entry.get("name") or "").removeprefix("models/")
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or name != name.strip():
        return None
    top = entry.get("top_provider")
    return Offered(
        name=name,
        kind=_kind(name, entry),
        context_window=_count(entry, CONTEXT),
        max_output_tokens=_count(entry, OUTPUT) or (_count(top, OUTPUT) if isinstance(top, dict) else None),
        abilities=tuple(dict.fromkeys(_abilities(entry))),
        **_prices(entry.get("pricing")),
    )


def _kind(name: str, entry: Mapping[str, Any]) -> str:
    methods = entry.get("supportedGenerationMethods")
    if isinstance(methods, list) and methods and not {"generateContent", "generateAnswer"} & set(map(str, methods)):
        return "embedding" if any("embed" in str(method) for method in methods) else "image"
    return next((kind for word, kind in KINDS if word in name.lower()), "chat")


def _count(entry: Mapping[str, Any], names: Iterable[str]) -> int | None:
    for name in names:
        value = entry.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31:
            return value
    return None


def _abilities(entry: Mapping[str, Any]) -> Iterator[str]:
    architecture = entry.get("architecture")
    if isinstance(architecture, dict):
        yield from _named(INPUTS, architecture.get("input_modalities"))
    yield from _named(PARAMETERS, entry.get("supported_parameters"))
    told = entry.get("capabilities")
    if isinstance(told, dict):
        yield from (word for name, word in CAPABILITIES.items() if _is_there(told.get(name)))


def _named(words: Mapping[str, str], told: Any) -> Iterator[str]:
    if isinstance(told, list):
        yield from (word for name, word in words.items() if name in told)


def _is_there(value: Any) -> bool:
    return bool(value.get("supported", True)) if isinstance(value, dict) else bool(value)


def _prices(told: Any) -> dict[str, Decimal | None]:
    if not isinstance(told, dict):
        return {}
    return {"input_price": _per_million(told.get("prompt")), "output_price": _per_million(told.get("completion"))}


def _per_million(value: Any) -> Decimal | None:
    """OpenRouter's price is of one token, as text; a negative one says that it depends."""
    try:
        amount = Decimal(value) * MILLION if isinstance(value, str) else None
    except ArithmeticError:
        return None
    return amount if amount is not None and amount.is_finite() and 0 <= amount < 100_000 else None
