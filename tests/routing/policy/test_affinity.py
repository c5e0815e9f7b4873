"""A session goes to the same target each time; shares follow the weights."""

import subprocess
import sys
from collections import Counter

import pytest

from routing.policy.affinity import draw, lot, name_hash, percentile

TARGETS = {name: name_hash(name) for name in ("alpha", "beta", "gamma")}
WEIGHTS = {"alpha": 50, "beta": 30, "gamma": 20}


def chosen(session: str, names: tuple[str, ...] = tuple(WEIGHTS)) -> str:
    seed = name_hash(session)
    return min(names, key=lambda name: lot(WEIGHTS[name], draw(seed, TARGETS[name])))


def test_sessions_are_spread_by_weight():
    found = Counter(chosen(f"session-{number}") for number in range(20_000))
    for name, weight in WEIGHTS.items():
        assert found[name] / 20_000 == pytest.approx(weight / 100, abs=0.02)


def test_a_session_stays_where_it_is_when_another_target_goes():
    sessions = [f"session-{number}" for number in range(2000)]
    for session in sessions:
        before = chosen(session)
        after = chosen(session, ("alpha", "beta"))
        assert after == before or before == "gamma"


def test_every_process_draws_the_same():
    code = "from routing.policy.affinity import *; print(draw(name_hash('s'), name_hash('t')), percentile('r', 'u'))"
    runs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for _ in "ab"
    }
    assert runs == {f"{draw(name_hash('s'), name_hash('t'))} {percentile('r', 'u')}\n"}


def test_draws_are_never_one():
    assert all(0 <= draw(name_hash(str(number)), TARGETS["beta"]) < 1 for number in range(5000))


def test_percentiles_are_even_and_differ_between_routes():
    users = [f"user-{number}" for number in range(20_000)]
    share = sum(percentile("route", user) < 10 for user in users) / len(users)
    assert share == pytest.approx(0.1, abs=0.01)
    both = sum(percentile("route", user) < 10 and percentile("other", user) < 10 for user in users) / len(users)
    assert both == pytest.approx(0.01, abs=0.005)


def test_names_that_no_encoding_has_are_hashed_too():
    assert name_hash("\ud800") != name_hash("?")
    assert 0 <= percentile("\ud800") < 100
