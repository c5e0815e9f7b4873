"""The setup guide, through its forms as a browser would. Alice operates; charlie owns another tenant, and is not let in."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from gateway_site.infra import secrets
from gateway_site.management.commands.seed_demo import simulator_address
from gateway_site.setup.steps import Facts, next_step, steps_of, told
from providers.models import Deployment, ModelPrice, Provider
from routing.models import ConfigRevision, ModelAlias, Route
from routing.services import publish
from tenants.models import ApiKey, AuditEvent, Member, Tenant, User
from tenants.services import create_key
from tests.gateway_site.admin.browsing import Console
from tests.gateway_site.admin.upstreams import running_simulator, running_upstream
from tests.gateway_site.records import write_record
from tests.routing.catalogue import make_catalogue

PAGE = "/admin/setup/"
ARRIVAL = "/admin/setup/arrival"
SECRET = re.compile(r"tg_[A-Za-z0-9]{40}")
CREDENTIAL = "sk-ours-and-nobody-elses"
MOST_QUERIES = 30


# --- Which step is done ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, "provider"),
        ({"has_simulator": True}, "model"),
        ({"providers": ("OpenAI",)}, "model"),
        ({"providers": ("OpenAI",), "models": ("gpt",)}, "tenant"),
        ({"tenants": ("Acme",), "keys": ("ci",)}, "provider"),
        ({"providers": ("OpenAI",), "models": ("gpt",), "tenants": ("Acme",)}, "key"),
        ({"providers": ("OpenAI",), "models": ("gpt",), "tenants": ("Acme",), "keys": ("ci",)}, "request"),
    ],
    ids=["nothing", "simulator", "provider", "model", "from-behind", "tenant", "key"],
)
def test_the_first_step_that_is_not_done_comes_next(facts, expected):
    assert next_step(Facts(**facts)) == expected


def test_after_a_step_comes_a_later_one():
    assert next_step(Facts(), "model") == "tenant"
    assert next_step(Facts(tenants=("Acme",)), "model") == "key"
    assert next_step(Facts(), "request") == "request"


def test_a_step_tells_what_there_is():
    steps = steps_of(Facts(providers=("OpenAI",), has_simulator=True, is_answered=True))
    assert [step.is_done for step in steps] == [True, False, False, False, True]
    assert steps[0].told == "OpenAI, Local simulator"
    assert told(("a", "b", "c")) == "a, b and more"


# --- People ------------------------------------------------------------------------------------------------


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.parametrize("role", ["owner", "developer", "viewer"])
def test_charlie_is_not_let_in(tenant, role):
    other = Tenant.objects.create(slug="other", name="Other")
    charlie = User.objects.create_user("charlie")
    Member.objects.create(tenant=other, user=charlie, role=role)
    client, key = signed_in(charlie), create_key(tenant=tenant, name="ci")[0]
    assert client.get(PAGE).status_code == 403
    assert client.get(ARRIVAL, {"key": key.pk}).status_code == 403
    for step in ("provider", "model", "tenant", "key"):
        assert client.post(PAGE, {"step": step, "name": "Mine", "tenant": tenant.pk}).status_code == 403
    assert ApiKey.objects.count() == 1
    assert "Setup guide" not in client.get("/admin/").content.decode()


def test_an_operator_without_the_rights_is_not_let_in(db):
    bob = User.objects.create_user("bob", is_staff=True)
    bob.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    assert signed_in(bob).get(PAGE).status_code == 403
    assert "Setup guide" not in signed_in(bob).get("/admin/").content.decode()


def test_an_operator_in_an_owner_s_place_is_not_let_in(console, tenant):
    session = console.client.session
    session["acts_as_tenant_id"] = tenant.pk
    session.save()
    assert console.get(PAGE).status_code == 403


# --- 1. A provider -----------------------------------------------------------------------------------------


def step(console: Console, slug: str, url: str = PAGE, **fields: Any) -> Any:
    """Open a step, fill in its form, press its button."""
    form = console.fields(url, step=slug)
    return console.client.post(url, {**form, **fields, "step": slug, "action": fields.get("action", "save")})


def test_a_vendor_needs_a_credential(console):
    refused = step(console, "provider", adapter="openai")
    assert refused.context["form"].errors == {"credential": ["OpenAI wants one. Paste it here."]}
    assert not Provider.objects.exists()


def test_it_makes_a_vendor_s_provider(console):
    for slug in ("openai", "openai-2"):
        made = step(console, "provider", adapter="openai", credential=CREDENTIAL)
        provider = Provider.objects.get(slug=slug)
        assert (made.status_code, provider.name) == (302, "OpenAI")
        assert secrets.decrypt(provider.credential_encrypted) == CREDENTIAL
        assert f"provider={provider.pk}" in made["Location"]
        assert CREDENTIAL not in made["Location"] + console.client.get(made["Location"]).content.decode()


def test_a_server_of_one_s_own_needs_an_address(console):
    refused = step(console, "provider", adapter="openai_compatible")
    assert list(refused.context["form"].errors) == ["base_url"]
    private = {"adapter": "openai_compatible", "base_url": "http://127.0.0.1:11434/v1"}
    assert list(step(console, "provider", **private).context["form"].errors) == ["base_url"]
    assert step(console, "provider", **private, allow_private_address="on").status_code == 302
    assert Provider.objects.get().base_url == private["base_url"]


def test_it_tells_what_a_test_found(console):
    with running_simulator(key=CREDENTIAL) as simulator:
        given = {"adapter": "openai_compatible", "base_url": f"{simulator.url}/v1", "allow_private_address": "on"}
        found = step(console, "provider", action="test", credential=CREDENTIAL, **given).content.decode()
        assert "Works" in found
        assert "Rejected" in step(console, "provider", action="test", credential="sk-wrong", **given).content.decode()
    assert "Unreachable" in step(console, "provider", action="test", **given).content.decode()
    assert "Not asked" in step(console, "provider", action="test", adapter="openai").content.decode()
    assert not Provider.objects.exists()
    tested = AuditEvent.objects.filter(action="connection_tested")
    assert tested.count() == 3
    assert not any(CREDENTIAL in str(event.detail) for event in tested)


def test_the_demo_s_simulator_counts_and_may_be_replaced(console):
    Provider.objects.create(
        slug="simulator", name="Simulator", adapter="openai_compatible", base_url=simulator_address()
    )
    page = console.get(PAGE, step="provider").content.decode()
    assert "The local simulator answers so far" in page
    assert "Use your own provider" in page
    assert 'value="simulator"' not in page


# --- 2. A model --------------------------------------------------------------------------------------------


@pytest.fixture
def provider(db) -> Provider:
    return Provider.objects.create(slug="openai", name="OpenAI", adapter="openai")


def test_without_a_provider_there_is_no_model(console):
    assert "There is no provider yet" in console.get(PAGE, step="model").content.decode()


def test_it_makes_what_leads_to_a_model_with_its_known_price(console, provider):
    made = step(console, "model", model="gpt-5.5", alias="smart", price="known")
    assert made.status_code == 302
    alias = ModelAlias.objects.get(name="smart", tenant=None)
    deployment = alias.route.targets.get().deployment
    assert (deployment.provider, deployment.model) == (provider, "gpt-5.5")
    assert deployment.price_at(datetime.now(UTC)).input == 5
    assert "step=tenant" in made["Location"]
    assert "alias=smart" in made["Location"]


def test_the_alias_is_the_model_s_name_if_none_is_given(console, provider):
    step(console, "model", model="house/model", price="later")
    assert ModelAlias.objects.get().name == "house/model"
    assert not ModelPrice.objects.exists()


def test_it_takes_a_price_of_one_s_own(console, provider):
    refused = step(console, "model", model="house-model", price="own")
    assert list(refused.context["form"].errors) == ["input_price"]
    assert not Deployment.objects.exists()
    assert (
        step(console, "model", model="house-model", price="own", input_price="0.3", output_price="1").status_code == 302
    )
    price = ModelPrice.objects.get()
    assert (price.side, price.input, price.output, price.currency) == ("sell", Decimal("0.3"), Decimal(1), "USD")


def test_what_cannot_be_made_leaves_nothing(console, provider):
    refused = step(console, "model", model="nobody-knows", alias="smart", price="known")
    assert "No price is known for nobody-knows" in str(refused.context["form"].errors)
    assert [model.objects.count() for model in (Deployment, Route, ModelAlias)] == [0, 0, 0]


@pytest.mark.parametrize("alias", ["smart", "two words", "gpt-*"], ids=["taken", "blank", "pattern"])
def test_an_alias_that_cannot_be_names_the_field(console, provider, alias):
    ModelAlias.objects.create(name="smart", route=Route.objects.create(name="smart"))
    refused = step(console, "model", model="gpt-5.5", alias=alias, price="later")
    assert list(refused.context["form"].errors) == ["alias"]
    assert not Deployment.objects.exists()


def test_a_deployment_that_is_there_is_taken(console, provider):
    there = Deployment.objects.create(slug="mine", provider=provider, model="gpt-5.5")
    step(console, "model", model="gpt-5.5", alias="smart", price="known")
    assert ModelAlias.objects.get().route.targets.get().deployment == there
    assert there.prices.exists()


def test_it_lists_the_provider_s_models(console):
    told_prices = {"prompt": "0.000001", "completion": "0.000002"}
    listed = {"data": [{"id": "a-model", "pricing": told_prices}, {"id": "text-embedding-x"}]}
    with running_upstream(listed) as upstream:
        Provider.objects.create(
            slug="own", adapter="openai_compatible", base_url=upstream.url, allow_private_address=True
        )
        page = step(console, "model", action="models").content.decode()
        assert 'data-model="a-model"' in page
        assert "1 / 2 USD" in page
        [offered] = [text for text in re.findall(r'data-offered="([^"]*)"', page) if "a-model" in text]
    step(console, "model", model="a-model", price="known", offered=offered.replace("&quot;", '"'))
    assert {price.side: price.output for price in ModelPrice.objects.all()} == {"sell": 2, "cost": 2}


def test_it_says_why_models_are_not_known(console):
    with running_upstream({}, status=401) as upstream:
        Provider.objects.create(
            slug="own", adapter="openai_compatible", base_url=upstream.url, allow_private_address=True
        )
        page = step(console, "model", action="models").content.decode()
    assert "Rejected" in page
    assert "You can type" in page


# --- 3. A tenant, 4. a key ---------------------------------------------------------------------------------


def test_it_makes_a_tenant(console, tenant):
    made = step(console, "tenant", f"{PAGE}?alias=smart", name="Acme")
    assert (made.status_code, Tenant.objects.last().slug) == (302, "acme-2")
    assert "alias=smart" in made["Location"]
    assert list(step(console, "tenant", name="").context["form"].errors) == ["name"]


def test_a_key_is_shown_once_and_in_no_address(console, tenant):
    shown = step(console, "key", name="ci")
    assert shown.status_code == 200
    assert "no-store" in shown["Cache-Control"]
    secret = SECRET.search(shown.content.decode())[0]
    key = ApiKey.objects.get()
    assert (key.tenant, key.name, key.last_four) == (tenant, "ci", secret[-4:])
    assert shown.content.decode().count(secret) > 3  # in the snippets, too
    assert secret not in str(dict(console.client.session))
    again = console.get(PAGE, step="request", key=key.pk).content.decode()
    assert not SECRET.search(again)
    assert key.prefix in again


def test_a_name_is_given_once(console, tenant):
    step(console, "key", name="ci")
    refused = step(console, "key", name="ci")
    assert list(refused.context["form"].errors) == ["name"]
    assert ApiKey.objects.count() == 1


# --- 5. The first request ----------------------------------------------------------------------------------


@pytest.fixture
def key(stores: tuple[str, str], tenant: Tenant) -> ApiKey:
    """A key of acme, whose configuration is published."""
    with redis.Redis.from_url(stores[1]) as client:
        client.flushall()
    make_catalogue()
    publish()
    return create_key(tenant=tenant, name="ci")[0]


def arrives(key: ApiKey, **given: Any) -> str:
    values = {
        "api_key_id": key.pk,
        "provider": "anthropic",
        "model": "claude-sonnet-5",
        "latency_ms": 1_200,
        "input_tokens": 1_234,
        "output_tokens": 10,
        "cost": Decimal("7.25"),
    }
    return write_record(key.tenant, **values | given).pk.hex


def ask(page: Any) -> str:
    """The address that a page asks again at."""
    return re.search(r'hx-get="([^"]*/arrival[^"]*)"', page.content.decode())[1].replace("&amp;", "&")


def test_it_waits_until_the_request_arrives(console, key):
    page = console.get(PAGE, step="request", key=key.pk)
    url = ask(page)
    assert console.client.get(url).status_code == 204
    charlies = create_key(tenant=Tenant.objects.create(slug="other", name="Other"), name="theirs")[0]
    arrives(charlies)
    assert console.client.get(url).status_code == 204
    request_id = arrives(key)
    text = console.client.get(url).content.decode()
    for said in (
        "It arrived, and was answered",
        "1,234 in, 10 out",
        "7.25 USD",
        "1,200 ms",
        "claude-sonnet-5",
        "Dry run",
    ):
        assert said in text
    assert str(uuid.UUID(request_id)) in text
    assert "hx-get" not in text


def test_it_explains_what_went_wrong_and_goes_on_waiting(console, key):
    url = ask(console.get(PAGE, step="request", key=key.pk))
    failed = {"status": 502, "outcome": "upstream_failed", "error_code": "upstream_auth_failed", "cost": Decimal(0)}
    arrives(key, **failed)
    answer = console.client.get(url)
    text = answer.content.decode()
    assert "upstream_auth_failed" in text
    assert "goes on waiting" in text
    assert console.client.get(ask(answer)).status_code == 204
    arrives(key)
    assert "was answered" in console.client.get(ask(answer)).content.decode()


def test_it_says_what_is_missing_yet(console, key):
    page = console.get(PAGE, step="request", key=key.pk, alias="not-there").content.decode()
    assert "not-there is not published yet" in page
    key.tenant.suspend("unpaid")
    assert "is suspended" in console.get(PAGE, step="request", key=key.pk).content.decode()
    key.tenant.resume()
    url = ask(console.get(PAGE, step="request", key=key.pk))
    key.revoke()
    assert "refused with 401" in console.client.get(url).content.decode()


def test_a_draft_is_named_where_somebody_has_to_publish_it(console, key, settings):
    settings.CONFIG_PUBLISHING = "manual"
    provider = Provider.objects.create(slug="another", adapter="openai")
    step(console, "model", provider=str(provider.pk), model="gpt-5.5", alias="newest", price="later")
    publish()
    draft = ConfigRevision.objects.get(status="draft")
    page = console.get(PAGE, step="request", key=key.pk, alias="newest").content.decode()
    assert "waits in a draft" in page
    assert f"/configrevision/{draft.pk}/change/" in page


@pytest.mark.parametrize("query", [{}, {"key": "9" * 30}, {"key": "x"}, {"key": "1", "since": "9" * 18}], ids=str)
def test_nonsense_is_answered_with_nothing(console, query):
    assert console.client.get(ARRIVAL, query).status_code == 204


@pytest.mark.parametrize("slug", ["provider", "model", "tenant", "key", "request", "nonsense"])
def test_every_step_asks_few_times(console, key, slug):
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert console.get(PAGE, step=slug, after="0").status_code == 200
    assert len(asked) <= MOST_QUERIES


def test_the_menu_has_it_until_something_real_has_answered(console, key):
    arrives(key, provider="simulator")
    page = console.get("/admin/").content.decode()
    assert "Setup guide" in page
    assert 'id="setup-hint"' in page
    arrives(key)
    page = console.get("/admin/").content.decode()
    assert "Setup guide" not in page
    assert 'id="setup-hint"' not in page
    assert console.get(PAGE).status_code == 200
