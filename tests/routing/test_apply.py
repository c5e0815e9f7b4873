"""Bringing the database to what a file declares: all of it or nothing; and, where that is asked for, away with the rest."""

from pathlib import Path

import pytest
from django.utils import timezone

from providers.models import Deployment, Provider
from routing.models import ModelAlias, Route
from tenants.models import ApiKey, Project, Tenant, UsageDay
from tests.routing.declaring import CATALOGUE, TENANTS, changes, declare, refusals

pytestmark = pytest.mark.django_db

EXAMPLE = Path(__file__).parents[2] / "gateway.example.yaml"


def use(key: ApiKey) -> None:
    """Note in the ledger that a key was used."""
    UsageDay.objects.create(
        starts_at=timezone.now(),
        tenant=key.tenant,
        api_key=key,
        alias="smart",
        outcome="served",
        cost_status="exact",
    )


# --- The whole ---------------------------------------------------------------------------------------------


def test_it_creates_all_that_is_named_and_finds_nothing_to_change_the_second_time():
    text = EXAMPLE.read_text()
    assert "+ provider openai" in changes(text)
    assert Provider.objects.count() == 3
    assert Deployment.objects.count() == 4
    assert Route.objects.count() == 3
    assert ModelAlias.objects.count() == 5
    assert ApiKey.objects.count() == 2
    assert changes(text) == []


def test_a_dry_run_tells_the_same_and_writes_nothing():
    told = changes(CATALOGUE + TENANTS, dry_run=True)
    assert not Provider.objects.exists()
    assert not Tenant.objects.exists()
    assert told == changes(CATALOGUE + TENANTS)


def test_one_error_refuses_the_whole_file():
    assert refusals(CATALOGUE + "  - {alias: other, targets: [{deployment: nothing}]}\n") == [
        'f:8: routes[1].targets[0].deployment: there is no deployment "nothing"'
    ]
    assert not Provider.objects.exists()


def test_it_tells_what_the_models_refuse_where_it_stands_in_the_file():
    text = """\
    providers:
      - slug: inside
        adapter: openai_compatible
        base_url: http://10.0.0.1/v1
      - {slug: nowhere, adapter: openai_compatible}
    deployments:
      - slug: mini
        provider: openai
        model: m
        dialect: gemini
        prices:
          input: 0.00000000001
    """
    declare(CATALOGUE)
    assert refusals(text) == [
        "f:4: providers[0].base_url: This address is in a private network; set 'allow_private_address' to use it.",
        "f:5: providers[1].base_url: This adapter has no address of its own; give one.",
        "f:10: deployments[0].dialect: Provider 'openai' speaks openai_chat, openai_responses.",
    ]


def test_it_places_what_is_wrong_with_a_price():
    text = CATALOGUE.replace("input: 0.25", "input: 0.00000000001")
    assert refusals(text) == ["f:4: deployments[0].prices.input: Ensure that there are no more than 10 decimal places."]


def test_it_lists_problems_of_every_sort_together():
    text = """\
    providers:
      - {slug: a, adapter: nothing}
      - {slug: b, adapter: openai_compatible}
    deployments:
      - {slug: c, provider: d, model: m}
      - {slug: c, provider: a, model: m}
    """
    assert [line.split(":")[1] for line in refusals(text)] == ["2", "3", "5", "6"]


def test_it_leaves_alone_what_is_not_named():
    declare(CATALOGUE + TENANTS)
    assert changes("providers: [{slug: groq, adapter: groq}]") == ["+ provider groq"]
    assert Provider.objects.count() == 2
    assert ApiKey.objects.count() == 2


# --- Pruning -----------------------------------------------------------------------------------------------


def test_pruning_deletes_what_is_not_named():
    declare(CATALOGUE + TENANTS)
    declare("providers: [{slug: groq, adapter: groq}]")
    text = CATALOGUE + "tenants: [{slug: charlie, api_keys: [{name: production}]}]"
    assert changes(text, prune_unnamed=True) == [
        "- provider groq",
        "- API key alice/production",
        "- project alice/chatbot",
        "- tenant alice",
    ]
    assert ApiKey.objects.get().tenant.slug == "charlie"
    assert changes(text, prune_unnamed=True) == []


def test_pruning_goes_in_the_order_of_dependencies():
    declare(CATALOGUE + TENANTS)
    assert changes("tenants: []", prune_unnamed=True) == [
        "- alias smart",
        "- route smart",
        "- deployment large",
        "- deployment mini",
        "- provider openai",
        "- API key alice/production",
        "- API key charlie/production",
        "- project alice/chatbot",
        "- tenant alice",
        "- tenant charlie",
    ]


def test_pruning_keeps_what_the_ledger_names():
    declare(TENANTS)
    use(ApiKey.objects.get(tenant__slug="alice"))
    assert changes("tenants: []", prune_unnamed=True) == [
        "~ API key alice/production: revoked; it has been used",
        "- API key charlie/production",
        "~ tenant alice: suspended; it has usage",
        "- tenant charlie",
    ]
    assert Project.objects.get().slug == "chatbot"
    assert changes("tenants: []", prune_unnamed=True) == []


def test_pruning_refuses_a_file_that_needs_what_it_would_delete():
    declare(CATALOGUE)
    text = "routes: [{alias: smart, targets: [{deployment: mini}]}]"
    assert refusals(text, prune_unnamed=True) == ['f:1: routes[0].targets[0].deployment: there is no deployment "mini"']
    assert changes(text) == ["- target smart → large"]
