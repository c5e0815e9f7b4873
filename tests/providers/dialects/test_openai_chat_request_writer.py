"""Writing requests for upstreams that speak Chat Completions."""

import json
from typing import Any

import pytest

from providers.adapters.quirks import NO_QUIRKS, Quirks
from providers.canonical.losses import Loss, Losses, Native, Weight
from providers.canonical.parts import Citation, Foreign, Media, Part, Text, Thinking, ToolCall, ToolResult
from providers.canonical.request import Reasoning, Request, ResponseFormat, Sampling, Tool, ToolChoice, Turn
from providers.canonical.seals import Seal, SealBox
from providers.dialects.base import Destination
from providers.dialects.openai_chat.facts import read_facts
from providers.dialects.openai_chat.request_reader import read_request
from providers.dialects.openai_chat.request_writer import write_request
from providers.dialects.openai_chat.wire import CHAT
from providers.profiles import PERMISSIVE, Profile
from providers.wire.splice import read_members

ORIGIN = "vendor/m"
SEALS = SealBox([b"secret"], 1)
NATIVE = Native(origin="anthropic_messages")


def user(*parts: Part) -> Turn:
    return Turn(role="user", parts=parts, at="turns[0]")


def assistant(*parts: Part) -> Turn:
    return Turn(role="assistant", parts=parts, at="turns[1]")


class Wrote:
    """A written body, and what was lost."""

    def __init__(self, *turns: Turn, profile: Profile = PERMISSIVE, quirks: Quirks = NO_QUIRKS, **fields: Any) -> None:
        request = Request(model="alias", turns=turns or (user(Text(text="hi")),), native=NATIVE, **fields)
        losses = Losses()
        to = Destination(model="m", origin=ORIGIN, profile=profile, quirks=quirks)
        self.body: Any = json.loads(write_request(request, to, losses).body)
        self.messages: Any = self.body["messages"]
        self.losses: list[Loss] = [*losses]
        self.lost: dict[str, Weight] = {loss.path: loss.weight for loss in self.losses}


def again(body: dict[str, Any], *, quirks: Quirks = NO_QUIRKS, profile: Profile = PERMISSIVE) -> dict[str, Any]:
    """Return what becomes of a body in its own format."""
    members = read_members(json.dumps(body).encode())
    request = read_request(members, read_facts(members, CHAT), SEALS)
    to = Destination(model=request.model, origin=ORIGIN, quirks=quirks, profile=profile)
    written: dict[str, Any] = json.loads(write_request(request, to, Losses()).body)
    return written


# Messages


def test_edge_56_instructions_are_one_message_with_their_parts():
    one = Wrote(system=(Text(text="a"),))
    assert one.messages[0] == {"role": "system", "content": "a"}
    two = Wrote(system=(Text(text="a"), Text(text="b", cache="30m")), profile=Profile(instructions_role="developer"))
    assert two.messages[0] == {
        "role": "developer",
        "content": [
            {"type": "text", "text": "a"},
            {"type": "text", "text": "b", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}},
        ],
    }
    assert two.lost == {}


def test_edge_57_later_instructions_stay_in_place():
    turns = user(Text(text="hi")), Turn(role="system", parts=(Text(text="note"),), at="turns[1]"), user(Text(text="go"))
    assert [message["role"] for message in Wrote(*turns).messages] == ["user", "system", "user"]


@pytest.mark.parametrize(
    "upstream", [{"profile": Profile(takes_system_turns=False)}, {"quirks": Quirks(takes_system_turns=False)}]
)
def test_edge_57_a_strict_upstream_gets_later_instructions_as_the_users_words_in_one_message(upstream: dict[str, Any]):
    turns = user(Text(text="hi")), Turn(role="system", parts=(Text(text="note"),), at="turns[1]"), user(Text(text="go"))
    demoted = Wrote(*turns, **upstream)
    (message,) = demoted.messages
    words = ["hi", "<system-reminder>", "note", "</system-reminder>", "go"]
    assert (message["role"], [part["text"] for part in message["content"]]) == ("user", words)
    assert demoted.lost == {"turns[1]": Weight.DEGRADES}


def test_edge_59_results_come_first_whatever_the_turn_says():
    wrote = Wrote(
        assistant(ToolCall(id="a", name="f", arguments="{}"), ToolCall(id="b", name="f", arguments="{}")),
        user(Text(text="and?"), ToolResult(call_id="a", parts=(Text(text="1"),)), ToolResult(call_id="b")),
    )
    assert [message["role"] for message in wrote.messages] == ["assistant", "tool", "tool", "user"]
    assert wrote.messages[1:3] == [
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "content": ""},
    ]


def test_edge_62_an_answer_that_only_calls_has_no_content_or_an_empty_one():
    turn = assistant(ToolCall(id="a", name="f", arguments="{}"))
    assert Wrote(turn).messages[0]["content"] is None
    assert Wrote(turn, quirks=Quirks(takes_null_content=False)).messages[0]["content"] == ""


def test_edge_64_images_of_results_follow_as_the_users():
    image = Media(kind="image", media_type="image/png", data="AA==", at="shot")
    wrote = Wrote(
        assistant(ToolCall(id="a", name="f", arguments="{}")),
        user(ToolResult(call_id="a", parts=(Text(text="see"), image), at="result"), Text(text="well?")),
    )
    _, result, after = wrote.messages
    assert [part["type"] for part in result["content"]] == ["text", "text"]
    assert [part["type"] for part in after["content"]] == ["text", "image_url", "text"]
    assert "a" in result["content"][1]["text"]
    assert "a" in after["content"][0]["text"]
    assert wrote.lost == {"shot": Weight.DEGRADES}


def test_a_failed_result_says_so_in_words():
    wrote = Wrote(user(ToolResult(call_id="a", parts=(Text(text="no file"),), is_error=True, at="r")))
    assert wrote.messages[0]["content"] == "Error: no file"
    assert wrote.lost == {"r.is_error": Weight.COSMETIC}
    assert Wrote(user(ToolResult(call_id="a", is_error=True))).messages[0]["content"] == "Error:"


def test_an_answers_words_stand_before_its_calls():
    wrote = Wrote(assistant(ToolCall(id="a", name="f", arguments=""), Text(text="there", at="t")))
    assert wrote.messages[0]["content"] == "there"
    assert wrote.messages[0]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert wrote.lost == {"t": Weight.COSMETIC}


def test_a_refusal_has_its_own_field():
    wrote = Wrote(assistant(Text(text="I cannot.", is_refusal=True)))
    assert wrote.messages[0] == {"role": "assistant", "content": None, "refusal": "I cannot."}


def test_what_an_earlier_answer_cannot_hold_is_named():
    wrote = Wrote(
        assistant(
            Text(text="a", at="t", citations=(Citation(url="u"),), seal=Seal(origin="x", payload="y")),
            Media(kind="image", url="u", at="i"),
            Foreign(origin="gemini", what="executableCode", value={}, at="f"),
        )
    )
    assert wrote.lost == {
        "t.citations": Weight.COSMETIC,
        "t.seal": Weight.DEGRADES,
        "i": Weight.CHANGES_ANSWER,
        "f": Weight.CHANGES_ANSWER,
    }


@pytest.mark.parametrize(
    ("part", "node"),
    [
        (Media(kind="image", url="https://x"), {"type": "image_url", "image_url": {"url": "https://x"}}),
        (
            Media(kind="document", media_type="application/pdf", data="AA==", title="a.pdf"),
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}},
        ),
        (
            Media(kind="audio", media_type="audio/mp3", data="AA=="),
            {"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}},
        ),
    ],
)
def test_media_have_their_parts(part: Media, node: dict[str, Any]):
    wrote = Wrote(user(part))
    assert wrote.messages[0]["content"] == [node]
    assert wrote.lost == {}


@pytest.mark.parametrize(
    "part",
    [
        Media(kind="image", file_id="f", at="p"),
        Media(kind="document", file_id="f", at="p"),
        Media(kind="document", url="https://x", at="p"),
        Media(kind="audio", media_type="audio/ogg", data="AA==", at="p"),
        Media(kind="video", data="AA==", at="p"),
    ],
)
def test_files_that_cannot_be_sent_change_the_answer(part: Media):
    assert Wrote(user(Text(text="hi"), part)).lost == {"p": Weight.CHANGES_ANSWER}


def test_a_document_of_plain_text_becomes_words():
    wrote = Wrote(user(Media(kind="document", text="words", title="Title", at="p")))
    assert wrote.messages[0]["content"] == "Title\n\nwords"
    assert wrote.lost == {"p": Weight.COSMETIC}


@pytest.mark.parametrize(("cache", "mark"), [("", {}), ("30m", {"ttl": "30m"}), ("5m", {}), ("1h", {})])
def test_a_cache_mark_lives_as_long_as_the_format_lets_it(cache: str, mark: dict[str, str]):
    wrote = Wrote(user(Text(text="a", cache=cache, at="p")))
    assert wrote.messages[0]["content"][0]["prompt_cache_breakpoint"] == {"mode": "explicit", **mark}
    assert wrote.lost == ({} if cache in ("", "30m") else {"p.cache": Weight.COSMETIC})


def test_edge_79_an_older_model_gets_a_cache_key_and_no_marks():
    wrote = Wrote(user(Text(text="a", cache="", at="p")), cache_key="k", profile=Profile(takes_cache_breakpoints=False))
    assert (wrote.messages[0]["content"], wrote.body["prompt_cache_key"]) == ("a", "k")
    assert wrote.lost == {"p.cache": Weight.COSMETIC}


def test_edge_78_an_upstream_without_cache_marks_gets_none():
    wrote = Wrote(user(Text(text="a", cache="", at="p")), cache_key="k", quirks=Quirks(takes_cache_marks=False))
    assert wrote.messages[0]["content"] == "a"
    assert wrote.lost == {"p.cache": Weight.COSMETIC, "cache_key": Weight.COSMETIC}


# Reasoning in the history


def test_edge_95_reasoning_is_echoed_where_it_has_to_be():
    turn = assistant(Thinking(text="Hm.", at="t"), ToolCall(id="a", name="f", arguments="{}"))
    assert Wrote(turn, quirks=Quirks(echoes_reasoning=True)).messages[0]["reasoning_content"] == "Hm."
    other = Wrote(turn, quirks=Quirks(echoes_reasoning=True, reasoning_field="reasoning"))
    assert other.messages[0]["reasoning"] == "Hm."
    assert Wrote(turn).lost == {"t": Weight.DEGRADES}


def test_a_seal_goes_back_to_its_origin_only():
    entry = '{"data":"x","type":"reasoning.encrypted"}'
    own = Thinking(seal=Seal(origin=ORIGIN, payload=entry, form="reasoning_details"), at="t")
    wrote = Wrote(assistant(own, Text(text="a")))
    assert wrote.messages[0]["reasoning_details"] == [{"type": "reasoning.encrypted", "data": "x"}]
    other = Thinking(text="Hm.", seal=Seal(origin="anthropic/m", payload="sig"), at="t")
    wrote = Wrote(assistant(other, Text(text="a")), quirks=Quirks(echoes_reasoning=True))
    assert wrote.messages[0] == {"role": "assistant", "content": "a"}
    assert wrote.lost == {"t": Weight.DEGRADES}


def test_a_thought_signature_goes_back_to_its_origin_only():
    def turn(origin: str) -> Turn:
        return assistant(ToolCall(id="a", name="f", arguments="{}", seal=Seal(origin=origin, payload="sig"), at="c"))

    [signed] = Wrote(turn(ORIGIN)).messages[0]["tool_calls"]
    assert signed["extra_content"] == {"google": {"thought_signature": "sig"}}
    assert "extra_content" not in Wrote(turn("x/y")).messages[0]["tool_calls"][0]
    assert Wrote(turn("x/y")).lost == {"c.seal": Weight.DEGRADES}


# Tools


def test_edge_66_what_is_about_tools_goes_with_them():
    wrote = Wrote(tool_choice=ToolChoice(mode="required"), parallel_tools=False)
    assert wrote.body.keys() == {"model", "messages"}
    assert wrote.lost == {"tool_choice": Weight.COSMETIC, "parallel_tools": Weight.COSMETIC}
    assert Wrote(tools=(Tool(name="f"),), parallel_tools=False).body["parallel_tool_calls"] is False


@pytest.mark.parametrize("parameters", [None, {}, {"type": "object"}])
def test_edge_68_a_tool_has_parameters_and_properties(parameters: Any):
    [tool] = Wrote(tools=(Tool(name="f", parameters=parameters),)).body["tools"]
    assert tool["function"]["parameters"] == {"type": "object", "properties": {}}


def test_edge_69_long_names_and_ids_fit_and_still_match():
    name, call_id = "n" * 80, "i" * 80
    wrote = Wrote(
        assistant(ToolCall(id=call_id, name=name, arguments="{}", at="c")),
        user(ToolResult(call_id=call_id)),
        tools=(Tool(name=name, at="t"),),
        tool_choice=ToolChoice(mode="named", name=name),
        quirks=Quirks(call_id_length=40),
    )
    call, result = wrote.messages[0]["tool_calls"][0], wrote.messages[1]
    sent = wrote.body["tools"][0]["function"]["name"]
    assert len(sent) == 64
    assert call["function"]["name"] == wrote.body["tool_choice"]["function"]["name"] == sent
    assert call["id"] == result["tool_call_id"]
    assert len(call["id"]) == 40
    assert wrote.lost == {"t.name": Weight.COSMETIC, "c.name": Weight.COSMETIC}


def test_a_custom_tool_becomes_a_function_of_one_text():
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: x"}
    wrote = Wrote(
        assistant(ToolCall(id="a", name="p", arguments='say "x"', kind="custom", at="c")),
        user(ToolResult(call_id="a", kind="custom", at="r")),
        tools=(Tool(name="p", kind="custom", grammar=grammar, at="t"),),
    )
    assert wrote.messages[0]["tool_calls"][0]["function"]["arguments"] == '{"input":"say \\"x\\""}'
    function = wrote.body["tools"][0]["function"]
    assert "start: x" in function["description"]
    assert function["parameters"]["required"] == ["input"]
    assert wrote.lost == {
        "c": Weight.COSMETIC,
        "r": Weight.COSMETIC,
        "t": Weight.COSMETIC,
        "t.format": Weight.DEGRADES,
    }


def test_two_tools_that_look_the_same_upstream_cannot_both_go():
    tools = (Tool(name="a__b", at="t0"), Tool(name="b", namespace="a", at="t1"))
    assert Wrote(tools=tools).lost == {"t1.name": Weight.CHANGES_ANSWER}


CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
OPEN = {"type": "object", "properties": {"a": {"type": "string"}}}


@pytest.mark.parametrize(
    ("schema", "strict", "lost"), [(CLOSED, True, {}), (OPEN, False, {"t.strict": Weight.DEGRADES})]
)
def test_edge_72_a_tool_is_strict_only_where_its_schema_can_be(schema: Any, strict: bool, lost: dict[str, Weight]):
    wrote = Wrote(tools=(Tool(name="f", parameters=schema, is_strict=True, at="t"),))
    assert wrote.body["tools"][0]["function"]["strict"] is strict
    assert wrote.lost == lost


@pytest.mark.parametrize(("schema", "strict"), [(CLOSED, True), (OPEN, False)])
def test_edge_72_an_answers_schema_is_enforced_wherever_it_can_be(schema: Any, strict: bool):
    wrote = Wrote(response_format=ResponseFormat(kind="json_schema", schema=schema))
    assert wrote.body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "output", "schema": schema, "strict": strict},
    }


def test_forcing_a_tool_on_a_model_that_refuses_it_changes_the_answer():
    wrote = Wrote(
        tools=(Tool(name="f"),), tool_choice=ToolChoice(mode="required"), profile=Profile(takes_forced_tools=False)
    )
    assert wrote.body["tool_choice"] == "auto"
    assert wrote.lost == {"tool_choice": Weight.CHANGES_ANSWER}


# Sampling and the rest


def test_edge_54_usage_is_always_asked_for():
    assert Wrote(is_stream=True, wants_usage=False).body["stream_options"] == {"include_usage": True}
    refused = Wrote(is_stream=True, quirks=Quirks(accepts_stream_options=False))
    assert refused.body["stream"] is True
    assert "stream_options" not in refused.body
    assert "stream" not in Wrote().body


def test_edge_74_the_limit_has_the_name_that_the_upstream_knows():
    limit = Sampling(max_output_tokens=9)
    assert Wrote(sampling=limit).body["max_completion_tokens"] == 9
    assert Wrote(sampling=limit, quirks=Quirks(max_tokens_field="max_tokens")).body["max_tokens"] == 9
    assert again({"model": "m", "messages": [], "max_tokens": 5}) == {"model": "m", "messages": [], "max_tokens": 5}
    renamed = again(
        {"model": "m", "messages": [], "max_completion_tokens": 5}, quirks=Quirks(max_tokens_field="max_tokens")
    )
    assert renamed["max_tokens"] == 5


def test_a_limit_above_the_models_is_lowered():
    wrote = Wrote(sampling=Sampling(max_output_tokens=9), profile=Profile(max_output_tokens=4))
    assert wrote.body["max_completion_tokens"] == 4
    assert wrote.lost == {"max_output_tokens": Weight.DEGRADES}


def test_edge_76_stop_is_a_list_of_at_most_four():
    assert Wrote(sampling=Sampling(stop=("a",))).body["stop"] == ["a"]
    wrote = Wrote(sampling=Sampling(stop=("a", "b", "c", "d", "e")))
    assert wrote.body["stop"] == ["a", "b", "c", "d"]
    assert wrote.lost == {"stop": Weight.DEGRADES}
    assert Wrote(sampling=Sampling(stop=("a",)), profile=Profile(takes_stop=False)).lost == {"stop": Weight.DEGRADES}


def test_edge_77_zero_is_sent():
    body = Wrote(sampling=Sampling(temperature=0, top_p=0, seed=0, frequency_penalty=0.0)).body
    assert (body["temperature"], body["top_p"], body["seed"], body["frequency_penalty"]) == (0, 0, 0, 0.0)


def test_top_k_goes_where_it_is_known():
    assert Wrote(sampling=Sampling(top_k=5)).lost == {"top_k": Weight.DEGRADES}
    assert Wrote(sampling=Sampling(top_k=5), quirks=Quirks(takes_top_k=True)).body["top_k"] == 5


def test_edge_78_fields_that_the_upstream_refuses_are_dropped_and_named():
    wrote = Wrote(
        service_tier="flex",
        metadata={"a": "b"},
        sampling=Sampling(seed=1),
        quirks=Quirks(drop_fields=("service_tier", "metadata", "seed", "store")),
    )
    assert wrote.body.keys() == {"model", "messages"}
    assert wrote.lost.keys() == {"service_tier", "metadata", "seed"}


def test_edge_87_a_prompt_is_not_made_to_say_json():
    wrote = Wrote(response_format=ResponseFormat(kind="json_object"))
    assert wrote.messages == [{"role": "user", "content": "hi"}]
    assert wrote.body["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    ("sampling", "path"),
    [
        (Sampling(choices=2), "choices"),
        (Sampling(logprobs=True), "logprobs"),
        (Sampling(top_logprobs=3), "top_logprobs"),
    ],
)
def test_edge_89_what_no_answer_brings_back_is_not_asked_for_in_silence(sampling: Sampling, path: str):
    wrote = Wrote(sampling=sampling)
    assert wrote.body.keys() == {"model", "messages"}
    assert wrote.lost == {path: Weight.CHANGES_ANSWER}


def test_edge_90_arguments_are_not_cleaned_up():
    arguments = '{"path": "a", "pages": ""}'
    turn = assistant(ToolCall(id="a", name="Read", arguments=arguments))
    assert Wrote(turn).messages[0]["tool_calls"][0]["function"]["arguments"] == arguments


def test_edge_115_arguments_are_sent_as_they_were_written():
    arguments = '{ "html": "<b>\\u003c/b>", "path": "C:\\\\x" }'
    turn = assistant(ToolCall(id="a", name="f", arguments=arguments))
    assert Wrote(turn).messages[0]["tool_calls"][0]["function"]["arguments"] == arguments


@pytest.mark.parametrize(
    ("reasoning", "effort", "lost"),
    [
        (Reasoning(effort="high"), "high", []),
        (Reasoning(effort="none"), "none", []),
        (Reasoning(budget=1024), "low", ["budget"]),
        (Reasoning(budget=8192), "medium", ["budget"]),
        (Reasoning(budget=32000, mode="enabled"), "high", ["budget", "mode"]),
        (Reasoning(mode="adaptive"), None, ["mode"]),
        (Reasoning(mode="adaptive", effort="low", shows=True), "low", ["mode", "shows"]),
        (Reasoning(mode="between_tools"), "none", ["mode"]),
    ],
)
def test_reasoning_is_a_level_of_effort(reasoning: Reasoning, effort: str | None, lost: list[str]):
    wrote = Wrote(reasoning=reasoning)
    assert wrote.body.get("reasoning_effort") == effort
    assert [*wrote.lost] == lost
    assert set(wrote.lost.values()) <= {Weight.COSMETIC}


def test_an_effort_that_the_model_does_not_know_becomes_the_closest():
    wrote = Wrote(reasoning=Reasoning(effort="max"), profile=Profile(efforts=("low", "high")))
    assert wrote.body["reasoning_effort"] == "high"
    assert wrote.lost == {"effort": Weight.DEGRADES}
    assert Wrote(reasoning=Reasoning(effort="max"), profile=Profile(efforts=())).body.keys() == {"model", "messages"}


def test_edge_116_a_long_name_of_a_user_is_hashed():
    wrote = Wrote(end_user="u" * 65)
    assert len(wrote.body["safety_identifier"]) == 64
    assert wrote.lost == {"end_user": Weight.COSMETIC}
    assert Wrote(end_user="u").body["safety_identifier"] == "u"


# In its own format


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2, "logprobs": True, "top_logprobs": 2},
        {"tool_choice": "any", "tools": [{"function": {"name": "f"}}]},
        {"tools": [], "stop": [], "metadata": {}, "parallel_tool_calls": True},
        {"response_format": {"type": "grammar", "grammar": "x"}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": {}, "strict": None, "new": 1},
            }
        },
        {"response_format": {"type": "text"}, "user": "a", "safety_identifier": "b", "modalities": ["text", "audio"]},
        {"messages": [{"role": "assistant", "content": "", "refusal": "", "tool_calls": [], "reasoning_content": ""}]},
        {"messages": [{"role": "assistant", "content": []}, {"role": "user", "content": []}, {"role": "user"}]},
        {"messages": [{"role": "tool", "tool_call_id": "a", "content": {"x": [1]}, "name": "f"}]},
        {"messages": [{"role": "assistant", "content": "a", "reasoning": "b", "reasoning_content": "c"}]},
        {"messages": [{"role": "assistant", "content": "a", "reasoning_details": [], "x": None}]},
        {
            "messages": [
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": {}}}],
                }
            ]
        },
        {
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "a", "x": None}, {"type": "new"}], "name": None}
            ]
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": "https://x", "cache_control": {"type": "ephemeral"}}
                    ],
                }
            ]
        },
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "file", "file": {"file_data": "AA==", "filename": "document.pdf"}}],
                }
            ]
        },
        {"tools": [{"type": "web_search", "x": 1}], "stream_options": {"include_obfuscation": False}},
    ],
)
def test_its_own_requests_come_back_as_they_were(fields: dict[str, Any]):
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    assert again(body) == body
