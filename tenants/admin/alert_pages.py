"""What the pages of alerts share."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from django.utils import timezone

from gateway_site.infra.admin import badge
from tenants.alerting import minutes
from tenants.models import AlertRule

SEVERITY_KINDS = {"critical": "danger", "warning": "warning", "notice": "info"}
TOLD_KINDS = {"delivered": "success", "waiting": "info", "given_up": "danger"}


def severity_badge(item: Any) -> str:
    """A severity as a coloured label."""
    return badge(item.get_severity_display(), SEVERITY_KINDS.get(item.severity, ""))


def told_badge(item: Any) -> str:
    """What became of telling somebody, as a coloured label."""
    return badge(item.State(item.state).label, TOLD_KINDS[item.state])


def ago(moment: datetime) -> str:
    """How long ago a moment was, in the largest unit that says something."""
    count = max(0, int((timezone.now() - moment).total_seconds() // 60))
    if not count:
        return "less than a minute"
    return minutes(count) if count < 120 else f"{count // 60} hours" if count < 2880 else f"{count // 1440} days"


def silence_url(rule: AlertRule) -> str:
    """Where a rule is silenced, filled in."""
    query = {"rule": rule.pk} if rule.tenant_id is None else {"rule": rule.pk, "tenant": rule.tenant_id}
    return f"{reverse('admin:tenants_alertsilence_add')}?{urlencode(query)}"
