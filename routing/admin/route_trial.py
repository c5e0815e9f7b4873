"""A dry run of a route as its form says, saved or not: what would be asked, and why the others are not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from providers.wire.json import write_json
from routing.compiler import compile_route, compile_snapshot
from routing.dry_run import HELLO, OPERATIONS, Question, Site
from routing.models import Route, RouteTarget
from routing.snapshot import Alias
from tenants.principal import Principal

UNNAMED = "new-route"
SIZES = {"": "A short question", "8000": "About 8,000 tokens", "100000": "About 100,000 tokens"}
PICTURE = "iVBORw0KGgo="
SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}
ANYBODY = Principal(key_id=0, key_name="dry run", key_prefix="any key", tenant_id=0, tenant="any tenant")

type Body = dict[str, Any]


def site_with(site: Site, route: Route, targets: Iterable[RouteTarget]) -> Site:
    """Return what a worker would know if the database were published with this route in it."""
    ordered = sorted(targets, key=lambda target: (target.priority, -target.weight, target.pk or 0))
    tried = msgspec.structs.replace(compile_route(route, ordered), name=route.name or UNNAMED)
    now = compile_snapshot()
    snapshot = msgspec.structs.replace(
        now,
        number=site.snapshot.number,
        routes=(*(each for each in now.routes if each.name != tried.name), tried),
        aliases=(Alias(name=tried.name, route=tried.name),),  # the only one: it leads to the route, whoever asks
    )
    return msgspec.structs.replace(site, snapshot=snapshot)


def question_of(
    route: Route, operation: str, *, size: int = 0, needs: Iterable[str] = (), headers: Mapping[str, str]
) -> Question:
    """Return a request of an endpoint that is so large and needs so much."""
    body = BODIES[operation]("word " * size if size else HELLO[0]["content"], frozenset(needs))
    model = route.name or UNNAMED
    return Question(principal=ANYBODY, operation=operation, model=model, body=write_json(body), headers=headers)


# --- Requests ------------------------------------------------------------------------------------------------


def _chat(text: str, needs: frozenset[str]) -> Body:
    parts: list[Body] = [{"type": "text", "text": text}]
    if "images" in needs:
        parts.append({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}})
    if "audio" in needs:
        parts.append({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}})
    if "documents" in needs:
        parts.append(
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}
        )
    body: Body = {"messages": [{"role": "user", "content": parts if len(parts) > 1 else text}]}
    if "tools" in needs:
        body["tools"] = [{"type": "function", "function": {"name": "look_up", "parameters": SCHEMA}}]
    return body | ({"reasoning_effort": "medium"} if "thinking" in needs else {})


def _messages(text: str, needs: frozenset[str]) -> Body:
    parts: list[Body] = [{"type": "text", "text": text}]
    if "images" in needs:
        parts.append({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}})
    if "documents" in needs:
        source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
        parts.append({"type": "document", "source": source})
    body: Body = {"max_tokens": 2000, "messages": [{"role": "user", "content": parts}]}
    if "tools" in needs:
        body["tools"] = [{"name": "look_up", "input_schema": SCHEMA}]
    return body | ({"thinking": {"type": "enabled", "budget_tokens": 1024}} if "thinking" in needs else {})


def _responses(text: str, needs: frozenset[str]) -> Body:
    parts: list[Body] = [{"type": "input_text", "text": text}]
    if "images" in needs:
        parts.append({"type": "input_image", "image_url": f"data:image/png;base64,{PICTURE}"})
    if "audio" in needs:
        parts.append({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}})
    if "documents" in needs:
        parts.append({"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="})
    body: Body = {"store": False, "input": [{"role": "user", "content": parts}]}
    if "tools" in needs:
        body["tools"] = [{"type": "function", "name": "look_up", "parameters": SCHEMA}]
    return body | ({"reasoning": {"effort": "medium"}} if "thinking" in needs else {})


def _gemini(text: str, needs: frozenset[str]) -> Body:
    types = {"images": "image/png", "audio": "audio/wav", "documents": "application/pdf"}
    parts: list[Body] = [{"text": text}]
    parts += [{"inlineData": {"mimeType": kind, "data": PICTURE}} for need, kind in types.items() if need in needs]
    body: Body = {"contents": [{"role": "user", "parts": parts}]}
    if "tools" in needs:
        body["tools"] = [{"functionDeclarations": [{"name": "look_up", "parameters": SCHEMA}]}]
    if "thinking" in needs:
        body["generationConfig"] = {"thinkingConfig": {"thinkingBudget": 1024}}
    return body


def _embeddings(text: str, needs: frozenset[str]) -> Body:
    return {"input": text}


BODIES: dict[str, Callable[[str, frozenset[str]], Body]] = {
    "chat": _chat,
    "messages": _messages,
    "responses": _responses,
    "gemini": _gemini,
    "gemini_stream": _gemini,
    "embeddings": _embeddings,
}
assert BODIES.keys() == OPERATIONS.keys()
