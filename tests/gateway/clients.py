"""The official SDKs of the four dialects behind one face: what a program of each would ask, and what it would see."""

import base64
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import anthropic
import openai
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

PNG = base64.b64encode(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
    )
).decode()


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call as a program sees it."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An answer as a program sees it; `raw` is what the dialect wants back in the history."""

    text: str = ""
    thinking: str = ""
    calls: tuple[Call, ...] = ()
    stop: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    model: str = ""
    raw: Any = None


@dataclass(frozen=True, slots=True)
class Refused:
    """An error as a program sees it."""

    status: int
    message: str


@dataclass(slots=True, kw_only=True)
class Ask:
    """What a program asks; `history` holds answers and the results that followed them, in order."""

    text: str
    tools: Sequence[str] = ()
    image: str = ""  # base64, of a PNG
    schema: dict[str, Any] | None = None
    thinks: bool = False
    max_tokens: int = 8192
    history: list[tuple[Seen, dict[str, str]]] = field(default_factory=list)  # results by call id


def schema_of(name: str) -> dict[str, Any]:
    """Return the parameters of every tool in these tests."""
    return {"type": "object", "properties": {"city": {"type": "string", "description": name}}, "required": ["city"]}


class Client(ABC):
    """One SDK."""

    dialect: str

    @abstractmethod
    def ask(self, alias: str, ask: Ask, *, stream: bool) -> Seen | Refused:
        """Ask, streamed or whole."""


class ChatClient(Client):
    dialect = "openai_chat"

    def __init__(self, url: str, key: str) -> None:
        self.sdk = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)

    def ask(self, alias: str, ask: Ask, *, stream: bool) -> Seen | Refused:
        fields: dict[str, Any] = {"model": alias, "messages": list(self._messages(ask))}
        fields["max_completion_tokens"] = ask.max_tokens
        if ask.tools:
            fields["tools"] = [
                {"type": "function", "function": {"name": name, "parameters": schema_of(name)}} for name in ask.tools
            ]
        if ask.schema:
            schema = {"name": "answer", "schema": ask.schema, "strict": True}
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        if ask.thinks:
            fields["reasoning_effort"] = "medium"
        try:
            if not stream:
                return self._seen(self.sdk.chat.completions.create(**fields))
            with self.sdk.chat.completions.stream(**fields, stream_options={"include_usage": True}) as events:
                for _ in events:
                    pass
                return self._seen(events.get_final_completion())
        except openai.LengthFinishReasonError as error:
            return self._seen(error.completion)
        except openai.ContentFilterFinishReasonError:
            return Seen(stop="refusal")
        except openai.APIStatusError as error:
            return Refused(error.status_code, error.message)

    def _messages(self, ask: Ask) -> Iterable[dict[str, Any]]:
        content: list[dict[str, Any]] = [{"type": "text", "text": ask.text}]
        if ask.image:
            content.insert(0, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{ask.image}"}})
        yield {"role": "user", "content": content}
        for seen, results in ask.history:
            yield seen.raw
            for call_id, text in results.items():
                yield {"role": "tool", "tool_call_id": call_id, "content": text}

    def _seen(self, answer: Any) -> Seen:
        (choice,) = answer.choices
        message = choice.message
        stops = {"stop": "end_turn", "tool_calls": "tool_use", "length": "max_tokens", "content_filter": "refusal"}
        raw = message.model_dump(exclude_none=True, exclude={"parsed"})
        for call in raw.get("tool_calls", []):
            call.get("function", {}).pop("parsed_arguments", None)
        return Seen(
            text=message.content or "",
            thinking=getattr(message, "reasoning_content", "") or "",
            calls=tuple(
                Call(call.id, call.function.name, json.loads(call.function.arguments))
                for call in message.tool_calls or []
            ),
            stop="refusal" if message.refusal else stops[choice.finish_reason],
            input_tokens=answer.usage.prompt_tokens,
            output_tokens=answer.usage.completion_tokens,
            model=answer.model,
            raw=raw,
        )


class ResponsesClient(Client):
    dialect = "openai_responses"

    def __init__(self, url: str, key: str) -> None:
        self.sdk = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)

    def ask(self, alias: str, ask: Ask, *, stream: bool) -> Seen | Refused:
        fields: dict[str, Any] = {"model": alias, "input": list(self._items(ask)), "store": False}
        fields["max_output_tokens"] = ask.max_tokens
        fields["include"] = ["reasoning.encrypted_content"]
        if ask.tools:
            fields["tools"] = [
                {"type": "function", "name": name, "parameters": schema_of(name), "strict": False} for name in ask.tools
            ]
        if ask.schema:
            fields["text"] = {"format": {"type": "json_schema", "name": "answer", "schema": ask.schema, "strict": True}}
        if ask.thinks:
            fields["reasoning"] = {"effort": "medium", "summary": "auto"}
        try:
            if not stream:
                return self._seen(self.sdk.responses.create(**fields))
            with self.sdk.responses.stream(**fields) as events:
                final = None
                for event in events:
                    if event.type in {"response.completed", "response.incomplete"}:
                        final = event.response  # type: ignore[union-attr]
                return self._seen(final)
        except openai.APIStatusError as error:
            return Refused(error.status_code, error.message)

    def _items(self, ask: Ask) -> Iterable[dict[str, Any]]:
        content: list[dict[str, Any]] = [{"type": "input_text", "text": ask.text}]
        if ask.image:
            content.insert(0, {"type": "input_image", "image_url": f"data:image/png;base64,{ask.image}"})
        yield {"role": "user", "content": content}
        for seen, results in ask.history:
            yield from seen.raw
            for call_id, text in results.items():
                yield {"type": "function_call_output", "call_id": call_id, "output": text}

    def _seen(self, answer: Any) -> Seen:
        calls = [item for item in answer.output if item.type == "function_call"]
        parts = [part for item in answer.output if item.type == "message" for part in item.content]
        stop = "tool_use" if calls else "end_turn"
        if answer.status == "incomplete":
            stop = {"max_output_tokens": "max_tokens", "content_filter": "refusal"}[answer.incomplete_details.reason]
        elif any(part.type == "refusal" for part in parts):
            stop = "refusal"
        thoughts = [
            piece.text
            for item in answer.output
            if item.type == "reasoning"
            for piece in (*item.summary, *(item.content or ()))
        ]
        return Seen(
            text="".join(part.text for part in parts if part.type == "output_text"),
            thinking="".join(thoughts),
            calls=tuple(Call(item.call_id, item.name, json.loads(item.arguments)) for item in calls),
            stop=stop,
            input_tokens=answer.usage.input_tokens if answer.usage else 0,
            output_tokens=answer.usage.output_tokens if answer.usage else 0,
            model=answer.model,
            raw=[_without_parsed(item.model_dump(exclude_none=True)) for item in answer.output],
        )


def _without_parsed(value: Any) -> Any:
    """Return an output item without what the SDK's parser has added to it."""
    if isinstance(value, dict):
        return {name: _without_parsed(item) for name, item in value.items() if not name.startswith("parsed")}
    return [_without_parsed(item) for item in value] if isinstance(value, list) else value


class MessagesClient(Client):
    dialect = "anthropic_messages"

    def __init__(self, url: str, key: str) -> None:
        self.sdk = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0)

    def ask(self, alias: str, ask: Ask, *, stream: bool) -> Seen | Refused:
        fields: dict[str, Any] = {"model": alias, "messages": list(self._messages(ask)), "max_tokens": ask.max_tokens}
        if ask.tools:
            fields["tools"] = [{"name": name, "input_schema": schema_of(name)} for name in ask.tools]
        if ask.schema:
            fields["output_config"] = {"format": {"type": "json_schema", "schema": ask.schema}}
        if ask.thinks:
            fields["thinking"] = {"type": "adaptive", "display": "summarized"}
        try:
            if not stream:
                return self._seen(self.sdk.messages.create(**fields))
            with self.sdk.messages.stream(**fields) as events:
                return self._seen(events.get_final_message())
        except anthropic.APIStatusError as error:
            return Refused(error.status_code, error.message)

    def _messages(self, ask: Ask) -> Iterable[dict[str, Any]]:
        content: list[dict[str, Any]] = [{"type": "text", "text": ask.text}]
        if ask.image:
            source = {"type": "base64", "media_type": "image/png", "data": ask.image}
            content.insert(0, {"type": "image", "source": source})
        yield {"role": "user", "content": content}
        for seen, results in ask.history:
            yield {"role": "assistant", "content": seen.raw}
            if results:
                yield {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": call_id, "content": text}
                        for call_id, text in results.items()
                    ],
                }

    def _seen(self, answer: Any) -> Seen:
        usage = answer.usage
        return Seen(
            text="".join(block.text for block in answer.content if block.type == "text"),
            thinking="".join(block.thinking for block in answer.content if block.type == "thinking"),
            calls=tuple(
                Call(block.id, block.name, block.input) for block in answer.content if block.type == "tool_use"
            ),
            stop=answer.stop_reason,
            input_tokens=usage.input_tokens
            + (usage.cache_read_input_tokens or 0)
            + (usage.cache_creation_input_tokens or 0),
            output_tokens=usage.output_tokens,
            model=answer.model,
            raw=[_without_parsed(block.model_dump(exclude_none=True)) for block in answer.content],
        )


class GeminiClient(Client):
    dialect = "gemini"

    def __init__(self, url: str, key: str) -> None:
        options = types.HttpOptions(base_url=url, retry_options=types.HttpRetryOptions(attempts=1))
        self.sdk = genai.Client(api_key=key, http_options=options)

    def ask(self, alias: str, ask: Ask, *, stream: bool) -> Seen | Refused:
        config: dict[str, Any] = {"max_output_tokens": ask.max_tokens}
        if ask.tools:
            config["tools"] = [
                types.Tool(
                    function_declarations=[
                        types.FunctionDeclaration(name=name, parameters_json_schema=schema_of(name))
                        for name in ask.tools
                    ]
                )
            ]
            config["automatic_function_calling"] = types.AutomaticFunctionCallingConfig(disable=True)
        if ask.schema:
            config |= {"response_mime_type": "application/json", "response_json_schema": ask.schema}
        if ask.thinks:
            config["thinking_config"] = types.ThinkingConfig(include_thoughts=True)
        request: dict[str, Any] = {
            "model": alias,
            "contents": list(self._contents(ask)),
            "config": types.GenerateContentConfig(**config),
        }
        try:
            if not stream:
                answer = self.sdk.models.generate_content(**request)
                return self._seen([answer])
            return self._seen(list(self.sdk.models.generate_content_stream(**request)))
        except genai_errors.APIError as error:
            return Refused(error.code, str(error.message))

    def _contents(self, ask: Ask) -> Iterable[types.Content]:
        parts = [types.Part(text=ask.text)]
        if ask.image:
            image = types.Blob(mime_type="image/png", data=base64.b64decode(ask.image))
            parts.insert(0, types.Part(inline_data=image))
        yield types.Content(role="user", parts=parts)
        for seen, results in ask.history:
            yield types.Content(role="model", parts=seen.raw)
            names = {call.id: call.name for call in seen.calls}
            if results:
                yield types.Content(
                    role="user",
                    parts=[
                        types.Part(
                            function_response=types.FunctionResponse(
                                id=call_id, name=names[call_id], response={"output": text}
                            )
                        )
                        for call_id, text in results.items()
                    ],
                )

    def _seen(self, chunks: list[Any]) -> Seen:
        parts = [
            part
            for chunk in chunks
            for candidate in chunk.candidates or []
            for part in (candidate.content.parts if candidate.content else None) or []
        ]
        calls = tuple(
            Call(part.function_call.id or "", part.function_call.name, dict(part.function_call.args or {}))
            for part in parts
            if part.function_call
        )
        finishes = [c.finish_reason for chunk in chunks for c in chunk.candidates or [] if c.finish_reason]
        finish = finishes[-1].name if finishes else "SAFETY"
        stop = {"STOP": "tool_use" if calls else "end_turn", "MAX_TOKENS": "max_tokens"}.get(finish, "refusal")
        usage = (
            next(chunk.usage_metadata for chunk in reversed(chunks) if chunk.usage_metadata)
            if any(chunk.usage_metadata for chunk in chunks)
            else types.GenerateContentResponseUsageMetadata()
        )
        return Seen(
            text="".join(part.text for part in parts if part.text and not part.thought),
            thinking="".join(part.text for part in parts if part.text and part.thought),
            calls=calls,
            stop=stop,
            input_tokens=usage.prompt_token_count or 0,
            output_tokens=(usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0),
            model=chunks[-1].model_version or "",
            raw=parts,
        )


CLIENTS: dict[str, type[Client]] = {
    client.dialect: client for client in (ChatClient, ResponsesClient, MessagesClient, GeminiClient)
}
