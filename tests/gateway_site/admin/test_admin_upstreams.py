"""Providers, deployments, prices, routes and aliases, as an operator makes them."""

from __future__ import annotations

import html
import json
import re
import socket
from decimal import Decimal

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from gateway_site.infra import secrets
from providers.models import Deployment, ModelPrice, Provider
from providers.simulator.models import MODELS
from routing.models import ModelAlias, Route, RouteTarget
from tenants.models import AuditEvent, Member, Tenant, User
from tests.gateway_site.admin.upstreams import running_simulator, running_upstream
from tests.providers.pem import identity

PROVIDERS = "/admin/providers/provider/"
DEPLOYMENTS = "/admin/providers/deployment/"
ROUTES = "/admin/routing/route/"
TRAIL = "/admin/tenants/auditevent/"
CREDENTIAL = "sk-the-credential-itself"
KEY = "sk-ours-and-nobody-elses"


@pytest.fixture
def provider(db) -> Provider:
    provider = Provider(slug="openai", name="OpenAI", adapter="openai")
    provider.set_credential(CREDENTIAL)
    provider.save()
    return provider


@pytest.fixture
def deployment(provider) -> Deployment:
    return Deployment.objects.create(slug="gpt", provider=provider, model="gpt-5-mini")


@pytest.fixture
def charlie(db) -> Client:
    """An owner of another tenant."""
    user = User.objects.create_user("charlie", password="charlie's long password")
    Member.objects.create(tenant=Tenant.objects.create(slug="other", name="Other"), user=user, role="owner")
    client = Client()
    client.force_login(user)
    return client


def change(item) -> str:
    return reverse(f"admin:{item._meta.app_label}_{item._meta.model_name}_change", args=[item.pk])


def credential_of(provider: Provider) -> str:
    provider.refresh_from_db()
    return secrets.decrypt(provider.credential_encrypted) if provider.has_credential else ""


# --- Providers ---------------------------------------------------------------------------------------------


def test_it_makes_a_provider(console):
    response = console.submit(
        f"{PROVIDERS}add/",
        name="A server",
        slug="a-server",
        adapter="openai_compatible",
        base_url="https://llm.example.com/v1",
        dialects=["anthropic_messages", "openai_chat"],
        headers='{"x-team": "ml"}',
        credential=CREDENTIAL,
    )
    assert response.status_code == 302
    made = Provider.objects.get()
    assert made.headers == {"x-team": "ml"}
    assert set(made.dialects) == {"anthropic_messages", "openai_chat"}
    assert made.connect_timeout == 5
    assert credential_of(made) == CREDENTIAL


def test_a_credential_is_in_no_page(console, provider):
    refused = console.submit(change(provider), credential="sk-another", slug="")
    pages = [
        refused,
        *(console.get(url) for url in (PROVIDERS, change(provider), TRAIL)),
    ]
    assert all(page.status_code == 200 for page in pages)
    for page in pages:
        text = page.content.decode()
        assert CREDENTIAL not in text
        assert "sk-another" not in text
        assert provider.credential_encrypted not in text
    assert "Stored" in pages[1].content.decode()


def test_an_empty_field_keeps_the_credential(console, provider):
    assert console.submit(change(provider), name="Renamed").status_code == 302
    assert credential_of(provider) == CREDENTIAL
    assert provider.name == "Renamed"


def test_a_new_credential_replaces_the_old_one(console, provider):
    console.submit(change(provider), credential="sk-another")
    assert credential_of(provider) == "sk-another"


def test_a_box_removes_the_credential(console, provider):
    console.submit(change(provider), clear_credential="on")
    assert credential_of(provider) == ""
    assert "Not stored" in console.get(change(provider)).content.decode()


def test_a_new_credential_is_not_removed_at_once(console, provider, errors):
    response = console.submit(change(provider), credential="sk-another", clear_credential="on")
    assert list(errors(response)) == ["clear_credential"]
    assert credential_of(provider) == CREDENTIAL


SECRETS = {"proxy": "http://us:hush-proxy@proxy.test:3128", "client_key": identity()[1]}


@pytest.fixture
def guarded(provider) -> Provider:
    """A provider behind a proxy, with certificates."""
    provider.set_proxy(SECRETS["proxy"])
    provider.set_client_key(SECRETS["client_key"])
    provider.ca_certificate = provider.client_certificate = identity()[0]
    provider.full_clean()
    provider.save()
    return provider


def secret_of(provider: Provider, name: str) -> str:
    provider.refresh_from_db()
    stored = getattr(provider, f"{name}_encrypted")
    return secrets.decrypt(stored) if stored else ""


def test_it_sets_how_a_provider_is_reached(console, provider):
    certificate = identity()[0]
    given = {"ca_certificate": certificate.replace("\n", "\r\n") + "\r\n", "client_certificate": certificate}
    response = console.submit(change(provider), http2="on", queue_size="0", queue_wait="0.5", **given, **SECRETS)
    assert response.status_code == 302
    assert {name: secret_of(provider, name) for name in SECRETS} == SECRETS
    assert (provider.ca_certificate, provider.client_certificate) == (certificate, certificate)
    assert (provider.http2, provider.queue_size, provider.queue_wait) == (True, 0, 0.5)


def test_a_proxy_and_a_client_key_are_in_no_page(console, guarded):
    refused = console.submit(change(guarded), slug="", **SECRETS)
    for page in (refused, *(console.get(url) for url in (PROVIDERS, change(guarded), TRAIL))):
        text = page.content.decode()
        assert page.status_code == 200
        assert "hush-proxy" not in text
        assert "PRIVATE KEY" not in text
        assert guarded.proxy_encrypted not in text
        assert guarded.client_key_encrypted not in text


def test_empty_fields_keep_the_proxy_and_the_client_key(console, guarded):
    assert console.submit(change(guarded), name="Renamed").status_code == 302
    assert {name: secret_of(guarded, name) for name in SECRETS} == SECRETS
    assert LogEntry.objects.get().get_change_message() == "Changed Name."


def test_boxes_remove_the_proxy_and_the_client_key(console, guarded):
    response = console.submit(change(guarded), clear_proxy="on", clear_client_key="on", client_certificate="")
    assert response.status_code == 302
    assert {name: secret_of(guarded, name) for name in SECRETS} == {"proxy": "", "client_key": ""}


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"proxy": "socks5://proxy.test"}, "proxy"),
        ({"proxy": "http://proxy.test", "clear_proxy": "on"}, "clear_proxy"),
        ({"ca_certificate": "nonsense"}, "ca_certificate"),
        ({"client_certificate": "nonsense"}, "client_certificate"),
        ({"client_certificate": "\n".join(identity())}, "client_certificate"),
        ({"ca_certificate": "\n".join(identity())}, "ca_certificate"),
        ({"client_certificate": ""}, "client_certificate"),
        ({"clear_client_key": "on"}, "client_key"),
        ({"client_key": "nonsense"}, "client_key"),
        ({"client_key": identity("another")[1]}, "client_key"),
        ({"queue_wait": "0.01"}, "queue_wait"),
        ({"queue_wait": "301"}, "queue_wait"),
        ({"queue_size": "-1"}, "queue_size"),
    ],
)
def test_a_connection_that_cannot_be_made_names_the_field(console, guarded, errors, given, field):
    assert list(errors(console.submit(change(guarded), **given))) == [field]
    assert {name: secret_of(guarded, name) for name in SECRETS} == SECRETS


def test_wrong_input_names_the_field(console, errors):
    response = console.submit(
        f"{PROVIDERS}add/",
        slug="a b",
        adapter="openai_compatible",
        base_url="http://127.0.0.1:8000",
        headers='{"x-team":',
        connect_timeout="0",
    )
    assert set(errors(response)) == {"slug", "base_url", "headers", "connect_timeout"}


def test_emptied_json_is_the_empty_object(console, provider):
    provider.headers = {"x-team": "ml"}
    provider.save()
    assert console.fields(change(provider))["headers"] == '{"x-team": "ml"}'
    assert console.submit(change(provider), headers="").status_code == 302
    provider.refresh_from_db()
    assert provider.headers == {}


def test_ticked_dialects_keep_their_order(console, provider):
    Provider.objects.update(dialects=["openai_chat"])
    console.submit(change(provider), dialects=["anthropic_messages", "openai_chat"])
    provider.refresh_from_db()
    assert provider.dialects == ["openai_chat", "anthropic_messages"]


def test_it_disables_and_enables(console, provider):
    console.confirm(reverse("admin:providers_provider_disable", args=[provider.pk]))
    provider.refresh_from_db()
    assert not provider.is_enabled
    console.act(PROVIDERS, "enable_selected", provider)
    provider.refresh_from_db()
    assert provider.is_enabled


# --- Deployments and prices --------------------------------------------------------------------------------


def test_it_makes_a_deployment_with_a_price(console, provider):
    response = console.submit(
        f"{DEPLOYMENTS}add/",
        provider=provider.pk,
        slug="gpt",
        model="gpt-5-mini",
        tags="gdpr, prod\ncheap",
        **{
            "prices-TOTAL_FORMS": "1",
            "prices-0-side": "sell",
            "prices-0-effective_from_0": "2026-01-01",
            "prices-0-effective_from_1": "00:00:00",
            "prices-0-currency": "USD",
            "prices-0-per": "1000000",
            "prices-0-input": "0.25",
            "prices-0-output": "2",
            "prices-0-tiers": '[{"above": 200000, "input": "0.5"}]',
        },
    )
    assert response.status_code == 302
    made = Deployment.objects.get()
    assert made.tags == ["gdpr", "prod", "cheap"]
    price = ModelPrice.objects.get()
    assert (price.input, price.output) == (Decimal("0.25"), Decimal(2))
    assert price.tiers == [{"above": 200000, "input": "0.5"}]


def test_prices_show_the_digits_they_need(console, deployment):
    ModelPrice.objects.create(deployment=deployment, input=Decimal("0.0000001"), output=Decimal(100))
    fields = console.fields(change(deployment))
    assert fields["prices-0-input"] == "0.0000001"
    assert fields["prices-0-output"] == "100"


def test_a_price_without_a_unit_names_the_field(console, deployment, errors):
    response = console.submit(
        change(deployment),
        dialect="anthropic_messages",
        **{
            "prices-TOTAL_FORMS": "1",
            "prices-0-side": "sell",
            "prices-0-currency": "dollars",
            "prices-0-per": "1000000",
            "prices-0-effective_from_0": "2026-01-01",
            "prices-0-effective_from_1": "00:00:00",
        },
    )
    assert set(errors(response)) == {"dialect", "prices-0-input", "prices-0-currency"}


def test_it_sets_how_often_a_deployment_is_probed(console, deployment, errors):
    assert list(errors(console.submit(change(deployment), probe_every="9"))) == ["probe_every"]
    for written, stored in (("60", 60), ("", None)):
        assert console.submit(change(deployment), probe_every=written).status_code == 302
        deployment.refresh_from_db()
        assert deployment.probe_every == stored


def test_a_kind_that_costs_much_is_probed_seldom(console, deployment, errors):
    assert list(errors(console.submit(change(deployment), kind="image", probe_every="60"))) == ["probe_every"]
    assert console.submit(change(deployment), kind="image", probe_every="300").status_code == 302


def test_no_dialect_of_its_own_means_all_of_its_providers(console, deployment):
    page = console.get(change(deployment)).content.decode()
    assert "All of its provider&#x27;s" in page
    assert "The first of its provider" not in page
    assert deployment.effective_dialects == deployment.provider.effective_dialects


def test_it_sets_whether_a_route_hedges(console, deployment):
    route = Route.objects.create(name="smart")
    RouteTarget.objects.create(route=route, deployment=deployment)
    assert console.submit(change(route), hedge="on").status_code == 302
    route.refresh_from_db()
    assert route.hedge


def test_a_deployment_is_switched(console, deployment):
    console.act(DEPLOYMENTS, "disable_selected", deployment)
    deployment.refresh_from_db()
    assert not deployment.is_enabled
    console.confirm(reverse("admin:providers_deployment_enable", args=[deployment.pk]))
    deployment.refresh_from_db()
    assert deployment.is_enabled


def test_a_deployment_shows_what_its_upstream_says_of_its_model(console, deployment):
    page = change(deployment)
    assert "<pre" not in console.get(page).content.decode()
    told = {"capabilities": {"image_input": {"supported": True}}, "display_name": "<Sonnet>"}
    Deployment.objects.update(capabilities=told, capabilities_of=deployment.model, capabilities_at=timezone.now())
    text = console.get(page).content.decode()
    assert "image_input" in text
    assert "&lt;Sonnet&gt;" in text
    console.submit(page, capabilities="{}", told="{}", region="eu")
    deployment.refresh_from_db()
    assert (deployment.capabilities, deployment.region) == (told, "eu")


def test_a_provider_shows_how_many_models_it_lists_and_nobody_can_enter_them(console, provider):
    page = change(provider)
    assert "Models that it lists" in console.get(page).content.decode()
    Provider.objects.update(catalogue=[f"model-{number}" for number in range(417)], catalogue_at=timezone.now())
    text = console.get(page).content.decode()
    assert "417" in text
    assert "model-7" not in text
    console.submit(page, catalogue="mine", catalogue_size="1", name="Renamed")
    provider.refresh_from_db()
    assert (len(provider.catalogue), provider.name) == (417, "Renamed")


# --- Does it work? -------------------------------------------------------------------------------------------

NEW = f"{PROVIDERS}test-connection/"


def test_url(provider: Provider) -> str:
    return change(provider).replace("/change/", "/test-connection/")


test_url.__test__ = False  # type: ignore[attr-defined]


def server(url: str, *, key: str = KEY) -> Provider:
    """A server of one's own, on this machine."""
    made = Provider(slug="sim", adapter="openai_compatible", base_url=url, allow_private_address=True)
    if key:
        made.set_credential(key)
    made.save()
    return made


def asked(console, provider: Provider, **changes: str) -> str:
    """What the page shows when Test connection is pressed, with some fields changed and not saved."""
    response = console.client.post(test_url(provider), {**console.fields(change(provider)), **changes})
    assert response.status_code == 200
    text = response.content.decode()
    assert KEY not in text
    return " ".join(text.split())


def test_a_connection_that_works_says_what_answered(console):
    with running_simulator(key=KEY) as simulator:
        text = asked(console, server(simulator.url))
    assert "Works" in text
    assert f"It lists {len(MODELS)} models." in text
    assert " ms<" in text
    event = AuditEvent.objects.get(action="connection_tested")
    assert (event.actor, event.detail["result"]) == ("alice", "works")


def test_a_model_that_is_named_is_asked(console):
    with running_simulator(key=KEY) as simulator:
        provider = server(simulator.url)
        assert "sim-fast answered." in asked(console, provider, check_model="sim-fast")
        assert "Rejected" in asked(console, provider, check_model="sim-nothing")


def test_it_is_tested_before_it_is_saved(console):
    with running_simulator(key=KEY) as simulator:
        fields = console.fields(f"{PROVIDERS}add/")
        fields |= {"adapter": "openai_compatible", "base_url": simulator.url, "allow_private_address": "on"}
        text = console.client.post(NEW, {**fields, "credential": KEY}).content.decode()
    assert "Works" in text
    assert "not saved yet" in text
    assert KEY not in text
    assert not Provider.objects.exists()


def test_what_is_stored_stays_as_it_is(console):
    with running_simulator(key=KEY) as simulator:
        provider = server(simulator.url)
        assert "refuses our credential (401)" in asked(console, provider, credential="sk-a-wrong-one")
    assert credential_of(provider) == KEY


def test_no_credential_is_another_thing_than_a_wrong_one(console):
    with running_simulator(key=KEY) as simulator:
        assert "It wants a credential (401)." in asked(console, server(simulator.url, key=""))


def test_a_wrong_path_may_be_a_server_without_a_list(console):
    with running_upstream({"error": {"message": "no"}}, status=404) as upstream:
        text = asked(console, server(upstream.url))
    assert "Cannot be probed" in text
    assert "no list of models at this path (404)" in text


@pytest.mark.parametrize(
    ("status", "body", "verdict", "words"),
    [
        (403, {}, "Rejected", "refuses our credential (403)"),
        (429, {}, "Rejected", "rate limit (429)"),
        (302, {}, "Rejected", "sends to another address (302)"),
        (200, b"<html>Welcome</html>", "Rejected", "no list of models"),
        (503, {"error": {"message": f"overloaded, {KEY}"}}, "Unreachable", "failed with status 503"),
    ],
)
def test_it_tells_failures_apart(console, status, body, verdict, words):
    with running_upstream(body, status=status) as upstream:
        text = asked(console, server(upstream.url))
    assert verdict in text
    assert words in text


def test_a_vendors_path_that_is_not_there_is_refused(console):
    with running_upstream({}, status=404) as upstream:
        provider = server(upstream.url)
        text = asked(console, provider, adapter="openai")
    assert "There is nothing at this path (404)." in text


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def test_nobody_at_home_is_not_a_refusal(console):
    text = asked(console, server(f"http://127.0.0.1:{free_port()}"))
    assert "Unreachable" in text
    assert "connection was refused" in text


def test_a_name_that_leads_nowhere(console):
    assert "cannot be resolved (DNS)" in asked(console, server("http://no-such-host.invalid"))


def test_plain_http_is_no_tls(console):
    with running_simulator() as simulator:
        assert "(TLS)" in asked(console, server(simulator.url.replace("http:", "https:")))


def test_a_private_address_is_not_asked_unless_allowed(console):
    with running_simulator() as simulator:
        provider = server(simulator.url)
        fields = console.fields(change(provider))
        del fields["allow_private_address"]  # as a browser leaves out a box that is not ticked
        text = console.client.post(test_url(provider), fields).content.decode()
        assert "Not asked" in text
        assert "private network" in text
        named = {**fields, "base_url": simulator.url.replace("127.0.0.1", "localhost")}
        text = console.client.post(test_url(provider), named).content.decode()
        assert "private network" in text
        assert "Works" not in text
        assert not simulator.requests


def test_only_who_may_change_a_provider_asks_it(console, provider, charlie):
    assert charlie.post(test_url(provider), {}).status_code == 403
    assert charlie.post(NEW, {}).status_code == 403
    assert console.client.get(NEW).status_code == 405


# --- Its models ----------------------------------------------------------------------------------------------


def models_url(provider: Provider) -> str:
    return change(provider).replace("/change/", "/models/")


def token_of(text: str) -> str:
    return re.search(r'name="offered" value="([^"]+)"', text)[1]  # type: ignore[index]


def test_it_lists_what_a_provider_offers(console):
    with running_simulator(key=KEY) as simulator:
        provider = server(simulator.url)
        Deployment.objects.create(slug="fast", provider=provider, model="sim-fast")
        assert "sim-fast" not in console.get(models_url(provider)).content.decode()
        text = console.client.post(models_url(provider)).content.decode()
    assert 'value="sim-slow"' in text
    assert 'value="sim-fast"' not in text  # is here already
    assert ">fast<" in text.replace(" ", "").replace("\n", "")


def test_chosen_models_become_deployments_with_routes(console):
    with running_simulator(key=KEY) as simulator:
        provider = server(simulator.url)
        token = token_of(console.client.post(models_url(provider)).content.decode())
    response = console.client.post(
        models_url(provider), {"offered": token, "model": ["sim-fast", "sim-slow"], "with_routes": "on"}
    )
    assert response.status_code == 302
    assert list(Deployment.objects.values_list("slug", "model")) == [
        ("sim-sim-fast", "sim-fast"),
        ("sim-sim-slow", "sim-slow"),
    ]
    assert list(ModelAlias.objects.values_list("name", "route__targets__deployment__slug")) == [
        ("sim-fast", "sim-sim-fast"),
        ("sim-slow", "sim-sim-slow"),
    ]


def test_sizes_and_prices_are_taken_over(console):
    listed = {
        "data": [
            {
                "id": "openai/gpt-5-mini",
                "context_length": 400_000,
                "top_provider": {"max_completion_tokens": 128_000},
                "architecture": {"input_modalities": ["text", "image"]},
                "supported_parameters": ["tools"],
                "pricing": {"prompt": "0.00000125", "completion": "0.00001"},
            }
        ]
    }
    with running_upstream(listed) as upstream:
        provider = server(upstream.url)
        text = console.client.post(models_url(provider)).content.decode()
    for part in ("400,000", "128,000", "images, tools", "1.25 / 10 USD"):
        assert part in text, part
    console.client.post(
        models_url(provider), {"offered": token_of(text), "model": ["openai/gpt-5-mini"], "with_prices": "on"}
    )
    made = Deployment.objects.get()
    assert (made.context_window, made.max_output_tokens) == (400_000, 128_000)
    assert set(made.prices.values_list("side", flat=True)) == {"sell", "cost"}


def test_a_model_that_was_not_shown_is_not_made(console):
    with running_simulator(key=KEY) as simulator:
        provider = server(simulator.url)
        token = token_of(console.client.post(models_url(provider)).content.decode())
    console.client.post(models_url(provider), {"offered": token, "model": ["made-up"]})
    console.client.post(models_url(provider), {"offered": "forged", "model": ["sim-fast"]})
    assert not Deployment.objects.exists()


def test_a_provider_without_models_says_why(console):
    text = console.client.post(models_url(server(f"http://127.0.0.1:{free_port()}"))).content.decode()
    assert "connection was refused" in text


def test_only_who_may_make_deployments_sees_models(provider, charlie):
    assert charlie.get(models_url(provider)).status_code == 403
    assert charlie.post(models_url(provider)).status_code == 403


# --- What a form knows of its adapter --------------------------------------------------------------------------


def test_the_form_knows_each_adapter(console):
    text = console.get(f"{PROVIDERS}add/").content.decode()
    told = json.loads(html.unescape(re.search(r'data-adapters="([^"]+)"', text)[1]))  # type: ignore[index]
    assert told["anthropic"]["base_url"] == "https://api.anthropic.com"
    assert all(each["documentation"].startswith("https://") for each in told.values() if each["base_url"])


def test_a_long_credential_is_told_apart_by_its_end(console, provider):
    provider.set_credential("sk-long-enough-to-hide-the-rest-1a2b")
    provider.save()
    assert "ends in 1a2b" in console.get(change(provider)).content.decode()
    provider.set_credential("short-1a2b")
    provider.save()
    assert "1a2b" not in console.get(change(provider)).content.decode()


# --- Deployments at hand -----------------------------------------------------------------------------------------


def test_a_deployment_is_probed_by_hand(console, stores):
    with running_simulator(key=KEY) as simulator:
        provider = server(simulator.url)
        good = Deployment.objects.create(slug="good", provider=provider, model="sim-fast")
        bad = Deployment.objects.create(slug="bad", provider=provider, model="sim-nothing")
        console.confirm(change(good).replace("/change/", "/probe/"))
        console.act(DEPLOYMENTS, "probe_selected", good, bad)
    found = dict(Deployment.objects.values_list("slug", "probe_result"))
    assert found == {"good": "ok", "bad": "rejected"}


def test_an_unpriced_model_is_two_clicks_from_its_price(console, deployment):
    text = console.get(DEPLOYMENTS).content.decode()
    link = re.search(r'href="(/admin/providers/modelprice/add/[^"]+)"[^>]*>Price it<', text)[1]  # type: ignore[index]
    form = console.fields(html.unescape(link))
    assert form["deployment"] == str(deployment.pk)
    ModelPrice.objects.create(deployment=deployment, input=1)
    assert "Price it" not in console.get(DEPLOYMENTS).content.decode()


# --- Routes ------------------------------------------------------------------------------------------------


def test_one_page_maps_a_model_name(console, deployment, tenant):
    response = console.submit(
        f"{ROUTES}add/",
        name="smart",
        **{
            "aliases-TOTAL_FORMS": "2",
            "aliases-0-name": "smart",
            "aliases-1-name": "claude-*",
            "aliases-1-tenant": tenant.pk,
            "targets-TOTAL_FORMS": "1",
            "targets-0-deployment": deployment.pk,
            "targets-0-priority": "0",
            "targets-0-weight": "100",
            "targets-0-conditions-region": "eu",
        },
    )
    assert response.status_code == 302
    assert list(ModelAlias.objects.values_list("name", "tenant__slug")) == [("claude-*", "acme"), ("smart", None)]
    assert RouteTarget.objects.get().conditions == {"region": "eu"}


def test_wrong_rows_name_their_fields(console, deployment, errors):
    response = console.submit(
        f"{ROUTES}add/",
        name="smart",
        retries="99",
        **{
            "aliases-TOTAL_FORMS": "1",
            "aliases-0-name": "cl*ude",
            "targets-TOTAL_FORMS": "1",
            "targets-0-deployment": deployment.pk,
            "targets-0-priority": "0",
            "targets-0-weight": "100",
            "targets-0-conditions-end_user_percent": "300",
        },
    )
    assert set(errors(response)) == {"retries", "aliases-0-name", "targets-0-conditions"}
    assert not Route.objects.exists()


def test_a_global_alias_is_not_given_twice(console, errors):
    rows = {"aliases-TOTAL_FORMS": "2", "aliases-0-name": "smart", "aliases-1-name": "smart"}
    response = console.submit(f"{ROUTES}add/", name="smart", **rows)
    assert errors(response)["aliases"] == ["The alias 'smart' is given twice."]
    other = Route.objects.create(name="other")
    ModelAlias.objects.create(name="smart", route=other)
    response = console.submit(f"{ROUTES}add/", name="smart", **rows | {"aliases-TOTAL_FORMS": "1"})
    assert "already exists" in str(errors(response)["aliases-0-__all__"])
