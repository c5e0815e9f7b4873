"""A canonical request as Gemini gets it, and what of it is lost."""

import json
from typing import Any

import pytest

from providers.canonical.losses import Losses, Weight
from providers.canonical.parts import Citation, Foreign, Media, Text, Thinking, ToolCall, ToolResult
from providers.canonical.request import Reasoning, Request, ResponseFormat, Sampling, Tool, ToolChoice, Turn
from providers.canonical.seals import Seal
from providers.dialects.base import Destination
from providers.dialects.gemini.request_writer import write_request
from providers.profiles import PERMISSIVE, Profile, named_profile
from tenants.errors import InvalidRequest

ORIGIN = "google/gemini-3-pro"
OLD, NEW = named_profile("gemini-2.5-pro"), named_profile("gemini-3-pro")
HI = Turn(role="user", parts=(Text(text="hi", at="messages[0].content"),), at="messages[0]")
SCHEMA = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "additionalProperties": False}


def write(request: Request, profile: Profile = PERMISSIVE) -> tuple[dict[str, Any], dict[str, Weight]]:
    """Return the body, and the weights of the losses by path."""
    losses = Losses()
    destination = Destination(model="gemini", origin=ORIGIN, profile=profile)
    body = json.loads(write_request(request, destination, losses).body)
    return body, {loss.path: loss.weight for loss in losses}


def said(*turns: Turn, **more: Any) -> Request:
    return Request(model="alias", turns=turns, **more)


def assistant(*parts: Any) -> Turn:
    return Turn(role="assistant", parts=parts, at="messages[1]")


def user(*parts: Any) -> Turn:
    return Turn(role="user", parts=parts, at="messages[2]")


def parts_of(*parts: Any, profile: Profile = PERMISSIVE) -> tuple[list[dict[str, Any]], dict[str, Weight]]:
    """Return what becomes of parts of the model's turn."""
    body, lost = write(said(HI, assistant(*parts)), profile)
    return (body["contents"][1]["parts"] if len(body["contents"]) > 1 else []), lost


def test_a_plain_request_loses_nothing():
    request = said(
        HI, system=(Text(text="Be kind."), Text(text="Be brief.")), sampling=Sampling(temperature=0, top_k=3)
    )
    assert write(request) == (
        {
            "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
            "systemInstruction": {"parts": [{"text": "Be kind."}, {"text": "Be brief."}]},
            "generationConfig": {"temperature": 0, "topK": 3},
        },
        {},
    )


def test_the_user_speaks_first():
    body, lost = write(said(assistant(Text(text="Hello!"))))
    assert [content["role"] for content in body["contents"]] == ["user", "model"]
    assert lost == {"messages[1]": Weight.COSMETIC}


def test_there_is_always_something_to_answer():
    body, _ = write(Request(model="m", system=(Text(text="Be kind."),)))
    assert [content["role"] for content in body["contents"]] == ["user"]


def test_what_one_speaker_says_in_a_row_is_one_content():
    body, lost = write(said(HI, user(Text(text="you")), assistant(Text(text="a")), assistant(Text(text="b"))))
    assert [[part["text"] for part in content["parts"]] for content in body["contents"]] == [["hi", "you"], ["a", "b"]]
    assert lost == {}


def test_instructions_in_mid_conversation_are_told_as_the_user():
    system = Turn(role="system", parts=(Text(text="Be brief."),), at="messages[3]")
    body, lost = write(said(HI, assistant(Text(text="a")), system, user(Text(text="b"))))
    assert body["contents"][2] == {"role": "user", "parts": [{"text": "Be brief."}, {"text": "b"}]}
    assert lost == {"messages[3]": Weight.DEGRADES}


def test_words_without_words_are_left_out():
    body, lost = write(said(HI, assistant(Text(text="")), user(Text(text="go on"), Text(text=""))))
    assert body["contents"] == [{"role": "user", "parts": [{"text": "hi"}, {"text": "go on"}]}]
    assert lost == {}


def test_what_gemini_does_not_keep_of_words_is_named():
    text = Text(text="x", is_refusal=True, cache="5m", citations=(Citation(url="https://a"),), at="m[1].content[0]")
    nodes, lost = parts_of(text)
    assert nodes == [{"text": "x"}]
    assert lost == dict.fromkeys(
        ("m[1].content[0].cache", "m[1].content[0].citations", "m[1].content[0].refusal"), Weight.COSMETIC
    )


# Seals


def test_a_seal_goes_back_to_its_origin_only():
    ours, theirs = Seal(origin=ORIGIN, payload="QUJD"), Seal(origin="anthropic/claude", payload="opaque")
    nodes, lost = parts_of(
        Thinking(text="hm", seal=ours),
        Thinking(text="no", seal=theirs, at="m[1].content[1]"),
        Thinking(text="bare", at="m[1].content[2]"),
        ToolCall(id="a", name="f", arguments="{}", seal=ours),
        ToolCall(id="b", name="f", arguments="{}", seal=theirs, at="m[1].tool_calls[1]"),
    )
    assert nodes == [
        {"text": "hm", "thought": True, "thoughtSignature": "QUJD"},
        {"functionCall": {"id": "a", "name": "f", "args": {}}, "thoughtSignature": "QUJD"},
        {"functionCall": {"id": "b", "name": "f", "args": {}}},
    ]
    assert lost == dict.fromkeys(("m[1].content[1]", "m[1].content[2]", "m[1].tool_calls[1].seal"), Weight.DEGRADES)


def test_edge_93_the_first_call_of_a_turn_needs_a_signature_from_gemini_3_on():
    calls = [ToolCall(id=each, name="f", arguments="{}") for each in "ab"]
    nodes, lost = parts_of(Text(text="x"), *calls, profile=NEW)
    assert [node.get("thoughtSignature") for node in nodes] == [None, "skip_thought_signature_validator", None]
    assert lost == {}
    assert not any("thoughtSignature" in node for node in parts_of(*calls, profile=OLD)[0])


def test_edge_93_a_seal_of_its_own_is_left_as_it_is():
    seal = Seal(origin=ORIGIN, payload="QUJD")
    nodes, _ = parts_of(ToolCall(id="a", name="f", arguments="{}", seal=seal), profile=NEW)
    assert nodes[0]["thoughtSignature"] == "QUJD"


# Calls and results


@pytest.mark.parametrize(
    ("arguments", "args", "is_lost"),
    [
        ("", {}, False),
        ("  ", {}, False),
        ('{"a":"\\u003c","n":1.50}', {"a": "<", "n": 1.5}, False),
        ("[1]", {"_raw": "[1]"}, True),
        ('{"a":', {"_raw": '{"a":'}, True),
    ],
)
def test_arguments_are_an_object(arguments: str, args: dict[str, Any], is_lost: bool):
    nodes, lost = parts_of(ToolCall(id="a", name="f", arguments=arguments, at="c"))
    assert nodes[0]["functionCall"]["args"] == args
    assert lost == ({"c.arguments": Weight.DEGRADES} if is_lost else {})


def results(*results: ToolResult, profile: Profile = PERMISSIVE) -> tuple[list[dict[str, Any]], dict[str, Weight]]:
    call = assistant(ToolCall(id="a", name="f", arguments="{}"))
    body, lost = write(said(HI, call, user(*results, Text(text="so?"))), profile)
    return body["contents"][2]["parts"], lost


def test_results_are_objects_named_after_their_tool():
    nodes, lost = results(
        ToolResult(call_id="a", name="f", parts=(Text(text="28 °C"),)),
        ToolResult(call_id="a", parts=(Text(text="no"),), is_error=True),
        ToolResult(call_id="a"),
    )
    assert [node.get("functionResponse") for node in nodes] == [
        {"id": "a", "name": "f", "response": {"output": "28 °C"}},
        {"id": "a", "name": "f", "response": {"error": "no"}},
        {"id": "a", "name": "f", "response": {}},
        None,
    ]
    assert lost == {}


def test_images_of_results_stand_inside_them_and_before_gemini_3_beside_them():
    image = Media(kind="image", media_type="image/png", data="AA==", at="m[2].content[0].content[1]")
    result = ToolResult(call_id="a", parts=(Text(text="x"), image), at="m[2].content[0]")
    blob = {"inlineData": {"mimeType": "image/png", "data": "AA=="}}
    nodes, lost = results(result)
    assert nodes[0]["functionResponse"]["parts"] == [blob]
    assert lost == {}
    nodes, lost = results(result, profile=OLD)
    assert "parts" not in nodes[0]["functionResponse"]
    assert nodes[1:] == [blob, {"text": "so?"}]
    assert lost == {"m[2].content[0]": Weight.COSMETIC}


def test_a_result_of_nobody_has_a_name_all_the_same():
    body, _ = write(said(user(ToolResult(call_id="x"))))
    assert body["contents"][0]["parts"][0]["functionResponse"]["name"] == "unknown"


# Files


def test_addresses_of_the_web_are_not_fetched():
    image = Media(kind="image", url="https://example.org/a.png", at="m[0].content[0]")
    film = Media(kind="video", url="https://youtu.be/x")
    file = Media(kind="document", file_id="file-abc", at="m[0].content[1]")
    body, lost = write(said(user(image, film, file)))
    assert body["contents"][0]["parts"] == [{"fileData": {"fileUri": "https://youtu.be/x"}}]
    assert lost == dict.fromkeys(("m[0].content[0]", "m[0].content[1]"), Weight.CHANGES_ANSWER)


def test_edge_84_a_large_image_is_not_copied_into_a_loss():
    data = "A" * 1_000_000
    body, lost = write(said(user(Media(kind="image", media_type="image/png", data=data, title="a.png", at="m"))))
    assert body["contents"][0]["parts"][0]["inlineData"]["data"] == data
    assert lost == {"m.title": Weight.COSMETIC}


def test_parts_of_others_are_lost_with_their_own_weight():
    foreign = Foreign(origin="anthropic_messages", what="search_result", value={}, weight=Weight.DEGRADES, at="m")
    assert write(said(HI, user(foreign)))[1] == {"m": Weight.DEGRADES}


# Tools


def test_schemas_go_as_they_are_from_gemini_3_on_and_reduced_before():
    tool = Tool(name="f", description="Does.", parameters=SCHEMA, at="tools[0]")
    body, lost = write(said(HI, tools=(tool,)))
    assert body["tools"] == [
        {"functionDeclarations": [{"name": "f", "description": "Does.", "parametersJsonSchema": SCHEMA}]}
    ]
    assert lost == {}
    body, lost = write(said(HI, tools=(tool,)), OLD)
    (declaration,) = body["tools"][0]["functionDeclarations"]
    assert declaration["parameters"] == {"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": True}}}
    assert lost == {"tools[0].parameters": Weight.DEGRADES}


def test_edge_71_an_object_without_properties_is_left_out_before_gemini_3():
    tool = Tool(name="f", parameters={"type": "object", "properties": {}})
    body, lost = write(said(HI, tools=(tool,)), OLD)
    assert body["tools"] == [{"functionDeclarations": [{"name": "f"}]}]
    assert lost == {}


def test_names_that_do_not_fit_are_changed_and_namespaces_flattened():
    git = Tool(name="go", description="Goes.", namespace="git", namespace_description="Git.", at="tools[1]")
    tools = (Tool(name="9 lives", at="tools[0]"), git)
    history = assistant(ToolCall(id="a", name="go", namespace="git", arguments="{}"))
    body, lost = write(said(HI, history, tools=tools, tool_choice=ToolChoice(mode="named", name="go")))
    first, second = (each["name"] for each in body["tools"][0]["functionDeclarations"])
    assert first.startswith("x9_lives_")
    assert second == body["contents"][1]["parts"][0]["functionCall"]["name"] == "git__go"
    assert body["toolConfig"]["functionCallingConfig"]["allowedFunctionNames"] == ["git__go"]
    assert body["tools"][0]["functionDeclarations"][1]["description"] == "Git.\n\nGoes."
    assert lost == dict.fromkeys(("tools[0].name", "tools[1].name", "tools[1].namespace"), Weight.COSMETIC)


def test_two_tools_that_would_have_one_name_are_refused():
    tools = (Tool(name="a__b", at="tools[0]"), Tool(name="b", namespace="a", at="tools[1]"))
    with pytest.raises(InvalidRequest) as refusal:
        write(said(HI, tools=tools))
    assert refusal.value.param == "tools[1]"


def test_free_form_tools_are_functions_of_one_text():
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: /x+/"}
    tool = Tool(name="patch", description="Patches.", kind="custom", grammar=grammar, at="tools[0]")
    call = ToolCall(id="a", name="patch", arguments="xx", kind="custom", at="m[1]")
    body, lost = write(said(HI, assistant(call), tools=(tool,)))
    (declaration,) = body["tools"][0]["functionDeclarations"]
    assert "start: /x+/" in declaration["description"]
    assert declaration["parametersJsonSchema"]["required"] == ["input"]
    assert body["contents"][1]["parts"][0]["functionCall"]["args"] == {"input": "xx"}
    assert lost == {"tools[0]": Weight.COSMETIC, "tools[0].format": Weight.DEGRADES, "m[1]": Weight.COSMETIC}


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (None, None),
        (ToolChoice(mode="auto"), {"mode": "AUTO"}),
        (ToolChoice(mode="none"), {"mode": "NONE"}),
        (ToolChoice(mode="required"), {"mode": "ANY"}),
        (ToolChoice(mode="named", name="f"), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (ToolChoice(mode="auto", allowed=("f",)), {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}),
    ],
)
def test_tool_choices(choice: ToolChoice | None, config: dict[str, Any] | None):
    body, lost = write(said(HI, tools=(Tool(name="f"),), tool_choice=choice))
    assert body.get("toolConfig", {}).get("functionCallingConfig") == config
    assert lost == {}


def test_strict_tools_are_validated():
    strict = said(HI, tools=(Tool(name="f", is_strict=True, at="tools[0]"),))
    body, lost = write(strict)
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}
    assert lost == {"tools[0].strict": Weight.COSMETIC}
    body, lost = write(strict, OLD)
    assert "toolConfig" not in body
    assert lost["tools[0].strict"] is Weight.DEGRADES


def test_without_tools_there_is_nothing_to_choose():
    body, lost = write(said(HI, tool_choice=ToolChoice(mode="required")))
    assert "toolConfig" not in body
    assert lost == {"tool_choice": Weight.COSMETIC}


# What stands in generationConfig


def test_edge_26_several_answers_and_probabilities_are_refused():
    body, lost = write(said(HI, sampling=Sampling(choices=2, logprobs=True, top_logprobs=3)))
    assert "generationConfig" not in body
    assert lost == dict.fromkeys(("choices", "logprobs", "top_logprobs"), Weight.CHANGES_ANSWER)


def test_stops_beyond_the_fifth_are_lost():
    body, lost = write(said(HI, sampling=Sampling(stop=tuple("abcdef"))))
    assert body["generationConfig"]["stopSequences"] == list("abcde")
    assert lost == {"stop": Weight.DEGRADES}


@pytest.mark.parametrize(
    ("reasoning", "profile", "config", "lost"),
    [
        (Reasoning(effort="low", shows=True), PERMISSIVE, {"thinkingLevel": "LOW", "includeThoughts": True}, set()),
        (Reasoning(effort="max"), PERMISSIVE, {"thinkingLevel": "XHIGH"}, {"effort"}),
        (Reasoning(effort="max"), NEW, {"thinkingLevel": "HIGH"}, {"effort"}),
        (Reasoning(effort="none"), NEW, {"thinkingLevel": "LOW"}, {"effort"}),
        (Reasoning(effort="none"), named_profile("gemini-3-flash"), {"thinkingLevel": "MINIMAL"}, {"effort"}),
        (Reasoning(effort="medium"), named_profile("gemini-3.8-flash"), {"thinkingLevel": "MEDIUM"}, set()),
        (Reasoning(budget=1024), NEW, {"thinkingLevel": "LOW"}, {"budget"}),
        (Reasoning(budget=4096, mode="enabled"), NEW, {"thinkingLevel": "LOW"}, {"budget", "mode"}),
        (Reasoning(budget=30000), NEW, {"thinkingLevel": "HIGH"}, {"budget"}),
        (Reasoning(mode="adaptive", shows=False), NEW, {"includeThoughts": False}, {"mode"}),
        (Reasoning(effort="none"), OLD, {"thinkingBudget": 128}, {"effort"}),
        (Reasoning(effort="none"), named_profile("gemini-2.5-flash"), {"thinkingBudget": 0}, set()),
        (Reasoning(budget=31999), OLD, {"thinkingBudget": 31999}, set()),
        (Reasoning(budget=31999), named_profile("gemini-2.5-flash"), {"thinkingBudget": 24576}, {"budget"}),
        (Reasoning(effort="medium"), OLD, {"thinkingBudget": 8192}, {"effort"}),
        (Reasoning(effort="max"), OLD, {"thinkingBudget": 24576}, {"effort"}),
        (Reasoning(budget=5000), OLD, {"thinkingBudget": 5000}, set()),
        (Reasoning(mode="adaptive"), OLD, {"thinkingBudget": -1}, set()),
        (Reasoning(effort="high"), named_profile("gemini-2.0-flash"), None, {"reasoning"}),
        (Reasoning(effort="none"), named_profile("gemini-2.0-flash"), None, set()),
        (Reasoning(), NEW, None, set()),
    ],
)
def test_thinking_is_a_level_or_a_budget(
    reasoning: Reasoning, profile: Profile, config: dict[str, Any] | None, lost: set[str]
):
    names = {f"reasoning.{name}": name for name in ("effort", "budget", "mode")}
    body, found = write(said(HI, reasoning=reasoning, names=names), profile)
    assert body.get("generationConfig", {}).get("thinkingConfig") == config
    assert set(found) == lost


def test_no_more_tokens_are_asked_for_than_the_model_writes():
    asked = said(HI, sampling=Sampling(max_output_tokens=900), names={"sampling.max_output_tokens": "max"})
    body, lost = write(asked, Profile(max_output_tokens=500))
    assert (body["generationConfig"], lost) == ({"maxOutputTokens": 500}, {"max": Weight.DEGRADES})


def test_an_answer_may_have_to_follow_a_schema():
    wanted = ResponseFormat(kind="json_schema", name="person", schema=SCHEMA, is_strict=True)
    body, lost = write(said(HI, response_format=wanted))
    assert body["generationConfig"] == {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
    assert lost == {"response_format": Weight.COSMETIC}
    body, lost = write(said(HI, response_format=wanted), OLD)
    assert body["generationConfig"]["responseSchema"]["type"] == "OBJECT"
    assert lost == {"response_format": Weight.DEGRADES}
    assert write(said(HI, response_format=ResponseFormat(kind="text"))) == write(said(HI))


def test_the_rest_has_its_place_or_is_named():
    body, lost = write(
        said(
            HI,
            verbosity="low",
            end_user="u",
            cache_key="k",
            parallel_tools=False,
            service_tier="fast",
            metadata={"team": "red", "Trace-Id": "X"},
        )
    )
    assert (body["serviceTier"], body["labels"]) == ("priority", {"team": "red"})
    assert lost == {
        "verbosity": Weight.DEGRADES,
        "parallel_tools": Weight.DEGRADES,
        **dict.fromkeys(("end_user", "cache_key", "service_tier", "metadata"), Weight.COSMETIC),
    }


@pytest.mark.parametrize(("tier", "written"), [("default", "standard"), ("flex", "flex"), ("priority", "priority")])
def test_tiers_have_their_own_words(tier: str, written: str):
    body, lost = write(said(HI, service_tier=tier))
    assert body["serviceTier"] == written
    assert lost == {}
