"""A message request's facts, and the one edit that it gets on its way through."""

import json
from typing import Any

import pytest

from providers.canonical.inbound import Facts
from providers.dialects.anthropic_messages.facts import passthrough_edits, read_facts
from providers.dialects.anthropic_messages.wire import CHAT, model_list
from providers.wire.splice import read_members, splice
from tenants.errors import InvalidRequest


def body(**fields: Any) -> bytes:
    messages = [{"role": "user", "content": "hi"}]
    return json.dumps({"model": "alias", "max_tokens": 64, "messages": messages, **fields}).encode()


def facts_of(raw: bytes) -> Facts:
    return read_facts(read_members(raw), CHAT)


def test_it_reads_the_facts():
    raw = body(stream=True, metadata={"user_id": "u-1"}, tools=[{}], thinking={"type": "enabled"})
    assert facts_of(raw) == Facts(
        model="alias",
        size=len(raw),
        is_stream=True,
        max_output_tokens=64,
        end_user="u-1",
        needs=frozenset({"tools", "thinking"}),
    )


IMAGE = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
DOCUMENT_BLOCK = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "eA=="}}


def saying(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


@pytest.mark.parametrize(
    ("fields", "needs"),
    [
        ({}, set()),
        ({"tools": []}, set()),
        ({"tools": [{"name": "f", "input_schema": {}}]}, {"tools"}),
        ({"thinking": {"type": "adaptive"}}, {"thinking"}),
        ({"thinking": {"type": "disabled"}}, set()),
        ({"thinking": None}, set()),
        (saying(IMAGE), {"images"}),
        (saying(DOCUMENT_BLOCK), {"documents"}),
        (saying({"type": "tool_result", "tool_use_id": "t", "content": [IMAGE]}), {"images"}),
        (saying({"type": "text", "text": json.dumps([IMAGE, DOCUMENT_BLOCK])}), set()),
        (saying({"type": "text", "text": "image"}, {"type": "text", "text": "source"}), set()),
        ({"tools": [{"input_schema": {"properties": {"image": {"type": "string"}, "source": {}}}}]}, {"tools"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":")], ids=["usual", "compact"])
def test_what_a_model_must_be_able_to_do_is_known(fields: dict[str, Any], needs: set[str], separators: tuple[str, str]):
    whole = {"model": "alias", "messages": [{"role": "user", "content": "hi"}], **fields}
    assert facts_of(json.dumps(whole, separators=separators).encode()).needs == needs


@pytest.mark.parametrize("metadata", [None, {}, [], "u", {"user_id": None}, {"user_id": 5}, {"user_id": "a\nb"}])
def test_metadata_of_another_shape_names_no_end_user(metadata: object):
    assert facts_of(body(metadata=metadata)).end_user == ""


DOCUMENT = json.dumps({"device_id": "d" * 64, "account_uuid": "acc", "session_id": "ses"})


@pytest.mark.parametrize(
    ("user_id", "end_user", "session"),
    [
        ("user_1_account_2_session_3", "user_1_account_2", "3"),
        (DOCUMENT, "acc", "ses"),
        (DOCUMENT.replace("acc", ""), "d" * 64, "ses"),
        (DOCUMENT + "x" * 300, "", ""),
        ("{oops", "{oops", ""),
        ('{"device_id":5}', "", ""),
        ("u" * 300, "", ""),
    ],
)
def test_edge_116_who_asks_does_not_change_with_the_session(user_id: str, end_user: str, session: str):
    facts = facts_of(body(metadata={"user_id": user_id}))
    assert (facts.end_user, facts.session) == (end_user, session)


@pytest.mark.parametrize("is_stream", [True, False])
def test_only_the_models_name_is_edited(is_stream: bool):
    # A thinking block is bound to the bytes before it.
    flag = str(is_stream).lower().encode()
    raw = (
        b'{ "messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"\\u00e9","signature":"Eq=="}]}],'
        b'"stream":' + flag + b',"model" : "alias","x":[1.0, {"model":"alias"}] }'
    )
    members = read_members(raw)
    sent = splice(members, passthrough_edits(members, facts_of(raw), "upstream", True))
    assert sent == raw.replace(b'"model" : "alias"', b'"model" : "upstream"')
    assert splice(members, passthrough_edits(members, facts_of(raw), "alias", True)) == raw


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (b'{"messages":[]}', "model"),
        (b'{"model":"m"}', "messages"),
        (b'{"model":5,"messages":[]}', "model"),
        (b'{"model":"m","messages":"hi"}', "messages"),
        (b'{"model":"m","messages":[],"stream":1}', "stream"),
        (b'{"model":"m","messages":[],"metadata":{"user_id":"\xff"}}', "metadata"),
    ],
)
def test_it_names_the_field_that_is_wrong(raw: bytes, param: str):
    with pytest.raises(InvalidRequest, match=f"'{param}'") as caught:
        facts_of(raw)
    assert caught.value.param == param


@pytest.mark.parametrize("names", [[], ["a"], ["a", "b"]])
def test_it_lists_models_as_anthropic_does(names: list[str]):
    listed = model_list(names)
    assert [entry["id"] for entry in listed["data"]] == names
    assert {entry["type"] for entry in listed["data"]} <= {"model"}
    assert (listed["first_id"], listed["last_id"]) == ((names[0], names[-1]) if names else (None, None))
    assert listed["has_more"] is False
