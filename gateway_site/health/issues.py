"""What is wrong, and what to do about it, in plain words. Pure: each rule takes facts and says what it finds."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Literal

import msgspec

from gateway_site.health.facts import Breaker, Facts, breakers, deployments, pools, totals

type Severity = Literal["critical", "warning", "notice"]  # requests or limits suffer; something does; good to know
type Rule = Callable[[Facts], Iterator["Issue"]]

LAG_SECONDS = 5.0  # how long a worker may take to serve a new revision
BEAT_SECONDS = 20.0  # the heartbeat comes every five
LEDGER_SECONDS = 30.0  # usage is drained every second
FEWEST_REQUESTS = 100  # with fewer, a rate says nothing
FAILING_RATE = 0.05
REUSE_RATE = 0.90
SHOWN = 5  # names in one sentence

PROBE_WORDS = {
    "unreachable": "could not reach it",
    "rejected": "was rejected",
    "cannot_probe": "could not be made",
}


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is not as it should be."""

    code: str
    severity: Severity
    component: str
    message: str
    recommendation: str
    since: str | None = None  # ISO 8601; None: nobody knows


def find_issues(facts: Facts) -> list[Issue]:
    """Return all that is wrong, the gravest first."""
    found = [issue for rule in RULES for issue in rule(facts)]
    ranks = ("critical", "warning", "notice")
    return sorted(found, key=lambda issue: ranks.index(issue.severity))


def iso(seconds: float) -> str:
    """Write a moment as people and machines read it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


# --- Configuration -------------------------------------------------------------------------------------------


def no_configuration(facts: Facts) -> Iterator[Issue]:
    """Neither store nor disk had one."""
    if not facts.is_configured:
        yield Issue(
            code="no_configuration",
            severity="critical",
            component="snapshot",
            message="This worker has no configuration: neither store can be reached, and there is no copy on its disk.",
            recommendation="Bring back PostgreSQL or Valkey; the worker tries again every five seconds.",
        )
    elif not facts.own.revision:
        yield Issue(
            code="nothing_published",
            severity="warning",
            component="snapshot",
            message="No revision was published yet, so no model can be called.",
            recommendation="Add a provider, a deployment, a route and an alias, in the console or with manage.py apply.",
        )


def lagging_workers(facts: Facts) -> Iterator[Issue]:
    """Workers that have had time to load the newest revision and have not."""
    published = facts.published
    if published is None:
        return
    late = [
        report
        for report in facts.workers
        if report.revision < published and report.at > facts.published_since + LAG_SECONDS
    ]
    if late:
        names = _names(f"{report.worker} (revision {report.revision})" for report in late)
        yield Issue(
            code="worker_lags",
            severity="warning",
            component="snapshot",
            message=f"Revision {published} is published, and {names} still serve an older one.",
            recommendation="Look for valkey_lost and configuration_unusable in the logs of these workers; "
            "one of another version has to be upgraded.",
            since=iso(facts.published_since) if facts.published_since else None,
        )


def mixed_versions(facts: Facts) -> Iterator[Issue]:
    """Workers of several versions: an upgrade that goes on, or one that was forgotten."""
    versions = sorted({report.version for report in facts.workers})
    if len(versions) > 1:
        yield Issue(
            code="mixed_versions",
            severity="notice",
            component="workers",
            message=f"Workers of versions {_names(versions)} run side by side.",
            recommendation="Finish the upgrade: restart the nodes that still run the old version.",
        )


# --- Stores and what stands behind them ------------------------------------------------------------------------


def valkey_away(facts: Facts) -> Iterator[Issue]:
    """This worker, or another, has lost Valkey."""
    if not facts.hears_others:
        yield Issue(
            code="valkey_away",
            severity="critical",
            component="valkey",
            message="Valkey cannot be reached. Traffic goes on; limits hold per worker by its share, or their tenants "
            "are refused; usage waits on disk; changes and revocations arrive late; workers do not hear of each other, "
            "so this answer is about one of them.",
            recommendation="Bring Valkey back with its append-only file; usage is booked by itself then.",
        )
        return
    away = [report.worker for report in facts.workers if report.components.get("valkey") == "down"]
    if away:
        yield Issue(
            code="valkey_away_elsewhere",
            severity="warning",
            component="valkey",
            message=f"Valkey cannot be reached by {_names(away)}.",
            recommendation="Look at the network between these nodes and Valkey.",
        )


def postgres_away(facts: Facts) -> Iterator[Issue]:
    """A worker could not ask PostgreSQL."""
    away = [report.worker for report in facts.workers if report.components.get("postgres") == "down"]
    if away:
        yield Issue(
            code="postgres_away",
            severity="critical",
            component="postgres",
            message=f"PostgreSQL cannot be asked by {_names(away)}. Keys that are remembered go on for hours; others get "
            "503; the console is down; usage waits in Valkey.",
            recommendation="Bring PostgreSQL back; nothing else has to be done.",
        )


def celery_silent(facts: Facts) -> Iterator[Issue]:
    """No scheduled task was done lately."""
    if not facts.hears_others:
        return  # the heartbeat is in Valkey
    age = None if facts.beat_at is None else facts.at - facts.beat_at
    if age is None or age > BEAT_SECONDS:
        seen = "for a minute or more" if age is None else f"for {age:.0f} s"
        yield Issue(
            code="celery_silent",
            severity="warning",
            component="celery",
            message=f"No scheduled task was done {seen}. Usage is not booked, changes are not published by themselves, "
            "deployments are not probed.",
            recommendation="Look at the Celery worker and at beat: manage.py healthcheck worker, manage.py healthcheck "
            "beat. Until then, Publish now in the console and manage.py apply publish without them.",
            since=None if facts.beat_at is None else iso(facts.beat_at),
        )


def ledger_lags(facts: Facts) -> Iterator[Issue]:
    """Usage waits in Valkey for too long."""
    oldest = facts.oldest_event_at
    if oldest is not None and facts.at - oldest > LEDGER_SECONDS:
        yield Issue(
            code="ledger_lags",
            severity="warning",
            component="usage",
            message=f"{facts.waiting_events or 'Some'} usage events wait in Valkey; the oldest is "
            f"{facts.at - oldest:.0f} s old.",
            recommendation="Nothing is lost while Valkey keeps them. Look at the Celery worker's log: it or PostgreSQL "
            "is away, or too slow.",
            since=iso(oldest),
        )


def usage_on_disk(facts: Facts) -> Iterator[Issue]:
    """Usage that Valkey did not take."""
    waiting = [report.worker for report in facts.workers if report.components.get("spool") == "waiting"]
    if waiting:
        yield Issue(
            code="spool_waiting",
            severity="warning",
            component="usage",
            message=f"Usage waits in the state directory of {_names(waiting)}.",
            recommendation="It is replayed within seconds once Valkey is back. Keep the state directory until then.",
        )


# --- Upstreams -----------------------------------------------------------------------------------------------


def breakers_not_closed(facts: Facts) -> Iterator[Issue]:
    """Deployments that are spared requests, one by one."""
    for breaker in breakers(facts):
        if breaker.state != "closed":
            yield _breaker_issue(breaker)


def _breaker_issue(breaker: Breaker) -> Issue:
    is_open = breaker.state == "open"
    why = f" Why: {_sentence(breaker.reason)}" if breaker.reason else ""
    until = f" until {iso(breaker.open_until)}" if is_open and breaker.open_until else ""
    what = f"is open{until}: it gets no requests" if is_open else "is half-open: one request at a time may try"
    return Issue(
        code="breaker_open" if is_open else "breaker_half_open",
        severity="warning" if is_open else "notice",
        component="breakers",
        message=f"The breaker of deployment {breaker.deployment} ({breaker.provider}) {what}.{why} "
        f"{breaker.consecutive_failures} failures in a row, {breaker.failures} in all.",
        recommendation=f"Requests go to other targets of its routes, if there are any. If {breaker.provider} stays "
        "away, switch it off in the console; nothing turns it on again but you.",
        since=None if breaker.changed_at is None else iso(breaker.changed_at),
    )


def cooling_deployments(facts: Facts) -> Iterator[Issue]:
    """Deployments whose provider asked to be left alone."""
    cooling = [row for row in deployments(facts) if (row.get("cooldown_until") or 0.0) > facts.at]
    if cooling:
        names = _names(f"{row['deployment']} until {iso(row['cooldown_until'])}" for row in cooling)
        yield Issue(
            code="cooling_down",
            severity="notice",
            component="breakers",
            message=f"Providers asked to be left alone: {names}.",
            recommendation="If this happens often, raise the quota at the provider, add targets to the route, or set "
            "the provider's limits so that requests wait here.",
        )


def failed_probes(facts: Facts) -> Iterator[Issue]:
    """Deployments that the last probe found ill."""
    for row in deployments(facts):
        word = PROBE_WORDS.get(row.get("probe", ""))
        if word is not None:
            yield Issue(
                code="probe_failed",
                severity="notice" if row["probe"] == "cannot_probe" else "warning",
                component="breakers",
                message=f"The last probe of deployment {row['deployment']} ({row.get('provider', '')}) {word}.",
                recommendation="The deployment's page in the console says why: address, credential, or model.",
            )


def failing_requests(facts: Facts) -> Iterator[Issue]:
    """Too many requests end badly."""
    sums = totals(facts.workers)
    if sums.requests >= FEWEST_REQUESTS and (sums.error_rate or 0.0) > FAILING_RATE:
        yield Issue(
            code="many_failures",
            severity="warning",
            component="workers",
            message=f"{sums.failed} of {sums.requests} requests since the workers started failed "
            f"({sums.error_rate:.1%}).",
            recommendation="Usage records filtered by outcome, and llm_attempts_total by deployment and result, say "
            "where.",
        )


def poor_reuse(facts: Facts) -> Iterator[Issue]:
    """Pools that open a connection for every request or so."""
    for pool in pools(facts.workers):
        share = pool.reuse
        if share is not None and pool.requests >= FEWEST_REQUESTS and share < REUSE_RATE:
            yield Issue(
                code="poor_reuse",
                severity="notice",
                component="pools",
                message=f"Only {share:.0%} of the requests to provider {pool.provider} found an open connection.",
                recommendation="Raise the provider's number of connections, or look whether it, or a proxy on the way, "
                "closes them.",
            )


def saturated_providers(facts: Facts) -> Iterator[Issue]:
    """Providers in front of which requests wait, for their limits are reached; deployments whose vendor says so."""
    waiting: dict[tuple[str, str], int] = {}
    for report in facts.workers:
        for gate in report.gates:
            if gate.get("is_saturated"):
                count = sum(gate.get(f"waiting_{priority}", 0) for priority in ("low", "normal", "high"))
                place = gate.get("provider", ""), gate.get("deployment", "")
                waiting[place] = waiting.get(place, 0) + count
    for (provider, deployment), count in sorted(waiting.items()):
        yield _saturation_issue(provider, deployment, count)


def _saturation_issue(provider: str, deployment: str, count: int) -> Issue:
    if deployment:
        what = f"What provider {provider} leaves us of deployment {deployment} is used up"
        advice = "raise the quota of this model at the provider."
    else:
        what = f"The limits of provider {provider} are reached"
        advice = "raise the provider's limits if its quota allows it."
    return Issue(
        code="provider_saturated",
        severity="notice",
        component="pools",
        message=f"{what}; {count} requests wait for a place.",
        recommendation=f"Add targets at other providers to the route, or {advice}",
    )


RULES: tuple[Rule, ...] = (
    no_configuration,
    valkey_away,
    postgres_away,
    lagging_workers,
    celery_silent,
    ledger_lags,
    usage_on_disk,
    breakers_not_closed,
    cooling_deployments,
    failed_probes,
    failing_requests,
    poor_reuse,
    saturated_providers,
    mixed_versions,
)


def _names(names: Iterable[str]) -> str:
    """Join names, the first few of many."""
    listed = sorted(names)
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
