"""A chat request's facts, and the edits that it gets on its way through."""

import json
from typing import Any

import pytest

from providers.canonical.inbound import Facts
from providers.dialects.openai_chat.facts import passthrough_edits, read_facts
from providers.dialects.openai_chat.wire import CHAT, EMBEDDINGS, model_list
from providers.wire.splice import read_members, splice
from tenants.errors import InvalidRequest

MESSAGES = [{"role": "user", "content": "hi"}]


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "alias", "messages": MESSAGES, **fields}).encode()


def facts_of(raw: bytes) -> Facts:
    return read_facts(read_members(raw), CHAT)


def sent(raw: bytes, model: str = "upstream", *, accepts_stream_options: bool = True) -> bytes:
    """Return the body that goes to the upstream."""
    members = read_members(raw)
    return splice(members, passthrough_edits(members, read_facts(members, CHAT), model, accepts_stream_options))


def test_it_reads_the_facts():
    raw = body(stream=True, max_tokens=7, user="u-1", tools=[{}], prompt_cache_key="s-1")
    assert facts_of(raw) == Facts(
        model="alias",
        size=len(raw),
        is_stream=True,
        wants_usage=False,
        max_output_tokens=7,
        end_user="u-1",
        session="s-1",
        needs=frozenset({"tools"}),
    )


def saying(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


@pytest.mark.parametrize(
    ("fields", "needs"),
    [
        ({}, set()),
        ({"tools": [{}]}, {"tools"}),
        ({"functions": [{"name": "f"}]}, {"tools"}),
        ({"tools": []}, set()),
        ({"tools": None}, set()),
        ({"reasoning_effort": "low"}, {"thinking"}),
        ({"reasoning_effort": "none"}, set()),
        ({"reasoning_effort": None}, set()),
        ({"reasoning": {"effort": "high"}}, {"thinking"}),
        ({"reasoning": {"effort": "none"}}, set()),
        ({"reasoning": {"enabled": False}}, set()),
        ({"reasoning": {}}, set()),
        ({"thinking": {"type": "enabled"}}, {"thinking"}),
        ({"thinking": {"type": "disabled"}}, set()),
        ({"audio": {"voice": "alloy", "format": "wav"}}, {"audio"}),
        (saying(IMAGE), {"images"}),
        (saying({"type": "text", "text": "hi"}, dict(reversed(IMAGE.items()))), {"images"}),
        (saying({"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}}), {"audio"}),
        (saying({"type": "file", "file": {"file_id": "f"}}), {"documents"}),
        (saying(IMAGE, {"type": "file", "file": {"file_id": "f"}}) | {"tools": [{}]}, {"images", "documents", "tools"}),
        (saying({"type": "text", "text": json.dumps(IMAGE)}), set()),
        (saying({"type": "text", "text": "image_url"}, {"type": "text", "text": '"type":"image_url"'}), set()),
        ({"tools": [{"function": {"parameters": {"properties": {"image_url": {"type": "string"}}}}}]}, {"tools"}),
    ],
    ids=lambda value: str(sorted(value)) if isinstance(value, set) else str(value),  # the same in every process
)
@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":"), ("\n,", "\t :\n")], ids=["usual", "compact", "odd"])
def test_what_a_model_must_be_able_to_do_is_known(fields: dict[str, Any], needs: set[str], separators: tuple[str, str]):
    whole = {"model": "alias", "messages": MESSAGES, **fields}
    assert facts_of(json.dumps(whole, separators=separators).encode()).needs == needs


def test_a_body_full_of_a_word_is_not_searched_for_ever():
    messages = saying(*({"type": "text", "text": "image_url"} for _ in range(2000)))
    assert facts_of(body(**messages)).needs == {"images"}


def test_an_embedding_needs_nothing_but_its_kind():
    raw = json.dumps({"model": "m", "input": "x", "tools": [{}]}).encode()
    assert read_facts(read_members(raw), EMBEDDINGS).needs == set()


def test_a_request_needs_no_more_than_a_model_and_messages():
    assert facts_of(body()) == Facts(model="alias", size=len(body()))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"max_tokens": 5, "max_completion_tokens": 9}, 9),
        ({"max_tokens": 5, "max_completion_tokens": None}, 5),
        ({"max_completion_tokens": 0, "max_tokens": 5}, 0),
        ({"max_tokens": "5"}, None),
        ({"max_tokens": -5}, None),
        ({"max_tokens": 5.5}, None),
        ({"max_tokens": 10**30}, None),
    ],
)
def test_it_reads_the_cap_of_the_answer(fields: dict[str, Any], expected: int | None):
    assert facts_of(body(**fields)).max_output_tokens == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"safety_identifier": "s", "user": "u"}, "s"),
        ({"safety_identifier": None, "user": "u"}, "u"),
        ({"safety_identifier": "", "user": "u"}, "u"),
        ({"user": 7}, ""),
        ({"user": "a\nb"}, ""),
        ({"user": "x" * 201}, ""),
        ({"user": "\ud800"}, ""),
    ],
)
def test_it_reads_the_end_user(fields: dict[str, Any], expected: str):
    assert facts_of(body(**fields)).end_user == expected


@pytest.mark.parametrize(
    ("raw", "param", "code"),
    [
        (b'{"messages":[]}', "model", "missing_field"),
        (b'{"model":"m"}', "messages", "missing_field"),
        (b'{"model":null,"messages":[]}', "model", "invalid_request"),
        (b'{"model":"","messages":[]}', "model", "invalid_request"),
        (b'{"model":"a\\nb","messages":[]}', "model", "invalid_request"),
        (b'{"model":"\\ud800","messages":[]}', "model", "invalid_request"),
        (b'{"model":"\xff","messages":[]}', "model", "invalid_request"),
        pytest.param(b'{"model":"%s","messages":[]}' % (b"m" * 201), "model", "invalid_request", id="too long"),
        (b'{"model":"m","messages":{}}', "messages", "invalid_request"),
        (b'{"model":"m","messages":[],"stream":"yes"}', "stream", "invalid_request"),
        (b'{"model":"m","messages":[],"stream":true,"stream_options":[]}', "stream_options", "invalid_request"),
        (b'{"model":"m","messages":[],"user":"\xff"}', "user", "invalid_request"),
        (b'{"model":"m","messages":[],"prompt_cache_key":"\xff"}', "prompt_cache_key", "invalid_request"),
    ],
)
def test_it_names_the_field_that_is_wrong(raw: bytes, param: str, code: str):
    with pytest.raises(InvalidRequest) as caught:
        facts_of(raw)
    assert (caught.value.param, caught.value.code) == (param, code)
    assert f"'{param}'" in caught.value.message


def test_only_the_models_name_is_edited_in_a_whole_request():
    raw = b'{"model": "alias", "messages": [], "temperature": 1.0, "x": "\\ud800", "stream_options": {"a": 1}}'
    assert sent(raw) == raw.replace(b'"alias"', b'"upstream"')


def test_nothing_is_edited_when_the_name_is_the_same():
    raw = body(temperature=0)
    assert sent(raw, "alias") == raw


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (b"", b'{"include_usage":true}'),
        (b',"stream_options":null', b'{"include_usage":true}'),
        (b',"stream_options":{}', b'{"include_usage":true}'),
        (b',"stream_options":{"include_usage":false}', b'{"include_usage":true}'),
        (b',"stream_options":{"include_usage":null}', b'{"include_usage":true}'),
        (b',"stream_options":{ "n": 1e999 }', b'{ "n": 1e999 ,"include_usage":true}'),
        (b',"stream_options":{"\\ud800":"\\ud800"}', b'{"\\ud800":"\\ud800","include_usage":true}'),
    ],
)
def test_a_streams_usage_is_always_asked_for(options: bytes, expected: bytes):
    raw = b'{"model":"alias","messages":[],"stream":true' + options + b"}"
    assert not facts_of(raw).wants_usage
    assert read_members(sent(raw)).get("stream_options") == expected


def test_a_client_that_asks_for_usage_gets_its_own_options():
    raw = b'{"model":"m","messages":[],"stream":true,"stream_options":{ "include_usage" : true }}'
    assert facts_of(raw).wants_usage
    assert sent(raw, "m") == raw


def test_an_upstream_that_refuses_stream_options_gets_none():
    raw = body(stream=True)
    assert "stream_options" not in read_members(sent(raw, accepts_stream_options=False))


@pytest.mark.parametrize("value", [b'"text"', b"[1,2]", b'["a","b"]'])
def test_it_reads_an_embedding_request(value: bytes):
    raw = b'{"model":"m","user":"u","input":' + value + b"}"
    assert read_facts(read_members(raw), EMBEDDINGS) == Facts(model="m", size=len(raw), end_user="u")


@pytest.mark.parametrize("raw", [b'{"model":"m"}', b'{"model":"m","input":null}', b'{"model":"m","input":{}}'])
def test_an_embedding_request_needs_an_input(raw: bytes):
    with pytest.raises(InvalidRequest, match="'input'"):
        read_facts(read_members(raw), EMBEDDINGS)


def test_it_lists_models_as_openai_does():
    listed = model_list(["a", "b"])
    assert listed["object"] == "list"
    assert [entry["id"] for entry in listed["data"]] == ["a", "b"]
    assert {entry["object"] for entry in listed["data"]} == {"model"}
