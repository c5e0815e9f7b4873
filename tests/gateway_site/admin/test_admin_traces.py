"""How a request was routed, on the page of its usage record; charlie, a member of another tenant, sees nothing of it."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tenants.ledger import ensure_partition
from tenants.models import Tenant, UsageRecord, User
from tenants.services import create_key

RECORDS = "/admin/tenants/usagerecord/"
ATTEMPTS = [
    {"deployment": "claude-eu", "status": 529, "result": "status_529", "milliseconds": 41},
    {"deployment": "claude-us", "status": 200, "result": "answered", "milliseconds": 1204},
]
TRACE = {
    "route": "smart",
    "strategy": "least_busy",
    "session": True,
    "candidates": [
        {
            "deployment": "claude-eu",
            "provider": "anthropic-eu",
            "priority": 0,
            "reason": None,
        },
        {
            "deployment": "gpt-<b>old</b>",
            "provider": "openai",
            "priority": 7,
            "reason": "wrong_dialect",
        },
    ],
    "attempts": [
        {
            "deployment": "claude-eu",
            "number": 1,
            "paused_ms": 0,
            "result": "status_529",
            "status": 529,
            "verdict": "try_next",
            "ms": 41,
        },
        {
            "deployment": "claude-us",
            "number": 2,
            "paused_ms": 87,
            "result": "answered",
            "status": 200,
            "verdict": "deliver",
            "ms": 1204,
        },
    ],
}


def record(tenant: Tenant, **values: Any) -> UsageRecord:
    key = tenant.api_keys.first() or create_key(tenant=tenant, name="ci")[0]
    started_at = timezone.now()
    ensure_partition(started_at.date())
    given: dict[str, Any] = {
        "tenant": tenant,
        "api_key": key,
        "dialect": "openai_chat",
        "alias": "smart",
        "status": 200,
        "outcome": "served",
        "cost_status": "exact",
        "cost": Decimal("0.0125"),
        "latency_ms": 900,
    }
    return UsageRecord.objects.create(request_id=uuid.uuid4(), started_at=started_at, **given | values)


def page(record: UsageRecord) -> str:
    return reverse("admin:tenants_usagerecord_change", args=[record.pk])


def test_a_record_shows_who_was_thought_of_and_who_was_asked(console, tenant):
    text = console.get(page(record(tenant, attempts=ATTEMPTS, trace=TRACE))).content.decode()
    for part in ("anthropic-eu", "wrong dialect", "Passed over", "status 529", "Next target", "87 ms", "1,204 ms"):
        assert part in text, part
    assert "Least busy" in text


def test_names_in_a_trace_are_text(console, tenant):
    text = console.get(page(record(tenant, attempts=ATTEMPTS, trace=TRACE))).content.decode()
    assert "gpt-&lt;b&gt;old&lt;/b&gt;" in text
    assert "<b>old</b>" not in text


def test_a_record_without_a_trace_shows_its_attempts_alone(console, tenant):
    text = console.get(page(record(tenant, attempts=ATTEMPTS))).content.decode()
    assert "status 529" in text
    assert "1,204 ms" in text
    assert "Candidates" not in text
    assert "OpenAI chat completions" in text
    assert "/history/" not in text  # nothing becomes of it


@pytest.mark.parametrize("trace", [{}, {"candidates": [{}], "attempts": [{}]}, {"candidates": [], "strategy": None}])
def test_a_trace_of_another_version_can_be_read(console, tenant, trace):
    assert console.get(page(record(tenant, attempts=ATTEMPTS, trace=trace))).status_code == 200


def test_records_are_narrowed_to_those_with_several_attempts_a_fallback_or_a_trace(console, tenant):
    plain, asked, retried, fallen_back = (
        record(tenant, attempts=ATTEMPTS[1:]),
        record(tenant, attempts=ATTEMPTS[1:], trace=TRACE),
        record(tenant, attempts=[ATTEMPTS[1], ATTEMPTS[1]], trace=TRACE),
        record(tenant, attempts=ATTEMPTS, trace=TRACE),
    )

    def shown(**query: str) -> set[Any]:
        return {row.pk for row in console.get(RECORDS, **query).context["cl"].result_list}

    assert shown() == {plain.pk, asked.pk, retried.pk, fallen_back.pk}
    assert shown(attempts="several") == {retried.pk, fallen_back.pk}
    assert shown(attempts="fallback") == {fallen_back.pk}
    assert shown(attempts="fallback", duration="0") == {fallen_back.pk}
    assert shown(attempts="traced") == {asked.pk, retried.pk, fallen_back.pk}


def test_a_member_of_another_tenant_sees_no_trace(tenant, charlie):
    for url in (RECORDS, page(record(tenant, attempts=ATTEMPTS, trace=TRACE))):
        response = charlie.get(url)
        assert "claude-eu" not in response.content.decode()


def test_staff_without_the_right_to_view_records_sees_no_trace(tenant):
    staff = User.objects.create_user("charlie2", password="charlie's long password", is_staff=True)
    client = Client()
    client.force_login(staff)
    url = page(record(tenant, attempts=ATTEMPTS, trace=TRACE))
    assert client.get(url).status_code == 403
    staff.user_permissions.add(Permission.objects.get(codename="view_usagerecord"))
    assert client.get(url).status_code == 200
