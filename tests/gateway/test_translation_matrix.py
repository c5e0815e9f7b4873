"""Every client dialect on every upstream dialect, streamed and whole, driven by the official SDKs.

The simulator stands for the upstreams. It is strict: it refuses what the vendors refuse, and verifies every signature,
thought signature and piece of encrypted reasoning that comes back.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.gateway.calls import mark
from tests.gateway.clients import CLIENTS, PNG, Ask, Client, Refused, Seen
from tests.gateway.conftest import Keys
from tests.gateway.stack import Stack

DIALECTS = tuple(CLIENTS)
SENTENCE = "The simulator answers with a sentence of twelve words and then stops."
THOUGHT = "Let me think about this first."
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "warm": {"type": "boolean"}},
    "required": ["city", "warm"],
    "additionalProperties": False,
}

type Asking = Callable[[Ask], Seen | Refused]


@pytest.fixture(scope="module")
def clients(stack: Stack, keys: Keys) -> dict[str, Client]:
    return {name: client(stack.url, keys.alice) for name, client in CLIENTS.items()}


@pytest.fixture(params=[f"{client}_on_{upstream}" for client in DIALECTS for upstream in DIALECTS])
def direction(request: pytest.FixtureRequest) -> tuple[str, str]:
    client, _, upstream = request.param.partition("_on_")
    return client, upstream


@pytest.fixture(params=["whole", "stream"])
def ask(request: pytest.FixtureRequest, direction: tuple[str, str], clients: dict[str, Client]) -> Asking:
    client, upstream = direction
    return lambda ask: clients[client].ask(f"on-{upstream}", ask, stream=request.param == "stream")


def seen(answer: Seen | Refused) -> Seen:
    assert isinstance(answer, Seen), answer
    return answer


def test_text_and_its_usage(ask: Asking, direction: tuple[str, str]) -> None:
    answer = seen(ask(Ask(text="one two three")))
    assert answer.text == SENTENCE
    assert answer.stop == "end_turn"
    assert (answer.input_tokens, answer.output_tokens) == (3, 12)
    if direction[0] != direction[1]:
        assert answer.model == f"on-{direction[1]}"  # the name that the client knows


def test_usage_from_a_cache(ask: Asking) -> None:
    answer = seen(ask(Ask(text="one two three [[usage=cached]]")))
    assert answer.input_tokens > 3
    assert answer.output_tokens == 12


@pytest.mark.parametrize("how", ["one", "split"])
def test_a_tool_call(ask: Asking, how: str) -> None:
    answer = seen(ask(Ask(text=f"weather? [[tools={how}]]", tools=["get_weather"])))
    assert [(call.name, set(call.arguments)) for call in answer.calls] == [("get_weather", {"city"})]
    assert answer.stop == "tool_use"


@pytest.mark.parametrize("how", ["parallel", "interleaved"])
def test_parallel_tool_calls_stay_apart(ask: Asking, how: str) -> None:
    answer = seen(ask(Ask(text=f"both? [[tools={how}]]", tools=["get_weather", "get_time"])))
    assert [(call.name, set(call.arguments)) for call in answer.calls] == [
        ("get_weather", {"city"}),
        ("get_time", {"city"}),
    ]
    assert answer.stop == "tool_use"


def test_tool_results_go_back(ask: Asking, stack: Stack) -> None:
    question = Ask(text="both? [[tools=parallel]]", tools=["get_weather", "get_time"])
    first = seen(ask(question))
    word = mark()
    question.history = [(first, {call.id: f"{word} of {call.name}" for call in first.calls})]
    question.text = "both?"
    answer = seen(ask(question))
    assert answer.text == SENTENCE
    assert answer.stop == "end_turn"
    (sent,) = [request for request in stack.upstream_requests() if word.encode() in request.body]
    assert sent.body.index(f"{word} of get_weather".encode()) < sent.body.index(f"{word} of get_time".encode())


def test_images(ask: Asking, stack: Stack) -> None:
    word = mark()
    assert seen(ask(Ask(text=f"{word} what is this?", image=PNG))).text == SENTENCE
    (sent,) = [request for request in stack.upstream_requests() if word.encode() in request.body]
    assert PNG.encode() in sent.body.replace(b"\\/", b"/")


def test_thinking_and_its_way_back(ask: Asking, direction: tuple[str, str], stack: Stack) -> None:
    question = Ask(text="weather? [[thinking=1 tools=one]]", tools=["get_weather"], thinks=True)
    first = seen(ask(question))
    assert first.thinking == THOUGHT
    word = mark()
    question.history = [(first, {call.id: word for call in first.calls})]
    question.text = "weather?"
    # The simulator verifies what comes back, and refuses it when it is not its own.
    assert seen(ask(question)).text == SENTENCE
    (sent,) = [request for request in stack.upstream_requests() if word.encode() in request.body]
    assert b"TollgateSeal" not in sent.body
    if direction[1] == "openai_chat":
        return  # the simulator's chat has no seals
    field = {
        "anthropic_messages": b'"signature"',
        "openai_responses": b'"encrypted_content"',
        "gemini": b'"thoughtSignature"',
    }[direction[1]]
    assert field in sent.body


def test_structured_output(ask: Asking) -> None:
    answer = seen(ask(Ask(text="Where?", schema=SCHEMA)))
    value = json.loads(answer.text)
    assert set(value) == {"city", "warm"}
    assert isinstance(value["warm"], bool)


@pytest.mark.parametrize(("finish", "stop"), [("length", "max_tokens"), ("refusal", "refusal")])
def test_stop_reasons(ask: Asking, finish: str, stop: str) -> None:
    assert seen(ask(Ask(text=f"hi [[finish={finish}]]"))).stop == stop


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("[[status=400]]", 400),
        ("[[status=401]]", 502),
        ("[[status=403]]", 502),
        ("[[status=429 retry_after=2]]", 429),
        ("[[status=500]]", 500),
        ("[[status=503]]", 503),
        ("[[status=529]]", 503),
    ],
)
def test_errors_before_the_first_byte(ask: Asking, direction: tuple[str, str], text: str, status: int) -> None:
    answer = ask(Ask(text=f"hi {text}"))
    assert isinstance(answer, Refused), answer
    if direction[0] == direction[1]:
        status = {"[[status=529]]": 529}.get(text, status)  # it passes through
    elif direction[0] == "anthropic_messages" and status == 503:
        status = 529  # what Anthropic's clients know an overloaded model by
    assert answer.status == status


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        ("status=400 code=context_length_exceeded", 400, {"anthropic_messages": "prompt is too long"}),
        ("status=401", 502, {}),
        ("status=429", 429, {}),
    ],
)
def test_errors_at_the_start_of_a_stream_have_the_status_that_they_stand_for(
    clients: dict[str, Client], direction: tuple[str, str], text: str, status: int, words: dict[str, str]
) -> None:
    client, upstream = direction
    if client == upstream:
        return  # it passes through
    answer = clients[client].ask(f"on-{upstream}", Ask(text=f"hi [[error_event=0 {text}]]"), stream=True)
    assert isinstance(answer, Refused), answer
    assert answer.status == status
    if upstream.startswith("openai"):  # the simulator's other vendors have their own codes for it
        assert words.get(client, "") in answer.message


def test_how_long_to_wait_stands_in_a_gemini_clients_error(stack: Stack, keys: Keys) -> None:
    sdk: Any = CLIENTS["gemini"](stack.url, keys.alice).sdk  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="429") as caught:
        sdk.models.generate_content(model="on-anthropic_messages", contents="hi [[status=429 retry_after=2]]")
    assert {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2s"} in caught.value.details["error"][
        "details"
    ]


def test_what_cannot_be_carried_is_refused_by_name(stack: Stack, keys: Keys) -> None:
    sdk: Any = CLIENTS["openai_chat"](stack.url, keys.alice).sdk  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="'n'") as caught:
        sdk.chat.completions.create(model="on-gemini", n=2, messages=[{"role": "user", "content": "hi"}])
    assert caught.value.status_code == 400
    assert caught.value.param == "n"
