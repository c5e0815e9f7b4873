"""Alert rules, judged once a minute: what fires, what goes on, what is over; who is to be told waits for delivery.

One at a time judges, however many Celery workers there are: whoever finds the lock taken leaves it to the other. What holds
is measured in time and not in how often it was looked at, so that a beat that comes late catches up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import structlog
from django.db import OperationalError, connection, transaction

from tenants.alert_readings import read_all
from tenants.alerting import Gauges, Hush, Reading, State, Step, is_covered, judge
from tenants.models import AlertIncident, AlertMessage, AlertRule, AlertSilence, AlertState

log = structlog.get_logger("tollgate.alerts")

LOCK = 7_310_615  # any number that nobody else takes
PATIENCE = 5.0  # seconds that reading may take; the ledger's worker has other things to do
LOOK_PATIENCE = 2.0  # the same for somebody who waits for a page
FIELDS = tuple(State.__dataclass_fields__)


def judge_rules(now: datetime, gauges: Gauges, *, patience: float = PATIENCE) -> int:
    """Judge every rule that is on; returns how many fired, went on loudly, or resolved."""
    with transaction.atomic():
        if not _is_ours():
            return 0
        _close_what_is_watched_no_more(now)
        rules = list(
            AlertRule.objects.filter(is_enabled=True)
            .select_related("state", "tenant", "watched_tenant", "api_key")
            .prefetch_related("channels")
        )
        # The operators' own first: what tenants watch cannot take the time that there is for those.
        ours, theirs = ([rule for rule in rules if (rule.tenant_id is None) == is_ours] for is_ours in (True, False))
        readings = {**_read(ours, now, gauges, patience), **_read(theirs, now, gauges, patience)}
        silences = list(AlertSilence.objects.on_at(now))
        firing = {each.rule_id: each for each in AlertIncident.objects.firing()}
        return sum(_judge(rule, readings.get(rule.pk, Reading()), now, silences, firing) for rule in rules)


def present_value(rule: AlertRule, now: datetime, *, patience: float = LOOK_PATIENCE) -> tuple[Reading, bool]:
    """Return what a rule, saved or not, would be judged by now; False: that took too long.

    What is of the gateway itself is known where rules are judged: of that, the value that was judged last.
    """
    if rule.facts.is_of_gateway:
        state = AlertState.objects.filter(rule=rule.pk).first() if rule.pk else None
        return Reading(value=None if state is None else state.value), True
    try:
        return read_all([rule], now, Gauges(), patience=patience)[rule.pk], True
    except OperationalError:
        return Reading(), False


def _is_ours() -> bool:
    """Take the lock until the transaction ends, unless somebody has it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        return bool(cursor.fetchone()[0])


def _close_what_is_watched_no_more(now: datetime) -> None:
    """End incidents of rules that were switched off or deleted, and forget what was remembered of them; nobody is told."""
    AlertIncident.objects.firing().exclude(rule__is_enabled=True).update(resolved_at=now)
    AlertState.objects.filter(rule__is_enabled=False).delete()


def _read(rules: Sequence[AlertRule], now: datetime, gauges: Gauges, patience: float) -> Mapping[int, Reading]:
    try:
        return read_all(rules, now, gauges, patience=patience)
    except OperationalError as error:  # QueryCanceled: the question was too large for the time there is
        log.warning("alert_rules_not_read", reason=str(error).strip())
        return {}


def _judge(
    rule: AlertRule,
    reading: Reading,
    now: datetime,
    silences: Sequence[AlertSilence],
    firing: Mapping[int | None, AlertIncident],
) -> int:
    """Judge one rule, and keep what came of it."""
    incident = firing.get(rule.pk)
    silence = next((each for each in silences if is_covered(each.labels, rule.labels)), None)
    stored: AlertState | None = getattr(rule, "state", None)
    state = State() if stored is None else stored.remembered
    state, steps = judge(rule.terms, state, reading, now, _hush(silence, incident))
    values = {name: getattr(state, name) for name in FIELDS}
    AlertState.objects.update_or_create(rule=rule, defaults={"judged_at": now, **values})
    if incident is not None:
        _follow(incident, state, silence)
    for step in steps:
        incident = _take_step(rule, step, state, now, incident, silence)
    return sum(step.is_told for step in steps)


def _hush(silence: AlertSilence | None, incident: AlertIncident | None) -> Hush:
    if silence is not None:
        return "silenced"
    return "acknowledged" if incident is not None and incident.acknowledged_at is not None else ""


def _follow(incident: AlertIncident, state: State, silence: AlertSilence | None) -> None:
    """Keep how far it has gone."""
    if state.value is None:
        return
    incident.last = state.value
    if state.worst is not None:
        incident.worst = state.worst
    if silence is not None:
        incident.silence = silence
    incident.save(update_fields=["last", "worst", "silence"])


def _take_step(
    rule: AlertRule,
    step: Step,
    state: State,
    now: datetime,
    incident: AlertIncident | None,
    silence: AlertSilence | None,
) -> AlertIncident:
    value = state.value if state.value is not None else Decimal(0)
    if incident is None:
        incident = _begin(rule, value, now, silence)
    if step.kind == "resolved":
        incident.resolved_at = now
        incident.save(update_fields=["resolved_at"])
    if step.is_told:
        messages = [
            AlertMessage(
                incident=incident,
                channel=channel,
                channel_name=channel.name,
                kind=step.kind,
                value=value,
                created_at=now,
            )
            for channel in rule.channels.all()
        ]
        AlertMessage.objects.bulk_create(messages)
    log.info("alert_rule", rule=rule.pk, step=step.kind, value=f"{value}", told=step.is_told)
    return incident


def _begin(rule: AlertRule, value: Decimal, now: datetime, silence: AlertSilence | None) -> AlertIncident:
    return AlertIncident.objects.create(
        tenant=rule.tenant,
        rule=rule,
        title=rule.name,
        words=rule.in_words([channel.name for channel in rule.channels.all()]),
        severity=rule.severity,
        metric=rule.metric,
        currency=rule.currency,
        began_at=now,
        value=value,
        worst=value,
        last=value,
        silence=silence,
    )
