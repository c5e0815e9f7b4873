"""The comparison that law 6 stands on sees what is lost, and only that."""

from typing import Any

import msgspec
import pytest

from providers.canonical.losses import Native, NativeField, Weight
from providers.canonical.parts import Citation, Foreign, Media, Part, Text, Thinking, ToolCall, ToolResult
from providers.canonical.request import Reasoning, Request, ResponseFormat, Sampling, Tool, ToolChoice, Turn
from providers.canonical.seals import Seal
from providers.canonical.tool_names import INPUT_SCHEMA
from tests.providers.laws.difference import Difference, differences, steps

NATIVE = Native(origin="toy", fields=(NativeField(name="store", value=True, weight=Weight.COSMETIC, why="a label"),))
HELLO = Text(text="hello", at="messages[0].content[0]")
CALL = ToolCall(id="c1", name="f", arguments='{"a": 1}', at="messages[1].tool_calls[0]")
RESULT = ToolResult(call_id="c1", parts=(Text(text="42", at="messages[2].content"),), at="messages[2]")
NAMES = {"sampling.stop": "stop_sequences", "reasoning": "thinking", "reasoning.effort": "output_config.effort"}


def said(*parts: Part, role: str = "user", **fields: Any) -> Request:
    turn = Turn(role=role, parts=parts, at="messages[0]")  # type: ignore[arg-type]
    return Request(model="m", turns=(turn,), names=NAMES, **fields)


def loop(call: Part = CALL, result: Part = RESULT, **fields: Any) -> Request:
    return Request(
        model="m",
        turns=(
            Turn(role="user", parts=(HELLO,), at="messages[0]"),
            Turn(role="assistant", parts=(call,), at="messages[1]"),
            Turn(role="user", parts=(result,), at="messages[2]"),
        ),
        **fields,
    )


def named(before: Request, after: Request) -> list[str]:
    """The places of what must be named as lost, in order."""
    return [each.paths[0] for each in differences(before, after) if not each.is_free and not each.is_insertion]


def replaced(part: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(part, **changes)


def test_the_same_is_no_difference():
    request = loop(tools=(Tool(name="f", parameters={"type": "object"}, at="tools[0]"),))
    assert differences(request, request) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"tools": (Tool(name="f"),)}, {"tools": (Tool(name="f", parameters={"type": "object", "properties": {}}),)}),
        ({"response_format": ResponseFormat(kind="text")}, {}),
        ({"tool_choice": ToolChoice(mode="auto")}, {}),
        ({"sampling": Sampling(choices=1)}, {}),
        ({"metadata": {}}, {}),
        ({"reasoning": Reasoning()}, {}),
        ({"is_stream": True, "wants_usage": False}, {}),
        ({"native": Native(origin="toy", form="string")}, {}),
    ],
)
def test_what_means_the_same_is_no_difference(before: dict[str, Any], after: dict[str, Any]):
    assert differences(said(HELLO, **before), said(HELLO, **after)) == []


def test_turn_boundaries_of_one_role_do_not_matter():
    two = Request(model="m", turns=(Turn(role="user", parts=(HELLO,)), Turn(role="user", parts=(Text(text="b"),))))
    assert differences(two, said(HELLO, Text(text="b"))) == []


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("sampling", Sampling(temperature=0.0), "temperature"),
        ("sampling", Sampling(stop=("x",)), "stop_sequences"),
        ("reasoning", Reasoning(budget=4096), "thinking"),
        ("response_format", ResponseFormat(kind="json_object"), "response_format"),
        ("tool_choice", ToolChoice(mode="none"), "tool_choice"),
        ("parallel_tools", False, "parallel_tools"),
        ("end_user", "u", "end_user"),
        ("native", NATIVE, "store"),
        ("tools", (Tool(name="f", at="tools[0]"),), "tools[0]"),
        ("tools", (Foreign(origin="toy", what="search", value={}, at="tools[0]"),), "tools[0]"),
        ("system", (Text(text="be kind", at="system"),), "system"),
    ],
)
def test_what_is_missing_is_seen_at_the_clients_path(field: str, value: Any, path: str):
    assert named(said(HELLO, **{field: value}), said(HELLO)) == [path]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (HELLO, replaced(HELLO, text="goodbye")),
        (replaced(HELLO, cache="5m"), HELLO),
        (replaced(HELLO, citations=(Citation(url="https://a"),)), HELLO),
        (replaced(HELLO, is_refusal=True), HELLO),
        (replaced(HELLO, seal=Seal(origin="native:toy", payload="x")), HELLO),
        (Media(kind="image", url="https://a", at=HELLO.at), Media(kind="image", url="https://b")),
        (Media(kind="document", data="aGk=", title="a.pdf", at=HELLO.at), Media(kind="document", data="aGk=")),
        (Foreign(origin="toy", what="x", value=1, at=HELLO.at), HELLO),
        (Thinking(text="hm", at=HELLO.at), HELLO),
    ],
)
def test_what_happens_to_a_part_is_seen_there(before: Part, after: Part):
    assert set(named(said(before), said(after))) == {HELLO.at}


def test_parts_that_changed_places_are_seen():
    one, two = HELLO, Text(text="b", at="messages[0].content[1]")
    assert named(said(one, two), said(two, one)) != []


def test_another_role_is_another_part():
    assert named(said(HELLO, role="system"), said(HELLO)) == [HELLO.at]


def test_a_call_may_have_another_id_as_long_as_its_result_has_it():
    after = loop(replaced(CALL, id="x"), replaced(RESULT, call_id="x"))
    assert named(loop(), after) == []
    assert all(each.is_free for each in differences(loop(), after))
    assert named(loop(), loop(CALL, replaced(RESULT, call_id="x"))) == ["messages[2]"]


def test_arguments_are_json_and_not_text():
    assert named(loop(), loop(replaced(CALL, arguments='{"a":1}'))) == []
    assert named(loop(), loop(replaced(CALL, arguments='{"a":2}'))) == [CALL.at]
    assert named(loop(replaced(CALL, arguments="")), loop(replaced(CALL, arguments="{}"))) == []


def test_what_is_inside_a_result_is_seen_there():
    image = Media(kind="image", data="aGk=", at="messages[2].content[1]")
    assert named(loop(result=replaced(RESULT, parts=(*RESULT.parts, image))), loop()) == [image.at]
    assert named(loop(result=replaced(RESULT, is_error=True)), loop()) == ["messages[2]"]


def test_a_renamed_tool_is_one_difference_and_its_calls_are_none():
    before = loop(replaced(CALL, name="f g"), tools=(Tool(name="f g", at="tools[0]"),))
    after = loop(replaced(CALL, name="f_g_1"), tools=(Tool(name="f_g_1"),))
    assert named(before, after) == ["tools[0]"]
    assert not [each for each in differences(loop(), loop(replaced(CALL, name="g"))) if each.is_free]


def test_a_custom_tool_that_became_a_function_differs_once_for_the_tool_and_once_for_each_call():
    before = loop(
        replaced(CALL, kind="custom", arguments="ls"),
        replaced(RESULT, kind="custom"),
        tools=(Tool(name="f", kind="custom", at="tools[0]"),),
    )
    after = loop(replaced(CALL, arguments='{"input":"ls"}'), tools=(Tool(name="f", parameters=INPUT_SCHEMA),))
    assert named(before, after) == [CALL.at, RESULT.at, "tools[0]"]


def test_something_new_is_an_insertion_that_a_loss_nearby_explains():
    (found,) = differences(said(HELLO), said(HELLO, Text(text="Error:")))
    assert found.is_insertion
    assert found.is_told_by("messages[0].content[0].is_error")
    assert found.is_told_by("messages[0]")
    assert not found.is_told_by("messages[1]")


def test_words_that_only_got_longer_are_an_insertion():
    (found,) = differences(said(HELLO), said(replaced(HELLO, text="Error: hello")))
    assert (found.is_insertion, found.paths[0]) == (True, HELLO.at)


@pytest.mark.parametrize(
    ("loss", "is_told"),
    [
        ("messages[1].content[0].cache_control", True),
        ("messages[1].content[0].cache_control.ttl", True),
        ("messages[1].content[0]", True),
        ("messages[1]", True),
        ("messages[1].content[0].citations", False),
        ("messages[1].content", True),
        ("messages[10].content[0].cache_control", False),
        ("messages[1].content[01]", False),
        ("system", False),
    ],
)
def test_a_loss_tells_of_what_lies_at_its_path_or_below_it(loss: str, is_told: bool):
    found = Difference(("messages[1].content[0]",), "cache", words=frozenset({"cache_control"}))
    assert found.is_told_by(loss) is is_told


def test_a_reasoning_difference_may_be_told_at_any_of_its_fields():
    (found,) = differences(said(HELLO, reasoning=Reasoning(budget=9)), said(HELLO))
    for loss in ("thinking", "thinking.budget_tokens", "output_config.effort"):
        assert found.is_told_by(loss)
    assert not found.is_told_by("temperature")


def test_a_path_is_split_at_its_steps():
    assert steps("messages[2].content[0].x") == ("messages", "[2]", "content", "[0]", "x")
    assert steps("") == ()


def test_a_part_that_is_gone_is_told_as_a_whole_and_its_fields_may_be_told_too():
    (found,) = differences(said(replaced(HELLO, cache="5m")), said())
    assert found.is_told_by(HELLO.at)
    assert not found.is_told_by(f"{HELLO.at}.cache_control")
    assert found.is_reason_for(f"{HELLO.at}.cache_control")
