"""What is wrong and what to do about it, decided from plain values."""

from typing import Any

import pytest

from gateway_site.health.facts import Facts
from gateway_site.health.issues import RULES, Issue, find_issues
from tests.gateway_site.facts import NOW, UP, deployment, facts, report


def only(found: list[Issue]) -> Issue:
    (issue,) = found
    return issue


def codes(known: Facts) -> list[str]:
    return [issue.code for issue in find_issues(known)]


def test_nothing_is_wrong_with_a_healthy_gateway():
    assert find_issues(facts()) == []


def test_a_worker_without_configuration_says_what_to_bring_back():
    issue = only(find_issues(facts(report(revision=0), is_configured=False, readiness="down", published=None)))
    assert (issue.code, issue.severity) == ("no_configuration", "critical")
    assert "PostgreSQL or Valkey" in issue.recommendation


def test_a_gateway_to_which_nothing_was_published_says_so():
    issue = only(find_issues(facts(report(revision=0), published=None)))
    assert issue.code == "nothing_published"


def test_a_worker_behind_the_published_revision_is_named():
    issue = only(find_issues(facts(report("a-1"), report("b-1", revision=6))))
    assert issue.code == "worker_lags"
    assert "b-1 (revision 6)" in issue.message
    assert "a-1" not in issue.message


def test_a_worker_has_some_seconds_to_load_a_revision():
    late = report("b-1", revision=6, at=NOW - 1)
    assert codes(facts(report("a-1"), late, published_since=NOW - 5)) == []
    assert codes(facts(report("a-1"), late, published_since=NOW - 7)) == ["worker_lags"]


def test_without_valkey_it_says_what_does_not_work_and_that_it_knows_one_worker_only():
    issue = only(find_issues(facts(report(), hears_others=False, beat_at=None, published=None)))
    assert (issue.code, issue.severity) == ("valkey_away", "critical")
    for word in ("limits", "usage waits on disk", "revocations", "one of them"):
        assert word in issue.message
    assert "append-only" in issue.recommendation


def test_a_worker_that_alone_has_lost_valkey_is_named():
    away = report("b-1", components=UP | {"valkey": "down"})
    issue = only(find_issues(facts(report("a-1"), away)))
    assert issue.code == "valkey_away_elsewhere"
    assert "b-1" in issue.message


def test_without_postgres_it_says_who_goes_on_and_who_does_not():
    issue = only(find_issues(facts(report(components=UP | {"postgres": "down"}))))
    assert (issue.code, issue.severity) == ("postgres_away", "critical")
    assert "503" in issue.message


@pytest.mark.parametrize(("beat_at", "seen"), [(None, "a minute"), (NOW - 45, "45 s")])
def test_a_missing_heartbeat_of_celery_is_noticed(beat_at: float | None, seen: str):
    issue = only(find_issues(facts(beat_at=beat_at)))
    assert issue.code == "celery_silent"
    assert seen in issue.message
    assert "manage.py healthcheck worker" in issue.recommendation


def test_usage_that_waits_too_long_for_the_ledger_is_noticed():
    assert codes(facts(waiting_events=3, oldest_event_at=NOW - 2)) == []
    issue = only(find_issues(facts(waiting_events=1200, oldest_event_at=NOW - 90)))
    assert (issue.code, issue.component) == ("ledger_lags", "usage")
    assert "1200 usage events" in issue.message
    assert "90 s" in issue.message


def test_usage_on_a_workers_disk_is_noticed():
    issue = only(find_issues(facts(report(components=UP | {"spool": "waiting"}))))
    assert issue.code == "spool_waiting"
    assert "a-1" in issue.message


def test_an_open_breaker_says_which_since_when_and_why():
    ill = deployment(breaker="open", breaker_changed_at=NOW - 30, breaker_open_until=NOW + 30, consecutive_failures=5)
    issue = only(find_issues(facts(report(deployments=[ill]), reasons={"claude-eu": "status 503"})))
    assert (issue.code, issue.severity) == ("breaker_open", "warning")
    for word in ("claude-eu", "anthropic", "status 503.", "5 failures in a row"):
        assert word in issue.message
    assert issue.since == "2027-01-15T07:59:30+00:00"
    assert "switch it off" in issue.recommendation


def test_a_breaker_is_told_once_however_many_workers_report_it():
    ill = deployment(breaker="open", breaker_changed_at=NOW - 30, breaker_open_until=NOW + 30)
    assert codes(facts(report("a-1", deployments=[ill]), report("b-1", deployments=[ill]))) == ["breaker_open"]


def test_the_newest_word_about_a_breaker_counts():
    old = deployment(breaker="open", breaker_changed_at=NOW - 90)
    new = deployment(breaker="closed", breaker_changed_at=NOW - 2)
    assert codes(facts(report("a-1", deployments=[old]), report("b-1", deployments=[new]))) == []


def test_a_half_open_breaker_is_good_to_know_and_no_more():
    row = deployment(breaker="half_open", breaker_changed_at=NOW - 1)
    issue = only(find_issues(facts(report(deployments=[row]))))
    assert (issue.code, issue.severity) == ("breaker_half_open", "notice")


def test_a_cooldown_is_told_until_it_is_over():
    row = deployment(cooldown_until=NOW + 20, cooldown_reason="429")
    assert codes(facts(report(deployments=[row]))) == ["cooling_down"]
    assert codes(facts(report(deployments=[row]), at=NOW + 21, beat_at=NOW + 20)) == []


@pytest.mark.parametrize(
    ("result", "severity"), [("unreachable", "warning"), ("rejected", "warning"), ("cannot_probe", "notice")]
)
def test_a_failed_probe_is_told(result: str, severity: str):
    issue = only(find_issues(facts(report(deployments=[deployment(probe=result)]))))
    assert (issue.code, issue.severity) == ("probe_failed", severity)


def test_many_failures_are_noticed_when_there_is_enough_to_judge():
    assert codes(facts(report(requests_total=10, requests_failed=9))) == []
    issue = only(find_issues(facts(report(requests_total=200, requests_failed=20))))
    assert issue.code == "many_failures"
    assert "10.0%" in issue.message


def test_pools_that_do_not_reuse_their_connections_are_noticed():
    pools = [{"provider": "openai", "in_use": 1, "idle": 3, "opened": 50, "requests": 100}]
    assert codes(facts(report("a-1", connections=pools), report("b-1", connections=pools))) == ["poor_reuse"]
    good = [{"provider": "openai", "opened": 5, "requests": 100}]
    few = [{"provider": "openai", "opened": 8, "requests": 9}]
    assert codes(facts(report(connections=good))) == codes(facts(report(connections=few))) == []


def test_a_provider_whose_limits_are_reached_is_told_with_all_that_wait():
    gates = [{"provider": "openai", "is_saturated": True, "waiting_low": 1, "waiting_normal": 3, "waiting_high": 0}]
    idle = [{"provider": "groq", "is_saturated": False}]
    issue = only(find_issues(facts(report("a-1", gates=gates + idle), report("b-1", gates=gates))))
    assert issue.code == "provider_saturated"
    assert "openai" in issue.message
    assert "8 requests wait" in issue.message


def test_a_deployment_that_the_vendor_holds_back_is_named_apart_from_its_provider():
    gates = [
        {"provider": "openai", "deployment": "", "is_saturated": False},
        {"provider": "openai", "deployment": "gpt-large", "is_saturated": True, "waiting_normal": 2},
        {"provider": "openai", "deployment": "gpt-small", "is_saturated": True, "waiting_normal": 1},
    ]
    large, small = find_issues(facts(report("a-1", gates=gates), report("b-1", gates=gates)))
    assert "deployment gpt-large is used up; 4 requests wait" in large.message
    assert "deployment gpt-small is used up; 2 requests wait" in small.message
    assert "quota of this model" in large.recommendation


def test_workers_of_two_versions_are_noticed():
    issue = only(find_issues(facts(report("a-1"), report("b-1", version="0.3.0"))))
    assert (issue.code, issue.severity) == ("mixed_versions", "notice")


def test_the_gravest_comes_first():
    ill = report(components=UP | {"spool": "waiting", "postgres": "down"}, version="0.5.0")
    found = find_issues(facts(ill, report("b-1"), beat_at=None))
    severities = [issue.severity for issue in found]
    assert severities == sorted(severities, key=("critical", "warning", "notice").index)
    assert found[0].code == "postgres_away"


def test_a_sentence_names_a_few_of_many_workers():
    many = [report(f"n-{number}", components=UP | {"spool": "waiting"}) for number in range(1, 9)]
    assert "and 3 more" in only(find_issues(facts(*many))).message


def test_what_other_versions_report_can_be_judged():
    """Rows of a worker whose version knows other fields, or fewer."""
    bare: dict[str, Any] = {"deployment": "x", "provider": "p"}
    worker = report(deployments=[bare, {}], connections=[{"provider": "p"}], components={})
    assert [rule.__name__ for rule in RULES if list(rule(facts(worker)))] == []
