"""Reading what clients of Chat Completions ask for."""

import json
from typing import Any

import pytest

from providers.canonical.losses import Weight
from providers.canonical.parts import Foreign, Media, Text, Thinking, ToolCall, ToolResult
from providers.canonical.request import Request, ToolChoice
from providers.canonical.seals import Seal, SealBox, native_origin
from providers.dialects.openai_chat.facts import read_facts
from providers.dialects.openai_chat.request_reader import read_request
from providers.dialects.openai_chat.wire import CHAT, NAME
from providers.wire.splice import read_members
from tenants.errors import InvalidRequest

SEALS = SealBox([b"secret"], 1)
HI = {"role": "user", "content": "hi"}


def read(messages: Any = None, **fields: Any) -> Request:
    body = {"model": "m", "messages": [HI] if messages is None else messages, **fields}
    members = read_members(json.dumps(body).encode())
    return read_request(members, read_facts(members, CHAT), SEALS)


def plain(parts: Any) -> list[Any]:
    return [getattr(part, "text", part) for part in parts]


def call(call_id: str = "c1", name: str = "f", arguments: Any = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def lost(native: Any) -> dict[str, Weight]:
    return {field.name: field.weight for field in native.fields} if native else {}


# Instructions and turns


def test_edge_56_leading_instructions_keep_their_parts_and_places():
    request = read(
        [{"role": "system", "content": "a"}, {"role": "developer", "content": [{"type": "text", "text": "b"}]}, HI]
    )
    assert [(part.text, part.at) for part in request.system if isinstance(part, Text)] == [
        ("a", "messages[0].content"),
        ("b", "messages[1].content[0]"),
    ]
    assert [turn.role for turn in request.turns] == ["user"]


def test_edge_57_later_instructions_stay_in_place():
    request = read([HI, {"role": "assistant", "content": "a"}, {"role": "system", "content": "b"}, HI])
    assert [turn.role for turn in request.turns] == ["user", "assistant", "system", "user"]
    assert not request.system


def test_edge_58_a_run_of_results_and_the_words_after_it_are_one_turn():
    request = read(
        [
            {"role": "assistant", "tool_calls": [call("a"), call("b", "g")]},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "tool", "tool_call_id": "b", "content": "2"},
            HI,
            HI,
        ]
    )
    _, turn, last = request.turns
    assert [type(part) for part in turn.parts] == [ToolResult, ToolResult, Text]
    assert [part.name for part in turn.parts if isinstance(part, ToolResult)] == ["f", "g"]
    assert (turn.at, last.at) == ("messages[3]", "messages[4]")


def test_names_of_speakers_are_kept_where_they_stand():
    request = read([{"role": "system", "content": "a", "name": "x"}, {**HI, "name": "alice"}])
    assert lost(request.native)["messages[0].name"] is Weight.DEGRADES
    assert lost(request.turns[0].native) == {"name": Weight.DEGRADES}


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"content": "a"}], "messages[0].role"),
        ([{"role": "robot", "content": "a"}], "messages[0].role"),
        ([{"role": "user", "content": 3}], "messages[0].content"),
        ([HI, {"role": "user", "content": ["a"]}], "messages[1].content[0]"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0].image_url"),
        (
            [{"role": "user", "content": [{"type": "file", "file": {"filename": "x"}}]}],
            "messages[0].content[0].file.file_data",
        ),
        ([{"role": "tool", "content": "a"}], "messages[0].tool_call_id"),
        (
            [{"role": "assistant", "tool_calls": [{"id": "a", "function": {}}]}],
            "messages[0].tool_calls[0].function.name",
        ),
        ([{"role": "assistant", "tool_calls": [{"id": "a"}]}], "messages[0].tool_calls[0].function"),
        (["hi"], "messages[0]"),
        (3, "messages"),
    ],
)
def test_what_is_wrong_in_a_message_is_named(messages: Any, param: str):
    with pytest.raises(InvalidRequest) as caught:
        read(messages)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"stop": 3}, "stop"),
        ({"stop": [3]}, "stop"),
        ({"n": -1}, "n"),
        ({"seed": 1.5}, "seed"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0].function.name"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"tool_choice": {"type": "hosted"}}, "tool_choice.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"functions": {}}, "functions"),
    ],
)
def test_what_is_wrong_in_a_field_is_named(fields: dict[str, Any], param: str):
    with pytest.raises(InvalidRequest) as caught:
        read(**fields)
    assert caught.value.param == param


# Parts


def test_images_come_by_address_and_in_the_request():
    request = read(
        [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "high"}},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                    {"type": "image_url", "image_url": "https://x/z.png"},
                ],
            }
        ]
    )
    by_address, inside, bare = (part for part in request.turns[0].parts if isinstance(part, Media))
    assert (by_address.url, lost(by_address.native)) == ("https://x/y.png", {"image_url.detail": Weight.DEGRADES})
    assert (inside.media_type, inside.data, inside.url) == ("image/png", "AA==", "")
    assert bare.url == "https://x/z.png"


def test_a_document_and_a_sound_know_their_type():
    content = [
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}},
    ]
    document, stored, sound = read([{"role": "user", "content": content}]).turns[0].parts
    assert isinstance(document, Media)
    assert (document.media_type, document.title) == ("application/pdf", "a.pdf")
    assert isinstance(stored, Media)
    assert stored.file_id == "file-1"
    assert isinstance(sound, Media)
    assert (sound.kind, sound.media_type) == ("audio", "audio/mpeg")


def test_a_part_of_an_unknown_type_is_kept_whole():
    [part] = read([{"role": "user", "content": [{"type": "video_url", "x": 1}]}]).turns[0].parts
    assert part == Foreign(
        origin=NAME, what="video_url", value={"type": "video_url", "x": 1}, at="messages[0].content[0]"
    )


@pytest.mark.parametrize(
    ("mark", "cache"),
    [
        ({"prompt_cache_breakpoint": {"mode": "explicit"}}, ""),
        ({"prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}, "12h"),
        ({"cache_control": {"type": "ephemeral", "ttl": "1h"}}, "1h"),
        ({"prompt_cache_breakpoint": None}, None),
    ],
)
def test_a_cache_mark_is_the_parts(mark: dict[str, Any], cache: str | None):
    [part] = read([{"role": "user", "content": [{"type": "text", "text": "a", **mark}]}]).turns[0].parts
    assert isinstance(part, Text)
    assert part.cache == cache


# Calls and results


@pytest.mark.parametrize(
    ("arguments", "text"), [('{ "a": 1 }', '{ "a": 1 }'), ("", "{}"), (" ", "{}"), (None, "{}"), ({"a": 1}, '{"a":1}')]
)
def test_edge_31_arguments_in_the_history_are_json_text(arguments: Any, text: str):
    [part] = read([{"role": "assistant", "tool_calls": [call(arguments=arguments)]}]).turns[0].parts
    assert isinstance(part, ToolCall)
    assert part.arguments == text


@pytest.mark.parametrize(
    ("content", "text"), [({"a": 1}, '{"a":1}'), ([1, 2], "[1,2]"), ([{"x": "y"}], '[{"x":"y"}]'), (3, "3")]
)
def test_edge_63_a_result_that_is_no_text_becomes_its_json(content: Any, text: str):
    [turn] = read([{"role": "tool", "tool_call_id": "c", "content": content}]).turns
    [result] = turn.parts
    assert isinstance(result, ToolResult)
    assert plain(result.parts) == [text]


def test_a_result_without_words_has_no_parts():
    for content in ("", None, []):
        [turn] = read([{"role": "tool", "tool_call_id": "c", "content": content}]).turns
        assert isinstance(turn.parts[0], ToolResult)
        assert not turn.parts[0].parts


def test_custom_calls_and_their_results_are_custom():
    custom = {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": "*** a"}}
    answer, turn = read(
        [{"role": "assistant", "tool_calls": [custom]}, {"role": "tool", "tool_call_id": "c1", "content": "ok"}]
    ).turns
    assert isinstance(answer.parts[0], ToolCall)
    assert (answer.parts[0].kind, answer.parts[0].arguments) == ("custom", "*** a")
    assert isinstance(turn.parts[0], ToolResult)
    assert (turn.parts[0].kind, turn.parts[0].name) == ("custom", "patch")


def test_edge_88_deprecated_functions_are_tools_and_their_ids_always_the_same():
    messages = [
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
    ]
    request = read(messages, functions=[{"name": "f"}], function_call={"name": "f"})
    answer, turn = request.turns
    [made], [result] = answer.parts, turn.parts
    assert isinstance(made, ToolCall)
    assert isinstance(result, ToolResult)
    assert made.id == result.call_id != ""
    assert read(messages).turns[0].parts[0] == made
    assert [tool.name for tool in request.tools if not isinstance(tool, Foreign)] == ["f"]
    assert request.tool_choice is not None
    assert (request.tool_choice.mode, request.tool_choice.name) == ("named", "f")
    assert request.where("tool_choice") == "function_call"


# Reasoning


def test_a_packed_seal_comes_back_in_reasoning_details_with_its_text():
    seal = Seal(origin="anthropic/claude", payload="sig", form="signature")
    details = [
        {"type": "reasoning.encrypted", "data": SEALS.pack(seal), "index": 0, "start_index": 0, "end_index": 2},
        {"type": "reasoning.encrypted", "data": SEALS.pack(seal), "index": 1, "start_index": 4, "end_index": 5},
    ]
    message = {"role": "assistant", "content": "7", "reasoning_content": "abcde", "reasoning_details": details}
    parts = [part for part in read([message]).turns[0].parts if isinstance(part, Thinking)]
    assert [(part.text, part.seal) for part in parts] == [("ab", seal), ("cd", None), ("e", seal)]


def test_a_seal_without_a_range_has_all_of_the_text():
    seal = Seal(origin="a/b", payload="sig")
    message = {
        "role": "assistant",
        "content": "7",
        "reasoning_content": "abc",
        "reasoning_details": [{"type": "reasoning.encrypted", "data": SEALS.pack(seal)}],
    }
    thinking = read([message]).turns[0].parts[0]
    assert isinstance(thinking, Thinking)
    assert (thinking.text, thinking.seal) == ("abc", seal)


def test_a_forged_seal_is_none():
    details = [{"type": "reasoning.encrypted", "data": SealBox([b"other"], 1).pack(Seal(origin="a/b", payload="x"))}]
    parts = read([{"role": "assistant", "content": "7", "reasoning_details": details}]).turns[0].parts
    assert plain(parts) == ["7"]


def test_a_seal_of_nobody_we_know_is_the_clients_own():
    details = [{"type": "reasoning.text", "text": "Hm", "signature": "sig", "index": 0}]
    message = {"role": "assistant", "content": "7", "reasoning": "Hm", "reasoning_details": details}
    thinking = read([message]).turns[0].parts[0]
    assert isinstance(thinking, Thinking)
    assert thinking.seal is not None
    assert thinking.seal.origin == native_origin(NAME)
    assert json.loads(thinking.seal.payload) == details[0]


def test_a_thought_signature_is_the_calls_seal():
    seal = Seal(origin="gemini/pro", payload="sig")
    signed = {**call(), "extra_content": {"google": {"thought_signature": SEALS.pack(seal)}}}
    [part] = read([{"role": "assistant", "tool_calls": [signed]}]).turns[0].parts
    assert isinstance(part, ToolCall)
    assert part.seal == seal


# The rest


def test_edge_74_either_name_of_the_limit_is_read_and_named():
    old, new = read(max_tokens=5), read(max_completion_tokens=6, max_tokens=5)
    assert (old.sampling.max_output_tokens, old.where("sampling.max_output_tokens")) == (5, "max_tokens")
    assert (new.sampling.max_output_tokens, new.where("sampling.max_output_tokens")) == (6, "max_completion_tokens")


def test_edge_76_one_stop_sequence_or_several():
    assert read(stop="a").sampling.stop == ("a",)
    assert read(stop=["a", "b"]).sampling.stop == ("a", "b")
    assert read(stop=None).sampling.stop == ()


def test_edge_77_zero_is_a_number():
    sampling = read(temperature=0, top_p=0, seed=0, presence_penalty=0).sampling
    assert (sampling.temperature, sampling.top_p, sampling.seed, sampling.presence_penalty) == (0, 0, 0, 0)


def test_edge_68_a_tool_may_have_no_parameters():
    [tool] = read(tools=[{"type": "function", "function": {"name": "f", "parameters": None}}]).tools
    assert not isinstance(tool, Foreign)
    assert tool.parameters is None


def test_edge_78_what_only_this_format_knows_has_its_weight():
    request = read(
        prompt_cache_retention="24h", store=True, logit_bias={"1": 2}, audio={"voice": "x"}, moderation={}, new=1
    )
    assert lost(request.native) == {
        "prompt_cache_retention": Weight.COSMETIC,
        "store": Weight.COSMETIC,
        "logit_bias": Weight.DEGRADES,
        "audio": Weight.CHANGES_ANSWER,
        "moderation": Weight.CHANGES_ANSWER,
        "new": Weight.DEGRADES,
    }


def test_what_says_nothing_is_not_lost():
    assert lost(read(modalities=["text"], logit_bias=None, audio=None, stream=False).native) == {}


@pytest.mark.parametrize(
    ("value", "choice"),
    [
        ("any", ToolChoice(mode="required")),
        ({"type": "custom", "custom": {"name": "p"}}, ToolChoice(mode="named", name="p", kind="custom")),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]},
            },
            ToolChoice(mode="required", allowed=("f",)),
        ),
    ],
)
def test_it_reads_a_choice_among_tools(value: Any, choice: ToolChoice):
    read_choice = read(tool_choice=value).tool_choice
    assert read_choice is not None
    assert [getattr(read_choice, name) for name in ("mode", "name", "kind", "allowed")] == [
        getattr(choice, name) for name in ("mode", "name", "kind", "allowed")
    ]
