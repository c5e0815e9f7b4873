"""Tools get names that an upstream takes, and its calls come back under the client's own."""

from collections.abc import Iterable

import pytest

from providers.canonical.answer import fold
from providers.canonical.events import ArgumentsDelta, Event, MessageEnd, MessageStart, PartEnd, PartStart, TextDelta
from providers.canonical.identifiers import Rule
from providers.canonical.parts import Foreign, Part, Text, ToolCall
from providers.canonical.request import Tool
from providers.canonical.tool_names import ToolNames

RULE = Rule(allowed="a-zA-Z0-9_-", max_length=64)
LONG = "mcp__" + "very_" * 15 + "long"


def names(*tools: Tool | Foreign, takes_custom: bool = False, takes_namespaces: bool = False) -> ToolNames:
    return ToolNames(tools, RULE, takes_custom=takes_custom, takes_namespaces=takes_namespaces)


def call(name: str, *arguments: str, index: int = 0, kind: str = "function", namespace: str = "") -> list[Event]:
    part = ToolCall(id=f"c{index}", name=name, kind=kind, namespace=namespace)  # type: ignore[arg-type]
    return [
        PartStart(index=index, part=part),
        *(ArgumentsDelta(index=index, text=text) for text in arguments),
        PartEnd(index=index),
    ]


def restored(tools: ToolNames, events: Iterable[Event]) -> tuple[Part, ...]:
    return fold([MessageStart(), *tools.restore(events), MessageEnd(stop="tool_use")]).parts


def test_a_call_passes_as_it_came_when_its_name_fitted():
    events = call("get_weather", '{"a"', ":1}")
    assert names(Tool(name="get_weather")).restore(events) == events


def test_a_name_that_did_not_fit_comes_back():
    tools = names(Tool(name=LONG), Tool(name="get weather"))
    for name in (LONG, "get weather"):
        assert restored(tools, call(tools.wire(name), "{}")) == (ToolCall(id="c0", name=name, arguments="{}"),)


def test_an_unknown_name_stays_and_so_do_other_parts():
    events = [PartStart(index=0, part=Text()), TextDelta(index=0, text="hi"), PartEnd(index=0), *call("x", index=1)]
    assert names(Tool(name="f")).restore(events) == events


def test_a_namespace_is_flattened_and_restored():
    tools = names(Tool(name="read", namespace="files"), Tool(name="read", namespace="mail"))
    assert tools.wire("read", "mail") == "mail__read"
    (part,) = restored(tools, call("mail__read", "{}"))
    assert part == ToolCall(id="c0", name="read", namespace="mail", arguments="{}")


def test_namespaces_stay_where_the_upstream_takes_them():
    long = Tool(name=LONG, namespace="mail")
    tools = names(
        Tool(name="read", namespace="files"), Tool(name="read", namespace="mail"), long, takes_namespaces=True
    )
    assert tools.wire("read", "mail") == "read"
    assert not any(tools.is_taken(Tool(name="read", namespace=space)) for space in ("files", "mail"))
    events = call("read", "{}", namespace="mail")
    assert tools.restore(events) == events
    (part,) = restored(tools, call(tools.wire(LONG, "mail"), "{}", namespace="mail"))
    assert part == ToolCall(id="c0", name=LONG, namespace="mail", arguments="{}")


def test_it_tells_tools_that_could_not_be_told_apart():
    first, second = Tool(name="mail__read"), Tool(name="read", namespace="mail")
    tools = names(first, second)
    assert not tools.is_taken(first)
    assert tools.is_taken(second)


@pytest.mark.parametrize("pieces", [['{"input":"ls -l"}'], ['{"inp', 'ut":"ls', ' -l"', "}"], [""], ["ls -l"]])
def test_a_custom_tool_gets_its_free_text_back(pieces: list[str]):
    (part,) = restored(names(Tool(name="shell", kind="custom")), call("shell", *pieces))
    expected = "ls -l" if any(pieces) else ""
    assert part == ToolCall(id="c0", name="shell", kind="custom", arguments=expected)


@pytest.mark.parametrize("arguments", ['{"command":"ls"}', '{"input":3}', '["ls"]', '{"input":"l'])
def test_what_is_no_such_object_is_taken_as_the_text(arguments: str):
    (part,) = restored(names(Tool(name="shell", kind="custom")), call("shell", arguments))
    assert isinstance(part, ToolCall)
    assert part.arguments == arguments


@pytest.mark.parametrize("text", ["", 'say "hi"\n', "\\u0000", "\ud800", "🙂"])
def test_a_custom_tools_text_goes_there_and_back(text: str):
    tools = names(Tool(name="shell", kind="custom"))
    (part,) = restored(tools, call("shell", tools.as_arguments(text)))
    assert isinstance(part, ToolCall)
    assert part.arguments == text


def test_a_custom_call_of_an_upstream_that_knows_them_passes():
    events = call("shell", "ls", " -l", kind="custom")
    assert names(Tool(name="shell", kind="custom"), takes_custom=True).restore(events) == events


def test_custom_and_other_calls_may_interleave_and_come_in_pieces():
    tools = names(Tool(name="shell", kind="custom"), Tool(name="f"))
    one, two = call("shell", '{"input":', '"a"}'), call("f", "{", "}", index=1)
    events = [event for pair in zip(one, two, strict=True) for event in pair]
    piecewise = [restored for event in events for restored in tools.restore([event])]
    assert fold([*piecewise, MessageEnd(stop="tool_use")]).parts == (
        ToolCall(id="c0", name="shell", kind="custom", arguments="a"),
        ToolCall(id="c1", name="f", arguments="{}"),
    )


def test_foreign_tools_have_no_names():
    assert names(Foreign(origin="gemini", what="googleSearch", value={})).restore(call("f", "{}")) == call("f", "{}")
