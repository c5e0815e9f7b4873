"""Names and shapes of the format."""

from collections.abc import Sequence
from typing import Any

from providers.canonical.inbound import Operation

NAME = "anthropic_messages"

CHAT = Operation(name="chat", dialect=NAME, kind="chat", path="/v1/messages")

OPERATIONS = {operation.name: operation for operation in (CHAT,)}

CREATED = "2026-01-01T00:00:00Z"  # an alias has no date that would mean anything to a client


def model(name: str) -> dict[str, Any]:
    """Return one entry of the list of models."""
    return {"type": "model", "id": name, "display_name": name, "created_at": CREATED}


def model_list(names: Sequence[str]) -> dict[str, Any]:
    """Return the list of models, whole: a gateway's aliases fit one page."""
    return {
        "data": [model(name) for name in names],
        "has_more": False,
        "first_id": names[0] if names else None,
        "last_id": names[-1] if names else None,
    }
