"""Reading what a client asks in the words of Responses."""

import json
from typing import Any

import pytest

from providers.canonical.inbound import Facts
from providers.canonical.losses import Weight
from providers.canonical.parts import Foreign, Media, Part, Text, Thinking, ToolCall, ToolResult
from providers.canonical.request import Request, Tool
from providers.canonical.seals import Seal, SealBox
from providers.dialects.openai_responses import OPENAI_RESPONSES
from providers.dialects.openai_responses.wire import BEHIND
from providers.wire.splice import read_members
from tenants.errors import InvalidRequest

SEALS = SealBox([b"secret"], 1)
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "done"}
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False}


def read(**body: Any) -> Request:
    raw = json.dumps({"model": "m", "input": "hi", **body}).encode()
    return OPENAI_RESPONSES.read_request(read_members(raw), Facts(model="m", size=len(raw)), SEALS)


def said(*items: Any, **body: Any) -> Request:
    return read(input=list(items), **body)


def spoken(request: Request) -> list[tuple[str, list[str]]]:
    return [(turn.role, [type(part).__name__ for part in turn.parts]) for turn in request.turns]


def only_part(request: Request) -> Part:
    (turn,) = request.turns
    (part,) = turn.parts
    return part


def lost(request: Request) -> dict[str, Weight]:
    return {field.name: field.weight for field in request.native.fields} if request.native else {}


# Input items


@pytest.mark.parametrize(
    "item",
    [
        {"role": "user", "content": "hi"},
        {"type": "message", "role": "user", "content": "hi"},
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "message", "id": "msg_1", "status": "completed", "role": "user", "content": "hi"},
    ],
)
def test_edge_106_items_without_type_id_or_status_are_messages(item: dict[str, Any]):
    part = only_part(said(item))
    assert isinstance(part, Text)
    assert part.text == "hi"


def test_a_text_for_input_is_what_the_user_says():
    part = only_part(read())
    assert isinstance(part, Text)
    assert (part.text, part.at) == ("hi", "input")


def test_items_in_a_row_are_turns():
    request = said(
        {"role": "user", "content": "a"},
        {"type": "reasoning", "summary": [], "encrypted_content": "x"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "b"}, {"type": "output_text", "text": "c"}]},
        CALL,
        {**CALL, "call_id": "c2"},
        OUTPUT,
        {**OUTPUT, "call_id": "c2"},
        {"role": "user", "content": "d"},
        {"role": "user", "content": "e"},
        {"role": "assistant", "content": "f"},
    )
    assert spoken(request) == [
        ("user", ["Text"]),
        ("assistant", ["Thinking", "Text", "Text", "ToolCall", "ToolCall"]),
        ("user", ["ToolResult", "ToolResult", "Text"]),
        ("user", ["Text"]),
        ("assistant", ["Text"]),
    ]


def test_instructions_before_the_first_turn_are_the_requests_and_later_ones_stay_in_place():
    request = said(
        {"role": "system", "content": "b"},
        {"type": "additional_tools", "role": "developer", "tools": []},
        {"role": "developer", "content": [{"type": "input_text", "text": "c"}, {"type": "input_text", "text": "d"}]},
        {"role": "user", "content": "e"},
        {"role": "developer", "content": "f"},
        instructions="a",
    )
    assert [part.text for part in request.system if isinstance(part, Text)] == ["a", "b", "c", "d"]
    assert spoken(request) == [("user", ["Text"]), ("system", ["Text"])]


def test_the_summaries_of_one_reasoning_item_are_one_thinking():
    part = only_part(
        said(
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "one"}, {"type": "summary_text", "text": "two"}],
                "encrypted_content": "sealed",
            }
        )
    )
    assert isinstance(part, Thinking)
    assert part.text == "one\n\ntwo"
    assert part.seal == Seal(origin="native:openai_responses", payload="sealed")


def test_a_seal_of_ours_is_opened_and_a_forged_one_is_none():
    seal = Seal(origin="a/b", payload="p")
    packed = SEALS.pack(seal)
    opened = only_part(said({"type": "reasoning", "summary": [], "encrypted_content": packed}))
    forged = only_part(said({"type": "reasoning", "summary": [], "encrypted_content": packed[:-8] + "AAAAAAAA"}))
    assert isinstance(opened, Thinking)
    assert isinstance(forged, Thinking)
    assert (opened.seal, forged.seal) == (seal, None)


def test_a_seal_behind_a_call_is_the_calls():
    seal = Seal(origin="a/b", payload="p", form="call")
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": SEALS.pack(seal) + BEHIND}
    request = said({"role": "user", "content": "a"}, CALL, item, OUTPUT)
    call = request.turns[1].parts[0]
    assert spoken(request) == [("user", ["Text"]), ("assistant", ["ToolCall"]), ("user", ["ToolResult"])]
    assert isinstance(call, ToolCall)
    assert call.seal == seal


def test_a_seal_behind_nothing_is_dropped():
    packed = SEALS.pack(Seal(origin="a/b", payload="p")) + BEHIND
    assert said({"type": "reasoning", "summary": [], "encrypted_content": packed}).turns == ()


def test_tool_results_may_hold_images_and_know_their_tool():
    image = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    request = said(CALL, {**OUTPUT, "output": [{"type": "input_text", "text": "see"}, image]})
    result = request.turns[1].parts[0]
    assert isinstance(result, ToolResult)
    assert (result.call_id, result.name) == ("c1", "f")
    seen = result.parts[1]
    assert isinstance(seen, Media)
    assert (seen.media_type, seen.data, seen.at) == ("image/png", "AAAA", "input[1].output[1]")


@pytest.mark.parametrize(
    ("items", "param"),
    [
        ([OUTPUT], "input[0]"),
        ([CALL, {**OUTPUT, "call_id": "c2"}], "input[1]"),
        ([CALL, OUTPUT, OUTPUT], "input[2]"),
        ([{"type": "shell_call_output", "call_id": "c9", "output": []}], "input[0]"),
    ],
)
def test_edge_60_an_output_without_its_call_and_a_second_one_are_refused(items: list[Any], param: str):
    with pytest.raises(InvalidRequest) as refusal:
        said(*items)
    assert refusal.value.param == param
    assert param in refusal.value.message


def test_edge_60_an_id_that_is_used_again_has_an_output_again():
    assert len(said(CALL, OUTPUT, CALL, OUTPUT).turns) == 4


def test_edge_60_a_call_that_is_kept_elsewhere_is_not_missed():
    assert said(OUTPUT, previous_response_id="resp_1").turns
    assert said({"type": "item_reference", "id": "fc_1"}, OUTPUT).turns


@pytest.mark.parametrize(
    ("item", "what", "weight"),
    [
        ({"type": "web_search_call", "id": "ws_1"}, "web_search_call", Weight.DEGRADES),
        ({"type": "file_search_call", "id": "fs_1"}, "file_search_call", Weight.CHANGES_ANSWER),
        ({"type": "compaction", "encrypted_content": "x"}, "compaction", Weight.CHANGES_ANSWER),
        ({"id": "msg_1"}, "item_reference", Weight.CHANGES_ANSWER),
        ({"type": "tool_search_call", "execution": "server"}, "tool_search_call", Weight.CHANGES_ANSWER),
        ({"type": "something_new"}, "something_new", Weight.CHANGES_ANSWER),
    ],
)
def test_items_of_the_vendors_servers_are_foreign(item: dict[str, Any], what: str, weight: Weight):
    part = only_part(said(item))
    assert isinstance(part, Foreign)
    assert (part.what, part.weight, part.value, part.at) == (what, weight, item, "input[0]")


def test_a_part_of_an_unknown_type_is_named_and_its_message_kept():
    message = {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_hologram"}]}
    part = only_part(said(message))
    assert isinstance(part, Foreign)
    assert (part.what, part.at, part.value) == ("input_hologram", "input[0].content[1]", message)


def test_edge_113_a_refusal_in_the_history_is_the_models_own_words():
    part = only_part(said({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}))
    assert isinstance(part, Text)
    assert (part.text, part.is_refusal) == ("No.", True)


def test_an_image_that_the_model_made_is_an_image():
    part = only_part(said({"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "AAAA"}))
    assert isinstance(part, Media)
    assert (part.kind, part.media_type, part.data) == ("image", "image/png", "AAAA")


def test_the_phase_of_a_message_is_known_by_its_own_path():
    request = said({"role": "assistant", "content": "a", "phase": "commentary", "id": "msg_1"})
    assert lost(request) == {"input[0].phase": Weight.COSMETIC, "input[0].id": Weight.COSMETIC}


@pytest.mark.parametrize(
    ("item", "param"),
    [
        (7, "input[0]"),
        ({"role": "robot", "content": "a"}, "input[0].role"),
        ({"role": "user"}, "input[0].content"),
        ({"role": "user", "content": [{"type": "input_text"}]}, "input[0].content[0].text"),
        ({"role": "user", "content": [{"type": "input_image"}]}, "input[0].content[0].image_url"),
        ({"role": "user", "content": [{"type": "input_file"}]}, "input[0].content[0].file_data"),
        (
            {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "ogg"}}]},
            "input[0].content[0].input_audio.format",
        ),
        ({"type": "function_call", "name": "f", "arguments": "{}"}, "input[0].call_id"),
        ({"type": "function_call", "call_id": "c", "name": "", "arguments": "{}"}, "input[0].name"),
        ({"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}, "input[0].arguments"),
        ({"type": "additional_tools", "tools": [7]}, "input[0].tools[0]"),
    ],
)
def test_what_is_wrong_is_named(item: Any, param: str):
    with pytest.raises(InvalidRequest) as refusal:
        said(item)
    assert refusal.value.param == param


# Tools and settings


def named(request: Request) -> list[tuple[str, str, str]]:
    return [(tool.namespace, tool.name, tool.kind) for tool in request.tools if isinstance(tool, Tool)]


def test_edge_103_tools_stand_in_items_and_in_namespaces_too():
    request = said(
        {
            "type": "additional_tools",
            "role": "developer",
            "tools": [
                {"type": "custom", "name": "exec", "format": {"type": "text"}},
                {
                    "type": "namespace",
                    "name": "mcp",
                    "description": "d",
                    "tools": [FUNCTION, {**FUNCTION, "name": "g"}],
                },
            ],
        },
        tools=[FUNCTION],
    )
    assert named(request) == [
        ("", "f", "function"),
        ("", "exec", "custom"),
        ("mcp", "f", "function"),
        ("mcp", "g", "function"),
    ]
    last = request.tools[-1]
    assert isinstance(last, Tool)
    assert (last.at, last.namespace_description) == ("input[0].tools[1].tools[1]", "d")


def test_edge_103_a_tool_that_was_found_twice_is_there_once():
    found = {"type": "tool_search_output", "execution": "client", "status": "completed", "tools": [FUNCTION]}
    call = {"type": "tool_search_call", "execution": "client", "arguments": {"query": "f"}, "status": "completed"}
    request = said(
        {**call, "call_id": "s1"}, {**found, "call_id": "s1"}, {**call, "call_id": "s2"}, {**found, "call_id": "s2"}
    )
    assert named(request) == [("", "f", "function")]
    result = request.turns[1].parts[0]
    assert isinstance(result, ToolResult)
    assert result.parts == (Text(text="Tools that can be called now: f", at="input[1]"),)


@pytest.mark.parametrize(
    ("tool", "weight"),
    [
        ({"type": "web_search"}, Weight.DEGRADES),
        ({"type": "file_search", "vector_store_ids": []}, Weight.CHANGES_ANSWER),
        ({"type": "tool_search"}, Weight.CHANGES_ANSWER),
        ({"type": "shell", "environment": {"type": "container_auto"}}, Weight.CHANGES_ANSWER),
    ],
)
def test_tools_of_the_vendors_servers_are_foreign(tool: dict[str, Any], weight: Weight):
    (read_tool,) = read(tools=[tool]).tools
    assert isinstance(read_tool, Foreign)
    assert (read_tool.weight, read_tool.at) == (weight, "tools[0]")


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "local_shell"},
        {"type": "shell"},
        {"type": "apply_patch"},
        {"type": "tool_search", "execution": "client"},
    ],
)
def test_tools_that_the_client_runs_are_functions(tool: dict[str, Any]):
    assert named(read(tools=[tool])) == [("", tool["type"], "function")]


@pytest.mark.parametrize(
    ("choice", "mode", "name", "allowed"),
    [
        ("none", "none", "", None),
        ("required", "required", "", None),
        ({"type": "function", "name": "f"}, "named", "f", None),
        ({"type": "custom", "name": "x"}, "named", "x", None),
        ({"type": "apply_patch"}, "named", "apply_patch", None),
        ({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}, "auto", "", ("f",)),
    ],
)
def test_which_tool_is_to_be_called(choice: Any, mode: str, name: str, allowed: tuple[str, ...] | None):
    read_choice = read(tool_choice=choice).tool_choice
    assert read_choice is not None
    assert (read_choice.mode, read_choice.name, read_choice.allowed) == (mode, name, allowed)


def test_a_tool_of_the_vendors_that_must_be_called_changes_the_answer():
    choice = read(tool_choice={"type": "file_search"}).tool_choice
    assert choice is not None
    assert choice.native is not None
    assert [(field.name, field.weight) for field in choice.native.fields] == [("type", Weight.CHANGES_ANSWER)]


def test_the_last_update_of_the_settings_counts():
    request = said(
        {"role": "user", "content": "a"},
        {"type": "configuration_update", "reasoning": {"effort": "high"}},
        {"type": "configuration_update", "text": {"format": {"type": "json_object"}}},
        reasoning={"effort": "low", "summary": "auto"},
    )
    assert request.reasoning is not None
    assert request.response_format is not None
    assert (request.reasoning.effort, request.reasoning.shows) == ("high", True)
    assert request.response_format.kind == "json_object"


def test_settings_are_read():
    request = read(
        temperature=0,
        top_p=0.0,
        max_output_tokens=7,
        parallel_tool_calls=False,
        user="u",
        prompt_cache_key="k",
        service_tier="flex",
        metadata={"a": "b"},
        text={"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}},
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        top_logprobs=2,
    )
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.max_output_tokens) == (0, 0.0, 7)
    assert (sampling.logprobs, sampling.top_logprobs) == (True, 2)
    assert (request.parallel_tools, request.end_user, request.cache_key, request.service_tier) == (
        False,
        "u",
        "k",
        "flex",
    )
    assert (request.metadata, request.verbosity) == ({"a": "b"}, "low")
    assert request.response_format is not None
    assert (request.response_format.name, request.response_format.is_strict) == ("n", True)
    assert request.where("end_user") == "user"
    assert request.where("response_format") == "text.format"


@pytest.mark.parametrize(
    ("field", "value", "weight"),
    [
        ("previous_response_id", "resp_1", Weight.CHANGES_ANSWER),
        ("conversation", "conv_1", Weight.CHANGES_ANSWER),
        ("prompt", {"id": "p"}, Weight.CHANGES_ANSWER),
        ("background", True, Weight.CHANGES_ANSWER),
        ("truncation", "auto", Weight.DEGRADES),
        ("stream_options", {"include_obfuscation": False}, Weight.COSMETIC),
        ("include", ["web_search_call.results"], Weight.COSMETIC),
        ("something_new", 1, Weight.DEGRADES),
    ],
)
def test_what_others_have_no_place_for_has_a_weight(field: str, value: Any, weight: Weight):
    assert lost(read(**{field: value})) == {field: weight}


@pytest.mark.parametrize(
    "silent",
    [
        {"store": True},
        {"store": False},
        {"background": False},
        {"truncation": "disabled"},
        {"include": ["reasoning.encrypted_content"]},
        {"conversation": None},
    ],
)
def test_what_happens_anyway_is_no_loss(silent: dict[str, Any]):
    assert lost(read(**silent)) == {}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"tools": [{"name": "f"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "name": "f", "parameters": []}]}, "tools[0].parameters"),
        ({"temperature": "warm"}, "temperature"),
    ],
)
def test_a_wrong_setting_is_named(body: dict[str, Any], param: str):
    with pytest.raises(InvalidRequest) as refusal:
        read(**body)
    assert refusal.value.param == param
