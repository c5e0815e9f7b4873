"""Tools as an upstream knows them, and the way back to the client's: names that fit, namespaces flattened, custom tools
as functions of one text. One of these is made per translated request; the same object restores the answer. Pure.
"""

from collections.abc import Iterable, Mapping

import msgspec

from providers.canonical.events import ArgumentsDelta, Event, MessageStart, PartEnd, PartStart
from providers.canonical.identifiers import Rule, fit
from providers.canonical.parts import Foreign, ToolCall
from providers.canonical.request import Tool
from providers.wire.json import read_json, write_json

SEPARATOR = "__"
INPUT = "input"  # the one argument of a custom tool that has become a function
INPUT_SCHEMA: Mapping[str, object] = {
    "type": "object",
    "properties": {INPUT: {"type": "string"}},
    "required": [INPUT],
    "additionalProperties": False,
}


class _Known(msgspec.Struct, frozen=True):
    """Whose name a wire name is."""

    name: str
    namespace: str
    is_custom: bool


class ToolNames:
    """The way there and back, for one request."""

    __slots__ = ("_custom_open", "_known", "_rule", "_takes_custom", "_takes_namespaces")

    def __init__(
        self, tools: Iterable[Tool | Foreign], rule: Rule, *, takes_custom: bool, takes_namespaces: bool
    ) -> None:
        self._rule = rule
        self._takes_custom = takes_custom
        self._takes_namespaces = takes_namespaces
        self._known: dict[tuple[str, str], _Known] = {}  # by the namespace and name that the upstream says
        self._custom_open: dict[int, list[str]] = {}
        for tool in tools:
            if isinstance(tool, Tool):
                self._known.setdefault(self._upstream(tool), _Known(tool.name, tool.namespace, tool.kind == "custom"))

    def wire(self, name: str, namespace: str = "") -> str:
        """Return what the upstream calls a tool."""
        flat = f"{namespace}{SEPARATOR}{name}" if namespace and not self._takes_namespaces else name
        return fit(flat, self._rule)

    def is_taken(self, tool: Tool) -> bool:
        """Whether another tool of this request has the same name upstream: the two could not be told apart."""
        known = self._known[self._upstream(tool)]
        return (known.name, known.namespace) != (tool.name, tool.namespace)

    def as_arguments(self, text: str) -> str:
        """Return a custom tool's free text as the arguments of the function that stands for it."""
        return write_json({INPUT: text}).decode()

    def restore(self, events: Iterable[Event]) -> list[Event]:
        """Return the events with the client's own tools in them."""
        restored: list[Event] = []
        for event in events:
            if isinstance(event, MessageStart):
                self._custom_open.clear()  # of an answer that broke off: this is another
            elif isinstance(event, PartStart) and isinstance(event.part, ToolCall):
                event = self._restore_start(event.index, event.part)
            elif self._custom_open and isinstance(event, ArgumentsDelta) and event.index in self._custom_open:
                self._custom_open[event.index].append(event.text)
                continue
            elif self._custom_open and isinstance(event, PartEnd) and event.index in self._custom_open:
                text = _unwrap("".join(self._custom_open.pop(event.index)))
                if text:
                    restored.append(ArgumentsDelta(index=event.index, text=text))
            restored.append(event)
        return restored

    def _upstream(self, tool: Tool) -> tuple[str, str]:
        """Return how an upstream's call of a tool says which one it means."""
        return tool.namespace if self._takes_namespaces else "", self.wire(tool.name, tool.namespace)

    def _restore_start(self, index: int, call: ToolCall) -> PartStart:
        known = self._known.get((call.namespace, call.name))
        if known is None:
            return PartStart(index=index, part=call)
        if known.is_custom and call.kind == "function":
            self._custom_open[index] = [call.arguments] if call.arguments else []
            call = msgspec.structs.replace(call, kind="custom", arguments="")
        return PartStart(index=index, part=msgspec.structs.replace(call, name=known.name, namespace=known.namespace))


def _unwrap(arguments: str) -> str:
    """Return the text of a custom tool's arguments; what is no such object is taken as the text itself."""
    try:
        value = read_json(arguments)
    except ValueError:
        return arguments
    text = value.get(INPUT) if isinstance(value, dict) else None
    return text if isinstance(text, str) else arguments
