"""The vendors' own clients, before a transport that answers with what we wrote: what they make of a stream."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import anthropic
import httpx2  # the clients' own
import openai
from google import genai
from google.genai import types
from openai.lib.streaming.chat import ChatCompletionStreamState

from providers.canonical.answer import Answer
from providers.canonical.events import Stop
from providers.canonical.parts import Text, ToolCall
from tests.providers.laws.answers import compact

GATEWAY = "http://gateway"


class Heard(NamedTuple):
    """What a program has of an answer."""

    text: str
    calls: tuple[tuple[str, str], ...]  # names, and arguments as compact JSON
    stop: str  # in the dialect's own word
    tokens_in: int
    tokens_out: int


STOPS: dict[str, dict[Stop, frozenset[str]]] = {
    "openai_chat": {
        "end_turn": frozenset({"stop"}),
        "stop_sequence": frozenset({"stop"}),
        "pause": frozenset({"stop"}),
        "max_tokens": frozenset({"length"}),
        "context_exceeded": frozenset({"length"}),
        "tool_use": frozenset({"tool_calls", "function_call"}),
        "refusal": frozenset({"content_filter", "stop"}),  # "stop" with the words in `refusal`
    },
    "openai_responses": {
        "end_turn": frozenset({"completed"}),
        "stop_sequence": frozenset({"completed"}),
        "pause": frozenset({"completed"}),
        "max_tokens": frozenset({"incomplete: max_output_tokens"}),
        "context_exceeded": frozenset({"incomplete: max_output_tokens"}),
        "tool_use": frozenset({"completed"}),
        "refusal": frozenset({"completed", "incomplete: content_filter"}),
    },
    "anthropic_messages": {
        "end_turn": frozenset({"end_turn"}),
        "stop_sequence": frozenset({"stop_sequence"}),
        "pause": frozenset({"pause_turn"}),
        "max_tokens": frozenset({"max_tokens"}),
        "context_exceeded": frozenset({"model_context_window_exceeded"}),
        "tool_use": frozenset({"tool_use"}),
        "refusal": frozenset({"refusal"}),
    },
    "gemini": {
        "end_turn": frozenset({"STOP"}),
        "stop_sequence": frozenset({"STOP"}),
        "pause": frozenset({"STOP"}),
        "max_tokens": frozenset({"MAX_TOKENS"}),
        "context_exceeded": frozenset({"MAX_TOKENS"}),
        "tool_use": frozenset({"STOP"}),
        "refusal": frozenset({"SAFETY", "PROHIBITED_CONTENT"}),
    },
}


def expected_text(answer: Answer) -> str:
    return "".join(part.text for part in answer.parts if isinstance(part, Text))


def expected_calls(answer: Answer) -> list[ToolCall]:
    return [part for part in answer.parts if isinstance(part, ToolCall)]


class Clients:
    """One client of each kind; they are slow to make."""

    def __init__(self) -> None:
        self._body = b""
        self._http = httpx2.Client(transport=httpx2.MockTransport(self._answer))
        self._openai = openai.OpenAI(base_url=GATEWAY, api_key="tg_x", max_retries=0, http_client=self._http)
        self._anthropic = anthropic.Anthropic(base_url=GATEWAY, api_key="tg_x", max_retries=0, http_client=self._http)
        options = types.HttpOptions(base_url=GATEWAY, httpx_client=self._http)
        self._gemini = genai.Client(api_key="tg_x", http_options=options)

    def close(self) -> None:
        self._gemini.close()
        self._http.close()

    def hear(self, dialect: str, stream: bytes) -> Heard:
        """Let a dialect's own client read a stream to its end; raises what it raises."""
        self._body = stream
        match dialect:
            case "openai_chat":
                return self._hear_chat()
            case "openai_responses":
                return self._hear_responses()
            case "anthropic_messages":
                return self._hear_messages()
            case "gemini":
                return self._hear_gemini()
        raise LookupError(dialect)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=self._body, headers={"content-type": "text/event-stream"})

    def _hear_chat(self) -> Heard:
        state = ChatCompletionStreamState()
        messages: Any = [{"role": "user", "content": "hi"}]
        with self._openai.chat.completions.create(model="m", messages=messages, stream=True) as stream:
            for chunk in stream:
                state.handle_chunk(chunk)
        completion = state.current_completion_snapshot  # the final one is refused when it was cut by length
        (choice,) = completion.choices
        usage = completion.usage
        return Heard(
            (choice.message.content or "") + (choice.message.refusal or ""),
            tuple(_chat_calls(choice.message)),
            choice.finish_reason,
            usage.prompt_tokens if usage else 0,
            usage.completion_tokens if usage else 0,
        )

    def _hear_responses(self) -> Heard:
        response: Any = None
        with self._openai.responses.stream(model="m", input="hi") as stream:
            for event in stream:
                if event.type in ("response.completed", "response.incomplete", "response.failed"):
                    response = event.response
        reason = f": {response.incomplete_details.reason}" if response.incomplete_details else ""
        usage = response.usage
        return Heard(
            "".join(_response_texts(response.output)),
            tuple(_response_calls(response.output)),
            f"{response.status}{reason}",
            usage.input_tokens if usage else 0,
            usage.output_tokens if usage else 0,
        )

    def _hear_messages(self) -> Heard:
        messages: Any = [{"role": "user", "content": "hi"}]
        with self._anthropic.messages.stream(model="m", max_tokens=9, messages=messages) as stream:
            message = stream.get_final_message()
        usage = message.usage
        cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        return Heard(
            "".join(block.text for block in message.content if block.type == "text"),
            tuple((block.name, _spelled(block.input)) for block in message.content if block.type == "tool_use"),
            str(message.stop_reason),
            usage.input_tokens + cached,
            usage.output_tokens,
        )

    def _hear_gemini(self) -> Heard:
        texts: list[str] = []
        calls: list[tuple[str, str]] = []
        stop, usage = "", types.GenerateContentResponseUsageMetadata()
        for chunk in self._gemini.models.generate_content_stream(model="m", contents="hi"):
            usage = chunk.usage_metadata or usage
            for candidate in (chunk.candidates or [])[:1]:
                stop = candidate.finish_reason.value if candidate.finish_reason else stop
                for part in (candidate.content and candidate.content.parts) or []:
                    if part.text and not part.thought:
                        texts.append(part.text)
                    if part.function_call:
                        calls.append((str(part.function_call.name), _spelled(part.function_call.args or {})))
            if chunk.prompt_feedback and chunk.prompt_feedback.block_reason:
                stop = "SAFETY"
        out = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
        return Heard("".join(texts), tuple(calls), stop, usage.prompt_token_count or 0, out)


def _spelled(value: object) -> str:
    return compact(json.dumps(value, ensure_ascii=False))


def _chat_calls(message: Any) -> Iterator[tuple[str, str]]:
    if message.function_call:
        yield message.function_call.name, compact(message.function_call.arguments)
    for call in message.tool_calls or []:
        yield _chat_call(call)


def _chat_call(call: Any) -> tuple[str, str]:
    if call.type == "custom":
        custom = call.to_dict()["custom"]
        return custom["name"], custom["input"]
    return call.function.name, compact(call.function.arguments)


def _response_texts(output: Any) -> Iterator[str]:
    for item in output:
        for content in item.content or [] if item.type == "message" else []:
            yield content.refusal if content.type == "refusal" else content.text


def _response_calls(output: Any) -> Iterator[tuple[str, str]]:
    for item in output:
        if item.type == "function_call":
            yield item.name, compact(item.arguments)
        elif item.type == "custom_tool_call":
            yield item.name, item.input
