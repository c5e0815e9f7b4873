"""What clients read of their limits: in the names of their dialect, and in sentences that they can act on."""

from datetime import UTC, datetime
from time import time
from typing import Any

import pytest

from tenants.limits.refusals import (
    Tightest,
    budget_refusal,
    foreign_currency,
    limit_headers,
    rate_refusal,
    unknown_limits,
)
from tenants.principal import BudgetRule, Rule

NOON = datetime(2026, 5, 15, 12, tzinfo=UTC).timestamp()
DOLLAR = 1_000_000_000
OPENAIS = ("openai_chat", "openai_responses", "gemini")


def rate(**facts: Any) -> Rule:
    facts = {"id": 1, "scope": "tenant", "scope_name": "alice", "kind": "requests", "window_ms": 60_000, **facts}
    return Rule(**{"amount": 10, **facts})


def budget(dollars: float = 10, **facts: Any) -> BudgetRule:
    facts = {"id": 7, "scope": "tenant", "scope_name": "alice", "currency": "USD", "period": "month", **facts}
    return BudgetRule(amount=round(dollars * DOLLAR), **{"timezone": "UTC", **facts})


# --- Headers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", OPENAIS)
def test_openais_sdks_and_geminis_read_openais_names(dialect):
    tokens = rate(kind="tokens", amount=900)
    assert limit_headers(dialect, [Tightest(rate(), 4, 1_001), Tightest(tokens, 0, 60_000)]) == (
        (b"x-ratelimit-limit-requests", b"10"),
        (b"x-ratelimit-remaining-requests", b"4"),
        (b"x-ratelimit-reset-requests", b"2s"),
        (b"x-ratelimit-limit-tokens", b"900"),
        (b"x-ratelimit-remaining-tokens", b"0"),
        (b"x-ratelimit-reset-tokens", b"60s"),
    )


def test_anthropics_sdks_read_anthropics_names_and_a_time():
    tokens = rate(kind="tokens", amount=900)
    began = int(time())
    headers = limit_headers("anthropic_messages", [Tightest(rate(), 4, 1_001), Tightest(tokens, 0, 60_000)])
    assert [name for name, _ in headers] == [
        b"anthropic-ratelimit-requests-limit",
        b"anthropic-ratelimit-requests-remaining",
        b"anthropic-ratelimit-requests-reset",
        b"anthropic-ratelimit-tokens-limit",
        b"anthropic-ratelimit-tokens-remaining",
        b"anthropic-ratelimit-tokens-reset",
    ]
    told = dict(headers)
    assert (told[b"anthropic-ratelimit-requests-limit"], told[b"anthropic-ratelimit-requests-remaining"]) == (
        b"10",
        b"4",
    )
    assert (told[b"anthropic-ratelimit-tokens-limit"], told[b"anthropic-ratelimit-tokens-remaining"]) == (b"900", b"0")
    for kind, seconds in ((b"requests", 2), (b"tokens", 60)):
        moment = datetime.strptime(
            told[b"anthropic-ratelimit-%b-reset" % kind].decode(), "%Y-%m-%dT%H:%M:%SZ"
        )  # RFC 3339
        assert began + seconds <= moment.replace(tzinfo=UTC).timestamp() <= time() + seconds


@pytest.mark.parametrize("dialect", [*OPENAIS, "anthropic_messages"])
def test_nothing_is_less_than_nothing(dialect):
    values = [value for name, value in limit_headers(dialect, [Tightest(rate(), -3, 1)]) if b"remaining" in name]
    assert values == [b"0"]


# --- Rates ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["requests", "tokens"])
def test_a_rate_says_whose_limit_it_is_and_when_to_come_again(kind):
    error = rate_refusal(rate(kind=kind), 2_500, dialect="openai_chat", tokens=5)
    assert error.message == f"The limit of 10 {kind} per minute of tenant 'alice' is reached. Try again in 3 s."
    assert (error.status, error.code, error.retryable, error.retry_after_seconds) == (429, "rate_limited", True, 2.5)
    assert error.headers == {
        "retry-after": "3",
        "retry-after-ms": "2500",
        f"x-ratelimit-limit-{kind}": "10",
        f"x-ratelimit-remaining-{kind}": "0",
        f"x-ratelimit-reset-{kind}": "3s",
    }


def test_anthropics_clients_are_refused_with_their_own_headers():
    headers = rate_refusal(rate(kind="tokens"), 2_500, dialect="anthropic_messages", tokens=5).headers
    assert headers["anthropic-ratelimit-tokens-remaining"] == "0"
    assert headers["retry-after"] == "3"
    assert not [name for name in headers if name.startswith("x-ratelimit")]


def test_who_is_to_come_at_once_waits_a_second_all_the_same():
    assert rate_refusal(rate(), 1, dialect="openai_chat", tokens=0).headers["retry-after"] == "1"
    assert rate_refusal(rate(), 0, dialect="openai_chat", tokens=0).headers["retry-after"] == "1"


def test_requests_at_once_are_free_when_one_has_ended():
    error = rate_refusal(rate(kind="concurrency", window_ms=0), 1_000, dialect="openai_chat", tokens=500)
    assert (
        error.message == "The limit of 10 requests at once of tenant 'alice' is reached. Try again when one has ended."
    )
    assert (error.code, error.retryable) == ("too_many_requests_at_once", True)
    assert error.headers == {"retry-after": "1", "retry-after-ms": "1000"}


def test_a_request_larger_than_a_limit_of_tokens_need_not_come_again():
    error = rate_refusal(rate(kind="tokens"), 63_000, dialect="openai_chat", tokens=11)
    assert error.message.startswith(
        "This request needs about 11 tokens, and the limit of tenant 'alice' is 10 tokens per minute."
    )
    assert (error.status, error.code, error.retryable) == (429, "request_exceeds_limit", False)
    assert error.headers == {"x-should-retry": "false"}
    assert error.retry_after_seconds is None
    assert rate_refusal(rate(kind="tokens"), 63_000, dialect="openai_chat", tokens=10).code == "rate_limited"


@pytest.mark.parametrize(
    ("facts", "whose"),
    [
        ({"scope": "project", "scope_name": "chatbot"}, "per minute of project 'chatbot' is"),
        ({"scope": "api_key", "scope_name": "laptops"}, "per minute of API key 'laptops' is"),
        ({"model": "smart"}, "of tenant 'alice' for model 'smart' is"),
        ({"per_end_user": True}, "of tenant 'alice' for each end user is"),
        ({"model": "smart", "per_end_user": True}, "of tenant 'alice' for model 'smart' for each end user is"),
        ({"window_ms": 90_000}, "per 90 s of tenant"),
    ],
)
def test_a_refusal_names_scope_model_and_end_user(facts, whose):
    assert whose in rate_refusal(rate(**facts), 1, dialect="openai_chat", tokens=0).message


# --- Budgets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (
            {"period": "day"},
            "The budget of 10.00 USD a day of tenant 'alice' is used up. It resets at 2026-05-16 00:00 UTC.",
        ),
        (
            {"period": "week"},
            "The budget of 10.00 USD a week of tenant 'alice' is used up. It resets at 2026-05-18 00:00 UTC.",
        ),
        ({}, "The budget of 10.00 USD a month of tenant 'alice' is used up. It resets at 2026-06-01 00:00 UTC."),
        (
            {"timezone": "Asia/Kathmandu", "scope": "project", "scope_name": "chatbot"},
            "The budget of 10.00 USD a month of project 'chatbot' is used up. It resets at 2026-05-31 18:15 UTC.",
        ),
        (
            {"period": "quarter", "model": "smart"},
            "The budget of 10.00 USD a quarter of tenant 'alice' for model 'smart' is used up. "
            "It resets at 2026-07-01 00:00 UTC.",
        ),
        (
            {"period": "rolling", "rolling_days": 7},
            "The budget of 10.00 USD in 7 days of tenant 'alice' is used up. "
            "The oldest day leaves it at 2026-05-16 00:00 UTC.",
        ),
        (
            {"period": "total", "scope": "api_key", "scope_name": "laptops"},
            "The budget of 10.00 USD in total of API key 'laptops' is used up. "
            "It does not reset; ask whoever runs this gateway.",
        ),
        (
            {"period": "credit"},
            "The credit of 10.00 USD of tenant 'alice' is used up. It does not reset; ask whoever runs this gateway.",
        ),
    ],
)
@pytest.mark.parametrize("left", [0, -5])
def test_a_budget_that_is_used_up_says_so_and_until_when(facts, words, left):
    error = budget_refusal(budget(**facts), left, DOLLAR, now=NOON)
    assert error.message == words
    assert (error.status, error.code, error.retryable) == (402, "budget_exhausted", False)
    assert error.headers == {"x-should-retry": "false"}


def test_a_request_that_is_too_dear_is_told_how_much_is_left():
    error = budget_refusal(budget(), 250_000_000, DOLLAR, now=NOON)
    assert error.message == (
        "This request may cost up to 1.00 USD, and 0.25 USD is left of the budget of 10.00 USD a month of tenant 'alice'. "
        "Ask for fewer output tokens, or wait: it resets at 2026-06-01 00:00 UTC."
    )


def test_what_is_left_of_credit_is_told_without_a_time():
    message = budget_refusal(budget(period="credit"), 1_500_000, DOLLAR, now=NOON).message
    assert "0.0015 USD is left of the credit of 10.00 USD" in message
    assert message.endswith("it does not reset; ask whoever runs this gateway.")


def test_an_increase_is_part_of_the_limit_while_it_lasts():
    raised = budget(increase=5 * DOLLAR, increase_until=NOON + 1)
    assert "budget of 15.00 USD" in budget_refusal(raised, 0, 1, now=NOON).message
    assert "budget of 10.00 USD" in budget_refusal(raised, 0, 1, now=NOON + 1).message


def test_no_refusal_of_charlies_says_a_word_of_alice():
    rule = budget(scope_name="charlie")
    texts = [budget_refusal(rule, left, 1, now=NOON).message for left in (0, 1)]
    texts += [rate_refusal(rate(scope_name="charlie"), 1, dialect="gemini", tokens=0).message]
    texts += [foreign_currency(rule, ["EUR"]).message, unknown_limits("Limits").message]
    assert all("alice" not in text for text in texts)


def test_a_model_in_another_currency_is_refused_for_good():
    error = foreign_currency(budget(), ["EUR", "CHF"])
    assert (error.status, error.code, error.retryable) == (403, "budget_currency", False)
    assert error.message.startswith("The budget of tenant 'alice' is in USD, and this model is sold in CHF and EUR:")


def test_limits_that_nobody_can_check_are_worth_another_try():
    error = unknown_limits("Budgets")
    assert (error.status, error.code, error.retryable, error.headers) == (
        503,
        "limits_unavailable",
        True,
        {"retry-after": "2"},
    )
    assert error.message == "Budgets cannot be checked right now. Try again in a moment."
