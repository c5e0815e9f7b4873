"""One request as it is sent, and as code that sends it: for a shell, in Python, in JavaScript. Pure."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

HELLO = "Say hello in one sentence."
FEWEST_TOKENS = 1024  # for Anthropic's format, which asks for a limit
LANGUAGES = {"curl": "curl", "python": "Python", "javascript": "JavaScript"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Where the gateway is, and what to show it."""

    origin: str  # https://gateway.example.com, without a slash
    key: str  # a secret, or what stands for one

    @property
    def openai_base(self) -> str:
        """What OpenAI's clients call the base URL: with the version."""
        return f"{self.origin}/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a person wants to know, in no format yet."""

    dialect: str = "openai_chat"
    model: str
    user: str = HELLO
    system: str = ""
    max_tokens: int | None = None
    temperature: float | None = None
    is_streamed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """The request of an `Ask`: its path, the headers that its format needs, its body."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]


def request_of(ask: Ask) -> Sent:
    """Return the request in the format that was asked for; raises KeyError for one that is not there."""
    return _REQUESTS[ask.dialect](ask)


# --- Requests ----------------------------------------------------------------------------------------------


def _given(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _messages(ask: Ask, *, with_system: bool) -> list[dict[str, str]]:
    system = [{"role": "system", "content": ask.system}] if with_system and ask.system else []
    return [*system, {"role": "user", "content": ask.user}]


def _chat(ask: Ask) -> Sent:
    body = _given(
        model=ask.model,
        messages=_messages(ask, with_system=True),
        max_tokens=ask.max_tokens,
        temperature=ask.temperature,
        stream=True if ask.is_streamed else None,
        stream_options={"include_usage": True} if ask.is_streamed else None,
    )
    return Sent(path="/v1/chat/completions", headers={}, body=body)


def _anthropic(ask: Ask) -> Sent:
    body = _given(
        model=ask.model,
        max_tokens=ask.max_tokens or FEWEST_TOKENS,
        system=ask.system or None,
        messages=_messages(ask, with_system=False),
        temperature=ask.temperature,
        stream=True if ask.is_streamed else None,
    )
    return Sent(path="/v1/messages", headers={"anthropic-version": "2023-06-01"}, body=body)


def _responses(ask: Ask) -> Sent:
    body = _given(
        model=ask.model,
        instructions=ask.system or None,
        input=ask.user,
        max_output_tokens=ask.max_tokens,
        temperature=ask.temperature,
        store=False,
        stream=True if ask.is_streamed else None,
    )
    return Sent(path="/v1/responses", headers={}, body=body)


def _gemini(ask: Ask) -> Sent:
    settings = _given(maxOutputTokens=ask.max_tokens, temperature=ask.temperature)
    body = _given(
        systemInstruction={"parts": [{"text": ask.system}]} if ask.system else None,
        contents=[{"role": "user", "parts": [{"text": ask.user}]}],
        generationConfig=settings or None,
    )
    verb = "streamGenerateContent?alt=sse" if ask.is_streamed else "generateContent"
    return Sent(path=f"/v1beta/models/{quote(ask.model, safe='/')}:{verb}", headers={}, body=body)


_REQUESTS = {"openai_chat": _chat, "anthropic_messages": _anthropic, "openai_responses": _responses, "gemini": _gemini}


# --- As code -----------------------------------------------------------------------------------------------


def code_for(ask: Ask, connection: Connection, language: str) -> str:
    """Return the request as code; `language` is one of LANGUAGES."""
    if language == "curl":
        return curl(ask, connection)
    return python(ask, connection) if language == "python" else javascript(ask, connection)


def curl(ask: Ask, connection: Connection) -> str:
    """Return the request as one command for a shell."""
    sent = request_of(ask)
    headers = {"Authorization": f"Bearer {connection.key}", "Content-Type": "application/json", **sent.headers}
    lines = [
        f"curl {'-N ' if ask.is_streamed else ''}{shell(connection.origin + sent.path)}",
        *(f"-H {_quoted(f'{name}: {value}')}" for name, value in headers.items()),
        f"-d {_quoted(text_of(sent.body))}",
    ]
    return " \\\n  ".join(lines)


def shell(text: str) -> str:
    """Quote a text for a shell, where it needs that."""
    return shlex.quote(text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", r"'\''") + "'"


def text_of(value: Any) -> str:
    """Write JSON that is also a literal of JavaScript, and of TOML where it is a string."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def python(ask: Ask, connection: Connection) -> str:
    """Return the request for the vendor's own SDK in Python."""
    return _PYTHON[ask.dialect](ask, connection)


def javascript(ask: Ask, connection: Connection) -> str:
    """Return the request for the vendor's own SDK in JavaScript (an ES module)."""
    return _JAVASCRIPT[ask.dialect](ask, connection)


def _literal(value: Any) -> str:
    """Write a value as Python does."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{text_of(name)}: {_literal(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return text_of(value) if isinstance(value, str) else repr(value)


def _keywords(body: Mapping[str, Any]) -> str:
    return "".join(f"    {name}={_literal(value)},\n" for name, value in body.items())


def _python_client(package: str, name: str, base: str, key: str) -> str:
    return f"from {package} import {name}\n\nclient = {name}(base_url={text_of(base)}, api_key={text_of(key)})\n"


def _python_chat(ask: Ask, connection: Connection) -> str:
    client = _python_client("openai", "OpenAI", connection.openai_base, connection.key)
    call = f"client.chat.completions.create(\n{_keywords(request_of(ask).body)})"
    if not ask.is_streamed:
        return f"{client}answer = {call}\nprint(answer.choices[0].message.content)\n"
    shown = '    if chunk.choices:\n        print(chunk.choices[0].delta.content or "", end="", flush=True)\n'
    return f"{client}stream = {call}\nfor chunk in stream:\n{shown}"


def _python_responses(ask: Ask, connection: Connection) -> str:
    client = _python_client("openai", "OpenAI", connection.openai_base, connection.key)
    call = f"client.responses.create(\n{_keywords(request_of(ask).body)})"
    if not ask.is_streamed:
        return f"{client}answer = {call}\nprint(answer.output_text)\n"
    shown = '    if event.type == "response.output_text.delta":\n        print(event.delta, end="", flush=True)\n'
    return f"{client}stream = {call}\nfor event in stream:\n{shown}"


def _python_anthropic(ask: Ask, connection: Connection) -> str:
    client = _python_client("anthropic", "Anthropic", connection.origin, connection.key)
    body = {name: value for name, value in request_of(ask).body.items() if name != "stream"}
    if not ask.is_streamed:
        shown = '    if block.type == "text":\n        print(block.text)\n'
        return f"{client}answer = client.messages.create(\n{_keywords(body)})\nfor block in answer.content:\n{shown}"
    shown = '    for text in stream.text_stream:\n        print(text, end="", flush=True)\n'
    return f"{client}with client.messages.stream(\n{_keywords(body)}) as stream:\n{shown}"


def _python_gemini(ask: Ask, connection: Connection) -> str:
    options = f"http_options={_literal({'base_url': connection.origin})}"
    client = f"from google import genai\n\nclient = genai.Client(api_key={text_of(connection.key)}, {options})\n"
    config = _given(
        system_instruction=ask.system or None, max_output_tokens=ask.max_tokens, temperature=ask.temperature
    )
    wanted = _keywords(_given(model=ask.model, contents=ask.user, config=config or None))
    if not ask.is_streamed:
        return f"{client}answer = client.models.generate_content(\n{wanted})\nprint(answer.text)\n"
    shown = '    print(chunk.text or "", end="", flush=True)\n'
    return f"{client}for chunk in client.models.generate_content_stream(\n{wanted}):\n{shown}"


_PYTHON = {
    "openai_chat": _python_chat,
    "openai_responses": _python_responses,
    "anthropic_messages": _python_anthropic,
    "gemini": _python_gemini,
}


def _javascript_client(package: str, name: str, base: str, key: str) -> str:
    options = f"{{\n  baseURL: {text_of(base)},\n  apiKey: {text_of(key)},\n}}"
    return f"import {name} from {text_of(package)};\n\nconst client = new {name}({options});\n"


def _object(body: Mapping[str, Any]) -> str:
    return "{\n" + "".join(f"  {name}: {text_of(value)},\n" for name, value in body.items()) + "}"


def _javascript_chat(ask: Ask, connection: Connection) -> str:
    client = _javascript_client("openai", "OpenAI", connection.openai_base, connection.key)
    call = f"await client.chat.completions.create({_object(request_of(ask).body)})"
    if not ask.is_streamed:
        return f"{client}const answer = {call};\nconsole.log(answer.choices[0].message.content);\n"
    shown = '  process.stdout.write(chunk.choices[0]?.delta.content ?? "");\n'
    return f"{client}const stream = {call};\nfor await (const chunk of stream) {{\n{shown}}}\n"


def _javascript_responses(ask: Ask, connection: Connection) -> str:
    client = _javascript_client("openai", "OpenAI", connection.openai_base, connection.key)
    call = f"await client.responses.create({_object(request_of(ask).body)})"
    if not ask.is_streamed:
        return f"{client}const answer = {call};\nconsole.log(answer.output_text);\n"
    shown = '  if (event.type === "response.output_text.delta") process.stdout.write(event.delta);\n'
    return f"{client}const stream = {call};\nfor await (const event of stream) {{\n{shown}}}\n"


def _javascript_anthropic(ask: Ask, connection: Connection) -> str:
    client = _javascript_client("@anthropic-ai/sdk", "Anthropic", connection.origin, connection.key)
    body = {name: value for name, value in request_of(ask).body.items() if name != "stream"}
    if not ask.is_streamed:
        shown = '  if (block.type === "text") console.log(block.text);\n'
        call = f"const answer = await client.messages.create({_object(body)});\n"
        return f"{client}{call}for (const block of answer.content) {{\n{shown}}}\n"
    shown = "client.messages\n  .stream(" + _object(body).replace("\n", "\n  ") + ")"
    return f'{client}await {shown}\n  .on("text", (text) => process.stdout.write(text))\n  .done();\n'


def _javascript_gemini(ask: Ask, connection: Connection) -> str:
    options = (
        f"{{\n  apiKey: {text_of(connection.key)},\n  httpOptions: {{ baseUrl: {text_of(connection.origin)} }},\n}}"
    )
    client = f'import {{ GoogleGenAI }} from "@google/genai";\n\nconst client = new GoogleGenAI({options});\n'
    config = _given(systemInstruction=ask.system or None, maxOutputTokens=ask.max_tokens, temperature=ask.temperature)
    wanted = _object(_given(model=ask.model, contents=ask.user, config=config or None))
    if not ask.is_streamed:
        return f"{client}const answer = await client.models.generateContent({wanted});\nconsole.log(answer.text);\n"
    shown = '  process.stdout.write(chunk.text ?? "");\n'
    call = f"await client.models.generateContentStream({wanted})"
    return f"{client}for await (const chunk of {call}) {{\n{shown}}}\n"


_JAVASCRIPT = {
    "openai_chat": _javascript_chat,
    "openai_responses": _javascript_responses,
    "anthropic_messages": _javascript_anthropic,
    "gemini": _javascript_gemini,
}
