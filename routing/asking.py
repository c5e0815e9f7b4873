"""One attempt under way: ask one deployment, hold what it needs meanwhile, and tell its health how it went."""

import asyncio
from time import monotonic, time
from typing import TYPE_CHECKING

from gateway_site.infra import telemetry
from gateway_site.infra.tallies import Count
from providers.transport import TransportError, Upstream
from providers.wire.sse import FrameSplitter
from routing.exchange import AttemptRecord
from routing.headers import upstream_headers, upstream_query
from routing.judging import (
    RESTING_STATUSES,
    Pairs,
    Result,
    answer_pairs,
    judge_early,
    judge_silence,
    judge_transport,
    judge_whole,
)
from routing.outbound import Outbound
from routing.policy.attempts import Attempt
from routing.policy.verdict import Verdict
from routing.relay import FailedEarly, StallGuard, Stream, hold_until_content, relay
from routing.response import EventStreamResponse
from tenants.errors import ProviderSaturated, Unavailable, UpstreamFailed

if TYPE_CHECKING:
    from routing.call import Call
    from routing.gate import Gate, Permit

STREAM_TYPES = frozenset({"text/event-stream", ""})  # some servers name none
BYTES_PER_TOKEN = 4
USUAL_OUTPUT_TOKENS = 500
llm_attempts = Count(telemetry.llm_attempts)


class Asking:
    """One call of one deployment, from its places in the queues before it to the end of its answer."""

    __slots__ = (
        "_call",
        "_is_held",
        "_places",
        "_started",
        "_status",
        "_upstream",
        "attempt",
        "is_trial",
        "record",
    )

    def __init__(self, call: "Call", attempt: Attempt) -> None:
        self._call = call
        self._places: tuple[tuple[Gate, Permit], ...] = ()
        self._is_held = False  # counted as in flight
        self._started = 0.0
        self._status = 0
        self._upstream: Upstream | None = None  # of a stream that is held
        self.attempt = attempt
        self.is_trial = False  # it has the slot of a half-open breaker
        deployment = attempt.target.deployment
        paused = round(attempt.pause_seconds * 1000)
        self.record = AttemptRecord(deployment=deployment.facts.slug, number=attempt.number, paused_ms=paused)

    async def run(self) -> Result:
        """Ask, and judge what comes. What is held is let go, but for a stream's, which `end` lets go."""
        result = Result(verdict=Verdict.TRY_NEXT)
        try:
            result = await self._admitted()
        except asyncio.CancelledError:
            self.record.result = self.record.result or "cancelled"
            raise
        finally:
            spent = monotonic() - self._started if self._started else 0.0
            self.record.milliseconds = round(spent * 1000)
            self.record.verdict = result.verdict.value
            self._conclude(result, spent)
        return result

    async def _admitted(self) -> Result:
        """Take the breaker's slot and a place at every gate if they are needed; then ask."""
        deployment = self.attempt.target.deployment
        breaker = deployment.health.breaker
        if breaker.state != "closed" and breaker.settings.enabled:
            self.is_trial = await self._call.upstreams.take_slot(deployment)
            if not self.is_trial:
                self.record.result = "breaker_open"
                return Result(verdict=Verdict.TRY_NEXT, error=_resting())
        gates = deployment.gates_to_pass
        if gates:
            try:
                await self._enter(gates)
            except ProviderSaturated as error:
                self.record.result = "saturated"
                return Result(verdict=Verdict.TRY_NEXT, error=error)
        return await self._ask()

    async def _enter(self, gates: "tuple[Gate, ...]") -> None:
        """Take a place at every gate, one after the other, waiting no longer than the provider's time for all."""
        call = self._call
        facts = call.request.inbound.facts
        output = facts.max_output_tokens or USUAL_OUTPUT_TOKENS
        wait = self.attempt.target.deployment.provider.queue_wait
        for gate in gates:
            permit = await gate.enter(
                tenant=call.tenant,
                priority=call.request.priority,
                tokens=facts.size // BYTES_PER_TOKEN + output,
                wait=min(call.seconds_left(), wait),
            )
            self._places = (*self._places, (gate, permit))
            wait -= permit.waited

    async def _ask(self) -> Result:
        call, deployment = self._call, self.attempt.target.deployment
        outbound = call.request.outbound(deployment)
        health = deployment.health
        health.requests += 1
        health.active += 1
        self._is_held = True
        if not self.is_trial:
            health.retry_budget.deposit()
        self._started = monotonic()
        policy_falls_back = call.route.facts.fallback_on_content_policy
        try:
            result = await self._ask_within_time(outbound, policy_falls_back)
        except TimeoutError:
            result = judge_silence(self.record)
        except TransportError as failure:
            result = judge_transport(failure, self.record)
        except FailedEarly as failed:
            result = judge_early(failed, outbound, self.record, policy_falls_back=policy_falls_back)
        except UpstreamFailed as error:
            self.record.result = error.code
            result = Result(verdict=Verdict.RETRY, error=error, is_healthy=False, reason=error.code)
        result.outbound = outbound
        return result

    async def _ask_within_time(self, outbound: Outbound, policy_falls_back: bool) -> Result:
        call, deployment = self._call, outbound.deployment
        seconds = call.seconds_left()
        if call.request.inbound.facts.is_stream:
            seconds = min(seconds, call.route.facts.first_token_timeout or deployment.provider.timeouts.first_token)
        async with asyncio.timeout(seconds):
            upstream, content, stream = await self._open(outbound)
        number = b"%d" % self.attempt.number
        fixed = (*call.headers, (b"x-tollgate-attempts", number), *deployment.response_headers)
        if stream is None:
            return judge_whole(outbound, upstream, content, fixed, self.record, policy_falls_back=policy_falls_back)
        return self._stream(outbound, upstream, stream, fixed)

    async def _open(self, outbound: Outbound) -> tuple[Upstream, bytes, Stream | None]:
        """Send the request; return the whole answer, or a stream that has come to its first content."""
        call, deployment = self._call, outbound.deployment
        inbound = call.request.inbound
        query = upstream_query(outbound.operation, b"" if outbound.is_translated else inbound.query)
        call.exchange.is_generating = not inbound.facts.is_stream
        upstream = await call.upstreams.transport.open(
            deployment.pool,
            deployment.url(outbound.operation, query),
            headers=upstream_headers(inbound, deployment, outbound.dialect, is_translated=outbound.is_translated),
            body=outbound.body,
        )
        self.record.status = self._status = upstream.status
        call.exchange.is_generating = upstream.status < 400
        if upstream.status < 400:  # what a refusal says is what a cooldown is for
            call.upstreams.gates.learn(deployment.facts.slug, deployment.provider, upstream.headers, time())
        try:
            if not (inbound.facts.is_stream and upstream.status < 400 and upstream.content_type in STREAM_TYPES):
                return upstream, await upstream.read(), None
            stream = Stream(upstream=upstream, watch=outbound.watch(), splitter=FrameSplitter())
            await hold_until_content(stream)
            return upstream, b"", stream
        except BaseException:
            upstream.finish(is_answered=False)
            raise

    def _stream(self, outbound: Outbound, upstream: Upstream, stream: Stream, fixed: Pairs) -> Result:
        call, route = self._call, self._call.route.facts
        self.record.result = "streaming"
        self._upstream = upstream
        between_tokens = route.between_tokens_timeout or outbound.deployment.provider.timeouts.between_tokens
        guard = StallGuard(upstream, between_tokens=between_tokens, deadline=monotonic() + call.seconds_left())
        body = relay(stream, call.account, outbound, guard, self)
        response = EventStreamResponse(200, answer_pairs(outbound, upstream, fixed), body)
        return Result(verdict=Verdict.DELIVER, response=response, is_healthy=True)

    # --- What its health and its provider's queue are told ---------------------------------------------------

    def _conclude(self, result: Result, spent: float) -> None:
        """Tell how it went, and let go of what is held, unless a stream goes on."""
        deployment = self.attempt.target.deployment
        health, board = deployment.health, self._call.upstreams.health
        if self._started:
            self._call.exchange.upstream_seconds += spent
            llm_attempts.add(deployment.facts.slug, self.record.result)
        if result.is_healthy is not None:
            board.record(health, time(), is_ok=result.is_healthy, reason=result.reason, is_trial=self.is_trial)
        if result.wait is not None and self._status in RESTING_STATUSES:
            board.cool_down(health, time(), seconds=result.wait, reason=f"{result.reason}, asked for {result.wait:g} s")
        if result.is_healthy and self._status < 400:
            health.latency(isinstance(result.response, EventStreamResponse)).add(spent)
        if self.is_trial:
            self._call.upstreams.give_back_slot(deployment)
        if not isinstance(result.response, EventStreamResponse):
            self._let_go(result)

    def end(self, error_code: str) -> None:
        """A stream that was delivered has ended; the code tells of one that broke in the middle, empty: it did not."""
        deployment = self.attempt.target.deployment
        if error_code:
            self.record.result = error_code
            self._call.upstreams.health.record(
                deployment.health, time(), is_ok=False, reason="its stream broke", is_trial=False
            )
        self._let_go(None)

    def abandon(self) -> None:
        """Another attempt was faster: close what this one has opened."""
        if self.record.result in {"streaming", "cancelled", "answered"}:
            self.record.result = "hedged_away"
        if self._upstream is not None:
            self._upstream.finish(is_answered=False)
        self._let_go(None)

    def _let_go(self, result: Result | None) -> None:
        deployment = self.attempt.target.deployment
        if self._is_held:
            self._is_held = False
            deployment.health.active -= 1
        places, self._places = self._places, ()
        for gate, permit in places:
            self._leave(gate, permit, result)

    def _leave(self, gate: "Gate", permit: "Permit", result: Result | None) -> None:
        """Give a place back, charged with what the upstream says was used, else with the estimate; unsent: nothing."""
        if not self._started or self.record.result == "unreachable":
            gate.refund(permit)
            return
        delivery = result.delivery if result is not None else None
        usage = delivery.usage if delivery is not None else self._call.exchange.usage
        if usage.is_reported:
            gate.settle_tokens(permit, (usage.input or 0) + (usage.output or 0))
        gate.leave(permit)


def _resting() -> Unavailable:
    return Unavailable(
        "The model's deployment is resting after failures. Try again in a moment.",
        code="no_target_available",
        headers={"retry-after": "1"},
        retry_after_seconds=1,
    )
