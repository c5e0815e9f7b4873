"""How an attempt went, and what follows from it. Pure."""

from enum import Enum

from providers.dialects.base import Failure

RETRY_STATUSES = frozenset({408, 409, 429})
CREDENTIAL_STATUSES = frozenset({401, 403})
PROVIDER_ACCOUNT_STATUS = 402


class Verdict(Enum):
    """What to do next."""

    DELIVER = "deliver"  # the answer goes to the client
    RETRY = "retry"  # the same deployment once more
    TRY_NEXT = "try_next"  # the next target
    TRY_LARGER = "try_larger"  # the next target with a larger context window
    GIVE_UP = "give_up"  # no other target would answer differently


def judge_status(status: int) -> Verdict:
    """Judge an upstream's status, before anything was passed on."""
    if status < 400:
        return Verdict.DELIVER
    if status in RETRY_STATUSES or status >= 500:
        return Verdict.RETRY
    if status in CREDENTIAL_STATUSES or status == PROVIDER_ACCOUNT_STATUS or status == 404:
        return Verdict.TRY_NEXT  # ours to mend, not the client's: see `judging.refusal_of_ours`
    return Verdict.GIVE_UP


def judge_failure(status: int, failure: Failure, *, fallback_on_content_policy: bool) -> Verdict:
    """Judge an upstream's error answer by its status and by what it says."""
    if failure.is_context_length:
        return Verdict.TRY_LARGER
    if failure.is_content_policy:
        return Verdict.TRY_NEXT if fallback_on_content_policy else Verdict.GIVE_UP
    return judge_status(status)
