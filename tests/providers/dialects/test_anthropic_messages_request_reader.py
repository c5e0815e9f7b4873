"""What a client of Messages asks, as canonical values; and every request of nonsense is refused by name."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from providers.canonical.losses import Losses, Weight
from providers.canonical.parts import Foreign, Media, Text, Thinking, ToolCall, ToolResult
from providers.canonical.request import Reasoning, Request, ToolChoice
from providers.canonical.seals import Seal, SealBox, native_origin
from providers.conformance.recorded import load
from providers.dialects.anthropic_messages.facts import read_facts
from providers.dialects.anthropic_messages.request_reader import read_request
from providers.dialects.anthropic_messages.request_writer import write_request
from providers.dialects.anthropic_messages.wire import CHAT, NAME
from providers.dialects.base import Destination
from providers.wire.splice import read_members
from tenants.errors import InvalidRequest

SEALS = SealBox([b"a secret of ours"], 1)
NATIVE = native_origin(NAME)
EXCHANGES = [recorded for recorded in load(Path(__file__).parents[2] / "exchanges") if recorded.dialect == NAME]


def read(**fields: Any) -> Request:
    body = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "hi"}], **fields}
    return read_raw(json.dumps(body).encode())


def read_raw(raw: bytes) -> Request:
    members = read_members(raw)
    return read_request(members, read_facts(members, CHAT), SEALS)


def read_parts(*blocks: Any, role: str = "user") -> tuple[Any, ...]:
    return read(messages=[{"role": role, "content": list(blocks)}]).turns[0].parts


def native_paths(value: Any, at: str) -> dict[str, Weight]:
    losses = Losses()
    losses.native(value.native, at, "another dialect")
    return {loss.path: loss.weight for loss in losses}


def test_a_text_is_a_turn_of_one_part():
    (turn,) = read(messages=[{"role": "user", "content": "hi"}]).turns
    assert (turn.role, turn.at) == ("user", "messages[0]")
    assert [(part.text, part.at) for part in turn.parts] == [("hi", "messages[0].content")]


def test_a_system_prompt_of_blocks_keeps_them_apart_with_their_marks():
    system = [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}, text("b")]
    parts = read(system=system).system
    assert [(part.text, part.cache, part.at) for part in parts if isinstance(part, Text)] == [
        ("a", "1h", "system[0]"),
        ("b", None, "system[1]"),
    ]


def write_own(request: Request) -> dict[str, Any]:
    losses = Losses()
    written: dict[str, Any] = json.loads(write_request(request, Destination(model="m", origin=""), losses).body)
    assert not list(losses)
    return written


def text(words: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **fields}


def test_edge_117_a_clients_attribution_is_kept_from_other_models_whatever_it_says():
    request = read(system=[text("x-anthropic-billing-header: cc_version=9.9.9; new=thing;"), text("Be kind.")])
    note, words = request.system
    assert isinstance(note, Foreign)
    assert (note.weight, note.at) == (Weight.COSMETIC, "system[0]")
    assert isinstance(words, Text)


@pytest.mark.parametrize(
    ("user_id", "end_user"),
    [
        ('{"device_id":"dddd","account_uuid":"","session_id":"s-1"}', "dddd"),
        ('{"device_id":"dddd","account_uuid":"a-1","session_id":"s-1"}', "a-1"),
        ('{"session_id":"s-1"}', None),
        ("user_dddd_account_a-1_session_s-1", "user_dddd_account_a-1"),
    ],
)
def test_edge_116_a_user_id_names_who_asks_and_the_session_whose_prompt_is_cached(user_id: str, end_user: str | None):
    request = read(metadata={"user_id": user_id})
    assert (request.end_user, request.cache_key) == (end_user, "s-1")
    assert write_own(request)["metadata"] == {"user_id": user_id}


def test_edge_116_a_document_without_a_session_is_read_whole():
    document = json.dumps({"device_id": "d" * 64, "account_uuid": "a", "session_id": "s" * 300})
    request = read(metadata={"user_id": document})
    assert (request.end_user, request.cache_key) == (document, None)


def test_thoughts_that_come_as_updates_are_shown():
    request = read(thinking={"type": "adaptive", "display": "updates"})
    assert request.reasoning == Reasoning(mode="adaptive", shows=True)
    assert native_paths(request, "")["thinking.display"] == Weight.COSMETIC
    assert write_own(request)["thinking"] == {"type": "adaptive", "display": "updates"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"type": "base64", "media_type": "image/png", "data": "iVBO"}, {"media_type": "image/png", "data": "iVBO"}),
        ({"type": "url", "url": "https://a/b.png"}, {"url": "https://a/b.png"}),
        ({"type": "file", "file_id": "file_1"}, {"file_id": "file_1"}),
    ],
)
def test_it_reads_images_of_every_source(source: dict[str, Any], expected: dict[str, Any]):
    (part,) = read_parts({"type": "image", "source": source, "cache_control": {"type": "ephemeral"}})
    assert part == Media(kind="image", cache="", at="messages[0].content[0]", native=part.native, **expected)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"type": "base64", "media_type": "application/pdf", "data": "JVB"}, {"data": "JVB"}),
        ({"type": "url", "url": "https://a/b.pdf"}, {"url": "https://a/b.pdf"}),
        ({"type": "file", "file_id": "file_1"}, {"file_id": "file_1", "media_type": ""}),
        ({"type": "text", "media_type": "text/plain", "data": "words"}, {"text": "words", "media_type": "text/plain"}),
        ({"type": "content", "content": "words"}, {"text": "words", "media_type": "text/plain"}),
        ({"type": "content", "content": [text("a"), text("b")]}, {"text": "a\n\nb", "media_type": "text/plain"}),
    ],
)
def test_it_reads_documents_of_every_source(source: dict[str, Any], expected: dict[str, Any]):
    (part,) = read_parts({"type": "document", "source": source, "title": "T"})
    assert part == Media(
        kind="document",
        **({"media_type": "application/pdf", "title": "T", "native": part.native, "at": part.at} | expected),
    )


def test_a_document_with_pictures_in_it_is_the_formats_own():
    pieces = [text("a"), {"type": "image", "source": {"type": "url", "url": "https://a"}}]
    (part,) = read_parts({"type": "document", "source": {"type": "content", "content": pieces}})
    assert isinstance(part, Foreign)
    assert part.weight is Weight.CHANGES_ANSWER


def test_what_a_document_says_of_itself_is_lost_by_name():
    source = {"type": "text", "media_type": "text/plain", "data": "words"}
    (part,) = read_parts({"type": "document", "source": source, "context": "old", "citations": {"enabled": True}})
    assert native_paths(part, "d") == {"d.context": Weight.DEGRADES, "d.citations": Weight.DEGRADES}


def test_results_know_the_tool_and_keep_their_parts():
    image = {"type": "image", "source": {"type": "url", "url": "https://a"}}
    request = read(
        messages=[
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {"a": 1}}]},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": [text("a"), image], "is_error": True},
                    {"type": "tool_result", "tool_use_id": "t2", "content": "b"},
                    {"type": "tool_result", "tool_use_id": "t3"},
                ],
            },
        ]
    )
    (call,), results = request.turns[0].parts, request.turns[1].parts
    assert (call.id, call.name, call.arguments) == ("t1", "look", '{"a":1}') if isinstance(call, ToolCall) else False
    assert [(part.name, part.is_error, len(part.parts)) for part in results if isinstance(part, ToolResult)] == [
        ("look", True, 2),
        ("", False, 1),
        ("", False, 0),
    ]


def test_a_result_may_hold_what_only_the_format_knows():
    (part,) = read_parts(
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "browser_state", "tabs": []}]}
    )
    assert isinstance(part, ToolResult)
    assert [each.what for each in part.parts if isinstance(each, Foreign)] == ["browser_state"]


def test_a_tool_that_a_search_has_found_is_said_in_words():
    (part,) = read_parts(
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "tool_reference", "tool_name": "x"}]}
    )
    assert isinstance(part, ToolResult)
    assert [each.text for each in part.parts if isinstance(each, Text)] == ["The tool x is available now."]


def test_thinking_is_sealed_by_its_signature_and_edge_94_redacted_thinking_by_its_data():
    parts = read_parts(
        {"type": "thinking", "thinking": "hm", "signature": "Eq=="},
        {"type": "redacted_thinking", "data": "Em=="},
        role="assistant",
    )
    assert [(part.text, part.is_redacted, part.seal.payload, part.seal.origin) for part in parts] == [
        ("hm", False, "Eq==", NATIVE),
        ("", True, "Em==", NATIVE),
    ]


@pytest.mark.parametrize("fields", [{"signature": ""}, {"signature": None}, {}])
def test_edge_92_thinking_without_a_signature_has_no_seal(fields: dict[str, Any]):
    (part,) = read_parts({"type": "thinking", "thinking": "hm", **fields}, role="assistant")
    assert part == Thinking(text="hm", at=part.at, native=part.native)


def test_a_seal_of_ours_is_opened_and_a_forged_one_is_none():
    packed = SEALS.pack(Seal(origin="google/gemini-3", payload="opaque"))
    forged = packed[:-8] + "AAAAAAA="
    ours, theirs = read_parts(
        {"type": "thinking", "thinking": "a", "signature": packed},
        {"type": "thinking", "thinking": "b", "signature": forged},
        role="assistant",
    )
    assert ours.seal == Seal(origin="google/gemini-3", payload="opaque")
    assert theirs.seal is None


def test_a_calls_seal_that_stood_beside_it_comes_back_to_it():
    packed = SEALS.pack(Seal(origin="google/gemini-3", payload="opaque", form="thoughtSignature"))
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    parts = read_parts(call, {"type": "redacted_thinking", "data": packed}, call | {"id": "u"}, role="assistant")
    assert [(part.id, part.seal and part.seal.payload) for part in parts] == [("t", "opaque"), ("u", None)]


def test_redacted_thinking_right_after_a_call_is_thinking_when_the_vendor_minted_it():
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    parts = read_parts(call, {"type": "redacted_thinking", "data": "Em=="}, role="assistant")
    assert [type(part) for part in parts] == [ToolCall, Thinking]


@pytest.mark.parametrize(
    ("block", "weight"),
    [
        ({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}, Weight.DEGRADES),
        ({"type": "web_search_tool_result", "tool_use_id": "s", "content": []}, Weight.DEGRADES),
        ({"type": "mcp_tool_use", "id": "s", "name": "x", "server_name": "y", "input": {}}, Weight.DEGRADES),
        ({"type": "mcp_tool_result", "tool_use_id": "s", "content": []}, Weight.DEGRADES),
        ({"type": "compaction", "content": "summary"}, Weight.CHANGES_ANSWER),
        ({"type": "search_result", "source": "s", "title": "t", "content": []}, Weight.CHANGES_ANSWER),
        ({"type": "container_upload", "file_id": "f"}, Weight.CHANGES_ANSWER),
        ({"type": "of_tomorrow", "x": 1}, Weight.CHANGES_ANSWER),
    ],
)
def test_blocks_that_only_the_format_knows_are_kept_whole(block: dict[str, Any], weight: Weight):
    assert read_parts(block) == (
        Foreign(
            origin=NAME,
            what=block["type"],
            value=block,
            weight=weight,
            why=read_parts(block)[0].why,
            at="messages[0].content[0]",
        ),
    )


def test_edge_73_typed_tools_are_never_dropped_in_silence():
    tools = [{"type": "bash_20250124", "name": "bash"}, {"name": "mine", "input_schema": {"type": "object"}}]
    foreign, mine = read(tools=tools).tools
    assert isinstance(foreign, Foreign)
    assert (foreign.what, foreign.weight, foreign.at) == ("bash_20250124", Weight.CHANGES_ANSWER, "tools[0]")
    assert mine.at == "tools[1]"


@pytest.mark.parametrize(
    ("choice", "expected", "is_parallel"),
    [
        ({"type": "auto"}, ToolChoice(mode="auto"), None),
        ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice(mode="required"), False),
        ({"type": "tool", "name": "f", "disable_parallel_tool_use": False}, ToolChoice(mode="named", name="f"), True),
        ({"type": "none"}, ToolChoice(mode="none"), None),
    ],
)
def test_it_reads_the_choice_of_tools(choice: dict[str, Any], expected: ToolChoice, is_parallel: bool | None):
    request = read(tool_choice=choice)
    assert (request.tool_choice, request.parallel_tools) == (expected, is_parallel)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, Reasoning(budget=2000)),
        ({"thinking": {"type": "adaptive"}}, Reasoning(mode="adaptive")),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, Reasoning(mode="adaptive", shows=False)),
        (
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "max"}},
            Reasoning(effort="max", shows=True),
        ),
        ({"thinking": {"type": "between_tools"}}, Reasoning(mode="between_tools")),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, Reasoning(effort="none")),
        ({"output_config": {"effort": "low"}}, Reasoning(effort="low")),
        ({"thinking": {"type": "of_tomorrow", "depth": 3}}, None),
        ({}, None),
    ],
)
def test_it_reads_how_much_to_think(fields: dict[str, Any], expected: Reasoning | None):
    assert read(**fields).reasoning == expected


@pytest.mark.parametrize(
    ("fields", "tier"),
    [
        ({"service_tier": "auto"}, "auto"),
        ({"service_tier": "standard_only"}, "default"),
        ({"speed": "fast", "service_tier": "auto"}, "fast"),
        ({"speed": "standard"}, None),
    ],
)
def test_it_reads_the_tier(fields: dict[str, Any], tier: str | None):
    assert read(**fields).service_tier == tier


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("mcp_servers", Weight.CHANGES_ANSWER),
        ("thread", Weight.CHANGES_ANSWER),
        ("compaction", Weight.CHANGES_ANSWER),
        ("container", Weight.DEGRADES),
        ("context_management", Weight.DEGRADES),
        ("fallbacks", Weight.DEGRADES),
        ("inference_geo", Weight.DEGRADES),
        ("diagnostics", Weight.COSMETIC),
        ("cache_control", Weight.COSMETIC),
        ("of_tomorrow", Weight.DEGRADES),
    ],
)
def test_fields_of_the_format_alone_have_a_weight(name: str, weight: Weight):
    assert native_paths(read(**{name: {"x": 1}}), "") in ({name: weight}, {f"{name}.x": weight})


@pytest.mark.parametrize(
    "name", ["system", "tools", "thinking", "output_config", "metadata", "stop_sequences", "speed"]
)
def test_null_is_the_same_as_nothing(name: str):
    assert native_paths(read(**{name: None}), "") == {}


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield from places(child, (*at, key))


def replaced(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    value = copy.deepcopy(value)
    node = value
    for key in at[:-1]:
        node = node[key]
    node[at[-1]] = new
    return value


def blamed(raw: bytes) -> str | None:
    """Return the field that a request is refused for; None when it is written."""
    try:
        write_request(read_raw(raw), Destination(model="m", origin="o"), Losses())
    except InvalidRequest as error:
        return error.param or "nobody knows what"
    return None


@pytest.mark.parametrize("recorded", EXCHANGES, ids=lambda recorded: recorded.name)
def test_nonsense_anywhere_is_written_or_refused_and_named(recorded: Any):
    body = json.loads(recorded.request)
    for place in places(body):
        for odd in (None, 5, -1, "", "x", [], [None], {}, {"type": "x"}, True, 2.5):
            raw = json.dumps(replaced(body, place, odd)).encode()
            assert blamed(raw) != "nobody knows what", f"{place} = {odd!r}"
