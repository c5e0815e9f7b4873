"""What an upstream of Messages gets: a body that it takes, and a loss for all that it does not."""

import json
from base64 import b64encode
from typing import Any

import msgspec
import pytest

from providers.adapters.quirks import Quirks
from providers.canonical.events import ArgumentsDelta, PartEnd, PartStart
from providers.canonical.losses import Losses, Weight
from providers.canonical.parts import Citation, Foreign, Media, Part, Text, Thinking, ToolCall, ToolResult
from providers.canonical.request import Reasoning, Request, ResponseFormat, Sampling, Tool, ToolChoice, Turn
from providers.canonical.seals import Seal, native_origin
from providers.dialects.anthropic_messages.request_writer import write_request
from providers.dialects.anthropic_messages.wire import NAME
from providers.dialects.base import Destination, Written
from providers.profiles import PERMISSIVE, Profile, named_profile
from tenants.errors import InvalidRequest

ORIGIN = "anthropic/claude"
PNG = b64encode(b"\x89PNG\r\n\x1a\n and so on").decode()
JPEG = b64encode(b"\xff\xd8\xff\xe0 and so on").decode()
WEBP = b64encode(b"RIFF\x00\x00\x00\x00WEBPVP8 ").decode()
GIF = b64encode(b"GIF89a and so on").decode()
SVG = b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode()
HEIC = b64encode(b"\x00\x00\x00\x18ftypheic").decode()
PDF = b64encode(b"%PDF-1.7 and so on").decode()

TOOL = Tool(name="look", at="tools[0]")
CALL = ToolCall(id="t1", name="look", arguments="{}", at="messages[1].tool_calls[0]")
RESULT = ToolResult(call_id="t1", name="look", parts=(Text(text="seen", at="r"),), at="messages[2]")
HELLO = Turn(role="user", parts=(Text(text="hi", at="messages[0].content"),), at="messages[0]")


class Sent:
    """A request as it is sent, and what was lost."""

    def __init__(self, written: Written, losses: Losses) -> None:
        self.tools = written.tools
        self.body: dict[str, Any] = json.loads(written.body)
        self.losses = {loss.path: loss.weight for loss in losses}

    @property
    def content(self) -> list[Any]:
        (message,) = self.body["messages"]
        content: list[Any] = message["content"]
        return content


def send(
    *parts: Part, profile: Profile = PERMISSIVE, quirks: Quirks | None = None, limit: int | None = None, **fields: Any
) -> Sent:
    turns = fields.pop("turns", (Turn(role="user", parts=parts, at="messages[0]"),) if parts else (HELLO,))
    sampling = Sampling(**({"max_output_tokens": 1000} | fields.pop("sampling", {})))
    request = Request(model="alias", turns=turns, sampling=sampling, **fields)
    destination = Destination(
        model="upstream", origin=ORIGIN, profile=profile, quirks=quirks or Quirks(), max_output_tokens=limit
    )
    losses = Losses()
    return Sent(write_request(request, destination, losses), losses)


def user(*parts: Part) -> Turn:
    return Turn(role="user", parts=parts, at="messages[9]")


def assistant(*parts: Part) -> Turn:
    return Turn(role="assistant", parts=parts, at="messages[1]")


def test_a_plain_question_loses_nothing():
    sent = send()
    assert sent.body == {"model": "upstream", "max_tokens": 1000, "messages": [{"role": "user", "content": "hi"}]}
    assert sent.losses == {}


@pytest.mark.parametrize(
    ("limit", "profile", "expected"),
    [
        (5000, Profile(max_output_tokens=8000), 5000),
        (None, Profile(max_output_tokens=8000), 8000),
        (None, PERMISSIVE, 32000),
    ],
)
def test_a_number_of_tokens_is_always_said(limit: int | None, profile: Profile, expected: int):
    sent = send(limit=limit, profile=profile, sampling={"max_output_tokens": None})
    assert sent.body["max_tokens"] == expected
    assert sent.losses == {"max_output_tokens": Weight.COSMETIC}


@pytest.mark.parametrize("known", [{"profile": Profile(max_output_tokens=500)}, {"limit": 500}])
def test_more_tokens_than_the_model_writes_are_no_reason_to_fail(known: dict[str, Any]):
    sent = send(**known)
    assert (sent.body["max_tokens"], sent.losses) == (500, {"max_output_tokens": Weight.DEGRADES})


# Turns


def test_edge_61_empty_texts_and_turns_are_not_sent():
    turns = (HELLO, assistant(Text(text="", at="e")), user(Text(text="", at="f"), Text(text="go", at="g")))
    sent = send(turns=turns)
    assert sent.body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "text", "text": "go"}]}
    ]
    assert sent.losses == {"e": Weight.COSMETIC, "f": Weight.COSMETIC, "messages[1]": Weight.COSMETIC}


def test_results_come_first_wherever_they_stood():
    turns = (HELLO, assistant(CALL), user(Text(text="by the way", at="x")), user(RESULT))
    assert [block["type"] for block in send(turns=turns, tools=(TOOL,)).body["messages"][2]["content"]] == [
        "tool_result",
        "text",
    ]


def test_instructions_in_mid_conversation_stay_where_they_are():
    order = Turn(role="system", parts=(Text(text="Be brief.", at="s"),), at="messages[1]")
    sent = send(turns=(HELLO, order, assistant(Text(text="ok", at="a")), HELLO))
    assert [message["role"] for message in sent.body["messages"]] == ["user", "system", "assistant", "user"]
    assert sent.losses == {}


@pytest.mark.parametrize(
    ("profile", "before"),
    [(Profile(takes_system_turns=False), ()), (PERMISSIVE, (assistant(Text(text="ok", at="a")),))],
)
def test_instructions_that_may_not_stand_there_become_a_reminder_in_the_same_place(
    profile: Profile, before: tuple[Turn, ...]
):
    order = Turn(role="system", parts=(Text(text="Be brief.", at="s"),), at="messages[1]")
    sent = send(turns=(HELLO, *before, order, HELLO), profile=profile)
    blocks = sent.body["messages"][-1]["content"]
    assert {"type": "text", "text": "<system-reminder>\nBe brief.\n</system-reminder>"} in blocks
    assert blocks[-1]["text"] == "hi"
    assert sent.losses == {"messages[1]": Weight.DEGRADES}


def test_edge_86_a_prefill_has_no_blanks_at_its_end():
    sent = send(turns=(HELLO, assistant(Text(text="It is \n", at="messages[1].content"))))
    assert sent.body["messages"][1] == {"role": "assistant", "content": "It is"}
    assert sent.losses == {"messages[1].content": Weight.COSMETIC}


def test_edge_86_a_prefill_that_the_model_refuses_changes_the_answer():
    sent = send(turns=(HELLO, assistant(Text(text="It is", at="c"))), profile=named_profile("claude-opus-5"))
    assert sent.losses == {"messages[1]": Weight.CHANGES_ANSWER}


def test_what_others_mark_in_a_text_is_lost_by_name():
    citation = Citation(url="https://a")
    text = Text(text="x", is_refusal=True, citations=(citation,), seal=Seal(origin="o", payload="p"), at="t")
    assert send(text).losses == {"t": Weight.COSMETIC, "t.citations": Weight.COSMETIC, "t.seal": Weight.DEGRADES}


# Thinking


@pytest.mark.parametrize("origin", [ORIGIN, native_origin(NAME)])
def test_edge_91_thinking_goes_back_to_its_origin_word_for_word_and_first_in_its_turn(origin: str):
    seal = Seal(origin=origin, payload="Eq==")
    turn = assistant(Text(text="a", at="a"), Thinking(text=" hm\n", seal=seal, at="b"), CALL)
    sent = send(turns=(HELLO, turn, user(RESULT)), tools=(TOOL,))
    blocks = sent.body["messages"][1]["content"]
    assert blocks[0] == {"type": "thinking", "thinking": " hm\n", "signature": "Eq=="}
    assert [block["type"] for block in blocks] == ["thinking", "text", "tool_use"]
    assert sent.losses == {}


def test_edge_91_thinking_between_calls_is_not_moved():
    seal = Seal(origin=ORIGIN, payload="Eq==")
    parts = (Thinking(text="a", seal=seal, at="a"), Text(text="b", at="b"), Thinking(text="c", seal=seal, at="c"))
    sent = send(turns=(HELLO, assistant(*parts), HELLO))
    assert [block["type"] for block in sent.body["messages"][1]["content"]] == ["thinking", "text", "thinking"]


@pytest.mark.parametrize("seal", [None, Seal(origin="google/gemini-3", payload="opaque")])
def test_edges_91_and_92_other_reasoning_is_dropped_and_never_becomes_text(seal: Seal | None):
    turn = assistant(Thinking(text="secret", seal=seal, at="h"), Text(text="a", at="a"))
    sent = send(turns=(HELLO, turn, HELLO))
    assert "secret" not in json.dumps(sent.body)
    assert sent.losses == {"h": Weight.DEGRADES}


def test_edge_94_redacted_thinking_goes_back_as_it_is():
    turn = assistant(Thinking(is_redacted=True, seal=Seal(origin=ORIGIN, payload="Em=="), at="h"))
    sent = send(turns=(HELLO, turn, HELLO))
    assert sent.body["messages"][1]["content"] == [{"type": "redacted_thinking", "data": "Em=="}]


# Images and documents


@pytest.mark.parametrize(
    ("data", "declared", "media_type"),
    [
        (PNG, "image/png", "image/png"),
        (JPEG, "image/png", "image/jpeg"),
        (WEBP, "image/jpg", "image/webp"),
        (GIF, "", "image/gif"),
    ],
)
def test_edge_85_an_images_type_is_what_its_bytes_say(data: str, declared: str, media_type: str):
    sent = send(Media(kind="image", data=data, media_type=declared, at="m"))
    assert sent.content[0]["source"] == {"type": "base64", "media_type": media_type, "data": data}
    assert sent.losses == ({"m.media_type": Weight.COSMETIC} if declared not in ("", media_type) else {})


@pytest.mark.parametrize("field", ["data", "url"])
def test_edge_85_prefixes_and_blanks_are_no_part_of_the_data(field: str):
    data = f"data:image/png;base64,{PNG[:8]}\r\n {PNG[8:]}\n"
    sent = send(Media(kind="image", at="m", **{field: data}))
    assert sent.content[0]["source"] == {"type": "base64", "media_type": "image/png", "data": PNG}


@pytest.mark.parametrize(
    "media",
    [
        Media(kind="image", data=SVG, media_type="image/svg+xml", at="m"),
        Media(kind="image", data=HEIC, media_type="image/heic", at="m"),
        Media(kind="image", data=HEIC, media_type="image/png", at="m"),
        Media(kind="image", url="gs://bucket/a.png", at="m"),
        Media(kind="image", file_id="file-1", at="m"),
        Media(kind="document", data=PNG, media_type="application/zip", at="m"),
        Media(kind="audio", data="AAAA", media_type="audio/wav", at="m"),
        Media(kind="video", url="https://a/b.mp4", at="m"),
    ],
)
def test_what_the_upstream_cannot_see_changes_the_answer(media: Media):
    sent = send(Text(text="look", at="t"), media)
    assert sent.content == "look"
    assert sent.losses == {"m": Weight.CHANGES_ANSWER}


@pytest.mark.parametrize(
    ("media", "profile"),
    [
        (Media(kind="image", data=PNG, media_type="image/png", at="m"), Profile(takes_images=False)),
        (Media(kind="document", data=PDF, media_type="application/pdf", at="m"), Profile(takes_documents=False)),
    ],
)
def test_a_model_that_sees_nothing_is_shown_nothing(media: Media, profile: Profile):
    assert send(Text(text="look", at="t"), media, profile=profile).losses == {"m": Weight.CHANGES_ANSWER}


@pytest.mark.parametrize(
    ("media", "source"),
    [
        (
            {"data": PDF, "media_type": "application/pdf"},
            {"type": "base64", "media_type": "application/pdf", "data": PDF},
        ),
        ({"url": "https://a/b.pdf"}, {"type": "url", "url": "https://a/b.pdf"}),
        ({"text": "words"}, {"type": "text", "media_type": "text/plain", "data": "words"}),
        (
            {"data": b64encode(b"a,b").decode(), "media_type": "text/csv"},
            {"type": "text", "media_type": "text/plain", "data": "a,b"},
        ),
    ],
)
def test_documents_have_a_title_and_a_source(media: dict[str, Any], source: dict[str, Any]):
    sent = send(Media(kind="document", title="report.pdf", at="m", **media))
    assert sent.content == [{"type": "document", "source": source, "title": "report.pdf"}]


def test_an_image_that_another_model_made_is_not_shown_as_the_upstreams_own():
    sent = send(turns=(HELLO, assistant(Media(kind="image", data=PNG, at="m"), Text(text="There.", at="t")), HELLO))
    assert sent.body["messages"][1] == {"role": "assistant", "content": "There."}
    assert sent.losses == {"m": Weight.CHANGES_ANSWER}


def test_images_in_results_stay_in_them():
    image = Media(kind="image", url="https://a/b.png", at="i")
    result = ToolResult(call_id="t1", parts=(Text(text="see", at="r"), image), is_error=True, at="r")
    sent = send(turns=(HELLO, assistant(CALL), user(result)), tools=(TOOL,))
    (block,) = sent.body["messages"][2]["content"]
    assert [part["type"] for part in block["content"]] == ["text", "image"]
    assert block["is_error"] is True


# Tools


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


# Cache marks


def test_edge_79_the_last_four_marks_are_kept():
    tools = (msgspec.structs.replace(TOOL, cache="5m"),)
    parts = [Text(text=str(i), cache="", at=f"p{i}") for i in range(4)]
    sent = send(*parts, tools=tools, system=(Text(text="s", cache="1h", at="system"),))
    assert "cache_control" not in sent.body["tools"][0]
    assert sent.body["system"] == "s" or "cache_control" not in sent.body["system"][0]
    assert [block["cache_control"] for block in sent.content] == [{"type": "ephemeral"}] * 4
    assert sent.losses == {"tools[0].cache": Weight.COSMETIC, "system.cache": Weight.COSMETIC}


@pytest.mark.parametrize(("cache", "ttl"), [("30m", "1h"), ("12h", "1h"), ("1m", "5m")])
def test_edge_79_lifetimes_are_the_nearest_that_there_are(cache: str, ttl: str):
    sent = send(Text(text="x", cache=cache, at="p"))
    assert sent.content[0]["cache_control"] == {"type": "ephemeral", "ttl": ttl}
    assert sent.losses == {"p.cache": Weight.COSMETIC}


def test_edge_79_no_mark_lasts_longer_than_one_before_it():
    sent = send(
        Text(text="x", cache="", at="p"), Text(text="y", cache="1h", at="q"), Text(text="z", cache="5m", at="r")
    )
    assert [block["cache_control"].get("ttl") for block in sent.content] == ["1h", "1h", "5m"]
    assert sent.losses == {"p.cache": Weight.COSMETIC}


def test_edge_79_an_upstream_without_cache_marks_gets_none():
    sent = send(Text(text="x", cache="1h", at="p"), quirks=Quirks(takes_cache_marks=False))
    assert sent.content == "x"
    assert sent.losses == {"p.cache": Weight.COSMETIC}


# Thinking, sampling and the rest


@pytest.mark.parametrize(
    ("reasoning", "profile", "thinking", "effort"),
    [
        (Reasoning(effort="high"), PERMISSIVE, {"type": "adaptive", "display": "summarized"}, "high"),
        (Reasoning(effort="minimal"), PERMISSIVE, {"type": "adaptive", "display": "summarized"}, "low"),
        (Reasoning(effort="high", shows=False), PERMISSIVE, {"type": "adaptive", "display": "omitted"}, "high"),
        (Reasoning(shows=True), PERMISSIVE, {"type": "adaptive", "display": "summarized"}, None),
        (Reasoning(shows=False), PERMISSIVE, None, None),
        (Reasoning(budget=5000), PERMISSIVE, {"type": "enabled", "budget_tokens": 5000}, None),
        (Reasoning(budget=5000), "claude-opus-5", {"type": "adaptive", "display": "summarized"}, "medium"),
        (Reasoning(effort="medium"), "claude-sonnet-4-5", {"type": "enabled", "budget_tokens": 8192}, None),
        (Reasoning(effort="none"), "claude-sonnet-4-5", {"type": "disabled"}, None),
        (Reasoning(effort="none"), "claude-sonnet-5-5", {"type": "between_tools"}, None),
        (Reasoning(effort="none"), "claude-fable-5", {"type": "adaptive"}, "low"),
        (Reasoning(budget=0), PERMISSIVE, {"type": "disabled"}, None),
    ],
)
def test_edge_98_thinking_is_asked_for_in_the_models_own_way_and_shown(
    reasoning: Reasoning, profile: Profile | str, thinking: Any, effort: str | None
):
    known = profile if isinstance(profile, Profile) else named_profile(profile)
    sent = send(reasoning=reasoning, profile=known, sampling={"max_output_tokens": 20_000})
    assert sent.body.get("thinking") == thinking
    assert sent.body.get("output_config", {}).get("effort") == effort


@pytest.mark.parametrize(("tokens", "budget"), [(4000, 3999), (1025, 1024)])
def test_edge_75_a_budget_is_less_than_all_tokens(tokens: int, budget: int):
    sent = send(reasoning=Reasoning(budget=10_000), sampling={"max_output_tokens": tokens})
    assert sent.body["thinking"]["budget_tokens"] == budget
    assert sent.losses == {"reasoning": Weight.COSMETIC}


def test_edge_75_too_few_tokens_leave_none_for_thinking():
    sent = send(reasoning=Reasoning(effort="high"), profile=named_profile("claude-sonnet-4-5"))
    assert "thinking" not in sent.body
    assert sent.losses == {"reasoning": Weight.DEGRADES}


def test_a_loop_of_calls_that_began_without_thinking_goes_on_without():
    turns = (HELLO, assistant(CALL), user(RESULT))
    sent = send(
        turns=turns,
        tools=(TOOL,),
        reasoning=Reasoning(effort="low"),
        profile=named_profile("claude-sonnet-4-5"),
        sampling={"max_output_tokens": 9000},
    )
    assert "thinking" not in sent.body
    assert sent.losses == {"reasoning": Weight.DEGRADES}


def test_sampling_goes_through_and_zero_is_a_number():
    sampling = {"temperature": 0, "top_p": 0.0, "top_k": 5, "stop": ("END",)}
    sent = send(sampling=sampling)
    assert {name: sent.body[name] for name in ("temperature", "top_p", "top_k", "stop_sequences")} == {
        "temperature": 0,
        "top_p": 0.0,
        "top_k": 5,
        "stop_sequences": ["END"],
    }
    assert sent.losses == {}


@pytest.mark.parametrize(
    ("sampling", "changes", "kept"),
    [
        ({"temperature": 1.7}, {}, {"temperature": 1}),
        ({"temperature": 0.5, "top_k": 3}, {"profile": Profile(takes_sampling=False)}, {}),
        ({"temperature": 0.5, "top_p": 0.9}, {"profile": named_profile("claude-opus-4-1")}, {"temperature": 0.5}),
        ({"temperature": 0.5, "top_k": 3, "top_p": 0.96}, {"reasoning": Reasoning(effort="low")}, {"top_p": 0.96}),
        ({"temperature": 1, "top_p": 0.5}, {"reasoning": Reasoning(effort="low")}, {"temperature": 1}),
    ],
)
def test_sampling_that_would_be_refused_is_not_sent(sampling: Any, changes: Any, kept: Any):
    sent = send(sampling=sampling, **changes)
    assert {name: sent.body[name] for name in ("temperature", "top_p", "top_k") if name in sent.body} == kept
    lost = {name for name in sampling if kept.get(name) != sampling[name]}
    assert {name: weight for name, weight in sent.losses.items() if name in sampling} == dict.fromkeys(
        lost, Weight.DEGRADES
    )


def test_blanks_are_no_stop_sequence():
    sent = send(sampling={"stop": ("\n\n", "END")})
    assert (sent.body["stop_sequences"], sent.losses) == (["END"], {"stop": Weight.DEGRADES})


@pytest.mark.parametrize(
    ("fields", "weight"),
    [
        ({"sampling": {"seed": 1}}, Weight.DEGRADES),
        ({"sampling": {"logprobs": True}}, Weight.CHANGES_ANSWER),
        ({"sampling": {"choices": 2}}, Weight.CHANGES_ANSWER),
        ({"verbosity": "low"}, Weight.DEGRADES),
        ({"cache_key": "k"}, Weight.COSMETIC),
        ({"metadata": {"a": "b"}}, Weight.COSMETIC),
        ({"service_tier": "flex"}, Weight.COSMETIC),
    ],
)
def test_what_the_format_has_no_place_for_is_lost_by_name(fields: dict[str, Any], weight: Weight):
    (field,) = fields.get("sampling", fields)
    sent = send(**fields)
    assert sent.body.keys() == {"model", "max_tokens", "messages"}
    assert sent.losses == {field: weight}


def test_any_json_is_asked_for_in_the_instructions():
    sent = send(
        system=(Text(text="Be kind.", cache="", at="system"),), response_format=ResponseFormat(kind="json_object")
    )
    kind, asked = sent.body["system"]
    assert (kind["text"], kind["cache_control"]) == ("Be kind.", {"type": "ephemeral"})
    assert "valid JSON" in asked["text"]
    assert sent.losses == {"response_format": Weight.DEGRADES}


def test_any_json_is_asked_for_where_there_are_no_other_instructions():
    assert "valid JSON" in send(response_format=ResponseFormat(kind="json_object")).body["system"]


@pytest.mark.parametrize("sampling", [{"choices": 1}, {"logprobs": False}])
def test_what_means_nothing_is_no_loss(sampling: dict[str, Any]):
    assert send(sampling=sampling).losses == {}


@pytest.mark.parametrize(
    ("tier", "expected"),
    [("auto", {"service_tier": "auto"}), ("default", {"service_tier": "standard_only"}), ("fast", {"speed": "fast"})],
)
def test_tiers_have_their_own_words(tier: str, expected: dict[str, str]):
    assert expected.items() <= send(service_tier=tier).body.items()


def test_the_end_user_is_told():
    assert send(end_user="u-1").body["metadata"] == {"user_id": "u-1"}


def test_what_an_upstream_refuses_is_dropped_and_named_as_the_client_names_it():
    sent = send(
        sampling={"stop": ("END",)}, names={"sampling.stop": "stop"}, quirks=Quirks(drop_fields=("stop_sequences",))
    )
    assert "stop_sequences" not in sent.body
    assert sent.losses == {"stop": Weight.DEGRADES}


def test_edge_80_nothing_that_needs_a_beta_header_is_made_up():
    sent = send(reasoning=Reasoning(effort="high"), service_tier="priority", cache_key="k", tools=(TOOL,))
    assert sent.body.keys() == {"model", "max_tokens", "messages", "tools", "thinking", "output_config"}
