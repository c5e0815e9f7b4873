"""What a request is written with: where it goes, what is lost, what its tools are called, where its cache marks are."""

from typing import Any

from providers.canonical.losses import Losses, Weight
from providers.canonical.parts import Foreign
from providers.canonical.request import Request
from providers.canonical.tool_names import ToolNames
from providers.dialects.anthropic_messages.wire import NAME, TOOL_NAMES
from providers.dialects.base import Destination
from providers.dialects.nodes import Node

MAX_MARKS = 4
_HOUR = frozenset({"1h", "30m", "12h", "24h"})


class Writing:
    """One request on its way to an upstream."""

    __slots__ = ("_marks", "destination", "is_own", "losses", "request", "tools")

    def __init__(self, request: Request, destination: Destination, losses: Losses) -> None:
        self.request = request
        self.destination = destination
        self.losses = losses
        self.tools = ToolNames(request.tools, TOOL_NAMES, takes_custom=False, takes_namespaces=False)
        # The client spoke this very format: nothing is said better, and all that it said is written back.
        self.is_own = request.native is not None and request.native.origin == NAME
        self._marks: list[tuple[Node, str]] = []  # nodes with a cache mark, in the order of the prompt

    def mark(self, node: Node, cache: str | None, at: str) -> None:
        """Set a cache mark: this format knows five minutes and an hour."""
        if cache is None:
            return
        if not self.destination.quirks.takes_cache_marks:
            self.losses.cosmetic(f"{at}.cache", "the upstream has no cache marks")
            return
        lifetime = "1h" if cache in _HOUR else "5m" if cache else ""
        if lifetime != cache:
            self.losses.cosmetic(f"{at}.cache", f"the upstream keeps it for {lifetime}")
        node["cache_control"] = {"type": "ephemeral", "ttl": lifetime} if lifetime else {"type": "ephemeral"}
        self._marks.append((node, at))

    def settle_marks(self) -> None:
        """Keep the last marks of too many, and let none that lasts longer follow one that lasts shorter."""
        surplus, kept = self._marks[:-MAX_MARKS], self._marks[-MAX_MARKS:]
        for node, at in surplus:
            del node["cache_control"]
            self.losses.cosmetic(f"{at}.cache", f"the upstream takes {MAX_MARKS} cache marks")
        if self.is_own:
            return
        must_last = False
        for node, at in reversed(kept):
            control: dict[str, Any] = node["cache_control"]
            if must_last and control.get("ttl") != "1h":
                control["ttl"] = "1h"
                self.losses.cosmetic(f"{at}.cache", "a later part is kept for 1h")
            must_last = control.get("ttl") == "1h"

    def foreign(self, part: Foreign) -> Any:
        """Return what this format itself wrote; None, with a loss, for what another did."""
        if part.origin == NAME:
            return part.value
        note = {
            Weight.COSMETIC: self.losses.cosmetic,
            Weight.DEGRADES: self.losses.degrades,
            Weight.CHANGES_ANSWER: self.losses.changes_answer,
        }[part.weight]
        note(part.at, part.why)
        return None

    def path(self, field: str, fallback: str) -> str:
        """Return the client's name of a field that not every dialect names: else it stands inside another."""
        return self.request.names.get(field) or self.request.where(fallback)
