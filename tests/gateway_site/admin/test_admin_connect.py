"""The connect page: settings of each tool, for a tenant and its own models. Charlie sees his tenant's, and nobody else's."""

from __future__ import annotations

import re
from typing import Any

import pytest
import redis
from django.contrib.auth.models import Permission
from django.test import Client

from providers.models import Deployment, Provider
from routing.models import ModelAlias, Route, RouteTarget
from routing.services import publish
from tenants.models import ApiKey, Tenant, User
from tenants.services import create_key
from tests.gateway_site.admin.browsing import member_console
from tests.routing.catalogue import make_catalogue

pytestmark = pytest.mark.django_db

PAGE = "/admin/connect/"
SECRET = re.compile(r"tg_[A-Za-z0-9]{40}")


@pytest.fixture
def other(db: None) -> Tenant:
    return Tenant.objects.create(slug="globex", name="Globex")


@pytest.fixture
def key(stores: tuple[str, str], tenant: Tenant) -> ApiKey:
    """A key of acme; `smart` is served to everybody."""
    with redis.Redis.from_url(stores[1]) as client:
        client.flushall()
    make_catalogue()
    publish()
    return create_key(tenant=tenant, name="ci")[0]


def add_alias(name: str, *, kind: str = "chat", tenant: Tenant | None = None) -> None:
    provider = Provider.objects.get()
    deployment = Deployment.objects.create(slug=name, provider=provider, model=name, kind=kind)
    route = Route.objects.create(name=name)
    RouteTarget.objects.create(route=route, deployment=deployment)
    ModelAlias.objects.create(name=name, route=route, tenant=tenant)


def names(response: Any) -> list[str]:
    return [model.name for model in response.context["models"]]


def test_an_operator_with_one_tenant_sees_its_settings(console, key):
    response = console.get(PAGE)
    text = response.content.decode()
    assert response.context["tenant"] == key.tenant
    assert names(response) == ["smart"]
    for part in ("http://testserver/v1", key.hint, "ANTHROPIC_AUTH_TOKEN", "model_providers.tollgate", "install.sh"):
        assert part in text, part
    assert f"{key.prefix}…" in response.context["setup"].connection.key
    assert not SECRET.search(text)
    assert key.digest not in text


def test_an_operator_with_many_tenants_chooses(console, key, other):
    assert "Choose a tenant" in console.get(PAGE).content.decode()
    assert console.get(PAGE, tenant=str(other.pk)).context["tenant"] == other
    for nonsense in ("x", "999999", "9" * 30):
        assert console.get(PAGE, tenant=nonsense).context["tenant"] is None


def test_models_are_those_that_the_key_may_use(console, key, tenant):
    add_alias("small")
    add_alias("vectors", kind="embedding")
    publish()
    assert names(console.get(PAGE)) == ["small", "smart"]
    narrow, _ = create_key(tenant=tenant, name="narrow", allowed_models=["sma*l", "small"])
    assert names(console.get(PAGE, key=str(narrow.pk))) == ["small"]
    chosen = console.get(PAGE, key=str(key.pk), model="smart")
    assert chosen.context["setup"].model == "smart"


def test_what_is_not_served_yet_is_not_offered(console, key):
    add_alias("later")
    assert names(console.get(PAGE)) == ["smart"]


def test_without_models_it_says_so(console, key, tenant):
    tenant.allowed_models = ["none-of-these"]
    tenant.save()
    text = console.get(PAGE).content.decode()
    assert "There is no model that" in text
    assert "your-model" in text


def test_a_revoked_key_and_a_foreign_one_are_not_filled_in(console, key, other):
    foreign, _ = create_key(tenant=other, name="theirs")
    response = console.get(PAGE, tenant=str(key.tenant_id), key=str(foreign.pk))
    assert response.context["key"] is None
    assert foreign.hint not in response.content.decode()
    key.revoke()
    assert console.get(PAGE, tenant=str(key.tenant_id)).context["key"] is None


@pytest.mark.parametrize("role", ["owner", "developer", "viewer"])
def test_members_see_their_own(tenant, key, role):
    browser = member_console(tenant, "bob", role)
    response = browser.get(PAGE)
    assert response.context["tenant"] == tenant
    assert key.hint in response.content.decode()
    assert ("Create a key" in response.content.decode()) == (role != "viewer")


def test_charlie_sees_charlies(key, other, tenant):
    add_alias("of-acme-alone", tenant=tenant)
    publish()
    charlie = member_console(other, "charlie", "owner")
    for query in ({}, {"tenant": str(tenant.pk)}, {"key": str(key.pk)}, {"tenant": str(tenant.pk), "key": str(key.pk)}):
        response = charlie.get(PAGE, **query)
        text = response.content.decode()
        assert response.context["tenant"] == other
        assert names(response) == ["smart"]
        for foreign in (key.hint, f"{key.prefix}…{key.last_four}", "of-acme-alone", "Acme"):
            assert foreign not in text


def test_nobody_else_gets_in(key):
    assert Client().get(PAGE).status_code == 302
    staff = User.objects.create_user("dora", password="a long password of hers", is_staff=True)
    client = Client()
    client.force_login(staff)
    assert client.get(PAGE).status_code == 403
    staff.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    client.force_login(User.objects.get(pk=staff.pk))
    assert client.get(PAGE).status_code == 200


def test_what_is_typed_is_text(console, key):
    text = console.get(PAGE, model="<script>alert(1)</script>", key="<b>").content.decode()
    assert "<script>alert(1)" not in text


def test_it_asks_little_of_the_database_with_a_thousand_keys(console, key, tenant, django_assert_max_num_queries):
    from tenants.keys import digest

    ApiKey.objects.bulk_create(
        ApiKey(tenant=tenant, name=f"key {number}", digest=digest(f"{number}", b"x"), prefix="tg_x")
        for number in range(1000)
    )
    with django_assert_max_num_queries(12):
        response = console.get(PAGE)
    assert len(response.content) < 200_000
