"""A request on its way through its plan's attempts: ask, judge, deliver or try the next."""

import asyncio
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from time import monotonic, time
from typing import TYPE_CHECKING, Protocol

from gateway_site.infra.alarms import Alarms
from providers.canonical.usage import Usage
from providers.transport import Transport
from routing.account import Account
from routing.asking import Asking
from routing.gate import Gates
from routing.health import HealthBoard
from routing.judging import Pairs, Response, Result
from routing.outbound import ClientRequest
from routing.policy.attempts import Attempt, Attempts, Judgement, attempts
from routing.policy.plan import Plan, Standing, standing_of
from routing.policy.verdict import Verdict
from routing.response import WholeResponse
from routing.snapshot import LiveDeployment, LiveRoute, LiveTarget
from routing.trace import trace_header
from tenants.errors import UpstreamFailed, UpstreamTimeout

if TYPE_CHECKING:
    from routing.exchange import Exchange

__all__ = ["Call", "Pairs", "Response", "Upstreams"]


FINAL = frozenset({Verdict.DELIVER, Verdict.GIVE_UP})
SHORTEST_HEDGE_SECONDS = 0.1  # below that, jitter would look late


class Upstreams(Protocol):
    """What a call needs to reach deployments: the runtime offers it."""

    transport: Transport
    health: HealthBoard
    gates: Gates
    alarms: Alarms

    async def take_slot(self, deployment: LiveDeployment) -> bool:
        """Take the slot of a half-open breaker, among all workers."""

    def give_back_slot(self, deployment: LiveDeployment) -> None:
        """Let the next request try."""


@dataclass(slots=True, kw_only=True)
class Call:
    """A request on its way through its plan's attempts."""

    request: ClientRequest
    account: Account
    upstreams: Upstreams
    plan: Plan
    headers: Pairs  # that every answer gets
    timeout: float | None = None  # seconds, by the client's own wish
    hedged: tuple[LiveTarget, ...] = ()  # asked beside another: not asked again
    exchange: "Exchange" = field(init=False)  # what is known of the request
    route: LiveRoute = field(init=False)
    seconds: float = field(init=False)  # that it may take, over all its attempts

    def __post_init__(self) -> None:
        self.exchange, self.route = self.request.exchange, self.plan.route
        self.seconds = _total_seconds(self.plan, self.timeout)

    @property
    def tenant(self) -> str:
        """Whose request it is."""
        principal = self.exchange.principal
        return principal.tenant if principal is not None else ""

    def seconds_left(self) -> float:
        """Return how long the request may still take."""
        return self.exchange.started + self.seconds - monotonic()

    async def answer(self) -> Response:
        """Ask, and settle what is whole; raises what the last attempt says when no answer is to be delivered."""
        return await self.deliver(await self.ask())

    async def ask(self) -> Response:
        """Try until an attempt's result is to be delivered; raises what the last one says when none is."""
        exchange = self.exchange
        exchange.plan = self.plan
        deadline = exchange.started_at + self.seconds
        steps = attempts(self.plan, random=random.random, now=time, deadline=deadline)
        attempt = next(steps, None)
        best: Result | None = None
        while attempt is not None:
            if attempt.pause_seconds:
                await asyncio.sleep(attempt.pause_seconds)
                exchange.upstream_seconds += attempt.pause_seconds  # waited for its sake
            result = await self._attempt(attempt)
            best = _more_telling(best, result)
            if exchange.is_client_gone and result.verdict is not Verdict.DELIVER:
                break  # it was read on for the usage of that attempt only
            attempt = _advance(steps, result, self.hedged)
        if best is None:
            raise UpstreamTimeout("There was no time left to ask a deployment.", code="deadline_exceeded")
        if best.outbound is not None:
            exchange.deployment, exchange.outbound = best.outbound.deployment, best.outbound
        if best.response is not None:
            if best.delivery is not None:
                exchange.usage = best.delivery.usage
            return self._traced(best.response)
        raise best.error or UpstreamFailed("The upstream failed.")

    def _is_final(self, usage: Usage) -> bool:
        """Whether a whole answer's usage says all: what only half is reported is not billed as if the rest were nothing."""
        is_chat = self.request.inbound.operation.kind == "chat"
        return usage.is_complete if is_chat else usage.is_reported

    async def deliver(self, response: Response) -> Response:
        """Settle a whole answer before it leaves; a stream settles itself before its last frame."""
        if isinstance(response, WholeResponse):
            exchange = self.exchange
            if response.status_code < 400:
                exchange.answer_size = len(response.content)
                exchange.is_usage_final = self._is_final(exchange.usage)
                outcome = "client_gone" if exchange.is_client_gone else "served"
                await self.account.settle(outcome, status=response.status_code)
                if self.request.continuation is not None and exchange.outbound is not None:
                    await self.request.continuation.keep(response.content, exchange.outbound)
            else:
                is_theirs = response.status_code >= 500 or response.status_code == 429
                outcome, code = ("upstream_failed",) * 2 if is_theirs else ("rejected", "upstream_rejected")
                await self.account.settle(outcome, status=response.status_code, error_code=code)
            response.pairs = [*response.pairs, (b"x-tollgate-cost", f"{exchange.cost or 0:f}".encode())]
        return response

    async def _attempt(self, attempt: Attempt) -> Result:
        """Make one attempt; with a second one beside it when the route hedges and this one is late."""
        exchange, deployment = self.exchange, attempt.target.deployment
        exchange.deployment = deployment
        exchange.outbound = self.request.outbound(deployment)
        asking = self._asking(attempt)
        is_stream = self.request.inbound.facts.is_stream
        late = deployment.health.latency(is_stream).p95() if self.route.facts.hedge else None
        if late is None:
            result = await asking.run()
        else:
            result = await self._hedge(asking, max(late, SHORTEST_HEDGE_SECONDS))
        if is_stream and result.verdict is Verdict.DELIVER:
            exchange.first_token_at = monotonic()
        return result

    def _asking(self, attempt: Attempt) -> Asking:
        asking = Asking(self, attempt)
        self.exchange.attempts.append(asking.record)
        return asking

    async def _hedge(self, first: Asking, late: float) -> Result:
        """Ask the next target too when the first is late; keep the first answer and cancel the other."""
        tasks = {asyncio.create_task(first.run()): first}
        winner: asyncio.Task[Result] | None = None
        try:
            await asyncio.wait(tasks, timeout=late)
            if not any(task.done() for task in tasks):
                second = self._second(first.attempt.target)
                if second is not None:
                    tasks[asyncio.create_task(second.run())] = second
            found = await _first_answer(list(tasks))
            await _cancel(task for task in tasks if task is not found)
            winner = found  # from here on nothing is awaited: nobody can be cancelled while holding two answers
            return winner.result()
        finally:
            for task, asking in tasks.items():
                if task is not winner:
                    task.cancel()
                    asking.abandon(is_outrun=winner is not None)

    def _second(self, target: LiveTarget) -> Asking | None:
        """Return the attempt beside a late one, if there is somebody to ask and the provider can spare it."""
        other = self._next_after(target)
        if other is None or not target.deployment.health.retry_budget.withdraw(time()):
            return None
        self.hedged = (*self.hedged, other)
        return self._asking(Attempt(target=other))

    def _next_after(self, target: LiveTarget) -> LiveTarget | None:
        """Return whom to ask beside a target that is late: the next that can be asked at once."""
        targets = self.plan.targets
        for other in targets[targets.index(target) + 1 :]:
            is_ready = standing_of(other.deployment, time()) <= Standing.DOUBTFUL
            if is_ready and other not in self.hedged and self.plan.judge(other) is None:
                return other
        return None

    def _traced(self, response: Response) -> Response:
        """Add the decision trace, if the client asked for it and may see it."""
        if self.exchange.wants_trace:
            response.pairs = [*response.pairs, trace_header(self.exchange)]
        return response


def _total_seconds(plan: Plan, timeout: float | None) -> float:
    """Return how long a request may take: the route's time, else its providers', never more than the client's own."""
    total = plan.route.facts.total_timeout
    if total is None:
        total = max((target.deployment.provider.timeouts.total for target in plan.targets), default=0.0)
    return total if timeout is None else min(total, timeout)


async def _first_answer(tasks: Sequence["asyncio.Task[Result]"]) -> "asyncio.Task[Result]":
    """Return the first task that has a final answer; when none has, the one that was asked first."""
    pending = set(tasks)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task in done and task.result().verdict in FINAL:
                return task
    return tasks[0]


async def _cancel(tasks: Iterable["asyncio.Task[Result]"]) -> None:
    cancelled = list(tasks)
    for task in cancelled:
        task.cancel()
    await asyncio.gather(*cancelled, return_exceptions=True)


def _advance(steps: Attempts, result: Result, hedged: Sequence[LiveTarget]) -> Attempt | None:
    try:
        return steps.send(Judgement(result.verdict or Verdict.TRY_NEXT, result.asked_to_wait, hedged))
    except StopIteration:
        return None


def _more_telling(before: Result | None, result: Result) -> Result:
    """Return which of two results a client is told: a refusal of ours to ask says less than what an upstream said."""
    if before is not None and result.outbound is None and before.outbound is not None:
        return before
    return result
