"""Names and shapes of the format."""

from collections.abc import Sequence
from typing import Any

from providers.canonical.inbound import Operation

NAME = "openai_chat"

CHAT = Operation(name="chat", dialect=NAME, kind="chat", path="/chat/completions")
EMBEDDINGS = Operation(name="embeddings", dialect=NAME, kind="embedding", path="/embeddings")

OPERATIONS = {operation.name: operation for operation in (CHAT, EMBEDDINGS)}

CREATED = 1_767_225_600  # 2026-01-01: an alias has no date that would mean anything to a client


def model(name: str) -> dict[str, Any]:
    """Return one entry of the list of models."""
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "tollgate"}


def model_list(names: Sequence[str]) -> dict[str, Any]:
    """Return the list of models."""
    return {"object": "list", "data": [model(name) for name in names]}
