"""The documents about the gateway's state, made from plain values."""

import json

from gateway_site.health.report import export, health, summary
from tests.gateway_site.facts import NOW, UP, deployment, facts, report


def test_a_healthy_gateway_is_ok():
    document = health(facts())
    assert (document["status"], document["version"], document["uptime_seconds"]) == ("ok", "0.4.0", 3600)
    assert {part["state"] for part in document["components"].values()} == {"up"}
    assert document["issues"] == document["recommendations"] == []
    assert (document["scope"], document["workers"]) == ("all workers", 2)


def test_its_parts_are_those_that_people_ask_about():
    parts = health(facts())["components"]
    assert set(parts) >= {"snapshot", "valkey", "postgres", "celery", "pools", "breakers"}
    assert (parts["snapshot"]["revision"], parts["snapshot"]["published"]) == (7, 7)


def test_a_recommendation_is_given_once_and_in_words():
    rows = [deployment("a", breaker="open", breaker_changed_at=NOW), deployment("b", breaker="open")]
    document = health(facts(report(deployments=rows)))
    assert len(document["issues"]) == 2
    assert len(document["recommendations"]) == 1


def test_a_notice_does_not_degrade():
    assert health(facts(report("a-1"), report("b-1", version="0.5.0")))["status"] == "ok"


def test_what_another_worker_suffers_degrades_and_never_takes_this_one_down():
    away = report("b-1", components=UP | {"postgres": "down", "valkey": "down"})
    document = health(facts(report("a-1"), away))
    assert document["status"] == "degraded"
    assert document["components"]["postgres"]["state"] == "down"


def test_a_worker_that_can_serve_nobody_is_down():
    document = health(facts(report(revision=0), readiness="down", is_configured=False, published=None))
    assert document["status"] == "down"
    assert document["components"]["snapshot"]["state"] == "down"


def test_without_valkey_it_answers_for_one_worker_and_says_so():
    document = health(facts(report("a-1"), hears_others=False, readiness="degraded", beat_at=None, published=None))
    assert document["status"] == "degraded"
    assert document["scope"] == "worker a-1 alone, for Valkey is away"
    assert document["workers"] == 1
    parts = document["components"]
    assert (parts["valkey"]["state"], parts["celery"]["state"]) == ("down", "unknown")
    assert parts["usage"]["lag_seconds"] is None
    assert any("Bring Valkey back" in line for line in document["recommendations"])


def test_postgres_is_unknown_before_anybody_asked():
    assert health(facts(report(components={})))["components"]["postgres"]["state"] == "unknown"


def test_the_numbers_are_of_all_workers():
    first = report("a-1", active_streams=2, active_connections=3, requests_total=100, average_latency_ms=100.0)
    second = report("b-1", active_streams=5, active_connections=4, requests_total=300, average_latency_ms=300.0)
    document = summary(facts(first, second))
    assert (document["active_streams"], document["active_connections"]) == (7, 7)
    assert document["average_latency_ms"] == 250.0


def test_connections_to_upstreams_are_of_all_workers():
    pool = {"provider": "openai", "in_use": 2, "idle": 3, "waiting": 1, "opened": 5, "requests": 100}
    known = facts(report("a-1", connections=[pool]), report("b-1", connections=[pool]))
    assert summary(known)["upstream_connections"] == 10
    parts = health(known)["components"]["pools"]
    assert parts == {"state": "up", "open": 10, "in_use": 4, "waiting": 2, "reuse": 0.95}


def test_rates_are_of_all_requests():
    document = summary(facts(report(requests_total=200, requests_failed=3, streams_total=150)))
    assert (document["success_rate"], document["error_rate"]) == (0.985, 0.015)
    assert (document["total_streams"], document["total_requests"]) == (150, 200)
    assert document["last_updated"] == "2027-01-15T08:00:00+00:00"


def test_rates_of_nothing_are_not_known():
    document = summary(facts(report(requests_total=0, average_latency_ms=None)))
    assert document["success_rate"] is document["error_rate"] is document["average_latency_ms"] is None


def test_the_export_has_everything_and_is_json():
    row = deployment(breaker="open", breaker_changed_at=NOW - 5)
    metrics = [{"name": "http_requests", "samples": []}]
    document = export(facts(report(deployments=[row])), metrics)
    assert json.loads(json.dumps(document)) == document
    assert set(document) == {"health", "summary", "breakers", "workers", "metrics"}
    assert document["metrics"] == metrics
    assert document["workers"][0]["worker"] == "a-1"
    assert "queues" in document["workers"][0]
    assert "gates" not in document["workers"][0]


def test_breakers_are_summed_up_per_provider():
    closed = deployment("a", successes=60, failures=0, breaker_changed_at=NOW - 500)
    ill = deployment("b", successes=0, failures=20, breaker="open", breaker_changed_at=NOW - 5, consecutive_failures=20)
    other = deployment("c", provider="openai", successes=0, failures=0)
    rows = [closed, ill, other]
    found = export(facts(report("x-1", deployments=rows), report("y-1", deployments=rows)), [])["breakers"]
    anthropic, openai = found
    assert (anthropic["provider"], anthropic["state"]) == ("anthropic", "open")
    assert (anthropic["requests"], anthropic["successes"], anthropic["failures"]) == (160, 120, 40)
    assert (anthropic["failure_rate"], anthropic["consecutive_failures"]) == (0.25, 20)
    assert anthropic["last_change"] == "2027-01-15T07:59:55+00:00"
    assert [each["deployment"] for each in anthropic["deployments"]] == ["a", "b"]
    assert (openai["state"], openai["failure_rate"], openai["last_change"]) == ("closed", None, None)
