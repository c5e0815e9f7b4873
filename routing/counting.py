"""Counting a request's tokens: by the upstream that would answer it, or, where that cannot be asked, by an estimate.

A count is free, and it is a request: it counts against the limits of requests and leaves a record without tokens.
"""

import asyncio

import structlog

from providers.canonical.estimate import estimate_tokens
from providers.canonical.inbound import Operation
from routing.call import Call
from routing.pipeline import account_of, call_of, read_and_plan
from routing.request import DataPlaneRequest
from routing.response import WholeResponse
from tenants.errors import Unavailable, UpstreamFailed, UpstreamTimeout

log = structlog.get_logger("tollgate.counting")

BY_UPSTREAM = (b"x-tollgate-count", b"upstream")
BY_ESTIMATE = (b"x-tollgate-count", b"estimated")
JSON = (b"content-type", b"application/json")
NOT_THERE = frozenset({404, 405, 501})  # what upstreams say that have no such endpoint


async def count(request: DataPlaneRequest, operation: Operation, *, model: str = "") -> WholeResponse:
    """Count the tokens of a request as it would be sent; `model` is the alias where the path names it."""
    asked, plan, wishes = await read_and_plan(request, operation, model)
    async with account_of(request, asked, plan) as account:
        call = call_of(request, asked, plan, wishes, account)
        counted = await _ask(call) if plan.targets else None
        if counted is not None:
            counted.pairs = [*counted.pairs, BY_UPSTREAM]
            return counted
        tokens = await asyncio.to_thread(lambda: estimate_tokens(asked.canonical))
        await account.settle("served", status=200)
    counter = asked.dialect.counter
    assert counter is not None
    return WholeResponse(200, [*call.headers, JSON, BY_ESTIMATE], counter.write_answer(tokens))


async def _ask(call: Call) -> WholeResponse | None:
    """Return what an upstream says; None when none of them could tell."""
    try:
        response = await call.ask()
    except (UpstreamFailed, UpstreamTimeout, Unavailable) as error:
        log.info("count_estimated", reason=error.code)
        return None
    if response.status_code in NOT_THERE:
        return None
    delivered = await call.deliver(response)
    assert isinstance(delivered, WholeResponse)
    return delivered
