"""A stream watched as the relay watches it, and the vendors' own clients in front of a transport that is a function."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import anthropic
import httpx2  # the clients' own
import openai
import pytest

from providers.dialects.base import StreamWatch
from providers.wire.sse import FrameSplitter, frames

type Play = Callable[[StreamWatch, Iterable[bytes]], "Played"]


@dataclass(frozen=True, slots=True)
class Played:
    """What the client got of a stream, and how the watch saw it."""

    passed: bytes
    watch: StreamWatch

    @property
    def story(self) -> tuple[object, ...]:
        """All that must not depend on how the network cut the stream."""
        watch = self.watch
        return self.passed, watch.usage, watch.is_usage_final, watch.has_content, watch.is_finished, watch.error


@pytest.fixture(scope="session")
def play() -> Play:
    """Let a watch see packets until the stream is over, as the relay does."""

    def play(watch: StreamWatch, packets: Iterable[bytes]) -> Played:
        splitter, passed = FrameSplitter(), b""
        for packet in packets:
            passed += watch.observe(splitter.feed(packet))
            if watch.is_finished or watch.error is not None:
                break
        else:
            watch.end()
        return Played(passed + (watch.last() if watch.error is None else b""), watch)

    return play


@pytest.fixture(scope="session")
def cuts() -> Callable[[bytes], Iterator[list[bytes]]]:
    """Cut a stream in many ways: not at all, byte by byte, by frames, and at every position."""

    def cuts(data: bytes) -> Iterator[list[bytes]]:
        yield [data]
        yield [data[i : i + 1] for i in range(len(data))]
        for size in (2, 7, 64):
            yield [data[i : i + size] for i in range(0, len(data), size)]
        yield list(frames(data))
        for position in range(1, len(data), 11):
            yield [data[:position], data[position:]]

    return cuts


@pytest.fixture
def upstream_answer() -> dict[str, object]:
    """What the transport of the clients answers: keywords of httpx2.Response."""
    return {}


@pytest.fixture
def http_client(upstream_answer: dict[str, object]) -> Iterator[httpx2.Client]:
    with httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(**upstream_answer))) as client:
        yield client


@pytest.fixture
def openai_client(http_client: httpx2.Client) -> openai.OpenAI:
    return openai.OpenAI(base_url="http://gateway/v1", api_key="tg_x", max_retries=0, http_client=http_client)


@pytest.fixture
def anthropic_client(http_client: httpx2.Client) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url="http://gateway", api_key="tg_x", max_retries=0, http_client=http_client)
