"""Reading streams of Chat Completions, as OpenAI and all the servers that speak its format write them."""

import json
from typing import Any

import pytest

from providers.canonical.answer import Answer, fold
from providers.canonical.events import (
    ArgumentsDelta,
    Event,
    MessageEnd,
    MessageStart,
    PartEnd,
    PartStart,
    SealDelta,
    StreamFailed,
    TextDelta,
    UsageReport,
)
from providers.canonical.parts import Citation, Media, Text, Thinking, ToolCall
from providers.canonical.usage import Usage
from providers.dialects.openai_chat.answer import read_answer
from providers.dialects.openai_chat.stream_reader import BROKEN, CUT_CALL, ChatReader
from providers.dialects.reader import CUT, NONSENSE

ORIGIN = "vendor/model"
DONE = b"data: [DONE]\n\n"
COUNTS = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


def frame(body: object) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def chunk(delta: Any = None, finish: str | None = None, **choice: Any) -> bytes:
    told = {"index": 0, "delta": delta, "finish_reason": finish, **choice}
    return frame({"id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [told]})


def calls(*fragments: dict[str, Any]) -> bytes:
    return chunk({"tool_calls": list(fragments)})


def part_of_call(index: int | None, arguments: Any = None, **fields: Any) -> dict[str, Any]:
    """Return a fragment; `name` goes into its function."""
    function = {"name": fields.pop("name", None), "arguments": arguments}
    fragment = {"function": {name: value for name, value in function.items() if value is not None}, **fields}
    return fragment if index is None else {"index": index, **fragment}


def said(text: str) -> bytes:
    return chunk({"content": text})


ROLE = chunk({"role": "assistant", "content": ""})
STOP = chunk({}, "stop")
CALLED = chunk({}, "tool_calls")
USAGE = frame({"id": "c1", "choices": [], "usage": COUNTS})


def read(*frames: bytes) -> list[Event]:
    reader = ChatReader(ORIGIN)
    return [*(event for data in frames for event in reader.feed(data)), *reader.close()]


def answer(*frames: bytes) -> Answer:
    return fold(read(*frames))


def made(*frames: bytes) -> list[tuple[str, str, str]]:
    return [(part.id, part.name, part.arguments) for part in answer(*frames).parts if isinstance(part, ToolCall)]


def failure(*frames: bytes) -> StreamFailed:
    last = read(*frames)[-1]
    assert isinstance(last, StreamFailed)
    return last


def test_it_reads_words():
    assert read(ROLE, said("Hel"), said("lo"), STOP, USAGE, DONE) == [
        MessageStart(id="c1", model="m"),
        PartStart(index=0, part=Text()),
        TextDelta(index=0, text="Hel"),
        TextDelta(index=0, text="lo"),
        UsageReport(usage=Usage(input=10, output=5)),
        PartEnd(index=0),
        MessageEnd(stop="end_turn"),
    ]


# Chunks that are odd


def test_edge_16_a_usage_chunk_has_no_choices():
    for choices in ([], None):
        told = answer(said("a"), STOP, frame({"choices": choices, "usage": COUNTS}), DONE)
        assert (told.usage, told.stop) == (Usage(input=10, output=5), "end_turn")


def test_edge_17_a_usage_chunk_may_lack_choices_altogether():
    assert answer(said("a"), STOP, frame({"usage": COUNTS})).usage == Usage(input=10, output=5)


def test_edge_18_azures_first_chunk_says_nothing_of_the_answer():
    first = frame({"id": "", "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]})
    assert read(first, said("a"), STOP, DONE)[0] == MessageStart(id="c1", model="m")


@pytest.mark.parametrize("delta", [None, {}, {"role": ""}, {"content": None}, {"tool_calls": None}, [], "x"])
def test_edge_19_a_delta_may_be_null_or_say_nothing(delta: Any):
    assert answer(chunk(delta), said("a"), chunk(delta), said("b"), STOP).parts == (Text(text="ab"),)


def test_edge_20_an_id_is_taken_once_and_may_be_missing():
    first = frame({"choices": [{"delta": {"content": "a"}}]})
    events = read(first, said("b"), STOP)
    assert [event for event in events if isinstance(event, MessageStart)] == [MessageStart()]


def test_edge_21_done_may_be_missing_and_nothing_follows_it():
    whole = read(said("a"), STOP, USAGE)
    assert whole == read(said("a"), STOP, USAGE, DONE, said("late"), USAGE, DONE)
    assert whole[-1] == MessageEnd(stop="end_turn")


def test_edge_21_done_without_a_finish_reason_ends_what_is_there():
    assert answer(said("a"), DONE).stop == "end_turn"
    assert answer(calls(part_of_call(0, "{}", id="c", name="f")), DONE).stop == "tool_use"


@pytest.mark.parametrize("frames", [(), (ROLE,), (said("a"),), (said("a"), USAGE), (ROLE, DONE), (DONE,)])
def test_edge_22_a_stream_that_closes_without_a_finish_reason_was_cut(frames: tuple[bytes, ...]):
    assert failure(*frames) == StreamFailed(message=CUT)


def test_edge_22_whole_arguments_do_not_make_up_for_a_finish_reason():
    assert failure(calls(part_of_call(0, "{}", id="c", name="f"))).message == CUT


def test_it_holds_the_end_back_until_usage_has_come():
    reader = ChatReader(ORIGIN)
    assert not any(isinstance(event, MessageEnd) for event in reader.feed(said("a") + STOP))
    assert isinstance(reader.feed(USAGE)[-1], MessageEnd)


@pytest.mark.parametrize(
    "last",
    [
        frame({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": COUNTS}),
        frame({"choices": [{"delta": {}, "finish_reason": "stop"}], "x_groq": {"usage": COUNTS}}),
        frame({"choices": [{"delta": {}, "finish_reason": "stop", "usage": COUNTS}]}),
    ],
)
def test_it_finds_usage_where_servers_have_put_it(last: bytes):
    assert answer(said("a"), last).usage == Usage(input=10, output=5)


# Why it ended


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "function_call", "eos"])
def test_edge_23_an_answer_with_calls_stopped_for_them(finish: str):
    assert answer(calls(part_of_call(0, "{}", id="c", name="f")), chunk({}, finish), DONE).stop == "tool_use"


def test_edge_24_a_finish_reason_without_a_call_is_an_ordinary_end():
    assert answer(said("a"), CALLED, DONE).stop == "end_turn"


def test_edge_25_an_answer_cut_by_its_length_in_a_call_did_not_stop_for_it():
    told = answer(calls(part_of_call(0, '{"a":', id="c", name="f")), chunk({}, "length"), DONE)
    assert told.stop == "max_tokens"
    assert told.parts == (ToolCall(id="c", name="f", arguments='{"a":'),)


@pytest.mark.parametrize("cut", ['{"a":', '{"a":"b', '{"a":1', "{", '[{"a"', '{"a":tr'])
def test_edge_25_arguments_that_stop_in_the_middle_are_a_failure(cut: str):
    assert failure(calls(part_of_call(0, cut, id="c", name="f")), CALLED, DONE).message == CUT_CALL


def test_arguments_that_are_whole_and_wrong_are_the_clients_to_judge():
    assert made(calls(part_of_call(0, "{'a': 1}", id="c", name="f")), CALLED) == [("c", "f", "{'a': 1}")]


@pytest.mark.parametrize(
    ("finish", "stop"),
    [
        ("length", "max_tokens"),
        ("content_filter", "refusal"),
        ("sensitive", "refusal"),
        ("model_context_window_exceeded", "context_exceeded"),
        ("eos_token", "end_turn"),
        ("something_new", "end_turn"),
    ],
)
def test_it_knows_what_servers_call_their_ends(finish: str, stop: str):
    assert answer(said("a"), chunk({}, finish), DONE).stop == stop


@pytest.mark.parametrize("finish", ["error", "network_error", "insufficient_system_resource", "abort"])
def test_it_takes_an_end_that_is_an_error_for_one(finish: str):
    assert failure(said("a"), chunk({}, finish), DONE) == StreamFailed(message=BROKEN, code=finish)


def test_edge_26_only_the_first_of_several_answers_is_read():
    other = chunk({"content": "other"}, "length", index=1)
    told = answer(said("a"), other, STOP, DONE)
    assert (told.parts, told.stop) == ((Text(text="a"),), "end_turn")


@pytest.mark.parametrize("field", ["stop_reason", "matched_stop"])
def test_edge_112_the_stop_sequence_is_told_where_the_server_tells_it(field: str):
    told = answer(said("a"), chunk({}, "stop", **{field: "END"}), DONE)
    assert (told.stop, told.stop_sequence) == ("stop_sequence", "END")


@pytest.mark.parametrize("value", [None, 128001, "", "end_turn"])
def test_edge_112_a_stop_sequence_is_never_guessed(value: Any):
    told = answer(said("a"), chunk({}, "stop", stop_reason=value), DONE)
    assert (told.stop, told.stop_sequence) == ("end_turn", None)


def test_edge_113_a_refusal_is_words_of_its_own():
    told = answer(chunk({"refusal": "I can"}), chunk({"refusal": "not."}), STOP, DONE)
    assert (told.parts, told.stop) == ((Text(text="I cannot.", is_refusal=True),), "refusal")


# Calls


def test_interleaved_calls_get_their_own_arguments():
    assert made(
        calls(part_of_call(0, "", id="a", name="f")),
        calls(part_of_call(1, "", id="b", name="g")),
        calls(part_of_call(0, '{"x":')),
        calls(part_of_call(1, "{}")),
        calls(part_of_call(0, "1}")),
        CALLED,
    ) == [("a", "f", '{"x":1}'), ("b", "g", "{}")]


def test_a_call_that_is_whole_ends_when_the_next_begins():
    events = read(
        calls(part_of_call(0, "{}", id="a", name="f")), calls(part_of_call(1, "{", id="b", name="g")), said(""), CALLED
    )
    assert events.index(PartEnd(index=0)) < events.index(ArgumentsDelta(index=1, text="{"))


def test_edge_27_parallel_calls_that_all_claim_index_0_stay_apart():
    by_id = made(
        calls(part_of_call(0, '{"a":1}', id="x", name="f")), calls(part_of_call(0, '{"a":2}', id="y", name="f")), CALLED
    )
    assert by_id == [("x", "f", '{"a":1}'), ("y", "f", '{"a":2}')]
    without_ids = made(calls(part_of_call(0, '{"a":1}', name="f")), calls(part_of_call(0, '{"a":2}', name="f")), CALLED)
    assert [arguments for _, _, arguments in without_ids] == ['{"a":1}', '{"a":2}']


def test_edge_27_calls_without_any_index_stay_apart():
    assert made(
        calls(part_of_call(None, '{"a":1}', id="x", name="f"), part_of_call(None, '{"a":2}', id="y", name="f")), CALLED
    ) == [("x", "f", '{"a":1}'), ("y", "f", '{"a":2}')]


def test_edge_28_an_index_that_counts_words_too_makes_no_empty_call():
    told = answer(said("a"), calls(part_of_call(1, "{}", id="x", name="f")), CALLED)
    assert told.parts == (Text(text="a"), ToolCall(id="x", name="f", arguments="{}"))


def test_edge_29_a_name_may_come_in_pieces():
    assert made(
        calls(part_of_call(0, id="x", name="get_")),
        calls(part_of_call(0, "", name="weather")),
        calls(part_of_call(0, "{}")),
        CALLED,
    ) == [("x", "get_weather", "{}")]


def test_edge_29_arguments_may_come_before_the_name():
    assert made(
        calls(part_of_call(0, '{"a"', id="x")),
        calls(part_of_call(0, name="f")),
        calls(part_of_call(0, ":1}")),
        CALLED,
    ) == [("x", "f", '{"a":1}')]


def test_edge_29_a_call_that_never_gets_a_name_is_nonsense():
    assert failure(calls(part_of_call(0, "{}", id="x")), CALLED, DONE).message == NONSENSE


def test_an_id_and_a_name_in_every_fragment_are_one_call():
    fragments = [calls(part_of_call(0, text, id="x", name="f")) for text in ('{"a"', ":", "1}", "")]
    assert made(*fragments, CALLED) == [("x", "f", '{"a":1}')]


def test_a_new_id_in_every_fragment_is_one_call():
    opener = calls(part_of_call(0, '{"a"', id="x1", name="f"))
    assert made(opener, calls(part_of_call(0, ":1}", id="x2")), CALLED) == [("x1", "f", '{"a":1}')]


def test_edge_30_a_call_without_an_id_gets_one_and_always_the_same():
    stream = (calls(part_of_call(0, "{}", name="f")), CALLED)
    [(call_id, _, _)] = made(*stream)
    assert call_id.startswith("call_")
    assert made(*stream) == [(call_id, "f", "{}")]


@pytest.mark.parametrize(("arguments", "text"), [({"a": 1}, '{"a":1}'), ({}, "{}"), ("", "{}"), (None, "{}")])
def test_edge_31_arguments_may_be_an_object_or_nothing(arguments: Any, text: str):
    assert made(calls(part_of_call(0, arguments, id="x", name="f")), CALLED) == [("x", "f", text)]


def test_edge_32_each_fragment_goes_on_at_once():
    reader = ChatReader(ORIGIN)
    reader.feed(calls(part_of_call(0, "", id="x", name="f")))
    assert reader.feed(calls(part_of_call(0, '{"a'))) == [
        PartStart(index=0, part=ToolCall(id="x", name="f")),
        ArgumentsDelta(index=0, text='{"a'),
    ]
    assert reader.feed(calls(part_of_call(0, '"'))) == [ArgumentsDelta(index=0, text='"')]


def test_edge_33_calls_after_words_are_not_lost():
    told = answer(said("Let me see."), calls(part_of_call(0, "{}", id="x", name="f")), CALLED)
    assert told.parts == (Text(text="Let me see."), ToolCall(id="x", name="f", arguments="{}"))


def test_words_after_a_call_are_a_part_of_their_own():
    told = answer(calls(part_of_call(0, "{}", id="x", name="f")), said("Done."), CALLED)
    assert told.parts == (ToolCall(id="x", name="f", arguments="{}"), Text(text="Done."))


def test_an_empty_list_of_calls_does_not_end_the_words():
    told = answer(said("a"), chunk({"content": "b", "tool_calls": []}), STOP)
    assert told.parts == (Text(text="ab"),)


def test_edge_88_a_function_call_is_a_call():
    told = answer(
        chunk({"function_call": {"name": "f", "arguments": ""}}),
        chunk({"function_call": {"arguments": '{"a":1}'}}),
        chunk({}, "function_call"),
    )
    assert told.stop == "tool_use"
    assert [(part.name, part.arguments) for part in told.parts if isinstance(part, ToolCall)] == [("f", '{"a":1}')]


def test_edge_115_arguments_stay_as_the_model_wrote_them():
    text = '{ "html": "<b>\\u003c/b>", "path": "C:\\\\x", "n": 1.0 }'
    assert made(calls(part_of_call(0, text, id="x", name="f")), CALLED) == [("x", "f", text)]


def test_a_custom_tools_input_is_free_text():
    opener = {"index": 0, "id": "x", "type": "custom", "custom": {"name": "patch", "input": ""}}
    told = answer(calls(opener), calls({"index": 0, "custom": {"input": "*** a"}}), CALLED)
    assert told.parts == (ToolCall(id="x", name="patch", arguments="*** a", kind="custom"),)


def test_a_thought_signature_seals_its_call():
    signed = {**part_of_call(0, "{}", id="x", name="f"), "extra_content": {"google": {"thought_signature": "sig"}}}
    [seal] = [event.seal for event in read(calls(signed), STOP) if isinstance(event, SealDelta)]
    assert (seal.origin, seal.payload) == (ORIGIN, "sig")


# Reasoning


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_is_a_part_before_the_words(field: str):
    told = answer(chunk({field: "Hm"}), chunk({field: "m."}), chunk({field: None, "content": "7"}), STOP)
    assert told.parts == (Thinking(text="Hmm."), Text(text="7"))


def test_reasoning_details_are_sealed_as_they_are_and_not_read_twice():
    first = {"type": "reasoning.text", "text": "Hm", "index": 0}
    told = answer(
        chunk({"reasoning": "Hm", "reasoning_details": [first]}),
        chunk({"reasoning": "m.", "reasoning_details": [{**first, "text": "m."}]}),
        chunk({"reasoning_details": [{"type": "reasoning.text", "signature": "sig", "index": 0}]}),
        said("7"),
        STOP,
    )
    [thinking, _] = told.parts
    assert isinstance(thinking, Thinking)
    assert thinking.text == "Hmm."
    assert thinking.seal is not None
    entry = {"type": "reasoning.text", "text": "Hmm.", "index": 0, "signature": "sig"}
    assert json.loads(thinking.seal.payload) == entry


def test_an_encrypted_entry_belongs_to_the_reasoning_before_it():
    entry = {"type": "reasoning.encrypted", "data": "x", "id": "rs_1", "index": 0}
    told = answer(chunk({"reasoning": "Hm"}), chunk({"reasoning_details": [entry]}), said("7"), STOP)
    [thinking, _] = told.parts
    assert isinstance(thinking, Thinking)
    assert (thinking.text, thinking.is_redacted) == ("Hm", False)
    assert thinking.seal is not None
    assert json.loads(thinking.seal.payload) == entry


def test_encrypted_entries_alone_are_redacted_reasoning():
    entries = [{"type": "reasoning.encrypted", "data": data, "index": i} for i, data in enumerate("xy")]
    told = answer(chunk({"reasoning_details": entries}), said("7"), STOP)
    assert [part.is_redacted for part in told.parts if isinstance(part, Thinking)] == [True, True]


def test_mistrals_content_is_a_list():
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    told = answer(chunk({"content": [thought]}), chunk({"content": [{"type": "text", "text": "7"}]}), STOP)
    assert told.parts == (Thinking(text="Hm."), Text(text="7"))


def test_edge_89_sources_and_images_are_not_dropped():
    source = {
        "type": "url_citation",
        "url_citation": {"url": "http://x", "title": "X", "start_index": 0, "end_index": 1},
    }
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    told = answer(said("a"), chunk({"annotations": [source]}), chunk({"images": [image]}), STOP)
    [text, picture] = told.parts
    assert isinstance(text, Text)
    assert text.citations == (Citation(url="http://x", title="X", start=0, end=1),)
    assert isinstance(picture, Media)
    assert (picture.kind, picture.media_type, picture.data) == ("image", "image/png", "AA==")


# Failures


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "Overloaded", "code": "overloaded"}},
        {
            "error": {"message": "Overloaded", "code": "overloaded"},
            "choices": [{"delta": {}, "finish_reason": "error"}],
        },
        {
            "choices": [
                {"delta": {}, "finish_reason": "error", "error": {"message": "Overloaded", "code": "overloaded"}}
            ]
        },
    ],
)
def test_edge_35_an_error_in_the_stream_keeps_what_it_says(error: dict[str, Any]):
    assert failure(said("a"), frame(error), STOP, DONE) == StreamFailed(message="Overloaded", code="overloaded")


def test_edge_35_an_error_may_be_a_number_or_a_text():
    assert failure(frame({"error": {"message": "No credits", "code": 402}})).code == "402"
    assert failure(frame({"error": "Out of memory"})).message == "Out of memory"


@pytest.mark.parametrize(
    "nonsense", [b"data: [1]\n\n", b"data: {\n\n", b'data: {"choices":[{"delta":{"images":[1]}}]}\n\n']
)
def test_nonsense_ends_the_stream(nonsense: bytes):
    assert failure(said("a"), nonsense, STOP, DONE).message == NONSENSE


# Whole answers


def whole(message: dict[str, Any], finish: str | None = "stop", **fields: Any) -> bytes:
    return json.dumps(
        {"id": "c1", "model": "m", "choices": [{"message": message, "finish_reason": finish}], **fields}
    ).encode()


def test_edge_34_a_whole_answers_parts_are_all_read():
    body = whole({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "tool_calls": []})
    assert fold(read_answer(body, ORIGIN)).parts == (Text(text="ab"),)


def test_calls_of_a_whole_answer_stay_apart_without_ids():
    call = {"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    told = fold(read_answer(whole({"content": None, "tool_calls": [call, call]}), ORIGIN))
    assert told.stop == "tool_use"
    assert len({part.id for part in told.parts if isinstance(part, ToolCall)}) == 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>", NONSENSE),
        (b"[]", NONSENSE),
        (b"{}", NONSENSE),
        (b'{"choices":[]}', NONSENSE),
        (b'{"choices":[{"message":3}]}', NONSENSE),
        (b'{"error":{"message":"No."}}', "No."),
    ],
)
def test_what_is_no_answer_is_a_failure(body: bytes, message: str):
    [*_, last] = read_answer(body, ORIGIN)
    assert isinstance(last, StreamFailed)
    assert last.message == message
