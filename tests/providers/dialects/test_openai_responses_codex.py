"""Codex over upstreams that speak something else: its tools get there, and come back as it knows them (edge 103)."""

import json
from pathlib import Path
from typing import Any

import pytest

from providers.canonical.events import ArgumentsDelta, Event, MessageEnd, MessageStart, PartEnd, PartStart
from providers.canonical.losses import Losses, Weight
from providers.canonical.parts import Part, ToolCall, ToolResult
from providers.canonical.request import Request
from providers.conformance import crossing
from providers.conformance.crossing import ALIAS, CREATED, SEALS, Crossed
from providers.conformance.recorded import Recorded, parse
from providers.dialects.base import Dialect
from providers.dialects.openai_responses import OPENAI_RESPONSES
from providers.dialects.writer import Reply
from providers.registry import DIALECTS
from providers.wire.splice import read_members, splice
from providers.wire.sse import frame_event, frames

PATH = Path(__file__).resolve().parents[2] / "exchanges" / "openai_responses" / "codex.txtar"
each_upstream = pytest.mark.parametrize(
    "upstream", [each for each in DIALECTS.values() if each is not OPENAI_RESPONSES], ids=lambda each: each.name
)
PATCH = '*** Begin Patch\n"é"\\ <b>\n*** End Patch'


@pytest.fixture(scope="module")
def codex() -> Recorded:
    return parse(PATH.read_bytes(), dialect="openai_responses", name="codex")


@pytest.fixture
def request_(codex: Recorded) -> Request:
    return crossing.read_request(codex, OPENAI_RESPONSES)


def called(crossed: Crossed, name: str, arguments: str, namespace: str = "") -> list[Event]:
    """What an upstream says when it calls a tool by the name that it was told."""
    call = ToolCall(id="call_1", name=crossed.tools.wire(name, namespace))
    return [
        MessageStart(),
        PartStart(index=0, part=call),
        ArgumentsDelta(index=0, text=arguments[:5]),
        ArgumentsDelta(index=0, text=arguments[5:]),
        PartEnd(index=0),
        MessageEnd(stop="tool_use"),
    ]


def heard(events: list[Event], crossed: Crossed, request: Request) -> list[dict[str, Any]]:
    """What Codex gets: it takes an item when its end comes."""
    reply = Reply(request=request, model=ALIAS, id="abc", created=CREATED, seals=SEALS, losses=Losses())
    writer = OPENAI_RESPONSES.writer(reply)
    stream = b"".join([writer.feed(event) for event in crossed.tools.restore(events)])
    told = [json.loads(frame_event(frame)[1]) for frame in frames(stream)]
    assert told[-1]["type"] == "response.completed"
    return [event["item"] for event in told if event["type"] == "response.output_item.done"]


def continued(codex: Recorded, *items: dict[str, Any]) -> Request:
    """The request that follows, with what was heard and what the tools gave back."""
    members = read_members(codex.request)
    given = [*json.loads(codex.request)["input"], *items]
    body = read_members(splice(members, {"input": json.dumps(given).encode()}))
    facts = OPENAI_RESPONSES.read_facts(body, OPENAI_RESPONSES.operations["chat"])
    return OPENAI_RESPONSES.read_request(body, facts, SEALS)


def seen_by(upstream: Dialect, crossed: Crossed) -> list[Part]:
    members = read_members(crossed.body)
    facts = upstream.read_facts(members, crossing.chat_operation(upstream))
    return [part for turn in upstream.read_request(members, facts, SEALS).turns for part in turn.parts]


@each_upstream
def test_edge_103_nothing_that_codex_sends_changes_the_question(upstream: Dialect, request_: Request):
    losses = crossing.send(request_, upstream).losses
    assert [loss for loss in losses if loss.weight is Weight.CHANGES_ANSWER] == []


@each_upstream
def test_edge_103_tools_of_two_namespaces_with_one_name_stay_apart(upstream: Dialect, request_: Request):
    crossed = crossing.send(request_, upstream)
    for namespace in ("mcp__github", "mcp__files"):
        (item,) = heard(called(crossed, "read", '{"path":"a.py"}', namespace), crossed, request_)
        assert (item["type"], item["name"], item["namespace"]) == ("function_call", "read", namespace)
        assert json.loads(item["arguments"]) == {"path": "a.py"}


@each_upstream
def test_edge_103_free_text_comes_back_as_free_text(upstream: Dialect, request_: Request, codex: Recorded):
    crossed = crossing.send(request_, upstream)
    (item,) = heard(called(crossed, "apply_patch", json.dumps({"input": PATCH})), crossed, request_)
    assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "apply_patch", PATCH)
    result = {"type": "custom_tool_call_output", "call_id": item["call_id"], "output": "Success."}
    again = crossing.send(continued(codex, item, result), upstream)
    call = next(part for part in reversed(seen_by(upstream, again)) if isinstance(part, ToolCall))
    assert json.loads(call.arguments) == {"input": PATCH}


@each_upstream
def test_edge_103_a_search_for_tools_comes_back_as_one_and_what_it_finds_can_be_called(
    upstream: Dialect, request_: Request, codex: Recorded
):
    crossed = crossing.send(request_, upstream)
    (item,) = heard(called(crossed, "tool_search", '{"query":"mail"}'), crossed, request_)
    assert (item["type"], item["execution"], item["arguments"]) == ("tool_search_call", "client", {"query": "mail"})
    found = {"type": "function", "name": "send", "parameters": {"type": "object", "properties": {}}, "strict": False}
    output = {
        "type": "tool_search_output",
        "call_id": item["call_id"],
        "status": "completed",
        "execution": "client",
        "tools": [{"type": "namespace", "name": "mcp__mail", "description": "Mail.", "tools": [found]}],
    }
    request = continued(codex, item, output)
    again = crossing.send(request, upstream)
    (call,) = heard(called(again, "send", "{}", "mcp__mail"), again, request)
    assert (call["name"], call["namespace"]) == ("send", "mcp__mail")


@each_upstream
def test_edge_103_what_was_called_is_answered_in_the_next_request(
    upstream: Dialect, request_: Request, codex: Recorded
):
    crossed = crossing.send(request_, upstream)
    (item,) = heard(called(crossed, "exec_command", '{"cmd":"ls"}'), crossed, request_)
    result = {"type": "function_call_output", "call_id": item["call_id"], "output": "a.py"}
    parts = seen_by(upstream, crossing.send(continued(codex, item, result), upstream))
    answers = [part for part in parts if isinstance(part, ToolResult)]
    calls = [part for part in parts if isinstance(part, ToolCall)]
    assert [each.call_id for each in answers] == [each.id for each in calls]
    assert len(answers) == 4
