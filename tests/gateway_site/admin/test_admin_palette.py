"""The command palette finds pages, verbs and objects: alice everything, bob what is acme's, charlie nothing."""

from __future__ import annotations

import re
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tenants.ledger import ensure_partition
from tenants.models import ApiKey, Tenant, UsageRecord
from tenants.services import create_key
from tests.gateway_site.people import member_browser
from tests.routing.catalogue import make_catalogue

SEARCH = "/admin/search/"


@pytest.fixture
def key(tenant: Tenant) -> ApiKey:
    make_catalogue()
    return create_key(tenant=tenant, name="acme's pipeline")[0]


@pytest.fixture
def bob(tenant: Tenant) -> Client:
    return member_browser(tenant, "bob", "developer")


def found(client: Client, term: str) -> dict[str, str]:
    """What the palette shows, by title: where it leads."""
    response = client.get(SEARCH, {"s": term})
    assert response.status_code == 200
    rows = re.findall(r'href="([^"]+)"\s+data-title="([^"]+)"', response.content.decode())
    return {title.replace("&#x27;", "'"): link for link, title in rows}


@pytest.mark.parametrize(
    ("term", "title"),
    [
        ("new ten", "New tenant"),
        ("create tenant", "New tenant"),
        ("dry", "Dry run"),
        ("nodes", "Nodes"),
        ("openai-large", "openai-large"),
        ("gpt-5", "openai-large"),
        ("openai-sm", "openai-smart"),
        ("smart", "smart"),
        ("acme", "Acme"),
        ("PIPELINE", "acme's pipeline"),
    ],
)
def test_an_operator_finds_it(console, key, term, title):
    assert title in found(console.client, term)


def test_a_key_is_found_by_its_beginning(console, key):
    assert "acme's pipeline" in found(console.client, key.prefix)


def test_what_is_found_can_be_opened(console, key):
    for term in ("acme", "openai", "smart", "new", "price"):
        for link in found(console.client, term).values():
            assert console.get(link).status_code == 200, link


def test_a_member_finds_what_is_their_tenants(key, bob):
    assert "acme's pipeline" in found(bob, "pipeline")
    assert "New API key" in found(bob, "new api")
    assert "New tenant" not in found(bob, "new ten")
    assert found(bob, "openai") == {}
    assert found(bob, "smart") == {}


@pytest.mark.parametrize("name", ["search-input-command", "Available shortcuts"])
def test_the_palette_and_its_keys_are_on_the_pages_of_whoever_is_inside(console, bob, charlie, name):
    for client in (console.client, bob, charlie):
        assert name in client.get("/admin/").content.decode()
    assert name not in Client().get("/admin/login/").content.decode()


@pytest.mark.parametrize("term", ["acme", "pipeline", "openai", "smart", "gpt-5", "new tenant", "nodes", "dry run"])
def test_charlie_finds_nothing_of_it(key, charlie, term):
    assert found(charlie, term) == {}
    assert found(charlie, key.prefix) == {}


def test_what_one_has_found_another_is_not_shown(console, key, charlie):
    assert found(console.client, "pipeline")
    assert found(charlie, "pipeline") == {}


def test_an_operator_who_acts_as_an_owner_finds_what_the_owner_does(console, key, tenant):
    other = Tenant.objects.create(slug="other", name="Other")
    session = console.client.session
    session["acts_as_tenant_id"] = other.pk
    session.save()
    assert found(console.client, "pipeline") == {}


def test_it_is_cheap(console, key):
    for number in range(30):
        create_key(tenant=key.tenant, name=f"pipeline {number}")
    found(console.client, "pipeline")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        rows = found(console.client, "pipeline")
    assert len(rows) == 6
    assert len(queries) <= 12  # two of them say who asks


@pytest.mark.parametrize("term", ["", " ", "a", "\x00", "%", "x" * 5000, "'; DROP TABLE", str(UUID(int=7))])
def test_whatever_is_typed_is_answered(console, key, term):
    assert console.get(SEARCH, s=term).status_code == 200


def test_a_request_is_found_by_its_id(console, key, bob, charlie):
    now = timezone.now()
    ensure_partition(now.date())
    request_id = uuid4()
    UsageRecord.objects.create(
        request_id=request_id,
        started_at=now,
        tenant=key.tenant,
        api_key=key,
        dialect="openai_chat",
        alias="smart",
        status=200,
        outcome="served",
        cost_status="exact",
        latency_ms=1,
    )
    for client in (console.client, bob):
        assert str(request_id) in found(client, str(request_id))
        assert str(request_id) in found(client, request_id.hex)
    assert found(charlie, str(request_id)) == {}
