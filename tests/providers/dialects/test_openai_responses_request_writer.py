"""Writing a request for an upstream that speaks Responses."""

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from providers.adapters.quirks import Quirks
from providers.canonical.losses import Losses, Native, NativeField, Weight
from providers.canonical.parts import Citation, Foreign, Media, Part, Text, Thinking, ToolCall, ToolResult
from providers.canonical.request import Reasoning, Request, ResponseFormat, Sampling, Tool, ToolChoice, Turn
from providers.canonical.seals import Seal, SealBox
from providers.dialects.base import Destination
from providers.dialects.openai_responses import OPENAI_RESPONSES
from providers.profiles import Profile
from providers.wire.splice import read_members

ORIGIN = "openai/gpt"
DESTINATION = Destination(model="gpt", origin=ORIGIN)
OURS = Seal(origin=ORIGIN, payload="sealed")
FOREIGN = Seal(origin="anthropic/claude", payload="signature")
ASKED = Turn(role="user", parts=(Text(text="hi", at="messages[0].content"),))
SEALS = SealBox([b"secret"], 1)


def write(request: Request, destination: Destination = DESTINATION) -> tuple[dict[str, Any], dict[str, Weight]]:
    losses = Losses()
    body = OPENAI_RESPONSES.write_request(request, destination, losses).body
    return json.loads(body), {loss.path: loss.weight for loss in losses}


def bound_for(**changes: Any) -> Destination:
    return replace(DESTINATION, **changes)


def asked(*turns: Turn, **fields: Any) -> Request:
    return Request(model="alias", turns=turns or (ASKED,), **fields)


def says(*parts: Part) -> Turn:
    return Turn(role="assistant", parts=parts)


def items(*turns: Turn) -> tuple[list[Any], dict[str, Weight]]:
    body, lost = write(asked(ASKED, *turns))
    return body["input"][1:], lost


def resent(*input_items: Any, **body: Any) -> list[Any]:
    """What an upstream of the client's own format gets of items."""
    raw = json.dumps({"model": "m", "input": input_items, **body}).encode()
    members = read_members(raw)
    facts = OPENAI_RESPONSES.read_facts(members, OPENAI_RESPONSES.operations["chat"])
    given: list[Any] = write(OPENAI_RESPONSES.read_request(members, facts, SEALS))[0]["input"]
    return given


# Items


def test_one_instruction_stands_apart_and_several_are_a_message_with_parts():
    alone, _ = write(asked(system=(Text(text="a"),)))
    assert alone["instructions"] == "a"
    several, _ = write(asked(system=(Text(text="a"), Text(text="b", cache="30m"))))
    assert several["input"][0] == {
        "type": "message",
        "role": "developer",
        "content": [
            {"type": "input_text", "text": "a"},
            {
                "type": "input_text",
                "text": "b",
                "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"},
            },
        ],
    }
    assert "instructions" not in several


def test_instructions_in_mid_conversation_stay_in_place():
    written, lost = items(Turn(role="system", parts=(Text(text="whisper"),)))
    assert [item["role"] for item in written] == ["developer"]
    assert lost == {}


def test_what_tools_gave_back_comes_before_what_the_user_says():
    image = Media(kind="image", media_type="image/png", data="AAAA")
    written, lost = items(
        says(ToolCall(id="c1", name="f", arguments=""), ToolCall(id="c2", name="x", kind="custom", arguments="go")),
        Turn(
            role="user",
            parts=(
                ToolResult(call_id="c1", parts=(Text(text="see"), image)),
                ToolResult(call_id="c2", kind="custom", parts=(Text(text="gone"),)),
                Text(text="so?"),
            ),
        ),
    )
    assert written == [
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "x", "input": "go"},
        {
            "type": "function_call_output",
            "call_id": "c1",
            "output": [
                {"type": "input_text", "text": "see"},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"},
            ],
        },
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "gone"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "so?"}]},
    ]
    assert lost == {}


def test_edge_96_reasoning_goes_back_sealed_and_without_an_id():
    written, lost = items(says(Thinking(text="hm", seal=OURS), Text(text="a")))
    assert written[0] == {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "hm"}],
        "encrypted_content": "sealed",
    }
    assert lost == {}


def test_edge_96_the_id_that_we_gave_reasoning_is_not_sent_to_its_upstream():
    packed = SEALS.pack(OURS)
    reasoning = {"type": "reasoning", "id": "rs_ours_0", "summary": [], "encrypted_content": packed}
    written = resent(reasoning, {"role": "assistant", "content": "a"})
    assert written[0] == {"type": "reasoning", "summary": [], "encrypted_content": "sealed"}


def test_edge_96_reasoning_of_the_clients_own_keeps_its_id():
    reasoning = {"type": "reasoning", "id": "rs_theirs", "summary": [], "encrypted_content": "theirs"}
    assert resent(reasoning, {"role": "assistant", "content": "a"})[0] == reasoning


@pytest.mark.parametrize("seal", [FOREIGN, None])
def test_reasoning_of_others_is_dropped_and_never_becomes_text(seal: Seal | None):
    written, lost = items(says(Thinking(text="hm", seal=seal, at="messages[1].content[0]"), Text(text="a")))
    assert [item["type"] for item in written] == ["message"]
    assert lost == {"messages[1].content[0]": Weight.DEGRADES}


def test_edge_97_reasoning_that_nothing_follows_is_dropped():
    thinking = Thinking(seal=OURS, at="messages[1].content[0]")
    written, lost = items(says(thinking), ASKED)
    assert [item["type"] for item in written] == ["message"]
    assert lost == {"messages[1].content[0]": Weight.DEGRADES}


def test_edge_97_what_reasoning_belonged_to_loses_its_id_with_it():
    foreign = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": SEALS.pack(FOREIGN)}
    call = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"}
    message = {"type": "message", "id": "msg_1", "role": "assistant", "content": "a"}
    assert resent(foreign, message, call) == [
        {"type": "message", "role": "assistant", "content": "a"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
    ]


def test_edge_105_items_of_other_clients_have_no_ids():
    written, _ = items(says(Thinking(seal=OURS), Text(text="a"), ToolCall(id="toolu_1", name="f")))
    assert not any("id" in item for item in written)


def test_edge_105_a_call_id_that_is_too_long_is_cut_the_same_way_everywhere():
    long = "x" * 90
    written, lost = items(
        says(ToolCall(id=long, name="f", at="a")), Turn(role="user", parts=(ToolResult(call_id=long, at="b"),))
    )
    (cut,) = {item["call_id"] for item in written}
    assert len(cut) == 64
    assert lost == {"a.id": Weight.COSMETIC, "b.call_id": Weight.COSMETIC}


def test_a_result_whose_call_could_not_be_given_is_not_given_either():
    part = Foreign(origin="anthropic_messages", what="mcp_tool_use", value={}, at="a")
    written, lost = items(says(part), Turn(role="user", parts=(ToolResult(call_id="c9", at="b"),)))
    assert written == []
    assert lost == {"a": Weight.CHANGES_ANSWER, "b": Weight.CHANGES_ANSWER}


def test_edge_113_refusals_in_the_history_are_refusals():
    written, lost = items(says(Text(text="No.", is_refusal=True)))
    assert written[0]["content"] == [{"type": "refusal", "refusal": "No."}]
    assert lost == {}


def test_sources_are_given_where_they_are_exact():
    exact = Citation(url="https://a", title="A", start=0, end=3)
    written, lost = items(says(Text(text="abc", citations=(exact,)), Text(text="d", citations=(Citation(),), at="x")))
    assert written[0]["content"][0]["annotations"] == [
        {"type": "url_citation", "url": "https://a", "title": "A", "start_index": 0, "end_index": 3}
    ]
    assert lost == {"x.citations": Weight.COSMETIC}


@pytest.mark.parametrize(
    ("media", "lost"),
    [
        (Media(kind="image", url="https://a", at="m"), {}),
        (Media(kind="image", file_id="f", at="m"), {"m": Weight.CHANGES_ANSWER}),
        (Media(kind="video", data="A", at="m"), {"m": Weight.CHANGES_ANSWER}),
        (Media(kind="audio", media_type="audio/ogg", data="A", at="m"), {"m": Weight.CHANGES_ANSWER}),
        (Media(kind="audio", media_type="audio/wav", data="A", at="m"), {}),
        (Media(kind="document", text="a", title="n.txt", at="m"), {}),
        (Media(kind="document", media_type="application/pdf", data="A", at="m"), {"m.title": Weight.COSMETIC}),
    ],
)
def test_media_that_cannot_be_given_are_named(media: Media, lost: dict[str, Weight]):
    assert write(asked(Turn(role="user", parts=(media,))))[1] == lost


@pytest.mark.parametrize(
    ("profile", "kind"), [(Profile(takes_images=False), "image"), (Profile(takes_documents=False), "document")]
)
def test_media_that_the_model_does_not_take_are_named(profile: Profile, kind: Any):
    turn = Turn(role="user", parts=(Media(kind=kind, data="A", media_type="x/y", title="t", at="m"),))
    _, lost = write(asked(turn), bound_for(profile=profile))
    assert lost["m"] is Weight.CHANGES_ANSWER


def test_a_seal_of_a_call_is_named_as_lost():
    _, lost = items(says(ToolCall(id="c", name="f", seal=FOREIGN, at="m")))
    assert lost == {"m.seal": Weight.DEGRADES}


# Tools


def test_a_function_says_that_it_is_not_strict():
    body, lost = write(asked(tools=(Tool(name="f"), Tool(name="g", parameters={"type": "object"}, is_strict=True))))
    empty = {"type": "object", "properties": {}}
    assert body["tools"] == [
        {"type": "function", "name": "f", "parameters": empty, "strict": False},
        {"type": "function", "name": "g", "parameters": empty, "strict": True},
    ]
    assert lost == {}


def test_tools_of_one_namespace_are_one():
    tools = (
        Tool(name="f", namespace="n", namespace_description="d"),
        Tool(name="x", kind="custom", namespace="n", namespace_description="d", grammar={"type": "grammar"}),
        Tool(name="f"),
    )
    body, _ = write(asked(tools=tools))
    assert [tool.get("name") for tool in body["tools"]] == ["n", "f"]
    assert [tool["type"] for tool in body["tools"][0]["tools"]] == ["function", "custom"]


def test_a_name_that_is_too_long_is_cut_and_known_again():
    long = "n" * 90
    losses = Losses()
    request = asked(tools=(Tool(name=long, at="tools[0]"),), tool_choice=ToolChoice(mode="named", name=long))
    written = OPENAI_RESPONSES.write_request(request, DESTINATION, losses)
    body = json.loads(written.body)
    assert body["tools"][0]["name"] == body["tool_choice"]["name"] != long
    assert [loss.path for loss in losses] == ["tools[0].name"]


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        (ToolChoice(mode="auto"), "auto"),
        (ToolChoice(mode="required"), "required"),
        (ToolChoice(mode="none"), "none"),
        (ToolChoice(mode="named", name="f"), {"type": "function", "name": "f"}),
        (
            ToolChoice(mode="required", allowed=("f", "x")),
            {
                "type": "allowed_tools",
                "mode": "required",
                "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "x"}],
            },
        ),
    ],
)
def test_the_choice_among_tools(choice: ToolChoice, written: Any):
    tools = (Tool(name="f"), Tool(name="x", kind="custom"))
    assert write(asked(tools=tools, tool_choice=choice))[0]["tool_choice"] == written


def test_a_model_that_cannot_be_forced_changes_the_answer():
    destination = bound_for(profile=Profile(takes_forced_tools=False))
    request = asked(tools=(Tool(name="f"),), tool_choice=ToolChoice(mode="required"), names={"tool_choice": "tc"})
    assert write(request, destination)[1] == {"tc": Weight.CHANGES_ANSWER}


# Settings


def test_nothing_is_kept_by_the_upstream_unless_its_own_client_says_so():
    assert write(asked())[0]["store"] is False
    raw = b'{"model":"m","input":"hi"}'
    members = read_members(raw)
    facts = OPENAI_RESPONSES.read_facts(members, OPENAI_RESPONSES.operations["chat"])
    own, _ = write(OPENAI_RESPONSES.read_request(members, facts, SEALS))
    assert own == {"model": "gpt", "input": "hi"}


def test_seals_are_asked_for_where_they_will_be_needed():
    assert "include" not in write(asked())[0]
    assert write(asked(reasoning=Reasoning(effort="low")))[0]["include"] == ["reasoning.encrypted_content"]
    assert "include" not in write(asked(reasoning=Reasoning(effort="none")))[0]
    sealed = asked(ASKED, says(Thinking(seal=OURS), Text(text="a")))
    assert write(sealed)[0]["include"] == ["reasoning.encrypted_content"]


@pytest.mark.parametrize(
    ("sampling", "lost"),
    [
        (Sampling(temperature=0, top_p=0.0, max_output_tokens=99), {}),
        (Sampling(stop=("a",)), {"stop": Weight.DEGRADES}),
        (Sampling(seed=0), {"seed": Weight.DEGRADES}),
        (Sampling(top_k=1), {"top_k": Weight.DEGRADES}),
        (Sampling(presence_penalty=1.0), {"presence_penalty": Weight.DEGRADES}),
        (Sampling(frequency_penalty=1.0), {"frequency_penalty": Weight.DEGRADES}),
        (Sampling(choices=2), {"choices": Weight.CHANGES_ANSWER}),
        (Sampling(choices=1, logprobs=False), {}),
        (Sampling(logprobs=True), {"logprobs": Weight.CHANGES_ANSWER}),
        (Sampling(max_output_tokens=3), {"max_output_tokens": Weight.COSMETIC}),
    ],
)
def test_sampling_that_the_format_lacks_is_named(sampling: Sampling, lost: dict[str, Weight]):
    assert write(asked(sampling=sampling))[1] == lost


def test_zero_is_something_that_was_asked_for():
    body, _ = write(asked(sampling=Sampling(temperature=0, top_p=0.0)))
    assert (body["temperature"], body["top_p"]) == (0, 0.0)


@pytest.mark.parametrize(
    ("reasoning", "written", "lost"),
    [
        (Reasoning(effort="high", shows=True), {"effort": "high", "summary": "auto"}, {}),
        (Reasoning(effort="none"), {"effort": "none"}, {}),
        (Reasoning(budget=12_000, mode="enabled"), {"effort": "high"}, {"budget": 1, "mode": 1}),
        (Reasoning(budget=1024), {"effort": "minimal"}, {"budget": 1}),
        (Reasoning(mode="adaptive"), None, {"mode": 1}),
        (Reasoning(mode="between_tools"), {"effort": "none"}, {"mode": 1}),
    ],
)
def test_how_hard_to_think(reasoning: Reasoning, written: Any, lost: dict[str, int]):
    body, noted = write(asked(reasoning=reasoning))
    assert body.get("reasoning") == written
    assert noted == lost


def test_an_effort_that_the_model_lacks_is_the_nearest():
    destination = bound_for(profile=Profile(efforts=("low", "high")))
    body, lost = write(asked(reasoning=Reasoning(effort="max")), destination)
    assert body["reasoning"] == {"effort": "high"}
    assert lost == {"effort": Weight.DEGRADES}


def test_the_form_of_the_answer():
    wanted = ResponseFormat(kind="json_schema", schema={"type": "object"}, is_strict=True)
    body, lost = write(asked(response_format=wanted, verbosity="low"))
    assert body["text"] == {
        "format": {"type": "json_schema", "name": "output", "schema": {"type": "object"}, "strict": True},
        "verbosity": "low",
    }
    assert lost == {}
    refused, lost = write(asked(response_format=wanted), bound_for(profile=Profile(takes_schema=False)))
    assert "text" not in refused
    assert lost == {"response_format": Weight.CHANGES_ANSWER}


def test_a_long_name_of_an_end_user_is_cut():
    body, lost = write(asked(end_user='{"session": "' + "x" * 200 + '"}'))
    assert len(body["safety_identifier"]) <= 128
    assert lost == {"end_user": Weight.COSMETIC}


def test_what_this_upstream_refuses_is_left_out():
    quirks = Quirks(drop_fields=("store", "metadata"), takes_cache_marks=False)
    request = asked(system=(Text(text="a", cache="", at="s"), Text(text="b")), metadata={"a": "b"}, cache_key="k")
    body, lost = write(request, bound_for(quirks=quirks))
    assert not {"store", "metadata", "prompt_cache_key"} & set(body)
    assert "prompt_cache_breakpoint" not in body["input"][0]["content"][0]
    assert lost == {"s.cache": Weight.COSMETIC, "cache_key": Weight.COSMETIC, "metadata": Weight.DEGRADES}


def test_no_more_tokens_are_asked_for_than_the_operator_allows():
    body, lost = write(asked(sampling=Sampling(max_output_tokens=900)), bound_for(max_output_tokens=500))
    assert (body["max_output_tokens"], lost) == (500, {"max_output_tokens": Weight.DEGRADES})


@pytest.mark.parametrize(("effort", "lost"), [("high", {"reasoning": Weight.DEGRADES}), ("none", {})])
def test_a_model_that_does_not_reason_is_asked_for_none(effort: Any, lost: dict[str, Weight]):
    body, found = write(asked(reasoning=Reasoning(effort=effort, shows=True)), bound_for(profile=Profile(efforts=())))
    assert not {"reasoning", "include"} & set(body)
    assert found == lost


def test_edge_79_an_older_model_gets_a_cache_key_and_no_marks():
    request = asked(system=(Text(text="a", cache="", at="s"), Text(text="b")), cache_key="k")
    body, lost = write(request, bound_for(profile=Profile(takes_cache_breakpoints=False)))
    assert body["prompt_cache_key"] == "k"
    assert "prompt_cache_breakpoint" not in body["input"][0]["content"][0]
    assert lost == {"s.cache": Weight.COSMETIC}


def test_fields_of_another_format_are_named():
    field = NativeField(name="n", value=1, weight=Weight.CHANGES_ANSWER, why="x")
    request = msgspec.structs.replace(asked(), native=Native(origin="openai_chat", fields=(field,)))
    assert write(request)[1] == {"n": Weight.CHANGES_ANSWER}
