"""When an upstream says that it may be asked again, in all the forms that vendors use."""

from email.utils import formatdate

import pytest

from routing.policy.retry_after import duration, moment, told_wait

NOW = 1_763_700_000.0  # 2025-11-21T04:40:00Z


def wait(*headers: tuple[str, str], in_body: float | None = None) -> float | None:
    return told_wait([(name.encode(), value.encode()) for name, value in headers], NOW, in_body=in_body)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([("retry-after", "7")], 7.0),
        ([("retry-after", "1.5")], 1.5),
        ([("retry-after", " 0 ")], 0.0),
        ([("retry-after", formatdate(NOW + 90, usegmt=True))], 90.0),
        ([("retry-after", formatdate(NOW - 90, usegmt=True))], 0.0),
        ([("retry-after-ms", "250")], 0.25),
        ([("retry-after", "9"), ("retry-after-ms", "250")], 0.25),  # the finer one
        ([("retry-after", "soon")], None),
        ([("retry-after", "-5")], None),
        ([("retry-after", "99999999999")], None),
        ([("retry-after", "inf")], None),
        ([("retry-after", "nan")], None),
        ([], None),
        ([("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "1m30s")], 90.0),
        ([("x-ratelimit-remaining-requests", "5"), ("x-ratelimit-reset-requests", "1m30s")], None),
        (
            [
                ("x-ratelimit-remaining-requests", "0"),
                ("x-ratelimit-reset-requests", "120ms"),
                ("x-ratelimit-remaining-tokens", "0"),
                ("x-ratelimit-reset-tokens", "6m0s"),
            ],
            360.0,  # all limits have to have room
        ),
        (
            [
                ("anthropic-ratelimit-tokens-remaining", "0"),
                ("anthropic-ratelimit-tokens-reset", "2025-11-21T04:40:45Z"),
            ],
            45.0,
        ),
        ([("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", str(int(NOW) + 12))], 12.0),
        ([("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "whenever")], None),
    ],
)
def test_it_is_read_in_every_form(headers, seconds):
    assert wait(*headers) == (None if seconds is None else pytest.approx(seconds))


def test_a_header_comes_before_the_body_and_the_body_before_reset_headers():
    limits = (("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "60s"))
    assert wait(("retry-after", "3"), *limits, in_body=5.0) == 3.0
    assert wait(*limits, in_body=5.0) == 5.0
    assert wait(*limits) == 60.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2", 2.0), ("6m0s", 360.0), ("1h2m3.5s", 3723.5), ("20ms", 0.02), ("", None), ("6m0", None), ("x6s", None)],
)
def test_durations(text, seconds):
    assert duration(text) == seconds


def test_moments_without_a_zone_are_utc():
    assert moment("2025-11-21T04:40:00") == NOW
    assert moment("tomorrow") is None
