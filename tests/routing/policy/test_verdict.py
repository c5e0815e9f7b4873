"""What follows from an upstream's status."""

import pytest

from routing.policy.verdict import Verdict, judge_status

STATUSES = {
    Verdict.DELIVER: (200, 201, 204),
    Verdict.RETRY: (408, 409, 429, 500, 502, 503, 504, 529, 599),
    Verdict.TRY_NEXT: (401, 402, 403, 404),  # ours to mend
    Verdict.GIVE_UP: (400, 405, 406, 410, 413, 415, 422, 451, 499),  # the request's own fault
}


@pytest.mark.parametrize(
    ("status", "verdict"), [(status, verdict) for verdict, statuses in STATUSES.items() for status in statuses]
)
def test_every_status_has_its_verdict(status: int, verdict: Verdict):
    assert judge_status(status) is verdict
