"""What the gateway reads of a Responses request that passes through, and what it changes."""

import json
from typing import Any

import pytest

from providers.canonical.inbound import Facts
from providers.dialects.openai_responses import OPENAI_RESPONSES
from providers.dialects.openai_responses.wire import CHAT, COUNT_TOKENS
from providers.wire.splice import read_members, splice
from tenants.errors import InvalidRequest


def facts(**body: Any) -> Facts:
    raw = json.dumps({"model": "gpt", "input": "hi", **body}).encode()
    return OPENAI_RESPONSES.read_facts(read_members(raw), CHAT)


def test_it_reads_what_routing_and_limits_need():
    read = facts(
        stream=True,
        max_output_tokens=64,
        safety_identifier="u1",
        user="u2",
        prompt_cache_key="s1",
        tools=[{"type": "function"}],
    )
    assert (read.model, read.is_stream, read.max_output_tokens) == ("gpt", True, 64)
    assert (read.end_user, read.session, read.needs) == ("u1", "s1", {"tools"})
    assert read.wants_usage


def test_an_older_client_names_its_user_in_another_field():
    assert facts(user="u2").end_user == "u2"


def test_tools_in_an_item_of_the_input_are_tools():
    assert facts(input=[{"type": "additional_tools", "role": "developer", "tools": []}]).needs == {"tools"}
    assert facts().needs == frozenset()


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


@pytest.mark.parametrize(
    ("fields", "needs"),
    [
        ({"tools": []}, set()),
        ({"reasoning": {"effort": "medium", "summary": "auto"}}, {"thinking"}),
        ({"reasoning": {"effort": "none"}}, set()),
        ({"reasoning": None}, set()),
        ({"input": user({"type": "input_image", "image_url": "https://example.com/a.png"})}, {"images"}),
        ({"input": user({"type": "input_audio", "input_audio": {"data": "eA=="}})}, {"audio"}),
        ({"input": user({"type": "input_text", "text": "hi"}, {"type": "input_file", "file_id": "f"})}, {"documents"}),
        ({"input": [{"type": "function_call_output", "output": [{"type": "input_image"}]}]}, {"images"}),
        ({"input": user({"type": "input_text", "text": json.dumps({"type": "input_image"})})}, set()),
        ({"input": "input_image", "tools": [{"type": "image_generation"}]}, {"tools"}),
    ],
    ids=str,
)
def test_what_a_model_must_be_able_to_do_is_known(fields: dict[str, Any], needs: set[str]):
    assert facts(**fields).needs == needs


@pytest.mark.parametrize("value", [None, 7, {"role": "user"}])
def test_the_input_is_a_text_or_a_list(value: object):
    with pytest.raises(InvalidRequest) as refusal:
        facts(input=value)
    assert refusal.value.param == "input"


@pytest.mark.parametrize("name", ["previous_response_id", "conversation", "prompt"])
def test_what_is_kept_elsewhere_may_stand_for_the_input(name: str):
    raw = json.dumps({"model": "gpt", name: "x"}).encode()
    assert OPENAI_RESPONSES.read_facts(read_members(raw), COUNT_TOKENS).model == "gpt"


def test_without_anything_to_answer_the_input_is_missing():
    with pytest.raises(InvalidRequest) as refusal:
        OPENAI_RESPONSES.read_facts(read_members(b'{"model":"gpt"}'), CHAT)
    assert refusal.value.code == "missing_field"


def test_only_the_models_name_is_changed():
    raw = b'{"input" : "\\ud800", "model":"gpt",  "x":1.0}'
    members = read_members(raw)
    read = OPENAI_RESPONSES.read_facts(members, CHAT)
    assert splice(members, OPENAI_RESPONSES.passthrough_edits(members, read, "real", True)) == raw.replace(
        b'"gpt"', b'"real"'
    )
    assert OPENAI_RESPONSES.passthrough_edits(members, read, "gpt", True) == {}
