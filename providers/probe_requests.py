"""The smallest request that a deployment of each kind can answer, and how to tell that it did. Pure.

Chat is asked in the deployment's own dialect, written by that dialect; everything else in OpenAI's form, which is what
vendors copy. Where no request can be known to be right, there is none: a probe that had to guess would call a good
deployment bad.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from providers.canonical.events import StreamFailed
from providers.canonical.inbound import Operation
from providers.canonical.losses import Losses
from providers.canonical.parts import Text
from providers.canonical.request import Request, Sampling, Turn
from providers.dialects.base import Destination, Dialect
from providers.registry import DIALECTS
from providers.wire.json import read_json, write_json

LEAST_TOKENS = 16  # https://platform.openai.com/docs/api-reference/responses: fewer are refused
OPENAI = "openai_chat"
SOUND = ("audio/", "application/octet-stream")


class CannotProbe(Exception):
    """There is no request for such a deployment; the reason is for the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRequest:
    """What is sent, and what has to come back."""

    dialect: Dialect
    operation: Operation
    body: bytes
    is_answer: Callable[[bytes, str], bool]  # body, media type
    guesses: tuple[str, ...] = ()  # fields whose values not every model of the kind has to know
    patience: float = 15.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """A kind's request in OpenAI's form; answers are lists under one of `lists`, sound where there are none."""

    path: str
    fields: Callable[[str], Mapping[str, Any]]
    lists: tuple[str, ...] = ("data",)
    guesses: tuple[str, ...] = ()
    patience: float = 15.0


def probe_request(kind: str, dialects: tuple[str, ...], destination: Destination) -> ProbeRequest:
    """Return the request that probes a deployment; raises CannotProbe."""
    if kind == "chat":
        return _chat(dialects, destination)
    form = _FORMS.get(kind)
    if form is None:
        raise CannotProbe(f"There is no probe for the kind {kind!r}.")
    if isinstance(form, str):
        raise CannotProbe(form)
    if OPENAI not in dialects:
        raise CannotProbe(f"There is no probe for the kind {kind!r} in the format {', '.join(dialects)}.")
    return ProbeRequest(
        dialect=DIALECTS[OPENAI],
        operation=Operation(name=kind, dialect=OPENAI, kind=kind, path=form.path),
        body=write_json({"model": destination.model, **form.fields(destination.model)}),
        is_answer=_answers(form.lists),
        guesses=form.guesses,
        patience=form.patience,
    )


def _chat(dialects: tuple[str, ...], destination: Destination) -> ProbeRequest:
    dialect = next((DIALECTS[name] for name in dialects if name in DIALECTS), None)
    if dialect is None:
        raise CannotProbe(f"There is no probe in the format {', '.join(dialects) or 'of none'}.")
    ping = Turn(role="user", parts=(Text(text="ping"),))
    sampling = Sampling(max_output_tokens=LEAST_TOKENS)
    request = Request(model=destination.model, turns=(ping,), sampling=sampling)
    return ProbeRequest(
        dialect=dialect,
        operation=dialect.operations["chat"],
        body=dialect.write_request(request, destination, Losses()).body,
        is_answer=lambda body, _: _is_chat_answer(dialect, body),
    )


def _is_chat_answer(dialect: Dialect, body: bytes) -> bool:
    """Whether it folds to an answer; one that was cut at the token limit, or is empty for it, is one too."""
    events = dialect.read_answer(body, "probe")
    return bool(events) and not isinstance(events[-1], StreamFailed)


def _answers(lists: tuple[str, ...]) -> Callable[[bytes, str], bool]:
    if not lists:
        return lambda body, content_type: bool(body) and content_type.startswith(SOUND)
    return lambda body, _: _has_list(body, lists)


def _has_list(body: bytes, names: tuple[str, ...]) -> bool:
    try:
        answer = read_json(body)
    except ValueError:
        return False
    return isinstance(answer, dict) and any(isinstance(answer.get(name), list) and answer[name] for name in names)


def _picture(model: str) -> dict[str, Any]:
    """The smallest that OpenAI's models draw; what sizes others know cannot be known, and they have a default.

    https://platform.openai.com/docs/api-reference/images/create
    """
    name = model.rpartition("/")[2]
    fields: dict[str, Any] = {"prompt": "a dot", "n": 1}
    if name.startswith("dall-e-2"):
        return {**fields, "size": "256x256"}
    if re.match(r"gpt-image|chatgpt-image", name):
        return {**fields, "size": "1024x1024", "quality": "low"}
    return fields


_FORMS: Mapping[str, _Form | str] = {
    "embedding": _Form(path="/embeddings", fields=lambda _: {"input": "ping"}),
    "moderation": _Form(path="/moderations", fields=lambda _: {"input": "ping"}, lists=("results",)),
    # https://docs.cohere.com/reference/rerank and its copies
    "rerank": _Form(
        path="/rerank",
        fields=lambda _: {"query": "ping", "documents": ["ping"], "top_n": 1},
        lists=("results", "data"),
        guesses=("top_n",),
    ),
    "image": _Form(path="/images/generations", fields=_picture, guesses=("size", "quality", "n"), patience=60.0),
    # https://platform.openai.com/docs/api-reference/audio/createSpeech
    "speech": _Form(
        path="/audio/speech",
        fields=lambda _: {"input": "One.", "voice": "alloy"},
        lists=(),
        guesses=("voice",),
        patience=60.0,
    ),
    "transcription": "There is no probe for transcription: it needs a recording.",
}
