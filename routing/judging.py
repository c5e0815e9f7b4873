"""What an upstream's answer amounts to: deliver it, ask again, ask another, or give up; and what to say at last."""

from dataclasses import dataclass
from time import time

import structlog

from providers.dialects.base import Failure
from providers.transport import TransportError, Upstream, UpstreamBroken
from providers.wire.json import write_json
from routing.exchange import AttemptRecord
from routing.headers import answer_headers, losses_header, retry_headers, translated_headers
from routing.outbound import Delivery, Outbound, rejection, status_of_code
from routing.policy.retry_after import told_wait
from routing.policy.verdict import CREDENTIAL_STATUSES, PROVIDER_ACCOUNT_STATUS, Verdict, judge_failure
from routing.relay import FailedEarly
from routing.response import EventStreamResponse, HeaderPairs, WholeResponse
from tenants.errors import GatewayError, Unavailable, UpstreamFailed, UpstreamTimeout

log = structlog.get_logger("tollgate.call")

type Response = WholeResponse | EventStreamResponse
type Pairs = tuple[tuple[bytes, bytes], ...]

JSON = b"application/json"
EVENT_STREAM = b"text/event-stream"
ALARMS = frozenset({"upstream_auth_failed", "upstream_account_exhausted"})  # for the operator to mend
FIRST_STATUS, LIMITED, LAST_STATUS = 200, 429, 599
RESTING_STATUSES = frozenset({LIMITED, 503, 529})  # with a time to wait, they are left alone for so long


@dataclass(slots=True, kw_only=True)
class Result:
    """How an attempt went: an answer to deliver, or what to say if no other attempt goes better."""

    verdict: Verdict | None  # None: it was cancelled
    outbound: Outbound | None = None  # of the attempt; None when nobody was asked
    response: Response | None = None
    error: GatewayError | None = None
    delivery: Delivery | None = None  # a whole answer and its usage
    status: int = 0  # the upstream's, or what an error of its stream stands for
    asked_to_wait: float | None = None  # seconds that the upstream wants to be left alone
    is_healthy: bool | None = None  # what it says of the deployment; None: nothing
    reason: str = ""  # why it is not healthy, or rests


def judge_whole(
    outbound: Outbound,
    upstream: Upstream,
    content: bytes,
    fixed: Pairs,
    record: AttemptRecord,
    *,
    policy_falls_back: bool,
) -> Result:
    """Judge an answer that is there, whatever its status."""
    if not FIRST_STATUS <= upstream.status <= LAST_STATUS:
        record.result = "not_an_answer"
        error = UpstreamFailed(f"The upstream answered with the status {upstream.status}, which is none.")
        return Result(verdict=Verdict.RETRY, error=error, is_healthy=False, reason="its status is none")
    if upstream.status >= 400:
        return _judge_failure(outbound, upstream, content, fixed, record, policy_falls_back)
    try:
        delivery = outbound.read_whole(content, upstream.content_type)
    except UpstreamFailed as error:
        record.result = "not_an_answer"
        verdict = Verdict.RETRY if error.retryable else Verdict.TRY_NEXT
        return Result(verdict=verdict, error=error, is_healthy=False, reason="its answer is none")
    record.result = "answered"
    headers = answer_pairs(outbound, upstream, fixed, delivery.content_type)
    response = WholeResponse(upstream.status, headers, delivery.content)
    return Result(verdict=Verdict.DELIVER, response=response, delivery=delivery, is_healthy=True)


def _judge_failure(
    outbound: Outbound,
    upstream: Upstream,
    content: bytes,
    fixed: Pairs,
    record: AttemptRecord,
    policy_falls_back: bool,
) -> Result:
    status = upstream.status
    record.result = f"status_{status}"
    failure = outbound.dialect.read_failure(status, content)
    refusal = refusal_of_ours(status, failure, record)
    if refusal is not None:
        return Result(verdict=Verdict.TRY_NEXT, error=refusal)
    result = Result(
        verdict=judge_failure(status, failure, fallback_on_content_policy=policy_falls_back),
        status=status,
        asked_to_wait=told_wait(upstream.headers, time(), in_body=failure.retry_after_seconds)
        if status >= LIMITED
        else None,
        is_healthy=_is_healthy(status),
        reason=f"status {status}",
    )
    if not failure.message:
        result.error = UpstreamFailed(f"The upstream failed with status {status} and nothing readable.")
    else:
        pairs = [*answer_pairs(outbound, upstream, fixed, JSON), *retry_headers(upstream, failure.retry_after_seconds)]
        result.response = WholeResponse(*outbound.write_failure(status, content, failure, pairs))
    return result


def judge_early(failed: FailedEarly, outbound: Outbound, record: AttemptRecord, *, policy_falls_back: bool) -> Result:
    """Judge a stream that began with an error as the answer that it might have been: some vendors do either."""
    record.result = failed.code
    status = status_of_code(failed.said_code)
    if status is None:
        return Result(verdict=Verdict.RETRY, error=failed, is_healthy=False, reason="its stream began with an error")
    error = {"message": failed.said} | dict.fromkeys(("code", "type", "status"), failed.said_code)
    failure = outbound.dialect.read_failure(status, write_json({"error": error}))
    refusal = refusal_of_ours(status, failure, record)
    if refusal is not None:
        return Result(verdict=Verdict.TRY_NEXT, error=refusal)
    return Result(
        verdict=judge_failure(status, failure, fallback_on_content_policy=policy_falls_back),
        error=rejection(status, failure),
        status=status,
        asked_to_wait=failure.retry_after_seconds,
        is_healthy=_is_healthy(status),
        reason=f"an error event that means {status}",
    )


def judge_silence(record: AttemptRecord, *, is_its_fault: bool) -> Result:
    """An upstream that accepts and stays silent is not asked a second time.

    It is not to blame where the client, or earlier attempts, left it less time than the operator gives it.
    """
    record.result = "timeout"
    error = UpstreamTimeout("The upstream did not answer in time.")
    is_healthy = False if is_its_fault else None
    return Result(verdict=Verdict.TRY_NEXT, error=error, is_healthy=is_healthy, reason="it did not answer in time")


def judge_transport(failure: TransportError, record: AttemptRecord) -> Result:
    """Judge a connection that could not be made or broke."""
    # The reason may name inner addresses: it is for the operator's log, not for the tenant.
    log.warning("upstream_failed", deployment=record.deployment, reason=str(failure), attempt=record.number)
    is_broken = isinstance(failure, UpstreamBroken)
    record.result = "broken" if is_broken else "unreachable"
    error = UpstreamFailed(
        "The upstream could not be reached or broke off.",
        code="upstream_failed" if is_broken else "upstream_unreachable",
    )
    reason = "its connection broke" if is_broken else "it could not be reached"
    return Result(verdict=Verdict.RETRY, error=error, is_healthy=False, reason=reason)


def answer_pairs(
    outbound: Outbound, upstream: Upstream, fixed: Pairs, content_type: bytes | None = None
) -> HeaderPairs:
    """Return the headers of an answer: the upstream's own open ones come with it only where it passes through."""
    losses = losses_header(outbound.losses)
    fixed = (*fixed, *losses) if losses else fixed
    if outbound.is_translated:
        return translated_headers(fixed, content_type or EVENT_STREAM)
    return answer_headers(upstream, fixed, content_type)


def refusal_of_ours(status: int, failure: Failure, record: AttemptRecord) -> GatewayError | None:
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


def _is_healthy(status: int) -> bool | None:
    """What an error status says of a deployment: a limit is neutral, a refusal of the request shows that it lives."""
    if status == LIMITED:
        return None
    return status < 500
