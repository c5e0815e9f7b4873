"""Prices at the console: taken over from a file after a look at them, and found where they are missing."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from providers.admin import price_pages
from providers.models import Deployment, ModelPrice, Provider
from tenants.models import Tenant, UsageDay, User

pytestmark = pytest.mark.django_db

IMPORT = "/admin/providers/modelprice/import/"
UNPRICED = "/admin/providers/modelprice/unpriced/"
ADD = "/admin/providers/modelprice/add/"
LIST = "/admin/providers/deployment/"
PRICES = {"gpt-4o": {"mode": "chat", "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05}}


@pytest.fixture
def gpt() -> Deployment:
    provider = Provider.objects.create(slug="openai", adapter="openai")
    return Deployment.objects.create(slug="gpt", provider=provider, model="gpt-4o")


@pytest.fixture
def charlie() -> Client:
    """Staff that may look at prices, and nothing more."""
    user = User.objects.create_user("charlie", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=["view_modelprice", "view_deployment"]))
    client = Client()
    client.force_login(user)
    return client


def file(content: Any = PRICES) -> SimpleUploadedFile:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return SimpleUploadedFile("prices.json", text, "application/json")


def plan_of(response: Any) -> str:
    found = re.search(r'name="plan" value="([^"]+)"', response.content.decode())
    assert found is not None
    return found[1]


def keys_of(response: Any) -> list[str]:
    return re.findall(r'name="accept" value="([^"]+)"', response.content.decode())


def test_the_list_of_prices_leads_to_both_pages(console):
    page = console.get("/admin/providers/modelprice/").content.decode()
    assert IMPORT in page
    assert UNPRICED in page


def test_a_file_is_shown_as_what_it_would_change_and_changes_nothing(console, gpt):
    response = console.client.post(IMPORT, {"file": file(), "margin": "20"})
    page = response.content.decode()
    assert "input none → 2.5" in page
    assert "output none → 12" in page
    assert keys_of(response) == [f"{gpt.pk}-cost", f"{gpt.pk}-sell"]
    assert not ModelPrice.objects.exists()


def test_only_what_is_accepted_is_applied(console, gpt):
    response = console.client.post(IMPORT, {"file": file(), "margin": "20"})
    done = console.client.post(IMPORT, {"plan": plan_of(response), "accept": [f"{gpt.pk}-sell"]}, follow=True)
    price = ModelPrice.objects.get()
    assert (price.side, price.input, price.output) == ("sell", 3, 12)
    assert price.effective_from <= timezone.now()
    assert "1 prices are in force from now on." in done.content.decode()


def test_prices_that_come_with_tollgate_need_no_file(console, gpt):
    response = console.client.post(IMPORT, {"seed": "on"})
    console.client.post(IMPORT, {"plan": plan_of(response), "accept": keys_of(response)})
    assert {price.side: price.input for price in ModelPrice.objects.all()} == {
        "cost": Decimal("2.5"),
        "sell": Decimal("2.5"),
    }


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "The file is not JSON"),
        (b"\xff", "This is not UTF-8 text"),
        ({"gpt-4o": {"input_cost_per_token": -1}}, "input_cost_per_token: -1 is negative."),
        ({"gpt-4o": {"input_cost_per_token": "free"}, "x": 5}, "x: must be a mapping"),
    ],
)
def test_a_malformed_file_is_refused_at_its_field(console, gpt, data: Any, said: str):
    response = console.client.post(IMPORT, {"file": file(data)})
    assert any(said in error for error in response.context["form"].errors["file"])
    assert response.context["plan"] is None


def test_a_file_or_the_prices_that_come_along_and_not_both(console, gpt):
    for data in ({}, {"file": file(), "seed": "on"}):
        assert "file" in console.client.post(IMPORT, data).context["form"].errors
    assert "margin" in console.client.post(IMPORT, {"seed": "on", "margin": "-5"}).context["form"].errors


def test_a_file_that_is_too_large_is_not_read(console, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(price_pages.ImportForm.base_fields["file"], "most_bytes", 2)
    response = console.client.post(IMPORT, {"file": file()})
    assert "larger" in response.context["form"].errors["file"][0]


def test_a_preview_that_was_made_up_or_is_too_old_changes_nothing(console, gpt, monkeypatch: pytest.MonkeyPatch):
    plan = plan_of(console.client.post(IMPORT, {"file": file()}))
    accept = [f"{gpt.pk}-sell"]
    for forged in ("", "x", plan[:-2] + "xx"):
        console.client.post(IMPORT, {"plan": forged, "accept": accept})
    monkeypatch.setattr(price_pages, "PREVIEW_SECONDS", -1)
    response = console.client.post(IMPORT, {"plan": plan, "accept": accept}, follow=True)
    assert "too old" in response.content.decode()
    assert not ModelPrice.objects.exists()


def test_what_was_changed_since_the_preview_is_not_overwritten(console, gpt):
    response = console.client.post(IMPORT, {"file": file()})
    ModelPrice.objects.create(deployment=gpt, input=7, effective_from=timezone.now() - timedelta(seconds=1))
    data = {"plan": plan_of(response), "accept": keys_of(response)}
    response = console.client.post(IMPORT, data, follow=True)
    assert "have changed since the preview" in response.content.decode()
    assert ModelPrice.objects.count() == 1


def test_charlie_may_look_and_import_nothing(charlie, gpt):
    assert charlie.get("/admin/providers/modelprice/").status_code == 200
    for data in ({"file": file()}, {"plan": "x", "accept": ["1-sell"]}):
        assert charlie.post(IMPORT, data).status_code == 403
    assert charlie.get(IMPORT).status_code == 403
    assert charlie.get(reverse("admin:providers_deployment_price_this_model", args=[gpt.pk])).status_code == 403


def test_an_import_needs_a_form_of_ours(alice, gpt):
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    assert client.post(IMPORT, {"seed": "on"}).status_code == 403


# --- Unpriced ------------------------------------------------------------------------------------------------


def served(tenant: Tenant, deployment: str, **fields: Any) -> UsageDay:
    defaults = {
        "starts_at": timezone.now().replace(hour=0, minute=0, second=0, microsecond=0),
        "tenant": tenant,
        "api_key_id": 1,
        "alias": "smart",
        "provider": "openai",
        "deployment": deployment,
        "outcome": "served",
        "cost_status": "unpriced",
        "requests": 1234,
    }
    return UsageDay.objects.create(**{**defaults, **fields})


def test_deployments_without_a_price_can_be_listed(console, gpt):
    other = Deployment.objects.create(slug="priced", provider=gpt.provider, model="m")
    later = Deployment.objects.create(slug="later", provider=gpt.provider, model="m")
    now = timezone.now()
    ModelPrice.objects.create(deployment=other, input=1, effective_from=now)
    ModelPrice.objects.create(deployment=later, input=1, effective_from=now + timedelta(days=1))
    ModelPrice.objects.create(deployment=gpt, input=1, side="cost", effective_from=now)

    def listed(value: str) -> set[str]:
        return {row.slug for row in console.get(LIST, price=value).context["cl"].result_list}

    assert listed("unpriced") == {"gpt", "later"}
    assert listed("priced") == {"priced"}
    assert listed("nonsense") == {"gpt", "later", "priced"}


def test_price_this_model_leads_to_the_form_with_the_deployment_chosen(console, gpt):
    url = reverse("admin:providers_deployment_price_this_model", args=[gpt.pk])
    response = console.client.get(url)
    assert response.url == f"{ADD}?deployment={gpt.pk}"
    assert console.fields(ADD, deployment=str(gpt.pk))["deployment"] == str(gpt.pk)


def test_what_was_served_without_a_price_is_listed_with_the_way_to_price_it(console, tenant, gpt):
    served(tenant, "gpt")
    served(tenant, "openai/new-model", requests=5)
    served(tenant, "exactly-billed", cost_status="exact")
    served(tenant, "long-ago", starts_at=timezone.now() - timedelta(days=60))
    page = console.get(UNPRICED).content.decode()
    assert f"{ADD}?deployment={gpt.pk}" in page
    assert "1,234" in page
    assert "openai/new-model" in page
    assert "exactly-billed" not in page
    assert "long-ago" not in page


def test_what_has_a_price_by_now_says_so(console, tenant, gpt):
    served(tenant, "gpt")
    ModelPrice.objects.create(deployment=gpt, input=1)
    page = console.get(UNPRICED).content.decode()
    assert "Has a price now" in page
    assert f"{ADD}?deployment={gpt.pk}" not in page


def test_nothing_unpriced_says_that(console):
    assert "Everything that was served had a price." in console.get(UNPRICED).content.decode()


# --- The form ------------------------------------------------------------------------------------------------


def test_every_unit_and_multiplier_can_be_entered(console, gpt):
    console.submit(
        ADD,
        deployment=str(gpt.pk),
        side="sell",
        currency="EUR",
        per="1000000",
        input="1",
        character="15",
        second="0.0001",
        image="0.04",
        multipliers='{"batch": 0.5}',
        tiers='[{"above": 1000, "input": 6.5}]',
    )
    price = ModelPrice.objects.get()
    assert (price.character, price.second, price.image) == (15, Decimal("0.0001"), Decimal("0.04"))
    assert (price.multipliers, price.tiers) == ({"batch": "0.5"}, [{"above": 1000, "input": "6.5"}])


def test_who_bills_unpriced_models_at_a_floor_is_asked_for_it(console, errors):
    values = {"slug": "acme", "name": "Acme", "unpriced_policy": "floor", "floor_currency": "EUR"}
    refused = console.submit("/admin/tenants/tenant/add/", **values)
    assert set(errors(refused)) == {"floor_input", "floor_output"}
    refused = console.submit("/admin/tenants/tenant/add/", **{**values, "floor_currency": "DM"})
    assert "floor_currency" in errors(refused)
    console.submit("/admin/tenants/tenant/add/", **values, floor_input="3", floor_output="9.5")
    assert Tenant.objects.get(slug="acme").floor_output == Decimal("9.5")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input", "-1"),
        ("input", "NaN"),
        ("second", "Infinity"),
        ("currency", "ABC"),
        ("tiers", '[{"above": 1, "input": "Infinity"}]'),
        ("multipliers", '{"batch": -1}'),
        ("effective_from", "2026-01-01"),
    ],
)
def test_a_price_that_cannot_be_is_refused_at_its_field(console, gpt, errors, field: str, value: str):
    moment = timezone.make_aware(timezone.datetime(2026, 1, 1))
    ModelPrice.objects.create(deployment=gpt, input=1, effective_from=moment)
    values = {"deployment": str(gpt.pk), "side": "sell", "currency": "USD", "per": "1", "input": "1"}
    if field == "effective_from":
        values |= {"effective_from_0": value, "effective_from_1": "00:00:00"}
    else:
        values[field] = value
    assert set(errors(console.submit(ADD, **values))) == {field}
