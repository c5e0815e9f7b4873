"""Nothing is changed by a form of another site: every address that takes one wants the token of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tenants.models import ApiKey, Member, User
from tests.gateway_site.admin.crawl import MAKES_SOMEBODY_ELSE, Marked, make_upstream, places

pytestmark = pytest.mark.django_db

REFUSED = {403, 404, 405}


@pytest.fixture
def acme(db: None) -> Marked:
    return Marked("zqx7", 7_310_001).make()


def browser(user: User) -> Client:
    """One that minds forms of other sites, as browsers do; another site has our cookies sent along, and no token."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    return client


def changes(acme: Marked) -> dict[str, list[Any]]:
    return acme.state() | {"users": list(User.objects.order_by("pk").values())}


@pytest.mark.parametrize("who", ["operator", *Member.Role.values])
def test_every_address_wants_the_token_of_our_forms(acme: Marked, who: str) -> None:
    make_upstream()
    user = User.objects.create_superuser("olga") if who == "operator" else acme.users[who]
    client, before, wrong = browser(user), changes(acme), []
    for place in places():
        for address in place.addresses(acme):
            for method in set(place.methods) - {"get"}:
                ask = getattr(client, method)
                response = (
                    ask(address, json.dumps({}), content_type="application/json")
                    if address.startswith("/api/")
                    else ask(address, {"_form_submitted": "True", "_save": "Save", "post": "yes"})
                )
                if response.status_code not in REFUSED:
                    wrong.append((method, address, response.status_code))
    assert not wrong
    assert changes(acme) == before


@pytest.mark.parametrize("address", sorted(MAKES_SOMEBODY_ELSE | {"/admin/login/"}))
def test_nor_does_another_site_sign_anybody_in_or_out(acme: Marked, address: str) -> None:
    client = browser(acme.users["owner"])
    assert client.post(address).status_code == 403
    assert client.get("/admin/tenants/project/").status_code == 200


def test_with_the_token_it_works(acme: Marked) -> None:
    client = browser(acme.users["owner"])
    address = reverse("admin:tenants_apikey_revoke", args=[acme.objects[ApiKey].pk])
    token = str(client.get(address).context["csrf_token"])
    sent = {"_form_submitted": "True", "csrfmiddlewaretoken": token}
    assert client.post(address, sent).status_code == 302
    assert ApiKey.objects.get().revoked_at is not None
