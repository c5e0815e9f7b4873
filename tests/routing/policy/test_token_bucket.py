"""Rates as buckets, with times that are given."""

import pytest

from routing.policy.token_bucket import TokenBucket


@pytest.fixture
def bucket() -> TokenBucket:
    return TokenBucket(rate=2, capacity=4, now=100)


def test_it_is_full_at_first_and_never_more_than_full(bucket):
    assert bucket.level(100) == bucket.level(1_000) == 4


def test_it_says_how_long_until_there_is_enough(bucket):
    bucket.take(4, 100)
    assert bucket.wait(1, 100) == 0.5
    assert bucket.wait(1, 100.25) == 0.25
    assert bucket.wait(1, 100.5) == 0


def test_more_than_it_holds_goes_when_it_is_full_and_is_owed_then(bucket):
    assert bucket.wait(10, 100) == 0
    bucket.take(10, 100)
    assert bucket.level(100) == -6
    assert bucket.wait(10, 100) == 5


def test_what_is_put_back_is_there_again(bucket):
    bucket.take(3, 100)
    bucket.take(-1, 100)
    assert bucket.level(100) == 2
    bucket.take(-100, 100)
    assert bucket.level(100) == 4


def test_a_clock_that_stands_still_or_goes_back_gives_nothing(bucket):
    bucket.take(4, 100)
    assert bucket.level(99) == bucket.level(100) == 0


def test_another_size_keeps_what_is_there(bucket):
    bucket.take(1, 100)
    bucket.resize(rate=1, capacity=2, now=100)
    assert bucket.level(100) == 2
    bucket.resize(rate=1, capacity=10, now=100)
    assert (bucket.level(100), bucket.level(103)) == (2, 5)


def test_rates_below_one_are_rates():
    slow = TokenBucket(rate=0.25, capacity=1, now=0)
    slow.take(1, 0)
    assert slow.wait(1, 0) == 4
