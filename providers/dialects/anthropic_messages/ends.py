"""How an answer's end is told to a client: by what was seen of it."""

from providers.canonical.events import Stop
from providers.canonical.parts import Part, Text, ToolCall
from providers.dialects.anthropic_messages.wire import STOP_REASONS
from providers.dialects.nodes import Node


class Ending:
    """Sees the parts of an answer and knows how it ended."""

    __slots__ = ("_has_calls", "_refusal")

    def __init__(self) -> None:
        self._has_calls = False
        self._refusal: list[str] = []  # the words of it

    def see(self, part: Part) -> None:
        """Take note of a part that begins."""
        self._has_calls = self._has_calls or isinstance(part, ToolCall)

    def hear(self, part: Part, words: str) -> None:
        """Take note of a part's words."""
        if isinstance(part, Text) and part.is_refusal:
            self._refusal.append(words)

    def fields(self, stop: Stop, stop_sequence: str | None, explanation: str) -> Node:
        """Return `stop_reason` and what belongs to it: a refusal in words is one, and calls are to be run unless cut."""
        stop = self._derived(stop)
        fields: Node = {"stop_reason": STOP_REASONS[stop], "stop_sequence": stop_sequence}
        if stop == "refusal":
            why = explanation or "".join(self._refusal)
            fields["stop_details"] = {"type": "refusal", "category": None, "explanation": why or None}
        return fields

    def _derived(self, stop: Stop) -> Stop:
        if stop in ("end_turn", "stop_sequence", "tool_use") and self._has_calls:
            return "tool_use"
        if stop in ("end_turn", "stop_sequence") and self._refusal:
            return "refusal"
        return "end_turn" if stop == "tool_use" else stop
