"""A tenant is deleted with all that it has, and what that is, is counted first. Charlie deletes nobody, not even himself."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tenants.keys import digest
from tenants.models import ApiKey, AuditEvent, Project, Tenant, UsageRecord
from tests.gateway_site.admin.crawl import Marked, Visitor

pytestmark = pytest.mark.django_db

LIST = "/admin/tenants/tenant/"
MANY = 500


@pytest.fixture
def acme(db: None) -> Marked:
    """With one of everything, and a key of a project that is in use."""
    made = Marked("zqx7", 7_310_001).make()
    ApiKey.objects.update(project=Project.objects.get(), revoked_at=None)
    return made


def delete_page(tenant: Tenant) -> str:
    return reverse("admin:tenants_tenant_delete", args=[tenant.pk])


def test_it_goes_with_all_that_it_has_and_its_usage_stays(console: Any, acme: Marked) -> None:
    tenant = acme.tenant
    page = console.get(delete_page(tenant)).content.decode()
    assert "Are you sure" in page
    assert "stays in the ledger" in page
    assert console.client.post(delete_page(tenant), {"post": "yes"}).status_code == 302
    assert not Tenant.objects.filter(pk=tenant.pk).exists()
    assert not ApiKey.objects.exists()
    assert UsageRecord.objects.filter(tenant=tenant.pk).exists()
    gone = AuditEvent.objects.filter(action="deleted", tenant=tenant.pk).values_list("object_type", flat=True)
    assert {"tenants.tenant", "tenants.apikey", "tenants.project", "tenants.budget"} <= set(gone)


def test_what_goes_along_is_counted_and_not_listed(console: Any, acme: Marked) -> None:
    ApiKey.objects.bulk_create(
        ApiKey(tenant=acme.tenant, name=f"key {number}", digest=digest(f"{number}", b"x"), prefix="tg_x")
        for number in range(MANY)
    )
    with CaptureQueriesContext(connection) as queries:
        page = console.get(delete_page(acme.tenant))
    assert len(queries) <= 30
    assert ("API keys", MANY + 1) in page.context["model_count"]
    assert "key 17" not in page.content.decode()


def test_many_are_deleted_at_once(console: Any, acme: Marked) -> None:
    other = Tenant.objects.create(slug="globex", name="Globex")
    chosen = {"action": "delete_selected", "_selected_action": [acme.tenant.pk, other.pk]}
    assert "Globex" in console.client.post(LIST, chosen).content.decode()
    console.client.post(LIST, chosen | {"post": "yes"})
    assert not Tenant.objects.exists()


@pytest.mark.parametrize("role", ["owner", "developer", "viewer"])
def test_charlie_deletes_neither_acme_nor_his_own(acme: Marked, role: str) -> None:
    charlies = Marked("cxw5", 5_520_001).make()
    charlie = Visitor(charlies.users[role])
    for tenant in (acme.tenant, charlies.tenant):
        charlie.ask("post", delete_page(tenant), {"post": "yes"})
        charlie.ask("post", LIST, {"action": "delete_selected", "_selected_action": [tenant.pk], "post": "yes"})
    assert Tenant.objects.count() == 2
