"""What is older than it is kept: the audit trail, incidents that are over, sessions that nobody came back to."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import IntegrityError, transaction
from django.utils import timezone

from tenants import retention
from tenants.models import AlertIncident, AlertMessage, AlertRule, AuditEvent, Tenant
from tenants.retention import expire_incidents, expire_sessions, expire_trail
from tenants.tasks import expire_history

pytestmark = pytest.mark.django_db

NOW = timezone.now()
OLD, NEW = NOW - timedelta(days=401), NOW - timedelta(days=399)


def events(moment: Any, count: int = 1) -> list[AuditEvent]:
    return AuditEvent.objects.bulk_create([AuditEvent(at=moment, via="task", action="x") for _ in range(count)])


def incident(resolved_at: Any) -> AlertIncident:
    number = Decimal(1)
    rule = AlertRule.objects.create(name="Errors")
    made = AlertIncident.objects.create(
        rule=rule,
        title="Errors",
        words="",
        severity="warning",
        metric="error_rate",
        began_at=OLD - timedelta(days=1),
        value=number,
        worst=number,
        last=number,
        resolved_at=resolved_at,
    )
    AlertMessage.objects.create(incident=made, channel_name="ops", kind="firing", value=number)
    return made


def test_the_trail_goes_back_as_far_as_it_is_said_to(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    events(OLD, 5)
    kept = events(NEW, 3)
    assert expire_trail(0, now=NOW) == 0
    assert expire_trail(400, now=NOW) == 5
    assert {*AuditEvent.objects.values_list("pk", flat=True)} == {each.pk for each in kept}


def test_the_database_lets_nothing_else_of_the_trail_go():
    old, new = events(OLD)[0], events(NOW - timedelta(days=29))[0]
    with pytest.raises(IntegrityError), transaction.atomic():
        AuditEvent._base_manager.filter(pk=old.pk)._raw_delete("default")  # nobody has said until when
    with pytest.raises(IntegrityError), transaction.atomic():
        expire_trail(1, now=NOW)
    assert {old, new} <= {*AuditEvent.objects.all()}


def test_incidents_go_when_they_have_long_been_over(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    kept = [incident(None), incident(NEW)]
    for _ in range(3):
        incident(OLD)
    assert expire_incidents(0, now=NOW) == 0
    assert expire_incidents(400, now=NOW) == 3
    assert {*AlertIncident.objects.all()} == {*kept}
    assert {each.incident for each in AlertMessage.objects.all()} == {*kept}


def test_sessions_go_when_they_are_over():
    for name, moment in (("over", OLD), ("open", NOW + timedelta(hours=1))):
        Session.objects.create(session_key=name, session_data="", expire_date=moment)
    assert expire_sessions(now=NOW) == 1
    assert Session.objects.get().session_key == "open"


def test_the_task_does_all_of_it_as_the_settings_say(settings: Any):
    Tenant.objects.create(slug="charlies")
    events(OLD)
    incident(OLD)
    settings.AUDIT_RETENTION_DAYS = 0
    expire_history()
    assert AuditEvent.objects.filter(at=OLD).exists()
    assert not AlertIncident.objects.exists()
    settings.AUDIT_RETENTION_DAYS = 400
    expire_history()
    assert not AuditEvent.objects.filter(at=OLD).exists()
    assert AuditEvent.objects.filter(object_repr="charlies").exists()
