"""Passing an upstream's stream on, as it came or translated, settled before its last frame leaves."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from gateway_site.infra import telemetry
from gateway_site.infra.alarms import Alarms
from gateway_site.infra.tallies import Level
from providers.canonical.usage import Usage
from providers.dialects.watch import Watch
from providers.transport import TransportError, Upstream, UpstreamBroken
from providers.wire.sse import FrameSplitter, count_events, frames
from routing.account import Account
from routing.exchange import Exchange
from routing.outbound import Outbound
from routing.shortcut import Shortcut
from routing.stall_guard import StallGuard
from tenants.errors import GatewayError, UpstreamFailed

active_streams = Level(telemetry.active_streams)
MOST_HELD_BYTES = 32 * 1024 * 1024  # of a stream: images come in one frame
PING_SECONDS = 15.0  # agents give up on a stream after some minutes of silence; models think longer than that


class Held(Protocol):
    """What a stream holds until its end: a place at its provider, and a part in its deployment's health."""

    def end(self, usage: Usage, error_code: str, *, is_its_fault: bool) -> None:
        """The stream has ended; the code tells of one that broke in the middle, empty: it did not."""


@dataclass(slots=True, kw_only=True, eq=False)
class Stream:
    """An upstream's stream with all that looks at it."""

    upstream: Upstream
    watch: Watch
    splitter: FrameSplitter
    held: bytes = b""  # what has come and was not passed on yet
    later: bytes = b""  # whole frames that came with it, which nobody has looked at yet


class FailedEarly(UpstreamFailed):
    """A stream that began with an error. Nothing was sent, so it can be told as an answer with a status of its own."""

    def __init__(self, said: str, said_code: str) -> None:
        super().__init__(f"The upstream failed: {said}")
        self.said = said  # by the upstream
        self.said_code = said_code


async def hold_until_content(stream: Stream) -> None:
    """Read until something comes that a reader would see, or the end; raises UpstreamBroken, FailedEarly.

    Until then nothing has been sent to the client, so another upstream can still be asked.
    """
    watch = stream.watch
    while not (watch.has_content or watch.is_finished or watch.error):
        data = await stream.upstream.read_chunk()
        if not data:
            break
        _observe_until_content(stream, stream.splitter.feed(data))
        if len(stream.held) + len(stream.splitter.rest) > MOST_HELD_BYTES:
            raise UpstreamBroken("the stream has no content in its first megabytes")
    if watch.error is not None and not watch.has_content:
        raise FailedEarly(watch.error, watch.error_code)
    if not (watch.has_content or watch.is_finished):
        raise UpstreamBroken("the stream ended before its first content")


def _observe_until_content(stream: Stream, data: bytes) -> None:
    """Look at whole frames, where that takes long only up to the first content: its reader need not wait for the rest."""
    watch = stream.watch
    if not watch.is_slow:
        stream.held += watch.observe(data)
        return
    start = 0
    for frame in frames(data):
        stream.held += watch.observe(frame)
        start += len(frame)
        if watch.has_content or watch.is_finished or watch.error:
            break
    stream.later = data[start:]


def _what_is_there(stream: Stream) -> Iterator[bytes]:
    """Yield what was held back, then what the frames behind it become."""
    held, stream.held = stream.held, b""
    yield held
    later, stream.later = stream.later, b""
    yield stream.watch.observe(later) if later else b""


_open: dict[Exchange, tuple[Stream, StallGuard]] = {}


def buffered_bytes() -> int:
    """Return how much of their upstreams' answers this worker's streams hold back at the moment."""
    return sum(len(stream.held) + len(stream.later) + len(stream.splitter.rest) for stream, _ in _open.values())


def break_off(exchange: Exchange, error: GatewayError) -> bool:
    """End an open stream with an error of ours and close its upstream; False when it is none."""
    found = _open.get(exchange)
    if found is not None:
        found[1].break_off(error)
    return found is not None


async def relay(
    stream: Stream, account: Account, outbound: Outbound, guard: StallGuard, held: Held
) -> AsyncGenerator[bytes]:
    """Send on what the watch says; settle once, however the stream ends."""
    upstream, watch, splitter, exchange = stream.upstream, stream.watch, stream.splitter, outbound.request.exchange
    outcome = "gateway_failed"
    error: GatewayError | None = None
    error_code = ""  # for the ledger: our word, whatever the upstream's is
    active_streams.change(1)
    _open[exchange] = (stream, guard)
    guard.start()
    try:
        for ready in _what_is_there(stream):
            if ready:
                exchange.frames += count_events(ready)
                exchange.answer_size += len(ready)
                yield ready
        if exchange.write_now is not None:
            upstream.pass_on(Shortcut(watch, splitter, exchange, guard, exchange.write_now).take)
        while not watch.is_finished and watch.error is None:
            guard.waiting_since = monotonic()
            while (data := await _next_chunk(stream, guard.alarms)) is None:
                since, guard.waiting_since = guard.waiting_since, 0.0
                pinged_at = monotonic()
                yield watch.ping()
                guard.waiting_since = since + monotonic() - pinged_at  # what the client took is not the upstream's
            guard.waiting_since = 0.0
            ready = watch.observe(splitter.feed(data) if data else splitter.close())
            if len(splitter.rest) > MOST_HELD_BYTES:
                raise UpstreamBroken("a frame has no end")
            if ready:
                exchange.frames += count_events(ready)
                exchange.answer_size += len(ready)
                yield ready
            if not data:
                if not watch.is_finished:
                    watch.end()
                break
        if watch.error is None:
            outcome = "client_gone" if exchange.is_client_gone else "served"
        else:
            code = watch.error_code or UpstreamFailed.code  # clients look at the upstream's own
            outcome, error = "cut", UpstreamFailed(f"The upstream failed: {watch.error}", code=code)
            error_code = UpstreamFailed.code
    except TransportError:
        outcome, error = "cut", guard.error or _cut()
        error_code = error.code
    except (asyncio.CancelledError, GeneratorExit):
        outcome = "client_gone" if exchange.is_client_gone else "shutdown"
        raise
    finally:
        guard.stop()
        active_streams.change(-1)
        _open.pop(exchange, None)
        exchange.usage, exchange.is_usage_final = watch.usage, watch.is_usage_final
        held.end(watch.usage, error_code, is_its_fault=outcome == "cut" and not guard.is_out_of_time)
        upstream.finish(is_answered=watch.is_finished)
        await account.settle(outcome, status=200, error_code=error_code)
    # The account is settled: a worker killed from here on has delivered nothing that the ledger does not know.
    if error is None:
        last = watch.last()
        if outbound.request.continuation is not None:
            await outbound.request.continuation.keep(last, outbound)
        yield last
    else:
        yield outbound.fail(watch, error)


async def _next_chunk(stream: Stream, alarms: Alarms) -> bytes | None:
    """Return what comes next, nothing at the end; None when the client has waited so long that it needs a sign of life."""
    if not stream.watch.needs_pings:
        return await stream.upstream.read_chunk()
    try:
        with alarms.within(PING_SECONDS):
            return await stream.upstream.read_chunk()
    except TimeoutError:
        return None


def _cut() -> GatewayError:
    return UpstreamFailed("The upstream broke off in the middle of its answer.", code="upstream_cut")
