"""Members are told on their first page what they have yet to accept, each for themselves."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from tenants.models import LegalAcceptance, LegalDocument, Member
from tests.gateway_site.people import member_browser

pytestmark = pytest.mark.django_db


@pytest.fixture
def document() -> LegalDocument:
    return LegalDocument.objects.create(kind="terms", text="Ours.")


def asked(client: Client) -> bool:
    return "Read and accept" in client.get("/admin/").content.decode()


@pytest.mark.parametrize("role", Member.Role.values)
def test_members_are_asked_until_they_have_accepted(tenant, document, role):
    bob = member_browser(tenant, "bob", role)
    text = bob.get("/admin/").content.decode()
    assert "Terms of use, version 1, in force since" in text
    assert 'href="/terms"' in text
    bob.post("/terms", {"version": "1"})
    assert not asked(bob)
    LegalDocument.objects.create(kind="terms", text="Ours, again.")
    assert asked(bob)
    assert LegalAcceptance.objects.get().user.username == "bob"


def test_nobody_is_asked_for_what_ships_or_is_to_come(tenant):
    bob = member_browser(tenant, "bob", "viewer")
    assert not asked(bob)
    LegalDocument.objects.create(kind="privacy", text="Later.", effective_from=timezone.now() + timedelta(days=2))
    assert not asked(bob)


def test_charlie_accepts_for_himself_alone(tenant, charlie, document):
    bob = member_browser(tenant, "bob", "viewer")
    charlie.post("/terms", {"version": "1"})
    assert not asked(charlie)
    assert asked(bob)


def test_operators_are_not_asked_in_an_owner_s_place_neither(console, tenant, document):
    assert not asked(console.client)
    console.confirm(reverse("admin:tenants_tenant_act_as_owner", args=[tenant.pk]))
    assert "You act as owner" in console.get("/admin/").content.decode()
    assert not asked(console.client)


def test_it_is_cheap(tenant, document):
    bob = member_browser(tenant, "bob", "owner")
    with CaptureQueriesContext(connection) as queries:
        assert asked(bob)
    assert len(queries) <= 30
