"""Conversations that the gateway keeps."""

import json

import pytest

from providers.dialects.openai_responses.history import input_items, items_of, with_history


def test_what_was_answered_is_what_came_before():
    response = {
        "output": [
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
            {"type": "message", "id": "msg_1", "status": "incomplete", "role": "assistant", "content": []},
            {
                "type": "function_call",
                "id": "fc_1",
                "call_id": "c",
                "name": "f",
                "arguments": "{}",
                "status": "completed",
            },
            {
                "type": "function_call",
                "id": "fc_2",
                "call_id": "d",
                "name": "f",
                "arguments": '{"a',
                "status": "incomplete",
            },
            {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        ]
    }
    assert items_of(response) == [
        {"type": "reasoning", "summary": [], "encrypted_content": "x"},
        {"type": "message", "role": "assistant", "content": []},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
    ]
    assert items_of({}) == []


def test_a_text_for_input_is_a_message_of_the_users():
    message = {"type": "message", "role": "user", "content": "hi"}
    assert input_items(b'{"input":"hi"}') == [message]
    assert input_items(b'{"input":[{"role":"user","content":"hi"}]}') == [{"role": "user", "content": "hi"}]
    assert input_items(b"{}") == []


@pytest.mark.parametrize("given", ['"so?"', '[{"type":"message","role":"user","content":"so?"}]'])
def test_the_conversation_is_put_before_what_is_new(given: str):
    body = f'{{"model":"m", "previous_response_id":"resp_1","input": {given},"x":1.0}}'.encode()
    whole = with_history(body, [{"a": "ж"}])
    assert json.loads(whole) == {
        "model": "m",
        "input": [{"a": "ж"}, {"type": "message", "role": "user", "content": "so?"}],
        "x": 1.0,
    }
    assert whole.startswith(b'{"model":"m", "input": [')
    assert whole.endswith(b',"x":1.0}')


def test_a_request_without_new_input_has_the_conversation_alone():
    whole = with_history(b'{"model":"m","previous_response_id":"resp_1"}', [{"a": 1}])
    assert json.loads(whole) == {"model": "m", "input": [{"a": 1}]}
