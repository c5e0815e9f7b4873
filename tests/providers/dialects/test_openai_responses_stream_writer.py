"""Writing a stream of Responses: the order that clients rely on, and what the real one makes of it."""

import json
from collections.abc import Iterable
from typing import Any

import openai
import pytest
from openai.types.responses import Response

from providers.canonical.answer import fold
from providers.canonical.events import (
    ArgumentsDelta,
    CitationDelta,
    Event,
    MessageEnd,
    MessageStart,
    PartEnd,
    PartStart,
    Ping,
    SealDelta,
    Stop,
    StreamFailed,
    TextDelta,
    ThinkingDelta,
    UsageReport,
)
from providers.canonical.losses import Losses, Native, NativeField, Weight
from providers.canonical.parts import Citation, Foreign, Media, Part, Text, Thinking, ToolCall
from providers.canonical.request import Request
from providers.canonical.seals import Seal, SealBox
from providers.canonical.usage import Usage
from providers.dialects.openai_responses import OPENAI_RESPONSES
from providers.dialects.openai_responses.wire import BEHIND
from providers.dialects.writer import Reply
from providers.wire.splice import read_members
from providers.wire.sse import frame_event, frames
from tenants.errors import RateLimited, UpstreamFailed

SEALS = SealBox([b"secret"], 1)
SEAL = Seal(origin="a/b", payload="p", form="call")
USED = UsageReport(usage=Usage(input=10, cache_read=5, output=3, reasoning=1))
SHELL = {"type": "local_shell"}


def asked(**body: Any) -> Request:
    raw = json.dumps({"model": "alias", "input": "hi", **body}).encode()
    members = read_members(raw)
    facts = OPENAI_RESPONSES.read_facts(members, OPENAI_RESPONSES.operations["chat"])
    return OPENAI_RESPONSES.read_request(members, facts, SEALS)


def reply(**body: Any) -> Reply:
    return Reply(request=asked(**body), model="alias", id="abc", created=1_767_225_600, seals=SEALS, losses=Losses())


def part(index: int, part: Part, *deltas: Event) -> list[Event]:
    return [PartStart(index=index, part=part), *deltas, PartEnd(index=index)]


def text(index: int, *words: str, **fields: Any) -> list[Event]:
    return part(index, Text(**fields), *[TextDelta(index=index, text=each) for each in words])


def call(index: int, *arguments: str, kind: Any = "function", name: str = "f", namespace: str = "") -> list[Event]:
    opened = ToolCall(id=f"call_{index}", name=name, kind=kind, namespace=namespace)
    return part(index, opened, *[ArgumentsDelta(index=index, text=each) for each in arguments])


def story(*events: Event | Iterable[Event], stop: Stop = "end_turn", explanation: str = "") -> list[Event]:
    told: list[Event] = [MessageStart(id="upstream's", model="upstream's")]
    for event in events:
        told += event if isinstance(event, list) else [event]  # type: ignore[list-item]
    return [*told, USED, MessageEnd(stop=stop, explanation=explanation)]


def write(events: list[Event], to: Reply) -> bytes:
    writer = OPENAI_RESPONSES.writer(to)
    return b"".join([writer.feed(event) for event in events])


def written(events: list[Event], to: Reply | None = None) -> list[dict[str, Any]]:
    stream = write(events, to or reply())
    pairs = [frame_event(frame) for frame in frames(stream)]
    parsed: list[dict[str, Any]] = [json.loads(data) for _, data in pairs]
    assert [name.decode() for name, _ in pairs] == [event["type"] for event in parsed]
    assert [event["sequence_number"] for event in parsed] == list(range(len(parsed)))
    return parsed


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def output(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = events[-1]["response"]["output"]
    return found


def whole(events: list[Event], to: Reply | None = None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(OPENAI_RESPONSES.write_answer(fold(events), to or reply()))
    return found


def test_edge_100_the_order_of_a_message():
    events = written(story(text(0, "Hel", "lo")))
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    delta = events[4]
    assert delta == {
        "type": "response.output_text.delta",
        "sequence_number": 4,
        "item_id": "msg_abc_0",
        "output_index": 0,
        "content_index": 0,
        "delta": "Hel",
        "logprobs": [],
    }


def test_edge_99_the_end_has_the_id_all_items_and_the_usage():
    events = written(story(text(0, "Hello"), call(1, "{}"), stop="tool_use"))
    response = events[-1]["response"]
    assert (events[-1]["type"], response["id"], response["status"]) == ("response.completed", "resp_abc", "completed")
    assert response["usage"]["total_tokens"] == 18
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert response["output"] == done


def test_edge_105_an_item_has_one_id_with_the_prefix_of_its_type():
    thinking = part(0, Thinking(), ThinkingDelta(index=0, text="hm"))
    events = written(story(thinking, text(1, "a"), call(2, "{}"), call(3, "x", kind="custom"), stop="tool_use"))
    named: dict[int, set[str]] = {}
    for event in events:
        if "output_index" in event:
            named.setdefault(event["output_index"], set()).add(event.get("item_id") or event["item"]["id"])
    assert list(named.values()) == [{"rs_abc_0"}, {"msg_abc_1"}, {"fc_abc_2"}, {"ctc_abc_3"}]
    assert len({item["id"] for item in output(events)}) == 4


def test_texts_in_a_row_are_parts_of_one_message():
    events = written(story(text(0, "a"), text(1, "b"), call(2, "{}"), text(3, "c"), stop="tool_use"))
    assert [item["type"] for item in output(events)] == ["message", "function_call", "message"]
    assert [each["text"] for each in output(events)[0]["content"]] == ["a", "b"]
    assert [event["content_index"] for event in events if "content_index" in event][-1] == 0


def test_each_done_comes_before_the_end_of_its_item():
    for told in (story(text(0, "a")), story(call(0, "{}")), story(call(0, "x", kind="custom"))):
        order = kinds(written(told))
        end = order.index("output_item.done")
        assert all(order.index(kind) < end for kind in order if kind.endswith(".done") and kind != "output_item.done")


def test_reasoning_is_a_summary_and_its_seal_comes_with_the_end_of_the_item():
    seal = Seal(origin="a/b", payload="p")
    events = written(story(part(0, Thinking(), ThinkingDelta(index=0, text="hm"), SealDelta(index=0, seal=seal))))
    assert kinds(events)[2:8] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    assert "encrypted_content" not in events[2]["item"]
    item = output(events)[0]
    assert item["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert SEALS.open(item["encrypted_content"], "openai_responses") == seal


def test_reasoning_that_is_only_sealed_is_an_item_without_words():
    events = written(story(part(0, Thinking(), SealDelta(index=0, seal=SEAL)), text(1, "a")))
    assert output(events)[0]["summary"] == []
    assert kinds(events)[2:4] == ["output_item.added", "output_item.done"]


def test_reasoning_that_is_nothing_is_no_item():
    assert [item["type"] for item in output(written(story(part(0, Thinking()), text(1, "a"))))] == ["message"]


@pytest.mark.parametrize("opened", [ToolCall(id="c", name="f"), Text()])
def test_a_seal_of_a_call_or_a_text_comes_in_an_item_behind_it(opened: Part):
    events = story(part(0, opened, SealDelta(index=0, seal=SEAL)))
    for items in (output(written(events)), whole(events)["output"]):
        assert [item["type"] for item in items][1:] == ["reasoning"]
        packed = items[1]["encrypted_content"]
        assert packed.endswith(BEHIND)
        assert SEALS.open(packed.removesuffix(BEHIND), "openai_responses") == SEAL


def test_arguments_go_on_as_they_come_and_an_empty_call_has_an_empty_object():
    events = written(story(call(0, '{"a"', ":1}"), call(1), stop="tool_use"))
    deltas = [event["delta"] for event in events if event["type"].endswith("arguments.delta")]
    assert deltas == ['{"a"', ":1}", "{}"]
    assert [item["arguments"] for item in output(events)] == ['{"a":1}', "{}"]


def test_custom_calls_have_events_of_their_own():
    events = written(story(call(0, "ls ", "-l", kind="custom"), stop="tool_use"))
    assert kinds(events)[2:7] == [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
    ]
    assert output(events)[0]["input"] == "ls -l"


def test_edge_103_a_call_names_its_namespace():
    events = written(story(call(0, "{}", name="read", namespace="mcp"), stop="tool_use"))
    for item in (events[2]["item"], output(events)[0]):
        assert (item["name"], item["namespace"]) == ("read", "mcp")


def test_edge_103_a_tool_of_the_formats_own_comes_back_as_one():
    to = reply(tools=[SHELL])
    told = story(call(0, '{"command":', '["ls"]}', name="local_shell"), stop="tool_use")
    expected = {
        "type": "local_shell_call",
        "id": "lsh_abc_0",
        "call_id": "call_0",
        "status": "completed",
        "action": {"type": "exec", "env": {}, "command": ["ls"]},
    }
    assert output(written(told, to)) == whole(told, to)["output"] == [expected]


def test_edge_103_a_call_of_such_a_tool_that_makes_no_sense_is_a_function_that_nobody_has():
    told = story(call(0, '{"command":', name="local_shell"), stop="tool_use")
    (item,) = output(written(told, reply(tools=[SHELL])))
    assert (item["type"], item["arguments"]) == ("function_call", '{"command":')


@pytest.mark.parametrize(
    ("stop", "status", "reason"),
    [
        ("end_turn", "completed", None),
        ("stop_sequence", "completed", None),
        ("tool_use", "completed", None),
        ("max_tokens", "incomplete", "max_output_tokens"),
        ("context_exceeded", "incomplete", "max_output_tokens"),
        ("refusal", "incomplete", "content_filter"),
    ],
)
def test_edge_104_how_an_answer_ends(stop: Stop, status: str, reason: str | None):
    events = story(text(0, "a"), stop=stop)
    for response in (written(events)[-1]["response"], whole(events)):
        assert response["status"] == status
        assert (response["incomplete_details"] or {}).get("reason") == reason


@pytest.mark.parametrize("kind", ["function", "custom"])
def test_edge_104_a_call_that_is_cut_off_never_looks_finished(kind: str):
    told = story(text(0, "a"), call(1, '{"a', kind=kind), stop="max_tokens")
    events = written(told)
    assert [event["item"]["type"] for event in events if event["type"] == "response.output_item.done"] == ["message"]
    assert output(events)[1]["status"] == whole(told)["output"][1]["status"] == "incomplete"


def test_edge_104_a_call_that_was_whole_before_the_limit_is_finished():
    told = story(call(0, '{"a":1}'), stop="max_tokens")
    assert output(written(told))[0]["status"] == whole(told)["output"][0]["status"] == "completed"


def test_edge_104_a_message_that_is_cut_off_says_so():
    told = story(text(0, "Once"), stop="max_tokens")
    assert output(written(told))[0]["status"] == whole(told)["output"][0]["status"] == "incomplete"


def test_edge_113_a_refusal_in_words_is_a_whole_answer():
    told = story(text(0, "No", ".", is_refusal=True), stop="refusal")
    events = written(told)
    assert "refusal.delta" in kinds(events)
    assert "refusal.done" in kinds(events)
    for response in (events[-1]["response"], whole(told)):
        assert response["status"] == "completed"
        assert response["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]


def test_edge_113_an_explanation_is_a_refusal_in_words():
    told = story(stop="refusal", explanation="It is not safe.")
    for response in (written(told)[-1]["response"], whole(told)):
        assert response["status"] == "completed"
        assert response["output"][0]["content"] == [{"type": "refusal", "refusal": "It is not safe."}]


def test_edge_113_a_refusal_without_a_word_is_an_answer_too():
    told = story(stop="refusal")
    assert written(told)[-1]["type"] == "response.incomplete"
    assert whole(told)["output"] == []


def test_sources_stand_in_the_text():
    exact = Citation(url="https://a", title="A", start=0, end=2)
    loose = Citation(url="https://b")
    deltas = [
        CitationDelta(index=0, citation=loose),
        TextDelta(index=0, text="abc"),
        CitationDelta(index=0, citation=exact),
    ]
    told = story(part(0, Text(), *deltas))
    events = written(told)
    notes = [event["annotation"] for event in events if "annotation" in event]
    assert sorted(note["end_index"] for note in notes) == [2, 3]
    assert output(events)[0]["content"][0]["annotations"] == whole(told)["output"][0]["content"][0]["annotations"]


def test_what_has_no_item_is_named_as_lost():
    to = reply()
    told = story(
        part(0, Foreign(origin="gemini", what="executableCode", value={})),
        part(1, Media(kind="audio", media_type="audio/wav", data="A")),
        part(2, Media(kind="image", media_type="image/jpeg", data="A")),
        part(3, Foreign(origin="openai_responses", what="new", value={"type": "new", "id": "n_1"})),
        stop="pause",
    )
    events = written(told, to)
    assert [item["type"] for item in output(events)] == ["image_generation_call", "new"]
    assert {loss.path: loss.weight for loss in to.losses} == {
        "answer.parts[0]": Weight.DEGRADES,
        "answer.parts[1]": Weight.CHANGES_ANSWER,
        "answer.stop": Weight.DEGRADES,
    }


def test_the_phase_of_a_message_is_kept():
    phase = NativeField(name="phase", value="commentary", weight=Weight.COSMETIC, why="")
    native = Native(origin="openai_responses", fields=(phase,))
    told = story(text(0, "a", native=native), text(1, "b"))
    for items in (output(written(told)), whole(told)["output"]):
        assert [item.get("phase") for item in items] == ["commentary", None]


def test_a_failure_is_never_what_a_whole_answer_ends_with():
    writer = OPENAI_RESPONSES.writer(reply())
    stream = b"".join(writer.feed(event) for event in [MessageStart(), *text(0, "a")[:-1]])
    stream += writer.fail(RateLimited("Slow down.", retry_after_seconds=2))
    last = json.loads(frame_event(list(frames(stream))[-1])[1])
    assert last["type"] == "response.failed"
    assert last["response"]["status"] == "failed"
    assert last["response"]["error"] == {
        "code": "rate_limit_exceeded",
        "message": "Slow down. Please try again in 2s.",
    }


def test_a_failure_before_anything_has_a_beginning_too():
    stream = OPENAI_RESPONSES.writer(reply()).fail(UpstreamFailed("It broke."))
    assert [frame_event(frame)[0] for frame in frames(stream)] == [
        b"response.created",
        b"response.in_progress",
        b"response.failed",
    ]
    fed = OPENAI_RESPONSES.writer(reply()).feed(StreamFailed(message="no"))
    assert b"response.failed" in fed


def test_a_sign_of_life_is_an_event_that_says_nothing():
    assert kinds(written([MessageStart(), Ping()]))[-1] == "keepalive"
    assert OPENAI_RESPONSES.writer(reply()).feed(Ping()) == b""


def test_the_response_repeats_what_was_asked():
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
    body = {
        "instructions": "Be brief.",
        "tools": [tool, SHELL],
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": False,
        "temperature": 0,
        "top_p": 0.5,
        "max_output_tokens": 99,
        "reasoning": {"effort": "low", "summary": "detailed"},
        "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        "store": False,
        "metadata": {"a": "b"},
        "truncation": "auto",
    }
    response = whole(story(text(0, "{}")), reply(**body))
    assert {name: response[name] for name in body} == body
    assert (response["model"], response["created_at"], response["previous_response_id"]) == (
        "alias",
        1_767_225_600,
        None,
    )
    Response.model_validate(response, strict=True)


@pytest.mark.parametrize(
    "told",
    [
        story(text(0, "a"), call(1, "{}"), call(2, "x", kind="custom"), stop="tool_use"),
        story(part(0, Thinking(), ThinkingDelta(index=0, text="hm"), SealDelta(index=0, seal=SEAL)), text(1, "a")),
        story(text(0, "a"), stop="max_tokens"),
        story(stop="refusal", explanation="No."),
        story(part(0, Media(kind="image", media_type="image/png", data="A"))),
        story(call(0, '{"command":["ls"]}', name="local_shell"), stop="tool_use"),
    ],
)
def test_the_openai_sdk_takes_stream_and_answer(
    told: list[Event], openai_client: openai.OpenAI, upstream_answer: dict[str, object]
):
    to = reply(tools=[SHELL])
    stream = write(told, to)
    upstream_answer |= {"status_code": 200, "content": stream, "headers": {"content-type": "text/event-stream"}}
    with openai_client.responses.stream(model="alias", input="hi") as helper:
        last = list(helper)[-1]
    assert last.type in ("response.completed", "response.incomplete")
    expected = whole(told, to)
    Response.model_validate(expected, strict=True)
    assert last.response.to_dict()["status"] == expected["status"]  # type: ignore[union-attr]
    assert json.loads(frame_event(list(frames(stream))[-1])[1])["response"] == expected
