"""Retries are a share of the requests."""

from routing.policy.retry_budget import RESERVE, SHARE, RetryBudget


def retries(budget: RetryBudget, now: float, wanted: int) -> int:
    return sum(budget.withdraw(now) for _ in range(wanted))


def test_a_quiet_provider_has_a_few():
    assert retries(RetryBudget(), 1.0, 100) == RESERVE


def test_a_busy_one_gets_a_share_of_its_requests_and_no_more():
    budget = RetryBudget()
    retries(budget, 1.0, 100)
    for _ in range(100):
        budget.deposit()
    assert abs(retries(budget, 1.0, 100) - 100 * SHARE) <= 1


def test_what_is_saved_up_has_an_end():
    budget = RetryBudget()
    for _ in range(1_000_000):
        budget.deposit()
    assert retries(budget, 1.0, 10_000) <= 101


def test_the_reserve_comes_back_with_time():
    budget = RetryBudget()
    retries(budget, 1.0, 100)
    assert retries(budget, 1.5, 100) == 0
    assert retries(budget, 4.5, 100) == 3
    assert retries(budget, 1000.0, 100) == RESERVE
