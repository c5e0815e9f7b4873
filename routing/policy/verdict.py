"""How an attempt went, and what follows from it. Pure."""

from enum import Enum

RETRY_STATUSES = frozenset({408, 409, 429})
CREDENTIAL_STATUSES = frozenset({401, 403})
PROVIDER_ACCOUNT_STATUS = 402


class Verdict(Enum):
    """What to do next."""

    DELIVER = "deliver"  # the answer goes to the client
    RETRY = "retry"  # the same deployment once more
    TRY_NEXT = "try_next"  # the next target
    GIVE_UP = "give_up"  # no other target would answer differently


def judge_status(status: int) -> Verdict:
    """Judge an upstream's status, before anything was passed on."""
    if status < 400:
        return Verdict.DELIVER
    if status in RETRY_STATUSES or status >= 500:
        return Verdict.RETRY
    if status in CREDENTIAL_STATUSES or status == PROVIDER_ACCOUNT_STATUS or status == 404:
        return Verdict.TRY_NEXT  # ours to mend, not the client's: see `pipeline.refuse`
    return Verdict.GIVE_UP
