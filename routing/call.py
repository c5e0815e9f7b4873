"""A request on its way through its plan's attempts: ask an upstream, judge what comes, deliver or try the next."""

import asyncio
import random
from collections.abc import Generator
from dataclasses import dataclass
from time import monotonic

import structlog

from gateway_site.infra import telemetry
from gateway_site.infra.tallies import Count
from providers.dialects.base import Failure
from providers.transport import Transport, TransportError, Upstream, UpstreamBroken
from providers.wire.json import write_json
from providers.wire.sse import FrameSplitter
from routing.account import Account
from routing.exchange import AttemptRecord
from routing.headers import (
    answer_headers,
    losses_header,
    retry_headers,
    translated_headers,
    upstream_headers,
    upstream_query,
)
from routing.outbound import ClientRequest, Outbound, rejection, status_of_code
from routing.policy.attempts import Attempt, attempts
from routing.policy.plan import Plan
from routing.policy.verdict import CREDENTIAL_STATUSES, PROVIDER_ACCOUNT_STATUS, Verdict, judge_status
from routing.relay import FailedEarly, StallGuard, Stream, hold_until_content, relay
from routing.response import EventStreamResponse, HeaderPairs, WholeResponse
from routing.snapshot import LiveRoute
from tenants.errors import GatewayError, Unavailable, UpstreamFailed, UpstreamTimeout

log = structlog.get_logger("tollgate.call")

type Response = WholeResponse | EventStreamResponse
type Pairs = tuple[tuple[bytes, bytes], ...]

JSON = b"application/json"
EVENT_STREAM = b"text/event-stream"
STREAM_TYPES = frozenset({"text/event-stream", ""})  # some servers name none
llm_attempts = Count(telemetry.llm_attempts)
ALARMS = frozenset({"upstream_auth_failed", "upstream_account_exhausted"})  # for the operator to mend


@dataclass(slots=True)
class Result:
    """How an attempt went: an answer to deliver, or what to say if no other attempt goes better."""

    verdict: Verdict
    response: Response | None = None
    error: GatewayError | None = None


class Call:
    """A request on its way through its plan's attempts."""

    __slots__ = ("account", "exchange", "request", "transport")

    def __init__(self, request: ClientRequest, account: Account, transport: Transport) -> None:
        self.request = request
        self.exchange = request.exchange
        self.account = account
        self.transport = transport

    async def answer(self, plan: Plan, headers: Pairs) -> Response:
        """Ask, and settle what is whole; raises what the last attempt says when no answer is to be delivered."""
        return await self.deliver(await self.ask(plan, headers))

    async def ask(self, plan: Plan, headers: Pairs) -> Response:
        """Try until an attempt's result is to be delivered; raises what the last one says when none is."""
        steps = attempts(plan, random=random.random)
        attempt: Attempt | None = next(steps)
        result = Result(Verdict.GIVE_UP)
        while attempt is not None and not (result.error and self._is_too_late(attempt, plan.route)):
            if attempt.pause_seconds:
                await asyncio.sleep(attempt.pause_seconds)
            result = await self.attempt(attempt, plan.route, headers)
            attempt = _advance(steps, result.verdict)
        if result.response is not None:
            return result.response
        assert result.error is not None
        raise result.error

    def _is_too_late(self, attempt: Attempt, route: LiveRoute) -> bool:
        """Whether the request's own deadline comes before this attempt could begin."""
        total = route.facts.total_timeout or attempt.target.deployment.provider.timeouts.total
        return monotonic() + attempt.pause_seconds >= self.exchange.started + total

    async def deliver(self, response: Response) -> Response:
        """Settle a whole answer before it leaves; a stream settles itself before its last frame."""
        if isinstance(response, WholeResponse):
            exchange = self.exchange
            if response.status_code < 400:
                exchange.answer_size = len(response.content)
                exchange.is_usage_final = exchange.usage.is_reported
                await self.account.settle("served", status=response.status_code)
                if self.request.continuation is not None and exchange.outbound is not None:
                    await self.request.continuation.keep(response.content, exchange.outbound)
            else:
                is_theirs = response.status_code >= 500 or response.status_code == 429
                outcome, code = ("upstream_failed",) * 2 if is_theirs else ("rejected", "upstream_rejected")
                await self.account.settle(outcome, status=response.status_code, error_code=code)
            response.pairs = [*response.pairs, (b"x-tollgate-cost", f"{exchange.cost or 0:f}".encode())]
        return response

    async def attempt(self, attempt: Attempt, route: LiveRoute, headers: Pairs) -> Result:
        """Ask one deployment, and judge what comes."""
        deployment, exchange = attempt.target.deployment, self.exchange
        exchange.deployment = deployment
        record = AttemptRecord(deployment=deployment.facts.slug)
        exchange.attempts.append(record)
        started = monotonic()
        try:
            result = await self._ask(attempt, route, headers, record)
        except TimeoutError:
            record.result = "timeout"
            result = Result(Verdict.TRY_NEXT, error=UpstreamTimeout("The upstream did not answer in time."))
        except TransportError as failure:
            record.result = "broken" if isinstance(failure, UpstreamBroken) else "unreachable"
            result = self._transport_failed(failure, attempt)
        except FailedEarly as failed:
            record.result = failed.code
            result = self._judge_early(failed, record)
        except UpstreamFailed as error:
            record.result = error.code
            result = Result(Verdict.RETRY, error=error)
        spent = monotonic() - started
        record.milliseconds = round(spent * 1000)
        exchange.upstream_seconds += spent
        llm_attempts.add(deployment.facts.slug, record.result)
        return result

    def _transport_failed(self, failure: TransportError, attempt: Attempt) -> Result:
        # The reason may name inner addresses: it is for the operator's log, not for the tenant.
        deployment = attempt.target.deployment.facts.slug
        log.warning("upstream_failed", deployment=deployment, reason=str(failure), attempt=attempt.number)
        code = "upstream_failed" if isinstance(failure, UpstreamBroken) else "upstream_unreachable"
        error = UpstreamFailed("The upstream could not be reached or broke off.", code=code)
        return Result(Verdict.RETRY, error=error)

    async def _ask(self, attempt: Attempt, route: LiveRoute, headers: Pairs, record: AttemptRecord) -> Result:
        deployment, exchange = attempt.target.deployment, self.exchange
        outbound = self.request.outbound(deployment)
        exchange.outbound = outbound
        timeouts = deployment.provider.timeouts
        deadline = exchange.started + (route.facts.total_timeout or timeouts.total)
        seconds = deadline - monotonic()
        if self.request.inbound.facts.is_stream:
            seconds = min(seconds, route.facts.first_token_timeout or timeouts.first_token)
        async with asyncio.timeout(seconds):
            upstream, content, stream = await self._open(outbound, record)
        fixed = (*headers, (b"x-tollgate-attempts", b"%d" % attempt.number), *deployment.response_headers)
        if stream is None:
            return self._judge_whole(outbound, upstream, content, fixed, record)
        record.result = "streaming"
        exchange.first_token_at = monotonic()
        between_tokens = route.facts.between_tokens_timeout or timeouts.between_tokens
        guard = StallGuard(upstream, between_tokens=between_tokens, deadline=deadline)
        body = relay(stream, self.account, outbound, guard)
        return Result(Verdict.DELIVER, EventStreamResponse(200, _headers(outbound, upstream, fixed), body))

    async def _open(self, outbound: Outbound, record: AttemptRecord) -> tuple[Upstream, bytes, Stream | None]:
        """Send the request; return the whole answer, or a stream that has come to its first content."""
        inbound, deployment = self.request.inbound, outbound.deployment
        query = upstream_query(outbound.operation, b"" if outbound.is_translated else inbound.query)
        upstream = await self.transport.open(
            deployment.pool,
            deployment.url(outbound.operation, query),
            headers=upstream_headers(inbound, deployment, outbound.dialect, is_translated=outbound.is_translated),
            body=outbound.body,
        )
        record.status = upstream.status
        try:
            if not (inbound.facts.is_stream and upstream.status < 400 and upstream.content_type in STREAM_TYPES):
                return upstream, await upstream.read(), None
            stream = Stream(upstream=upstream, watch=outbound.watch(), splitter=FrameSplitter())
            await hold_until_content(stream)
            return upstream, b"", stream
        except BaseException:
            upstream.finish(is_answered=False)
            raise

    def _judge_whole(
        self, outbound: Outbound, upstream: Upstream, content: bytes, fixed: Pairs, record: AttemptRecord
    ) -> Result:
        status = upstream.status
        if status >= 400:
            return self._judge_failure(outbound, upstream, content, fixed, record)
        try:
            delivery = outbound.read_whole(content, upstream.content_type)
        except UpstreamFailed as error:
            record.result = "not_an_answer"
            return Result(Verdict.RETRY if error.retryable else Verdict.TRY_NEXT, error=error)
        record.result = "answered"
        self.exchange.usage = delivery.usage
        headers = _headers(outbound, upstream, fixed, delivery.content_type)
        return Result(Verdict.DELIVER, WholeResponse(status, headers, delivery.content))

    def _judge_failure(
        self, outbound: Outbound, upstream: Upstream, content: bytes, fixed: Pairs, record: AttemptRecord
    ) -> Result:
        status = upstream.status
        record.result = f"status_{status}"
        failure = outbound.dialect.read_failure(status, content)
        refusal = _refusal_of_ours(status, failure, record)
        if refusal is not None:
            return Result(Verdict.TRY_NEXT, error=refusal)
        verdict = judge_status(status)
        if not failure.message:
            error = UpstreamFailed(f"The upstream failed with status {status} and nothing readable.")
            return Result(verdict, error=error)
        pairs = [*_headers(outbound, upstream, fixed, JSON), *retry_headers(upstream, failure.retry_after_seconds)]
        return Result(verdict, WholeResponse(*outbound.write_failure(status, content, failure, pairs)))

    def _judge_early(self, failed: FailedEarly, record: AttemptRecord) -> Result:
        """Judge a stream that began with an error as the answer that it might have been: some vendors do either."""
        status, outbound = status_of_code(failed.said_code), self.exchange.outbound
        if status is None or outbound is None:
            return Result(Verdict.RETRY, error=failed)
        error = {"message": failed.said} | dict.fromkeys(("code", "type", "status"), failed.said_code)
        failure = outbound.dialect.read_failure(status, write_json({"error": error}))
        refusal = _refusal_of_ours(status, failure, record)
        if refusal is not None:
            return Result(Verdict.TRY_NEXT, error=refusal)
        return Result(judge_status(status), error=rejection(status, failure))


def _headers(outbound: Outbound, upstream: Upstream, fixed: Pairs, content_type: bytes | None = None) -> HeaderPairs:
    """Return the headers of an answer: the upstream's own open ones come with it only where it passes through."""
    losses = losses_header(outbound.losses)
    fixed = (*fixed, *losses) if losses else fixed
    if outbound.is_translated:
        return translated_headers(fixed, content_type or EVENT_STREAM)
    return answer_headers(upstream, fixed, content_type)


def _refusal_of_ours(status: int, failure: Failure, record: AttemptRecord) -> GatewayError | None:
    """Return what to say instead of an upstream's error that is not the client's to read; None to pass it on."""
    refusal = _refusal(status, failure)
    if refusal is not None and refusal.code in ALARMS:
        log.error("upstream_refused_us", deployment=record.deployment, status=status)
    return refusal


def _refusal(status: int, failure: Failure) -> GatewayError | None:
    if status in CREDENTIAL_STATUSES or failure.is_credential_refused:
        # Never 401: clients would drop their own key. Upstreams quote the key in these bodies.
        return UpstreamFailed(
            "The provider refused the gateway's credential. Whoever runs this gateway has to mend it.",
            code="upstream_auth_failed",
            retryable=False,
        )
    if status == PROVIDER_ACCOUNT_STATUS or failure.is_account_empty:
        return Unavailable(
            "The gateway's account at the provider is used up. Whoever runs this gateway has to mend it.",
            code="upstream_account_exhausted",
            headers={"x-should-retry": "false"},
            retryable=False,
        )
    return None


def _advance(steps: Generator[Attempt, Verdict, None], verdict: Verdict) -> Attempt | None:
    try:
        return steps.send(verdict)
    except StopIteration:
        return None
