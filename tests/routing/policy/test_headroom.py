"""What vendors say is left, as they say it in their documentation."""

import pytest

from routing.policy.headroom import Allowance, Headroom, is_scarce, read_headroom

NOW = 1_735_732_800.0  # 2025-01-01T12:00:00Z


def headers(**values: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in values.items()]


def test_it_reads_openai_s_headers():
    """https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers"""
    said = headers(
        x_ratelimit_limit_requests="60",
        x_ratelimit_limit_tokens="150000",
        x_ratelimit_remaining_requests="59",
        x_ratelimit_remaining_tokens="149984",
        x_ratelimit_reset_requests="1s",
        x_ratelimit_reset_tokens="6m0s",
    )
    headroom = read_headroom(said, NOW)
    assert headroom == Headroom(
        requests=Allowance(limit=60, remaining=59, resets_at=NOW + 1),
        tokens=Allowance(limit=150_000, remaining=149_984, resets_at=NOW + 360),
    )
    assert headroom.resets_at == NOW + 360


def test_it_reads_groq_s_headers():
    """https://console.groq.com/docs/rate-limits"""
    said = headers(
        retry_after="2",
        x_ratelimit_limit_requests="14400",
        x_ratelimit_limit_tokens="18000",
        x_ratelimit_remaining_requests="14370",
        x_ratelimit_remaining_tokens="17997",
        x_ratelimit_reset_requests="2m59.56s",
        x_ratelimit_reset_tokens="7.66s",
    )
    headroom = read_headroom(said, NOW)
    assert headroom is not None
    assert headroom.requests == Allowance(limit=14_400, remaining=14_370, resets_at=NOW + 179.56)
    assert headroom.tokens == Allowance(limit=18_000, remaining=17_997, resets_at=NOW + 7.66)


def test_it_reads_anthropic_s_headers():
    """https://docs.anthropic.com/en/api/rate-limits#response-headers"""
    said = headers(
        anthropic_ratelimit_requests_limit="1000",
        anthropic_ratelimit_requests_remaining="999",
        anthropic_ratelimit_requests_reset="2025-01-01T12:00:05Z",
        anthropic_ratelimit_tokens_limit="100000",
        anthropic_ratelimit_tokens_remaining="88000",
        anthropic_ratelimit_tokens_reset="2025-01-01T13:00:30+01:00",
        anthropic_ratelimit_input_tokens_limit="80000",
        anthropic_ratelimit_input_tokens_remaining="79000",
        anthropic_ratelimit_input_tokens_reset="2025-01-01T12:00:20Z",
        anthropic_ratelimit_output_tokens_limit="8000",
        anthropic_ratelimit_output_tokens_remaining="7000",
        anthropic_ratelimit_output_tokens_reset="2025-01-01T12:00:10Z",
    )
    headroom = read_headroom(said, NOW)
    assert headroom is not None
    assert headroom.requests == Allowance(limit=1000, remaining=999, resets_at=NOW + 5)
    assert headroom.tokens == Allowance(limit=100_000, remaining=88_000, resets_at=NOW + 30)


@pytest.mark.parametrize("side", ["input", "output"])
def test_one_side_of_anthropic_s_tokens_counts_when_it_is_used_up(side):
    said = headers(
        anthropic_ratelimit_tokens_remaining="88000",
        anthropic_ratelimit_tokens_reset="2025-01-01T12:00:30Z",
        **{
            f"anthropic_ratelimit_{side}_tokens_remaining": "0",
            f"anthropic_ratelimit_{side}_tokens_reset": "2025-01-01T12:00:10Z",
        },
    )
    headroom = read_headroom(said, NOW)
    assert headroom is not None
    assert headroom.tokens == Allowance(remaining=0, resets_at=NOW + 10)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120ms", 0.12), ("1s", 1), ("6m0s", 360), ("1h2m3.5s", 3723.5), ("45", 45), ("0s", 0), (str(int(NOW) + 9), 9)],
)
def test_it_reads_every_kind_of_reset(text, seconds):
    headroom = read_headroom(headers(x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests=text), NOW)
    assert headroom is not None
    assert headroom.requests is not None
    assert headroom.requests.resets_at == pytest.approx(NOW + seconds)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"content_type": "application/json", "strict_transport_security": "max-age=31536000; includeSubDomains"},
        {"x_ratelimit_remaining_requests": "0"},  # until when?
        {"x_ratelimit_reset_requests": "1s"},  # what?
        {"x_ratelimit_limit_requests": "60"},
        {"x_ratelimit_remaining_requests": "many", "x_ratelimit_reset_requests": "1s"},
        {"x_ratelimit_remaining_requests": "nan", "x_ratelimit_reset_requests": "1s"},
        {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "soon"},
        {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "-5"},
        {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "nan"},
        {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "9" * 400},
        {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": ""},
        {"anthropic_ratelimit_tokens_remaining": "0", "anthropic_ratelimit_tokens_reset": "2025-13-01T12:00:00Z"},
    ],
)
def test_what_says_nothing_usable_is_nothing(said):
    assert read_headroom(headers(**said), NOW) is None


def test_one_half_is_read_when_the_other_is_broken():
    said = headers(
        x_ratelimit_remaining_requests="?",
        x_ratelimit_reset_requests="1s",
        x_ratelimit_remaining_tokens="0",
        x_ratelimit_reset_tokens="2s",
    )
    assert read_headroom(said, NOW) == Headroom(tokens=Allowance(remaining=0, resets_at=NOW + 2))


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({}, False),
        ({"x-ratelimit-remaining-requests": "9999", "x-ratelimit-remaining-tokens": "1999800"}, False),
        ({"x-ratelimit-remaining-requests": "12", "x-ratelimit-remaining-tokens": "1999800"}, True),
        ({"x-ratelimit-remaining-tokens": "0"}, True),
        ({"anthropic-ratelimit-output-tokens-remaining": "8000"}, False),
        ({"anthropic-ratelimit-output-tokens-remaining": "0"}, True),
        ({"x-ratelimit-remaining-requests": "many"}, False),
        ({"x-ratelimit-limit-requests": "3"}, False),
    ],
)
def test_what_is_plentiful_need_not_be_read(headers, answer):
    assert is_scarce([(name.encode(), value.encode()) for name, value in headers.items()]) is answer
