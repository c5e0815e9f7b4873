import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import anthropic
import openai
import orjson
import pytest
from google.genai.client import AsyncClient
from simulator_client import (
    CHAT_HEADERS,
    GEMINI_HEADERS,
    MESSAGES_HEADERS,
    Recorder,
    Reply,
    gemini_client_of,
    http_request,
)

from providers.simulator import Simulator

PATIENCE_SECONDS = 5

type Send = Callable[..., Awaitable[Reply]]


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator(port=0) as simulator:
        yield simulator


@pytest.fixture
def send(simulator: Simulator) -> Send:
    """Send one request over a socket of its own; read until it closes or is silent for `quiet` seconds."""

    async def send(
        path: str,
        body: object,
        headers: dict[str, str],
        *,
        method: str = "POST",
        quiet: float = PATIENCE_SECONDS,
    ) -> Reply:
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        request = http_request(path, content, {**headers, "Connection": "close"}, method=method)
        loop = asyncio.get_running_loop()
        transport, recorder = await loop.create_connection(lambda: Recorder(request), "127.0.0.1", simulator.port)
        with suppress(TimeoutError):
            while recorder.reply.is_open:
                recorder.heard.clear()
                await asyncio.wait_for(recorder.heard.wait(), quiet)
        transport.abort()
        return replace(recorder.reply)  # what the end of the test does to the socket is no part of it

    return send


@pytest.fixture
def chat(send: Send) -> Send:
    """Ask for a chat completion with this text as the user message."""

    async def chat(
        text: str, *, headers: dict[str, str] = CHAT_HEADERS, quiet: float = PATIENCE_SECONDS, **fields: Any
    ) -> Reply:
        body = {"model": "sim-fast", "messages": [{"role": "user", "content": text}], **fields}
        return await send("/v1/chat/completions", body, headers, quiet=quiet)

    return chat


@pytest.fixture
def message(send: Send) -> Send:
    """Ask for a message with this text as the user message."""

    async def message(
        text: str,
        *,
        headers: dict[str, str] = MESSAGES_HEADERS,
        quiet: float = PATIENCE_SECONDS,
        **fields: Any,
    ) -> Reply:
        body = {
            "model": "sim-fast",
            "max_tokens": 4096,
            "messages": [{"role": "user", "content": text}],
            **fields,
        }
        return await send("/v1/messages", body, headers, quiet=quiet)

    return message


@pytest.fixture
def respond(send: Send) -> Send:
    """Ask for a response to this input."""

    async def respond(
        given: object, *, headers: dict[str, str] = CHAT_HEADERS, quiet: float = PATIENCE_SECONDS, **fields: Any
    ) -> Reply:
        return await send("/v1/responses", {"model": "sim-fast", "input": given, **fields}, headers, quiet=quiet)

    return respond


@pytest.fixture
def generate(send: Send) -> Send:
    """Ask Gemini for content, with this text as the user's, or with these contents."""

    async def generate(
        given: object,
        *,
        model: str = "sim-fast",
        operation: str = "generateContent",
        headers: dict[str, str] = GEMINI_HEADERS,
        quiet: float = PATIENCE_SECONDS,
        **fields: Any,
    ) -> Reply:
        contents = [{"role": "user", "parts": [{"text": given}]}] if isinstance(given, str) else given
        path = f"/v1beta/models/{model}:{operation}"
        return await send(path, {"contents": contents, **fields}, headers, quiet=quiet)

    return generate


@pytest.fixture
async def gemini_client(simulator: Simulator) -> AsyncIterator[AsyncClient]:
    async with gemini_client_of(simulator.url) as client:
        yield client


@pytest.fixture
async def openai_client(simulator: Simulator) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{simulator.url}/v1", api_key="sk-sim", max_retries=0) as client:
        yield client


@pytest.fixture
async def anthropic_client(simulator: Simulator) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=simulator.url, api_key="sk-sim", max_retries=0) as client:
        yield client
