"""A request of Gemini's, read; law 2 sees to it that it comes back as it was."""

import json
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import types

from providers.canonical.inbound import Facts
from providers.canonical.losses import Losses, Weight
from providers.canonical.parts import Foreign, Media, Text, Thinking, ToolCall, ToolResult
from providers.canonical.request import Reasoning, Request, ToolChoice
from providers.canonical.seals import Seal, SealBox, native_origin
from providers.dialects.base import Destination
from providers.dialects.gemini.request_reader import read_request
from providers.dialects.gemini.request_writer import write_request
from providers.dialects.gemini.wire import NAME
from providers.wire.splice import read_members
from tenants.errors import InvalidRequest

SEALS = SealBox([b"secret"], 1)


def read(body: Any) -> Request:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_request(read_members(raw), Facts(model="alias", size=len(raw)), SEALS)


def turns(*contents: Any) -> Request:
    return read({"contents": list(contents)})


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "parts": list(parts)}


def model(*parts: Any) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


def call(name: str, **more: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, **more}}


def result(name: str, **more: Any) -> dict[str, Any]:
    return {"functionResponse": {"name": name, "response": {"output": name}, **more}}


def back(request: Request) -> Any:
    return json.loads(write_request(request, Destination(model="m", origin="p/m"), Losses()).body)


def test_what_google_genai_sends_is_read_and_comes_back(http_client: httpx2.Client):
    sent: list[bytes] = []

    def keep(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.content)
        return httpx2.Response(200, json={"candidates": []})

    options = types.HttpOptions(base_url="http://g", httpx_client=httpx2.Client(transport=httpx2.MockTransport(keep)))
    genai.Client(api_key="tg_x", http_options=options).models.generate_content(
        model="gemini-3-pro",
        contents=[
            types.Part.from_bytes(data=b"\xff\xfe\xfb", mime_type="image/png"),
            types.Part(text="What is this?"),
        ],
        config=types.GenerateContentConfig(
            system_instruction="Be brief.",
            thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_level=types.ThinkingLevel.LOW),
            tools=[
                types.Tool(
                    function_declarations=[
                        types.FunctionDeclaration(name="f", parameters_json_schema={"type": "object"})
                    ]
                ),
                types.Tool(google_search=types.GoogleSearch()),
            ],
            top_k=40,
        ),
    )
    request = read(sent[0])
    assert back(request) == json.loads(sent[0])
    assert [part.text for part in request.system if isinstance(part, Text)] == ["Be brief."]
    image = request.turns[0].parts[0]
    assert isinstance(image, Media)
    assert (image.kind, image.data) == ("image", "//77")
    assert request.sampling.top_k == 40
    assert request.reasoning == Reasoning(
        effort="low", shows=True, native=request.reasoning and request.reasoning.native
    )
    assert [type(tool).__name__ for tool in request.tools] == ["Foreign", "Tool"]  # the SDK puts functions last


def test_paths_are_spelled_as_the_client_spells():
    request = read(
        {
            "contents": {"parts": {"text": "hi"}},
            "generation_config": {"max_output_tokens": 3, "topP": 1},
            "tools": [{"function_declarations": [{"name": "f"}], "google_search": {}}],
        }
    )
    assert request.where("sampling.max_output_tokens") == "generation_config.max_output_tokens"
    assert request.where("sampling.top_p") == "generation_config.topP"
    assert [tool.at for tool in request.tools] == ["tools[0].function_declarations[0]", "tools[0].google_search"]
    assert (request.turns[0].at, request.turns[0].parts[0].at) == ("contents", "contents.parts")


@pytest.mark.parametrize(
    "instruction",
    [
        "Be kind.",
        {"parts": [{"text": "Be kind."}]},
        {"parts": {"text": "Be kind."}, "role": "user"},
        [{"text": "Be kind."}],
    ],
)
def test_instructions_may_be_a_text_parts_or_a_content(instruction: Any):
    body = {"contents": [user({"text": "hi"})], "systemInstruction": instruction}
    request = read(body)
    assert [part.text for part in request.system if isinstance(part, Text)] == ["Be kind."]
    assert back(request) == body


def test_results_are_matched_to_calls_by_id_else_by_name_and_order():
    request = turns(
        user({"text": "hi"}),
        model(call("f"), call("f"), call("g", id="x"), call("h")),
        user(result("f"), result("h"), result("f"), result("g", id="x")),
    )
    calls = [part.id for part in request.turns[1].parts if isinstance(part, ToolCall)]
    answered = [part.call_id for part in request.turns[2].parts if isinstance(part, ToolResult)]
    assert len(set(calls)) == 4
    assert answered == [calls[0], calls[3], calls[1], calls[2]]
    assert "x" in calls


def test_ids_that_are_made_are_the_same_each_time():
    first, second = (turns(user({"text": "hi"}), model(call("f"))) for _ in range(2))
    longer = turns(user({"text": "hi"}), model(call("f")), user(result("f")))
    assert first.turns[1].parts == second.turns[1].parts == longer.turns[1].parts


def test_a_result_without_id_finds_a_call_with_one():
    request = turns(user({"text": "hi"}), model(call("f", id="f1")), user(result("f")))
    (answer,) = request.turns[2].parts
    assert isinstance(answer, ToolResult)
    assert (answer.call_id, answer.name) == ("f1", "f")


def test_a_result_of_no_call_is_kept():
    (turn,) = turns(user(result("f"))).turns
    assert isinstance(turn.parts[0], ToolResult)
    assert turn.parts[0].name == "f"


def test_results_come_before_the_users_words_and_go_back_in_their_place():
    body = {"contents": [model(call("f")), user({"text": "so?"}, result("f"))]}
    request = read(body)
    assert [type(part) for part in request.turns[1].parts] == [ToolResult, Text]
    assert back(request) == body


def test_thoughts_and_signatures_are_seals():
    request = turns(
        model({"text": "hm", "thought": True}, {"text": "", "thoughtSignature": "QUJD"}, {"thoughtSignature": "QUJE"})
    )
    thought, empty, bare = request.turns[0].parts
    assert isinstance(thought, Thinking)
    assert isinstance(empty, Text)
    assert isinstance(bare, Text)
    assert (thought.text, thought.seal) == ("hm", None)
    assert empty.seal == Seal(origin=native_origin(NAME), payload="QUJD")
    assert bare.seal == Seal(origin=native_origin(NAME), payload="QUJE")


def test_a_seal_of_ours_is_opened_in_the_url_safe_alphabet_too():
    seal = Seal(origin="google/gemini-3-pro", payload="~~~???>>>", form="call")
    packed = SEALS.pack(seal).replace("+", "-").replace("/", "_")
    (turn,) = turns(model({**call("f"), "thoughtSignature": packed})).turns
    assert isinstance(turn.parts[0], ToolCall)
    assert turn.parts[0].seal == seal


def test_a_seal_that_only_claims_to_be_ours_is_none():
    forged = SealBox([b"another"], 1).pack(Seal(origin="p/m", payload="x"))
    (turn,) = turns(model({**call("f"), "thoughtSignature": forged})).turns
    assert isinstance(turn.parts[0], ToolCall)
    assert turn.parts[0].seal is None


def test_edge_93_what_stands_for_no_signature_is_no_seal_and_comes_back():
    body = {"contents": [model({**call("f"), "thought_signature": "skip_thought_signature_validator"})]}
    request = read(body)
    (part,) = request.turns[0].parts
    assert isinstance(part, ToolCall)
    assert part.seal is None
    assert part.native is not None
    assert [field.weight for field in part.native.fields] == [Weight.COSMETIC]
    assert back(request) == body


def test_thoughts_that_we_sent_in_pieces_are_put_together_again():
    seal = Seal(origin="anthropic/claude", payload="opaque")
    packed = SEALS.pack(seal)
    request = turns(
        user({"text": "hi"}),
        model({"text": "first ", "thought": True}),
        model({"text": "second", "thought": True}),
        model({"text": "", "thought": True, "thoughtSignature": packed}),
        model({"text": "Hello."}),
        user({"text": "and?"}),
    )
    said = [part for turn in request.turns for part in turn.parts]
    assert len(request.turns) == 4
    assert isinstance(said[1], Thinking)
    assert (said[1].text, said[1].seal) == ("first second", seal)


def test_thoughts_of_gemini_itself_stay_as_they_came():
    request = turns(model({"text": "a", "thought": True}, {"text": "b", "thought": True, "thoughtSignature": "QUJD"}))
    assert [part.text for part in request.turns[0].parts if isinstance(part, Thinking)] == ["a", "b"]


def test_each_sealed_thought_keeps_to_its_own_pieces():
    packed = [SEALS.pack(Seal(origin="anthropic/claude", payload=each)) for each in "ab"]
    request = turns(
        model(
            {"text": "one", "thought": True},
            {"text": "", "thought": True, "thoughtSignature": packed[0]},
            {"text": "", "thought": True, "thoughtSignature": packed[1]},
            call("f"),
        )
    )
    thoughts = [part for part in request.turns[0].parts if isinstance(part, Thinking)]
    assert [(part.text, part.seal and part.seal.payload) for part in thoughts] == [("one", "a"), ("", "b")]


@pytest.mark.parametrize(
    ("config", "choice"),
    [
        ({"mode": "AUTO"}, ToolChoice(mode="auto")),
        ({"mode": "ANY"}, ToolChoice(mode="required")),
        ({"mode": "any", "allowedFunctionNames": ["f"]}, ToolChoice(mode="named", name="f")),
        ({"mode": "ANY", "allowed_function_names": ["f", "g"]}, ToolChoice(mode="required", allowed=("f", "g"))),
        ({"mode": "NONE"}, ToolChoice(mode="none")),
        ({"mode": "VALIDATED", "allowedFunctionNames": ["f"]}, ToolChoice(mode="auto", allowed=("f",))),
    ],
)
def test_tool_choices(config: dict[str, Any], choice: ToolChoice):
    body = {"contents": [], "toolConfig": {"functionCallingConfig": config}}
    request = read(body)
    assert request.tool_choice is not None
    assert (request.tool_choice.mode, request.tool_choice.name, request.tool_choice.allowed) == (
        choice.mode,
        choice.name,
        choice.allowed,
    )
    assert back(request) == body


@pytest.mark.parametrize(
    ("config", "effort", "budget", "mode"),
    [
        ({"thinkingLevel": "HIGH"}, "high", None, None),
        ({"thinking_level": "minimal"}, "minimal", None, None),
        ({"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"}, None, None, None),
        ({"thinkingBudget": 0}, "none", None, None),
        ({"thinkingBudget": -1}, None, None, "adaptive"),
        ({"thinkingBudget": 2048}, None, 2048, None),
    ],
)
def test_levels_and_budgets_of_thinking(
    config: dict[str, Any], effort: str | None, budget: int | None, mode: str | None
):
    body = {"contents": [], "generationConfig": {"thinkingConfig": config}}
    request = read(body)
    assert request.reasoning is not None
    assert (request.reasoning.effort, request.reasoning.budget, request.reasoning.mode) == (effort, budget, mode)
    assert back(request) == body


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"responseMimeType": "application/json"}, "json_object"),
        ({"responseMimeType": "text/plain"}, "text"),
        ({"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT"}}, "json_schema"),
        ({"response_json_schema": {"type": "object"}}, "json_schema"),
        ({"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["a"]}}, None),
    ],
)
def test_response_formats(config: dict[str, Any], kind: str | None):
    body = {"contents": [], "generationConfig": config}
    request = read(body)
    assert (request.response_format and request.response_format.kind) == kind
    assert back(request) == body
    if kind is None:
        assert request.native is not None
        assert {field.weight for field in request.native.fields} == {Weight.CHANGES_ANSWER}


def test_edge_26_a_second_candidate_is_asked_for_by_its_canonical_name():
    request = read({"contents": [], "generationConfig": {"candidateCount": 2}})
    assert request.sampling.choices == 2
    assert request.where("sampling.choices") == "generationConfig.candidateCount"


@pytest.mark.parametrize("name", ["googleSearch", "codeExecution", "urlContext", "somethingNew"])
def test_tools_that_run_at_google_are_foreign(name: str):
    request = read({"contents": [], "tools": [{name: {}}]})
    assert request.tools == (Foreign(origin=NAME, what=name, value={}, why="it runs at Google", at=f"tools[0].{name}"),)


@pytest.mark.parametrize("part", [{"executableCode": {"code": "1"}}, {"toolCall": {"id": "x"}}, {"brandNew": 1}, {}])
def test_parts_that_only_gemini_knows_are_foreign(part: dict[str, Any]):
    body = {"contents": [model(part)]}
    request = read(body)
    assert isinstance(request.turns[0].parts[0], Foreign)
    assert back(request) == body


def test_tokens_of_a_whole_request_are_of_what_it_holds():
    request = read({"generateContentRequest": {"model": "models/m", "contents": [user({"text": "hi"})]}})
    assert len(request.turns) == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "contents"),
        ({"contents": "hi"}, "contents"),
        ({"contents": [5]}, "contents[0]"),
        ({"contents": [{"role": "system", "parts": []}]}, "contents[0].role"),
        ({"contents": [{"parts": [5]}]}, "contents[0].parts[0]"),
        ({"contents": [user({"text": 5})]}, "contents[0].parts[0].text"),
        ({"contents": [user({"text": "a", "functionCall": {"name": "f"}})]}, "contents[0].parts[0]"),
        ({"contents": [model({"functionCall": {}})]}, "contents[0].parts[0].functionCall.name"),
        (
            {"contents": [model({"function_call": {"name": "f", "args": []}})]},
            "contents[0].parts[0].function_call.args",
        ),
        ({"contents": [user({"inlineData": {"mimeType": "image/png"}})]}, "contents[0].parts[0].inlineData.data"),
        ({"contents": [], "tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
        ({"contents": [], "generationConfig": 5}, "generationConfig"),
        ({"contents": [], "generationConfig": {"topK": -1}}, "generationConfig.topK"),
        ({"contents": [], "generationConfig": {"stopSequences": [1]}}, "generationConfig.stopSequences"),
        (
            {"contents": [], "generationConfig": {"thinkingConfig": {"thinkingLevel": "MAX"}}},
            "generationConfig.thinkingConfig.thinkingLevel",
        ),
        (
            {"contents": [], "toolConfig": {"functionCallingConfig": {"mode": "SOME"}}},
            "toolConfig.functionCallingConfig.mode",
        ),
        ({"contents": [], "systemInstruction": 5}, "systemInstruction"),
        ({"contents": [], "labels": {"a": 1}}, "labels"),
    ],
)
def test_what_is_wrong_is_refused_by_its_path(body: Any, param: str):
    with pytest.raises(InvalidRequest) as refusal:
        read(body)
    assert refusal.value.param == param
