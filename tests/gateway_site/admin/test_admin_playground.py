"""The playground: who may use it, for whom, and the key that it makes. Charlie plays with his own tenant only."""

from __future__ import annotations

import uuid
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.test import Client
from django.utils import timezone

from routing.models import ModelAlias
from routing.services import publish
from tenants.ledger import ensure_partition
from tenants.models import ApiKey, Member, Project, Tenant, UsageRecord, User
from tenants.playground_keys import playground_key
from tenants.services import create_key, has_secret
from tests.gateway_site.admin.browsing import Console, member_console
from tests.gateway_site.people import make_member
from tests.routing.catalogue import make_catalogue

pytestmark = pytest.mark.django_db

PAGE = "/admin/playground/"
REQUEST = "/admin/playground/request"
OUTCOME = "/admin/playground/outcome"
ASKED = {"dialect": "openai_chat", "model": "smart", "user": "Hello"}


def ask(browser: Console, **fields: Any) -> Any:
    return browser.client.post(REQUEST, ASKED | fields)


@pytest.fixture
def served(stores: tuple[str, str]) -> None:
    """`smart` is served to everybody."""
    with redis.Redis.from_url(stores[1]) as client:
        client.flushall()
    make_catalogue()
    publish()


@pytest.fixture
def bob(tenant: Tenant) -> Console:
    return member_console(tenant, "bob", "developer")


@pytest.fixture
def charlie(charlie: Client) -> Console:
    return Console(charlie)


# --- The page ----------------------------------------------------------------------------------------------


def test_an_operator_chooses_the_tenant(console, tenant, charlie, served):
    assert "Choose a tenant" in console.get(PAGE).content.decode()
    text = console.get(PAGE, tenant=str(tenant.pk)).content.decode()
    for part in ("smart", "is billed to Acme", "Gemini", '"currencies": ["USD"]'):
        assert part in text, part


def test_members_play_with_their_own(bob, tenant, served):
    response = bob.get(PAGE, tenant="999")
    assert response.context["tenant"] == tenant
    assert 'name="tenant"' in response.content.decode()


def test_viewers_and_strangers_do_not_play(tenant, served):
    vera = member_console(tenant, "vera", "viewer")
    for response in (vera.get(PAGE), ask(vera, needs_key="on"), vera.get(OUTCOME, request_id=str(uuid.uuid4()))):
        assert response.status_code == 403
    assert Client().post(REQUEST, ASKED).status_code == 302
    assert not ApiKey.objects.exists()


def test_a_tenant_without_models_is_told_so(bob, served):
    ModelAlias.objects.all().delete()
    publish()
    assert "There is no chat model yet" in bob.get(PAGE).content.decode()


def test_a_suspended_tenant_is_told_so(bob, tenant, served):
    tenant.suspend("bill unpaid")
    text = bob.get(PAGE).content.decode()
    assert "The tenant is suspended" in text
    assert "every run is billed" not in text


def test_it_has_no_script_of_its_own_in_the_page(bob, served):
    text = bob.get(PAGE).content.decode()
    assert "onclick" not in text
    assert "js/playground.js" in text


def test_posts_need_the_token_of_the_form(tenant, served):
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_member(tenant, "dave", "developer"))
    assert client.post(REQUEST, ASKED | {"needs_key": "on"}).status_code == 403
    assert not ApiKey.objects.exists()


# --- The request -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "path"),
    [
        ("openai_chat", "/v1/chat/completions"),
        ("anthropic_messages", "/v1/messages"),
        ("openai_responses", "/v1/responses"),
        ("gemini", "/v1beta/models/smart:streamGenerateContent?alt=sse"),
    ],
)
def test_it_hands_out_the_request_and_the_same_as_code(bob, served, dialect, path):
    response = ask(bob, dialect=dialect, stream="on", system="Be kind", max_tokens="7", temperature="0.5")
    content = response.json()
    assert content["path"] == path
    assert set(content["code"]) == {"curl", "python", "javascript"}
    for text in content["code"].values():
        assert "Be kind" in text
        assert "7" in text
    assert "key" not in content
    assert "no-store" in response["Cache-Control"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("dialect", "telegraph"), ("user", ""), ("max_tokens", "0"), ("temperature", "9"), ("model", "")],
)
def test_what_makes_no_sense_is_named(bob, served, field, value):
    response = ask(bob, needs_key="on", **{field: value})
    assert response.status_code == 422
    assert set(response.json()["errors"]) == {field}
    assert not ApiKey.objects.exists()


# --- The key -----------------------------------------------------------------------------------------------


def test_it_makes_a_key_that_is_over_in_an_hour(bob, tenant, served):
    found = ask(bob, needs_key="on").json()["key"]
    key = ApiKey.objects.get()
    assert has_secret(key, found["secret"])
    assert (key.tenant, key.purpose, key.created_by.username) == (tenant, "playground", "bob")
    assert key.name == found["name"] == "playground of bob"
    assert timedelta(minutes=55) < key.expires_at - timezone.now() <= timedelta(hours=1)
    for url in (PAGE, "/admin/tenants/apikey/", f"/admin/tenants/apikey/{key.pk}/change/"):
        assert found["secret"] not in bob.get(url).content.decode()
    assert found["secret"] not in str(dict(bob.client.session))


def test_another_one_is_the_same_key_and_the_one_before_works_on(bob, served):
    first = ask(bob, needs_key="on").json()["key"]
    ended = ApiKey.objects.get().expires_at
    second = ask(bob, needs_key="on").json()["key"]
    key = ApiKey.objects.get()
    assert first["secret"] != second["secret"]
    assert has_secret(key, second["secret"])
    assert key.previous_until == ended


def test_a_project_has_a_key_of_its_own(bob, tenant, served):
    project = Project.objects.create(tenant=tenant, slug="web")
    ask(bob, needs_key="on")
    ask(bob, needs_key="on", project=str(project.pk))
    assert set(ApiKey.objects.values_list("name", "project__slug")) == {
        ("playground of bob", None),
        ("playground of bob in web", "web"),
    }


def test_a_name_that_is_taken_is_no_obstacle(bob, tenant, served):
    create_key(tenant=tenant, name="playground of bob")
    assert ask(bob, needs_key="on").status_code == 200
    assert ApiKey.objects.filter(purpose="playground").count() == 1


def test_a_revoked_one_stays_revoked(bob, served):
    ask(bob, needs_key="on")
    ApiKey.objects.get().revoke()
    response = ask(bob, needs_key="on")
    assert response.status_code == 403
    assert "revoked" in response.json()["errors"]["key"][0]["message"]


def test_who_leaves_the_tenant_or_may_only_look_from_now_on_is_done_playing(bob, tenant, served):
    for change in (lambda row: row.delete(), lambda row: (setattr(row, "role", "viewer"), row.save())):
        user = User.objects.get(username="bob")
        row = Member.objects.filter(user=user).first() or Member.objects.create(tenant=tenant, user=user)
        key, _ = playground_key(tenant=tenant, user=user)
        assert key.status == "active"
        change(row)
        assert ApiKey.objects.get().status == "expired"


def test_what_others_do_leaves_a_playground_key_alone(bob, charlie, tenant, served):
    ask(bob, needs_key="on")
    Member.objects.get(user__username="charlie").delete()
    assert ApiKey.objects.get().status == "active"


# --- Charlie -----------------------------------------------------------------------------------------------


def test_charlie_gets_a_key_of_charlies_tenant_whatever_he_asks_for(charlie, tenant, served):
    project = Project.objects.create(tenant=tenant, slug="web")
    assert ask(charlie, tenant=str(tenant.pk), needs_key="on").status_code == 200
    assert ApiKey.objects.get().tenant.slug == "charlies"
    assert ask(charlie, tenant=str(tenant.pk), project=str(project.pk), needs_key="on").status_code == 403
    assert not ApiKey.objects.for_tenant(tenant).exists()


def record_of(tenant: Tenant) -> UsageRecord:
    key = create_key(tenant=tenant, name=f"key {uuid.uuid4()}")[0]
    ensure_partition(timezone.now().date())
    return UsageRecord.objects.create(
        request_id=uuid.uuid4(),
        started_at=timezone.now(),
        tenant=tenant,
        api_key=key,
        dialect="openai_chat",
        alias="smart",
        status=200,
        outcome="served",
        cost=Decimal("0.0025"),
        cost_status="exact",
        input_tokens=10,
        output_tokens=20,
        latency_ms=900,
        first_token_ms=300,
        deployment="openai-large",
        attempts=[{"deployment": "openai-large", "result": "streaming", "status": 200, "ms": 800}],
    )


def test_it_tells_what_the_ledger_says(bob, console, tenant, served):
    record = record_of(tenant)
    for browser in (bob, console):
        found = browser.get(OUTCOME, request_id=record.request_id.hex).json()
        assert (found["cost"], found["input_tokens"], found["output_tokens"]) == ("0.0025 USD", 10, 20)
        assert found["attempts"][0]["deployment"] == "openai-large"


def test_charlie_is_told_nothing_of_alices_request(charlie, tenant, served):
    response = charlie.get(OUTCOME, request_id=str(record_of(tenant).request_id))
    assert (response.status_code, response.json()) == (202, {})


def test_it_waits_for_what_is_not_there_yet(bob, served):
    assert bob.get(OUTCOME, request_id=str(uuid.uuid4())).status_code == 202
    assert bob.get(OUTCOME, request_id="no id").status_code == 422
