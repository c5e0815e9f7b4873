"""Tools as an upstream of Messages gets them: names, arguments, schemas, and what may be called."""

from typing import Any

import msgspec
import pytest

from providers.canonical.events import ArgumentsDelta, PartEnd, PartStart
from providers.canonical.losses import Weight
from providers.canonical.parts import Foreign, ToolCall
from providers.canonical.request import Reasoning, Tool, ToolChoice
from providers.profiles import PERMISSIVE, Profile, named_profile
from tenants.errors import InvalidRequest
from tests.providers.dialects.anthropic_messages_sending import CALL, HELLO, RESULT, TOOL, assistant, send, user


def test_names_that_do_not_fit_are_changed_and_restored():
    name = "mcp.server/" + "x" * 150
    sent = send(tools=(Tool(name=name, at="tools[0]"),), tool_choice=ToolChoice(mode="named", name=name))
    wire = sent.body["tools"][0]["name"]
    assert len(wire) <= 128
    assert wire.replace("_", "").replace("-", "").isalnum()
    assert sent.body["tool_choice"] == {"type": "tool", "name": wire}
    assert sent.losses == {"tools[0].name": Weight.COSMETIC}
    (start,) = sent.tools.restore([PartStart(index=0, part=ToolCall(id="t", name=wire))])
    assert isinstance(start, PartStart)
    assert isinstance(start.part, ToolCall)
    assert start.part.name == name


def test_custom_tools_become_functions_of_one_text_and_come_back():
    tool = Tool(name="sh", kind="custom", grammar={"syntax": "lark", "definition": "start: /a/"}, at="tools[0]")
    call = ToolCall(id="t1", name="sh", arguments="ls", kind="custom", at="c")
    sent = send(turns=(HELLO, assistant(call), user(RESULT)), tools=(tool,))
    (written,) = sent.body["tools"]
    assert written["input_schema"]["required"] == ["input"]
    assert "start: /a/" in written["description"]
    assert sent.body["messages"][1]["content"][0]["input"] == {"input": "ls"}
    assert sent.losses == {"tools[0]": Weight.COSMETIC, "tools[0].format": Weight.DEGRADES, "c": Weight.COSMETIC}
    wire = PartStart(index=0, part=ToolCall(id="t", name="sh"))
    events = sent.tools.restore([wire, ArgumentsDelta(index=0, text='{"input":"pwd"}'), PartEnd(index=0)])
    assert ArgumentsDelta(index=0, text="pwd") in events


def test_two_tools_that_cannot_be_told_apart_are_refused():
    tools = (Tool(name="b", namespace="a", at="tools[0]"), Tool(name="a__b", at="tools[1]"))
    with pytest.raises(InvalidRequest) as caught:
        send(tools=tools)
    assert caught.value.param == "tools[1].name"


@pytest.mark.parametrize("arguments", ["", "  \n"])
def test_no_arguments_are_an_empty_object(arguments: str):
    call = msgspec.structs.replace(CALL, arguments=arguments)
    sent = send(turns=(HELLO, assistant(call), user(RESULT)), tools=(TOOL,))
    assert sent.body["messages"][1]["content"][0]["input"] == {}
    assert sent.losses == {}


@pytest.mark.parametrize("arguments", ["[1]", '"x"', "{oops", "null"])
def test_arguments_that_are_no_object_are_wrapped_so_that_the_turn_can_be_sent_again(arguments: str):
    call = msgspec.structs.replace(CALL, arguments=arguments)
    sent = send(turns=(HELLO, assistant(call), user(RESULT)), tools=(TOOL,))
    assert sent.body["messages"][1]["content"][0]["input"] == {"_raw": arguments}
    assert sent.losses == {f"{CALL.at}.arguments": Weight.DEGRADES}


def test_ids_of_other_characters_still_match_their_results():
    call, result = msgspec.structs.replace(CALL, id="call:1|2"), msgspec.structs.replace(RESULT, call_id="call:1|2")
    sent = send(turns=(HELLO, assistant(call), user(result)), tools=(TOOL,))
    (use,), (answer,) = (message["content"] for message in sent.body["messages"][1:])
    assert use["id"] == answer["tool_use_id"] != "call:1|2"
    assert use["id"].replace("_", "").isalnum()


@pytest.mark.parametrize(
    ("parameters", "schema"),
    [
        (None, {"type": "object", "properties": {}}),
        ({"properties": {}}, {"type": "object", "properties": {}}),
        ({"type": "object", "$defs": {}, "x": [1]}, {"type": "object", "$defs": {}, "x": [1]}),
    ],
)
def test_a_tools_schema_is_an_object_and_else_as_it_was(parameters: Any, schema: Any):
    assert send(tools=(Tool(name="f", parameters=parameters),)).body["tools"][0]["input_schema"] == schema


@pytest.mark.parametrize(
    ("is_strict", "profile", "expected"),
    [(True, PERMISSIVE, True), (False, PERMISSIVE, None), (True, named_profile("claude-sonnet-4-5"), None)],
)
def test_strictness_is_asked_of_models_that_know_it(is_strict: bool, profile: Profile, expected: bool | None):
    sent = send(tools=(msgspec.structs.replace(TOOL, is_strict=is_strict),), profile=profile)
    assert sent.body["tools"][0].get("strict") is expected
    assert sent.losses == ({"tools[0].strict": Weight.DEGRADES} if is_strict and not expected else {})


def test_a_namespace_is_part_of_the_name_and_what_it_is_for_is_told():
    tool = Tool(name="read", namespace="mcp", namespace_description="Files.", description="Reads.", at="tools[0]")
    sent = send(tools=(tool,))
    assert (sent.body["tools"][0]["name"], sent.body["tools"][0]["description"]) == ("mcp__read", "Files.\n\nReads.")
    assert sent.losses == {"tools[0].name": Weight.COSMETIC, "tools[0].namespace": Weight.COSMETIC}


def test_edge_65_tools_that_must_not_be_called_are_still_there():
    sent = send(tools=(TOOL,), tool_choice=ToolChoice(mode="none"))
    assert sent.body["tool_choice"] == {"type": "none"}
    assert len(sent.body["tools"]) == 1


def test_edge_66_one_call_at_a_time_needs_a_choice_and_makes_one():
    assert send(tools=(TOOL,), parallel_tools=False).body["tool_choice"] == {
        "type": "auto",
        "disable_parallel_tool_use": True,
    }


def test_edge_66_without_tools_there_is_no_choice():
    sent = send(tool_choice=ToolChoice(mode="auto"), parallel_tools=True)
    assert "tool_choice" not in sent.body
    assert sent.losses == {}


@pytest.mark.parametrize("choice", [ToolChoice(mode="required"), ToolChoice(mode="named", name="look")])
def test_edge_67_a_call_that_cannot_be_forced_changes_the_answer(choice: ToolChoice):
    sent = send(tools=(TOOL,), tool_choice=choice, profile=named_profile("claude-sonnet-5-5"))
    assert sent.body["tool_choice"] == {"type": "auto"}
    assert sent.losses == {"tool_choice": Weight.CHANGES_ANSWER}


def test_edge_67_a_forced_call_wins_over_manual_thinking():
    sent = send(
        tools=(TOOL,),
        tool_choice=ToolChoice(mode="required"),
        reasoning=Reasoning(effort="low"),
        profile=named_profile("claude-sonnet-4-5"),
        sampling={"max_output_tokens": 9000},
    )
    assert sent.body["tool_choice"] == {"type": "any"}
    assert "thinking" not in sent.body
    assert sent.losses == {"reasoning": Weight.DEGRADES}


def test_only_the_tools_that_may_be_called_are_sent():
    tools = (TOOL, Tool(name="touch", at="tools[1]"))
    sent = send(tools=tools, tool_choice=ToolChoice(mode="required", allowed=("touch",)))
    assert [tool["name"] for tool in sent.body["tools"]] == ["touch"]
    assert sent.body["tool_choice"] == {"type": "any"}
    assert sent.losses == {"tools[0]": Weight.COSMETIC, "tool_choice.allowed": Weight.COSMETIC}


def test_edge_73_another_vendors_tools_are_lost_by_name():
    foreign = Foreign(origin="openai_responses", what="file_search", value={}, at="tools[0]")
    assert send(tools=(foreign,)).losses == {"tools[0]": Weight.CHANGES_ANSWER}
