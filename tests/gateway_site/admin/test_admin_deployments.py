"""Deployments and their prices as an operator enters them, and how model names lead to them."""

from __future__ import annotations

import html
import re
from decimal import Decimal

from django.urls import reverse
from django.utils import timezone

from providers.models import Deployment, ModelPrice, Provider
from routing.models import ModelAlias, Route, RouteTarget
from tests.gateway_site.admin.browsing import change, rows
from tests.gateway_site.admin.upstreams import DEPLOYMENTS, KEY, ROUTES, running_simulator, server

# --- Deployments and prices --------------------------------------------------------------------------------


def test_it_makes_a_deployment_with_a_price(console, provider):
    response = console.submit(
        f"{DEPLOYMENTS}add/",
        provider=provider.pk,
        slug="gpt",
        model="gpt-5-mini",
        tags="gdpr, prod\ncheap",
        **rows(
            "prices",
            {
                "side": "sell",
                "effective_from_0": "2026-01-01",
                "effective_from_1": "00:00:00",
                "currency": "USD",
                "per": "1000000",
                "input": "0.25",
                "output": "2",
                "tiers": '[{"above": 200000, "input": "0.5"}]',
            },
        ),
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
        **rows(
            "prices",
            {
                "side": "sell",
                "currency": "dollars",
                "per": "1000000",
                "effective_from_0": "2026-01-01",
                "effective_from_1": "00:00:00",
            },
        ),
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
        **rows("aliases", {"name": "smart"}, {"name": "claude-*", "tenant": tenant.pk}),
        **rows(
            "targets",
            {"deployment": deployment.pk, "priority": "0", "weight": "100", "conditions-region": "eu"},
        ),
    )
    assert response.status_code == 302
    assert list(ModelAlias.objects.values_list("name", "tenant__slug")) == [("claude-*", "acme"), ("smart", None)]
    assert RouteTarget.objects.get().conditions == {"region": "eu"}


def test_wrong_rows_name_their_fields(console, deployment, errors):
    response = console.submit(
        f"{ROUTES}add/",
        name="smart",
        retries="99",
        **rows("aliases", {"name": "cl*ude"}),
        **rows(
            "targets",
            {"deployment": deployment.pk, "priority": "0", "weight": "100", "conditions-end_user_percent": "300"},
        ),
    )
    assert set(errors(response)) == {"retries", "aliases-0-name", "targets-0-conditions"}
    assert not Route.objects.exists()


def test_a_global_alias_is_not_given_twice(console, errors):
    twice = rows("aliases", {"name": "smart"}, {"name": "smart"})
    response = console.submit(f"{ROUTES}add/", name="smart", **twice)
    assert errors(response)["aliases"] == ["The alias 'smart' is given twice."]
    other = Route.objects.create(name="other")
    ModelAlias.objects.create(name="smart", route=other)
    response = console.submit(f"{ROUTES}add/", name="smart", **rows("aliases", {"name": "smart"}))
    assert "already exists" in str(errors(response)["aliases-0-__all__"])


def test_charlie_sees_no_deployment(charlie, deployment):
    for url in (DEPLOYMENTS, f"{DEPLOYMENTS}add/", change(deployment)):
        assert charlie.get(url).status_code in {302, 403, 404}, url
    charlie.post(DEPLOYMENTS, {"action": "probe_selected", "_selected_action": [deployment.pk]})
    deployment.refresh_from_db()
    assert deployment.probe_result == ""
