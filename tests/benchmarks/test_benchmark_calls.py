import json

import pytest

from benchmarks.calls import STREAM_MARKS, chat, messages, paced


@pytest.mark.parametrize("write", [chat, messages])
@pytest.mark.parametrize("size", [1024, 200 * 1024])
def test_a_body_has_exactly_the_size_that_is_asked_for(write, size):
    call = write(size=size, script="[[chunks=1]]", stream=True)
    assert len(call.body) == size
    assert json.loads(call.body)["messages"][-1]["content"].endswith("[[chunks=1]]")


def test_a_body_too_small_for_its_script_is_refused():
    with pytest.raises(ValueError, match="no room"):
        chat(size=20)


def test_a_stream_asks_for_its_usage_so_that_all_subjects_send_the_same_frames():
    assert json.loads(chat(size=1024, stream=True).body)["stream_options"] == {"include_usage": True}


def test_the_key_travels_as_each_dialects_clients_send_it():
    assert "authorization: Bearer tg_1" in chat(size=1024).headers_with("tg_1")
    assert "x-api-key: tg_1" in messages(size=1024).headers_with("tg_1")


def test_a_script_reads_as_the_simulator_expects_it():
    assert paced(chunks=100, interval=0.02, first=0.2) == "[[chunks=100 interval=0.02 first=0.2]]"


def test_the_empty_delta_that_opens_a_chat_stream_is_not_content():
    content = STREAM_MARKS["/v1/chat/completions"].content
    assert not content.search(b'{"delta":{"role":"assistant","content":""}}')
    assert content.search(b'{"delta":{"content":"Hi"}}')
