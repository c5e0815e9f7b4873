"""One attempt under way: ask one deployment, hold what it needs meanwhile, and tell its health how it went."""

import asyncio
from time import monotonic, time
from typing import TYPE_CHECKING

from gateway_site.infra import telemetry
from gateway_site.infra.tallies import Count
from providers.canonical.estimate import BYTES_PER_TOKEN
from providers.canonical.usage import Usage
from providers.transport import TransportError, Upstream
from providers.wire.sse import FrameSplitter
from routing.exchange import AttemptRecord
from routing.headers import upstream_query
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
from routing.policy.plan import USUAL_OUTPUT_TOKENS
from routing.policy.verdict import Verdict
from routing.relay import FailedEarly, Stream, hold_until_content, relay
from routing.response import EventStreamResponse
from routing.stall_guard import StallGuard
from tenants.errors import ProviderSaturated, Unavailable, UpstreamFailed

if TYPE_CHECKING:
    from routing.call import Call
    from routing.gate import Gate, Permit

STREAM_TYPES = frozenset({"text/event-stream", ""})  # some servers name none
MOST_OUTPUT_TOKENS = 32_768  # of models whose deployment does not say
LATER = 2  # how much longer than until now a call may have taken that was not waited for
LOOK_AGAIN_SECONDS = 0.05  # at what a vendor says is left: less than what is plenty lasts
FAIR_SHARE = 0.9  # of its time: who got less and was silent is not to blame
llm_attempts = Count(telemetry.llm_attempts)


class Asking:
    """One call of one deployment, from its places in the queues before it to the end of its answer."""

    __slots__ = (
        "_call",
        "_had_its_time",
        "_is_active",
        "_is_generating",
        "_places",
        "_started",
        "_upstream",
        "attempt",
        "is_trial",
        "record",
    )

    def __init__(self, call: "Call", attempt: Attempt) -> None:
        self._call = call
        self._places: tuple[tuple[Gate, Permit], ...] = ()
        self._started = 0.0
        self._is_active = False  # counted as in flight
        self._is_generating = False  # the upstream works on it
        self._had_its_time = False  # as much as the operator gives the deployment: silence is its own fault then
        self._upstream: Upstream | None = None  # of a stream that is held
        self.attempt = attempt
        self.is_trial = False  # it has the slot of a half-open breaker
        self.record = AttemptRecord(
            deployment=attempt.target.deployment.facts.slug,
            number=len(call.exchange.attempts) + 1,
            paused_ms=round(attempt.pause_seconds * 1000),
        )

    async def run(self) -> Result:
        """Ask, and judge what comes. What is held is released, but for a stream's, which `end` or `abandon` releases."""
        result = Result(verdict=None)
        try:
            result = await self._admitted()
        except asyncio.CancelledError:
            self.record.result = self.record.result or "cancelled"
            raise
        finally:
            self._conclude(result)
        return result

    async def _admitted(self) -> Result:
        """Take the breaker's slot and a place at every gate if they are needed; then ask."""
        deployment = self.attempt.target.deployment
        breaker = deployment.health.breaker
        if breaker.state != "closed" and breaker.settings.enabled:
            self.is_trial = await self._call.upstreams.take_slot(deployment)
            if not self.is_trial:
                self.record.result = "breaker_open"
                return Result(verdict=Verdict.TRY_NEXT, error=_slot_is_taken())
        gates = deployment.gates_to_pass
        if gates:
            self._call.exchange.queued += 1
            try:
                await self._enter(gates)
            except ProviderSaturated as error:
                self.record.result = "saturated"
                return Result(verdict=Verdict.TRY_NEXT, error=error)
            finally:
                self._call.exchange.queued -= 1
        return await self._ask()

    async def _enter(self, gates: "tuple[Gate, ...]") -> None:
        """Take a place at every gate, one after the other, waiting no longer than the provider's time for all."""
        call, deployment = self._call, self.attempt.target.deployment
        facts = call.request.inbound.facts
        # What a client says is the most that it may cost, and may be anything: what the model can write bounds it.
        most = deployment.facts.max_output_tokens or MOST_OUTPUT_TOKENS
        output = min(facts.max_output_tokens or USUAL_OUTPUT_TOKENS, most)
        wait = deployment.provider.queue_wait
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
        self._is_active = True
        if not self.attempt.is_retry:
            health.retry_budget.deposit()
        self._started = monotonic()
        policy_falls_back = call.route.facts.fallback_on_content_policy
        try:
            result = await self._ask_within_time(outbound, policy_falls_back)
        except TimeoutError:
            result = judge_silence(self.record, is_its_fault=self._had_its_time)
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
        call = self._call
        with call.upstreams.alarms.within(self._seconds(outbound)):
            upstream, content, stream = await self._open(outbound)
        number = b"%d" % self.record.number
        fixed = (*call.headers, (b"x-tollgate-attempts", number), *outbound.deployment.response_headers)
        if stream is None:
            return judge_whole(outbound, upstream, content, fixed, self.record, policy_falls_back=policy_falls_back)
        return self._stream(outbound, upstream, stream, fixed)

    def _seconds(self, outbound: Outbound) -> float:
        """Return how long to wait for the answer, or for a stream's first content."""
        call, timeouts, route = self._call, outbound.deployment.provider.timeouts, self._call.route.facts
        own = route.total_timeout or timeouts.total
        if call.request.inbound.facts.is_stream:
            own = route.first_token_timeout or timeouts.first_token
        seconds = min(own, call.seconds_left())
        self._had_its_time = seconds >= FAIR_SHARE * own
        return seconds

    async def _open(self, outbound: Outbound) -> tuple[Upstream, bytes, Stream | None]:
        """Send the request; return the whole answer, or a stream that has come to its first content."""
        call, deployment = self._call, outbound.deployment
        inbound = call.request.inbound
        query = upstream_query(outbound.operation, b"" if outbound.is_translated else inbound.query)
        self._generates(not inbound.facts.is_stream)
        upstream = await call.upstreams.transport.open(
            deployment.pool,
            deployment.url(outbound.operation, query),
            headers=outbound.headers,
            body=outbound.body,
        )
        self.record.status = upstream.status
        self._generates(upstream.status < 400)
        if upstream.status < 400:  # what a refusal says is what a cooldown is for
            self._learn(upstream)
        try:
            if not (inbound.facts.is_stream and upstream.status < 400 and upstream.content_type in STREAM_TYPES):
                return upstream, await upstream.read(), None
            stream = Stream(upstream=upstream, watch=outbound.watch(), splitter=FrameSplitter())
            await hold_until_content(stream)
            return upstream, b"", stream
        except BaseException:
            upstream.finish(is_answered=False)
            raise

    def _learn(self, upstream: Upstream) -> None:
        """Heed what the vendor says is left: now and then while there is plenty, always when it becomes scarce."""
        deployment, gates, now = self.attempt.target.deployment, self._call.upstreams.gates, time()
        health, slug = deployment.health, deployment.facts.slug
        if now >= health.headroom_looked_at + LOOK_AGAIN_SECONDS or gates.learned(slug) is not None:
            health.headroom_looked_at = now
            gates.learn(slug, deployment.provider, upstream.headers, now)

    def _stream(self, outbound: Outbound, upstream: Upstream, stream: Stream, fixed: Pairs) -> Result:
        call, route = self._call, self._call.route.facts
        self.record.result = "streaming"
        self._upstream = upstream
        between_tokens = route.between_tokens_timeout or outbound.deployment.provider.timeouts.between_tokens
        guard = StallGuard(
            upstream,
            call.exchange,
            call.upstreams.alarms,
            between_tokens=between_tokens,
            deadline=monotonic() + call.seconds_left(),
        )
        body = relay(stream, call.account, outbound, guard, self)
        response = EventStreamResponse(200, answer_pairs(outbound, upstream, fixed), body, may_bypass=True)
        return Result(verdict=Verdict.DELIVER, response=response, is_healthy=True)

    def _generates(self, is_so: bool) -> None:
        """Note whether the upstream works on the request, for which it may charge."""
        if is_so != self._is_generating:
            self._is_generating = is_so
            self._call.exchange.generating += 1 if is_so else -1

    # --- What its health is told, and what is let go ----------------------------------------------------------

    def _conclude(self, result: Result) -> None:
        """Tell how it went, and release what is held, unless a stream goes on."""
        deployment, record = self.attempt.target.deployment, self.record
        health, board = deployment.health, self._call.upstreams.health
        spent = monotonic() - self._started if self._started else 0.0
        record.milliseconds = round(spent * 1000)
        record.verdict = result.verdict.value if result.verdict is not None else ""
        if self._started:
            self._call.exchange.upstream_seconds += spent
            llm_attempts.add(deployment.facts.slug, record.result)
        if result.is_healthy is not None:
            board.record(health, time(), is_ok=result.is_healthy, reason=result.reason, is_trial=self.is_trial)
        if result.asked_to_wait is not None and result.status in RESTING_STATUSES:
            reason = f"{result.reason}, asked for {result.asked_to_wait:g} s"
            board.cool_down(health, time(), seconds=result.asked_to_wait, reason=reason)
        if result.is_healthy and result.status < 400:
            health.latency(isinstance(result.response, EventStreamResponse)).add(spent)
        if self.is_trial:
            self._call.upstreams.give_back_slot(deployment)
        if isinstance(result.response, EventStreamResponse):
            return
        if result.verdict is not None and result.verdict is not Verdict.DELIVER:
            self._generates(False)
        self._release(_used_by(result, record) if self._places else None)

    def end(self, usage: Usage, error_code: str, *, is_its_fault: bool) -> None:
        """A stream that was delivered has ended; the code tells of one that broke in the middle, empty: it did not."""
        if error_code:
            self.record.result = error_code
        if is_its_fault:
            health, board = self.attempt.target.deployment.health, self._call.upstreams.health
            board.record(health, time(), is_ok=False, reason="its stream broke", is_trial=False)
        self._release(usage.total if usage.is_reported else None)

    def abandon(self, *, is_outrun: bool) -> None:
        """Close what was opened: another attempt was faster, which says that this one is slow, or the client has left."""
        if is_outrun and self._started and self.record.result in {"streaming", "cancelled", "answered"}:
            self.record.result = "hedged_away"
            is_stream = self._call.request.inbound.facts.is_stream
            self.attempt.target.deployment.health.latency(is_stream).add(LATER * (monotonic() - self._started))
        if self._upstream is not None:
            self._upstream.finish(is_answered=False)
        if is_outrun:
            self._generates(False)
        self._release(None)

    def _release(self, tokens: int | None) -> None:
        """Let go of what is held, once; `tokens` were used, None: nobody knows, and the estimate stays charged."""
        if self._is_active:
            self._is_active = False
            self.attempt.target.deployment.health.active -= 1
        places, self._places = self._places, ()
        for gate, permit in places:
            if not self._started or self.record.result == "unreachable":
                gate.refund(permit)  # nothing was sent
                continue
            if tokens is not None:
                gate.settle_tokens(permit, tokens)
            gate.leave(permit)


def _used_by(result: Result, record: AttemptRecord) -> int | None:
    """Return the tokens of an attempt that is over; None: nobody knows."""
    if result.delivery is not None:
        return result.delivery.usage.total if result.delivery.usage.is_reported else None
    return 0 if max(result.status, record.status or 0) >= 400 else None  # a refusal uses none


def _slot_is_taken() -> Unavailable:
    return Unavailable(
        "The model's deployment is resting after failures. Try again in a moment.",
        code="no_target_available",
        headers={"retry-after": "1"},
        retry_after_seconds=1,
    )
