"""The dry run, as a page and as an API: for operators. Charlie, a tenant's member, has none at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.contrib.auth.models import Permission
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from providers.models import Deployment
from routing.services import publish
from tenants.models import ApiKey, Member, Tenant, User
from tenants.services import create_key
from tests.routing.catalogue import CREDENTIAL, make_catalogue

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/admin/dry-run/"
API = "/api/v1/dry-run"
DOCS = "/api/docs"

type Post = Callable[..., HttpResponse]


@pytest.fixture
def key(stores: tuple[str, str], tenant: Tenant) -> ApiKey:
    """A key of acme, which may call `smart` of revision 1."""
    with redis.Redis.from_url(stores[1]) as client:
        client.flushall()
    make_catalogue()
    publish()
    return create_key(tenant=tenant, name="ci")[0]


@pytest.fixture
def post(console: Any) -> Post:
    """Ask the API as the console's scripts would."""

    def post(client: Client | None = None, **body: Any) -> HttpResponse:
        return (client or console.client).post(API, json.dumps(body), content_type="application/json")

    return post


def signed_in(name: str, **values: Any) -> Client:
    client = Client()
    client.force_login(User.objects.create_user(name, password="charlie's long password", **values))
    return client


@pytest.fixture
def charlie(key: ApiKey) -> Client:
    client = signed_in("charlie")
    Member.objects.create(tenant=key.tenant, user=User.objects.get(username="charlie"))
    return client


def ask(console: Any, key: ApiKey, /, **values: str) -> str:
    response = console.client.post(PAGE, {"key": key.pk, "operation": "chat", "model": "smart"} | values)
    assert response.status_code == 200
    return response.content.decode()


# --- The page --------------------------------------------------------------------------------------------------


def test_the_page_asks_for_no_secret(console, key):
    text = console.get(PAGE).content.decode()
    assert "its secret is asked of nobody" in text
    assert 'type="password"' not in text


def test_it_shows_where_a_request_would_go(console, key):
    text = ask(console, key)
    for part in (
        "It would go to openai-large",
        "openai-smart",
        "gpt-5 at openai",
        "100%",
        "passed through",
    ):
        assert part in text, part
    assert CREDENTIAL not in text


def test_it_shows_what_the_client_would_be_told(console, key):
    text = ask(console, key, model="no-such")
    for part in ("The client would be refused", "404", "model_not_found", "There is no model"):
        assert part in text, part


def test_it_shows_who_is_passed_over_and_why(console, key):
    Deployment.objects.update(is_enabled=False)
    publish()
    text = ask(console, key)
    assert "Passed over" in text
    assert "switched off" in text


def test_what_was_typed_is_text(console, key):
    text = ask(console, key, model="<script>alert(1)</script>")
    assert "<script>alert(1)</script>" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"key": "999"}, "Select a valid choice"),
        ({"key": ""}, "This field is required"),
        ({"operation": "telepathy"}, "Select a valid choice"),
        ({"headers": "no colon"}, "is not a header"),
        ({"headers": "x-name: ☃"}, "cannot be sent"),
        ({"headers": "x name: 1"}, "not the name of a header"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_by_its_field(console, key, values, complaint):
    text = ask(console, key, **values)
    assert complaint in text
    assert 'id="answer"' not in text


def test_a_body_that_is_no_json_is_answered_as_the_client_would_be(console, key):
    assert "invalid_json" in ask(console, key, body="{nonsense")


def test_it_can_be_opened_with_a_key_and_a_model(console, key):
    text = console.get(PAGE, key=str(key.pk), model="smart").content.decode()
    assert 'value="smart"' in text
    assert f'value="{key.pk}" selected' in text


def test_the_page_is_found_in_the_console(console, key):
    assert f'href="{reverse("dry_run")}"' in console.get("/admin/").content.decode()


# --- The API ---------------------------------------------------------------------------------------------------


def test_the_api_says_the_same(post, key):
    answer = post(key=key.pk, model="smart").json()
    assert (answer["route"], answer["revision"], answer["error"]) == ("openai-smart", 1, None)
    (candidate,) = answer["candidates"]
    assert (candidate["deployment"], candidate["position"], candidate["reason"]) == ("openai-large", 1, None)


def test_the_api_answers_a_refusal_as_an_answer(post, key):
    response = post(key=key.pk, body={"model": "no-such", "messages": []})
    assert response.status_code == 200
    assert response.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "key"),
        ({"key": "tg_a-whole-secret"}, "key"),
        ({"key": 1, "operation": "telepathy"}, "operation"),
        ({"key": 1, "body": "text"}, "body"),
        ({"key": 1, "headers": {"x-name": "☃"}}, "headers"),
        ({"key": 1, "modell": "smart"}, "modell"),
    ],
)
def test_the_api_names_the_field_that_is_wrong(post, key, body, field):
    response = post(**body)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (422, "invalid_request")
    assert field in [each["field"] for each in error["fields"]]
    assert "tg_a-whole-secret" not in response.content.decode()


def test_the_api_knows_no_key_that_is_not_there(post, key):
    response = post(key=key.pk + 1)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


def test_the_api_takes_the_consoles_csrf_token(alice, key):
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    body = json.dumps({"key": key.pk, "model": "smart"})
    refused = client.post(API, body, content_type="application/json")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    client.get(PAGE)
    token = client.cookies["csrftoken"].value
    assert client.post(API, body, content_type="application/json", headers={"x-csrftoken": token}).status_code == 200


def test_the_api_is_documented_for_operators(console, key):
    assert b"openapi.json" in console.get(DOCS).content
    assert "/api/v1/dry-run" in console.get("/api/openapi.json").json()["paths"]
    page = console.get(DOCS).content.decode()
    assert "cdn." not in page


# --- Who may not -----------------------------------------------------------------------------------------------


def test_a_tenants_member_has_no_dry_run_not_even_of_the_own_key(charlie, post, key):
    assert charlie.get(PAGE).status_code == 403
    for url in (DOCS, "/api/openapi.json"):
        assert charlie.get(url).status_code == 200, url  # it has their own objects, too
    assert charlie.post(PAGE, {"key": key.pk, "operation": "chat"}).status_code == 403
    response = post(charlie, key=key.pk, model="smart")
    assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")


def test_a_stranger_has_none(client, post, key):
    assert client.get(PAGE).status_code == 302
    assert post(client, key=key.pk).status_code == 401


def test_staff_needs_the_right_to_view_routes_and_keys(post, key):
    staff = signed_in("charlie2", is_staff=True)
    assert staff.get(PAGE).status_code == 403
    assert post(staff, key=key.pk).status_code == 403
    user = User.objects.get(username="charlie2")
    user.user_permissions.add(Permission.objects.get(codename="view_route"))
    assert staff.get(PAGE).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    assert staff.get(PAGE).status_code == 200
    assert post(staff, key=key.pk, model="smart").status_code == 200
