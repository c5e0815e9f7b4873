"""A request on its way through its plan's attempts: ask an upstream, judge what comes, deliver or try the next."""

import asyncio
import random
from collections.abc import Generator
from dataclasses import dataclass
from time import monotonic

import structlog

from gateway_site.infra.telemetry import Handles, llm_attempts
from providers.canonical.inbound import Inbound
from providers.dialects.base import Dialect
from providers.transport import Transport, TransportError, Upstream, UpstreamBroken
from providers.wire.splice import is_object, splice
from providers.wire.sse import FrameSplitter
from routing.account import Account
from routing.exchange import AttemptRecord, Exchange
from routing.headers import answer_headers, retry_headers, upstream_headers
from routing.policy.attempts import Attempt, attempts
from routing.policy.plan import Plan
from routing.policy.verdict import CREDENTIAL_STATUSES, PROVIDER_ACCOUNT_STATUS, Verdict, judge_status
from routing.relay import StallGuard, Stream, hold_until_content, relay
from routing.response import EventStreamResponse, WholeResponse
from routing.snapshot import LiveDeployment, LiveRoute
from tenants.errors import GatewayError, Unavailable, UpstreamFailed, UpstreamTimeout

log = structlog.get_logger("tollgate.call")

type Response = WholeResponse | EventStreamResponse
type Pairs = tuple[tuple[bytes, bytes], ...]

STREAM_TYPES = frozenset({"text/event-stream", ""})  # some servers name none
attempt_counter = Handles(llm_attempts)
ALARMS = frozenset({"upstream_auth_failed", "upstream_account_exhausted"})  # for the operator to mend


@dataclass(slots=True)
class Result:
    """How an attempt went: an answer to deliver, or what to say if no other attempt goes better."""

    verdict: Verdict
    response: Response | None = None
    error: GatewayError | None = None


class Call:
    """A request on its way through its plan's attempts."""

    __slots__ = ("account", "dialect", "exchange", "inbound", "transport")

    def __init__(
        self, inbound: Inbound, dialect: Dialect, exchange: Exchange, account: Account, transport: Transport
    ) -> None:
        self.inbound = inbound
        self.dialect = dialect
        self.exchange = exchange
        self.account = account
        self.transport = transport

    async def answer(self, plan: Plan, headers: Pairs) -> Response:
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
            return await self.deliver(result.response)
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
                exchange.usage = self.dialect.read_usage(response.content)
                exchange.is_usage_final = exchange.usage.is_reported
                await self.account.settle("served", status=response.status_code)
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
        except UpstreamFailed as error:
            record.result = error.code
            result = Result(Verdict.RETRY, error=error)
        spent = monotonic() - started
        record.milliseconds = round(spent * 1000)
        exchange.upstream_seconds += spent
        attempt_counter(deployment.facts.slug, record.result).inc()
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
        timeouts = deployment.provider.timeouts
        deadline = exchange.started + (route.facts.total_timeout or timeouts.total)
        seconds = deadline - monotonic()
        if self.inbound.facts.is_stream:
            seconds = min(seconds, route.facts.first_token_timeout or timeouts.first_token)
        async with asyncio.timeout(seconds):
            upstream, content, stream = await self._open(deployment, record)
        fixed = (*headers, (b"x-tollgate-attempts", b"%d" % attempt.number), *deployment.response_headers)
        if stream is None:
            return self._judge_whole(upstream, content, fixed, record)
        record.result = "streaming"
        exchange.first_token_at = monotonic()
        between_tokens = route.facts.between_tokens_timeout or timeouts.between_tokens
        guard = StallGuard(upstream, between_tokens=between_tokens, deadline=deadline)
        body = relay(stream, self.account, exchange, self.dialect, guard)
        return Result(Verdict.DELIVER, EventStreamResponse(200, answer_headers(upstream, fixed), body))

    async def _open(self, deployment: LiveDeployment, record: AttemptRecord) -> tuple[Upstream, bytes, Stream | None]:
        """Send the request; return the whole answer, or a stream that has come to its first content."""
        inbound = self.inbound
        upstream = await self.transport.open(
            deployment.pool,
            deployment.url(inbound.operation, inbound.query.decode("latin-1")),
            headers=upstream_headers(inbound, deployment),
            body=self._body_for(deployment),
        )
        record.status = upstream.status
        try:
            if not (inbound.facts.is_stream and upstream.status < 400 and upstream.content_type in STREAM_TYPES):
                return upstream, await upstream.read(), None
            stream = Stream(upstream=upstream, watch=self.dialect.watch(inbound.facts), splitter=FrameSplitter())
            await hold_until_content(stream)
            return upstream, b"", stream
        except BaseException:
            upstream.finish(is_answered=False)
            raise

    def _body_for(self, deployment: LiveDeployment) -> bytes:
        inbound, quirks = self.inbound, deployment.adapter.quirks
        edits = dict(
            self.dialect.passthrough_edits(
                inbound.members, inbound.facts, deployment.facts.model, quirks.accepts_stream_options
            )
        )
        for name in quirks.drop_fields:
            edits[name] = None
        return splice(inbound.members, edits)

    def _judge_whole(self, upstream: Upstream, content: bytes, fixed: Pairs, record: AttemptRecord) -> Result:
        status = upstream.status
        if status < 400:
            error = self._not_an_answer(upstream, content)
            record.result = "answered" if error is None else "not_an_answer"
            if error is not None:
                return Result(Verdict.RETRY if error.retryable else Verdict.TRY_NEXT, error=error)
            return Result(Verdict.DELIVER, WholeResponse(status, answer_headers(upstream, fixed), content))
        record.result = f"status_{status}"
        verdict = judge_status(status)
        refusal = self._refusal_of_ours(status, content)
        if refusal is not None:
            if refusal.code in ALARMS:
                log.error("upstream_refused_us", deployment=record.deployment, status=status)
            return Result(verdict, error=refusal)
        pairs = (*answer_headers(upstream, fixed), *retry_headers(upstream))
        return Result(verdict, WholeResponse(status, pairs, content))

    def _not_an_answer(self, upstream: Upstream, content: bytes) -> GatewayError | None:
        """Return what is wrong with an answer that came with a status of success; None when nothing is."""
        if upstream.content_type == "text/event-stream" or not is_object(content):
            text = "The upstream answered with something that is not an answer of its format."
            return UpstreamFailed(text, retryable=False)
        if self.dialect.is_error_body(content):
            return UpstreamFailed(f"The upstream failed: {self.dialect.read_error(content)}")
        if self.inbound.facts.is_stream:
            # A client that waits for events would take a whole answer for an empty stream.
            return UpstreamFailed("The upstream answered a request for a stream with a whole answer.", retryable=False)
        return None

    def _refusal_of_ours(self, status: int, content: bytes) -> GatewayError | None:
        """Return what to say instead of an upstream's error that is not the client's to read; None to pass it on."""
        if status in CREDENTIAL_STATUSES:
            # Never 401: clients would drop their own key. Upstreams quote the key in these bodies.
            return UpstreamFailed(
                "The provider refused the gateway's credential. Whoever runs this gateway has to mend it.",
                code="upstream_auth_failed",
                retryable=False,
            )
        if status == PROVIDER_ACCOUNT_STATUS:
            return Unavailable(
                "The gateway's account at the provider is used up. Whoever runs this gateway has to mend it.",
                code="upstream_account_exhausted",
                headers={"x-should-retry": "false"},
                retryable=False,
            )
        if not self.dialect.read_error(content):
            return UpstreamFailed(f"The upstream failed with status {status} and nothing readable.")
        return None


def _advance(steps: Generator[Attempt, Verdict, None], verdict: Verdict) -> Attempt | None:
    try:
        return steps.send(verdict)
    except StopIteration:
        return None
