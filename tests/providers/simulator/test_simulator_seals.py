"""Thoughts come back with the seal they left with: untouched, to the same model, in the same place, or not at all."""

import base64

import pytest

from providers.simulator.seals import is_ours, mint

USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
CLAUDE_TOOL = {"name": "f", "input_schema": {"type": "object"}}
FUNCTIONS = [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}]


def test_a_seal_is_bound_to_dialect_model_and_content():
    seal = mint("a", "m", "text", number=7)
    assert is_ours(seal, "a", "m", "text")
    assert is_ours(seal.replace("+", "-").replace("/", "_"), "a", "m", "text")
    assert not is_ours(seal, "b", "m", "text")
    assert not is_ours(seal, "a", "n", "text")
    assert not is_ours(seal, "a", "m", "other")


@pytest.mark.parametrize("seal", [None, 5, "", "x", "Eq==", "ü", base64.b64encode(b"sim" + bytes(24)).decode()])
def test_nothing_else_is_a_seal(seal):
    assert not is_ours(seal, "a", "m", "text")


# Messages.


async def asked_claude(message, blocks, model="sim-thinking"):
    messages = [USER, {"role": "assistant", "content": blocks}, USER]
    return await message("", messages=messages, model=model)


@pytest.mark.parametrize("thinking", ["1", "redacted"])
async def test_messages_take_back_what_they_sealed(message, simulator, thinking):
    blocks = (await message(f"[[thinking={thinking}]]", model="sim-thinking")).json()["content"]
    assert (await asked_claude(message, blocks)).status == 200
    assert simulator.counters.seals == 1


async def test_messages_refuse_thoughts_that_were_changed_or_another_models(message):
    thought, text = (await message("hi", model="sim-thinking")).json()["content"]
    foreign = {**thought, "signature": base64.b64encode(b"sim" + bytes(24)).decode()}
    for changed, model in (
        ({**thought, "thinking": "something else"}, "sim-thinking"),
        ({**thought, "signature": ""}, "sim-thinking"),
        ({**thought, "signature": thought["signature"][:-4]}, "sim-thinking"),
        (foreign, "sim-thinking"),
        (thought, "sim-fast"),
    ):
        reply = await asked_claude(message, [changed, text], model)
        assert reply.status == 400
        expected = "messages.1.content.0: Invalid `signature` in `thinking` block"
        assert reply.json()["error"]["message"] == expected


async def test_messages_can_insist_on_the_thoughts_of_a_tool_loop(message):
    asked = {"model": "sim-thinking", "tools": [CLAUDE_TOOL]}
    thought, call = (await message("[[tools=one]]", **asked)).json()["content"]
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["id"], "content": "1"}]}
    opening = {"role": "user", "content": "[[seals=1]]"}
    sealed = [opening, {"role": "assistant", "content": [thought, call]}, result]
    bare = [opening, {"role": "assistant", "content": [call]}, result]
    assert (await message("", messages=sealed, **asked)).status == 200
    reply = await message("", messages=bare, **asked)
    assert reply.status == 400
    assert "Expected `thinking` or `redacted_thinking`, but found `tool_use`" in reply.json()["error"]["message"]


# Responses.


async def test_responses_take_back_what_they_sealed(respond, simulator):
    output = (await respond("hi", model="sim-thinking")).json()["output"]
    reply = await respond([USER, *output, USER], model="sim-thinking", store=False)
    assert reply.status == 200
    assert simulator.counters.seals == 1
    del output[0]["id"], output[1]["id"]
    assert (await respond([USER, *output, USER], model="sim-thinking", store=False)).status == 200


@pytest.mark.parametrize(
    "content", ["gAAAAABfake", "gAAAAA" + base64.b64encode(b"sim" + bytes(24)).decode(), "", "EqQB"]
)
async def test_responses_refuse_encrypted_content_that_is_not_theirs(respond, content):
    reasoning, text = (await respond("hi", model="sim-thinking")).json()["output"]
    reply = await respond([USER, {**reasoning, "encrypted_content": content}, text, USER], model="sim-thinking")
    error = reply.json()["error"]
    assert (reply.status, error["code"]) == (400, "invalid_encrypted_content")
    assert "could not be verified" in error["message"]


async def test_responses_refuse_reasoning_of_another_model(respond):
    output = (await respond("hi", model="sim-thinking")).json()["output"]
    assert (await respond([USER, *output, USER], model="sim-fast")).status == 400


async def test_responses_can_insist_on_the_reasoning_of_a_tool_loop(respond):
    asked = {"model": "sim-thinking", "tools": [TOOL]}
    reasoning, call = (await respond("[[tools=one]]", **asked)).json()["output"]
    opening = {"role": "user", "content": "[[seals=1]]"}
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "1"}
    assert (await respond([opening, reasoning, call, result], **asked)).status == 200
    reply = await respond([opening, call, result], **asked)
    assert reply.status == 400
    assert "was provided without its required 'reasoning' item" in reply.json()["error"]["message"]


# Gemini.


async def called(generate, model):
    reply = await generate("[[tools=parallel]]", model=model, tools=FUNCTIONS)
    return reply.json()["candidates"][0]["content"]


def results(content):
    calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
    answers = [{"functionResponse": {**call, "response": {"output": "1"}}} for call in calls]
    for answer in answers:
        answer["functionResponse"].pop("args")
    return {"role": "user", "parts": answers}


def opening(text="hi"):
    return {"role": "user", "parts": [{"text": text}]}


@pytest.mark.parametrize("model", ["sim-gemini-3", "gemini-3-flash-preview", "models%2Fgemini-3.1-pro"])
async def test_gemini_wants_the_signature_of_a_steps_first_call(generate, simulator, model):
    content = await called(generate, model)
    first, second = [part for part in content["parts"] if "functionCall" in part]
    assert "thoughtSignature" in first
    assert "thoughtSignature" not in second
    history = [opening(), content, results(content)]
    assert (await generate(history, model=model, tools=FUNCTIONS)).status == 200
    assert simulator.counters.seals == 1
    first.pop("thoughtSignature")
    reply = await generate(history, model=model, tools=FUNCTIONS)
    assert reply.status == 400
    message = reply.json()["error"]["message"]
    assert message.startswith("Function call is missing a thought_signature in functionCall parts.")
    assert "function call `default_api:f` , position 2" in message


async def test_gemini_wants_signatures_of_the_current_turn_only(generate):
    content = await called(generate, "gemini-3-pro")
    content["parts"][0].pop("thoughtSignature")
    history = [opening(), content, results(content), {"role": "model", "parts": [{"text": "so"}]}, opening("next")]
    assert (await generate(history, model="gemini-3-pro", tools=FUNCTIONS)).status == 200


async def test_gemini_2_wants_none_but_can_be_told_to(generate):
    content = await called(generate, "gemini-2.5-pro")
    history = [opening(), content, results(content)]
    assert (await generate(history, model="gemini-2.5-pro", tools=FUNCTIONS)).status == 200
    history[0] = opening("[[seals=1]]")
    assert (await generate(history, model="gemini-2.5-pro", tools=FUNCTIONS)).status == 400


SKIP = "skip_thought_signature_validator"


@pytest.mark.parametrize("signature", [SKIP, base64.b64encode(SKIP.encode()).decode()])
async def test_gemini_lets_the_validator_be_skipped(generate, signature):
    content = await called(generate, "gemini-3-pro")
    content["parts"][0]["thoughtSignature"] = signature
    assert (await generate([opening(), content, results(content)], model="gemini-3-pro")).status == 200


async def test_gemini_refuses_signatures_that_are_corrupted_moved_or_another_models(generate):
    content = await called(generate, "gemini-3-pro")
    first, second = content["parts"]
    signature = first["thoughtSignature"]
    for model, place, value in (
        ("gemini-3-pro", first, signature[:-4] + "AAAA"),
        ("gemini-3-pro", first, base64.b64encode(b"something else").decode()),
        ("gemini-3-pro", second, signature),
        ("gemini-3-flash", first, signature),
        ("gemini-2.5-pro", first, signature),
    ):
        parts = [{**part, "thoughtSignature": value} if part is place else part for part in content["parts"]]
        history = [opening(), {"role": "model", "parts": parts}, results(content)]
        reply = await generate(history, model=model, tools=FUNCTIONS)
        assert reply.status == 400
        assert reply.json()["error"]["message"] == "Corrupted thought signature."


async def test_gemini_signs_the_last_text_too(generate):
    reply = await generate("hi", model="sim-gemini-3")
    thought, text = reply.json()["candidates"][0]["content"]["parts"]
    assert thought["thought"]
    assert "thoughtSignature" in text
    history = [opening(), {"role": "model", "parts": [text]}, opening()]
    assert (await generate(history, model="sim-gemini-3")).status == 200
    text["thoughtSignature"] = text["thoughtSignature"][:-4] + "AAAA"
    assert (await generate(history, model="sim-gemini-3")).status == 400


async def test_gemini_streams_the_texts_signature_at_the_end(generate):
    chunks = (await generate("hi", model="sim-gemini-3", operation="streamGenerateContent")).json()
    [last] = chunks[-1]["candidates"][0]["content"]["parts"]
    assert last["text"] == ""
    history = [opening(), {"role": "model", "parts": [{"text": "so"}, last]}, opening()]
    assert (await generate(history, model="sim-gemini-3")).status == 200


# Chat Completions have no seals, but some models want their reasoning back.


async def test_chat_can_insist_on_the_reasoning_of_a_tool_loop(chat):
    tools = [{"type": "function", "function": {"name": "f"}}]
    said = (await chat("[[tools=one thinking=1]]", tools=tools)).json()["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": said["tool_calls"][0]["id"], "content": "1"}
    messages = [{"role": "user", "content": "[[seals=1]]"}, said, result]
    assert (await chat("", messages=messages, tools=tools)).status == 200
    said.pop("reasoning_content")
    reply = await chat("", messages=messages, tools=tools)
    assert reply.status == 400
    assert "`reasoning_content`" in reply.json()["error"]["message"]
