"""Routes as an operator edits them: targets, conditions, and a dry run of what the form says. Charlie sees none."""

from __future__ import annotations

import re
from typing import Any

import pytest
import redis
from django.contrib.auth.models import Permission
from django.urls import reverse

from providers.models import Deployment
from routing.models import ModelAlias, Route, RouteTarget
from routing.services import publish
from tenants.models import User
from tests.gateway_site.admin.browsing import Console, rows
from tests.gateway_site.people import browser
from tests.routing.catalogue import Catalogue, make_catalogue

pytestmark = pytest.mark.django_db(transaction=True)

ROUTES = "/admin/routing/route/"
PROGRESS = "/admin/revision-progress/"


@pytest.fixture
def catalogue(stores: tuple[str, str]) -> Catalogue:
    with redis.Redis.from_url(stores[1]) as client:
        client.flushall()
    return make_catalogue()


def page(route: Route, verb: str = "change") -> str:
    return reverse("admin:routing_route_change", args=[route.pk]).replace("/change/", f"/{verb}/")


def tried(console: Any, route: Route, **changes: Any) -> str:
    """What a dry run of the form shows, with some fields changed and not saved."""
    fields = {**console.fields(page(route)), "try-operation": "chat", "try-size": "", **changes}
    response = console.client.post(page(route, "try"), fields)
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


# --- Who only looks ------------------------------------------------------------------------------------------


def reader() -> Console:
    user = User.objects.create_user("eve", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    return Console(browser(user))


@pytest.mark.parametrize(
    ("strategy", "weights", "shares"),
    [
        ("weighted", (80, 20), ["80%", "20%"]),
        ("weighted", (100, 0), ["100%", "last resort"]),
        ("weighted", (0, 0), ["50%", "50%"]),
        ("weighted", (97, 3), ["97%", "3.0%"]),
        ("cheapest", (80, 20), ["as measured", "as measured"]),
    ],
)
def test_readers_are_told_shares_and_conditions_and_may_not_drag(catalogue, strategy, weights, shares):
    Route.objects.update(strategy=strategy)
    RouteTarget.objects.update(weight=weights[0], conditions={"region": "eu"})
    for slug, tier, weight in (("other", 0, weights[1]), ("last", 1, 100)):
        deployment = Deployment.objects.create(slug=slug, provider=catalogue.provider, model="m")
        RouteTarget.objects.create(route=catalogue.route, deployment=deployment, priority=tier, weight=weight)
    text = reader().get(page(catalogue.route)).content.decode()
    assert re.findall(r'class="target-share">([^<]+)<', text) == [*shares, "100%"]
    assert "region eu" in text
    assert "drag_indicator" not in text
    assert "{}" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


# --- Conditions ----------------------------------------------------------------------------------------------


def test_conditions_are_fields(console, catalogue):
    response = console.submit(
        page(catalogue.route),
        **{
            "targets-0-conditions-needs": ["tools", "images"],
            "targets-0-conditions-region": "eu",
            "targets-0-conditions-tag": "",
            "targets-0-conditions-header": "X-Team: research\nx-tier: gold",
            "targets-0-conditions-end_user_percent": "12.5",
        },
    )
    assert response.status_code == 302
    assert RouteTarget.objects.get().conditions == {
        "needs": ["tools", "images"],
        "region": "eu",
        "header": {"x-team": "research", "x-tier": "gold"},
        "end_user_percent": 12.5,
    }


def test_conditions_stay_when_nothing_is_touched(console, catalogue):
    conditions = {"needs": ["tools"], "region": "eu", "header": {"x-team": "ml"}, "end_user_percent": 5}
    RouteTarget.objects.update(conditions=conditions)
    console.submit(page(catalogue.route), retries="2")
    assert RouteTarget.objects.get().conditions == conditions
    assert "needs tools; region eu; x-team: ml; 5% of callers" in console.get(page(catalogue.route)).content.decode()


@pytest.mark.parametrize(
    ("part", "value", "complaint"),
    [
        ("end_user_percent", "300", "Per cent of callers: give a number from 0 to 100."),
        ("header", "no colon", "Header: 'no colon' is none; write name: value."),
    ],
)
def test_a_complaint_names_the_condition(console, catalogue, errors, part, value, complaint):
    response = console.submit(page(catalogue.route), **{f"targets-0-conditions-{part}": value})
    assert errors(response)["targets-0-conditions"] == [complaint]
    assert value in response.content.decode()


# --- The dry run ---------------------------------------------------------------------------------------------


def test_it_tries_a_route_that_was_never_published(console, catalogue):
    text = tried(console, catalogue.route)
    assert "It would go to openai-large" in text
    assert "as the form says" in text


def test_it_tries_what_is_not_saved(console, catalogue):
    other = Deployment.objects.create(slug="other", provider=catalogue.provider, model="gpt-5-mini")
    publish()
    text = tried(console, catalogue.route, **{"targets-0-deployment": other.pk, "targets-0-weight": "7"})
    assert "It would go to other" in text
    assert RouteTarget.objects.get().deployment == catalogue.deployment


def test_needs_and_headers_count(console, catalogue):
    RouteTarget.objects.update(conditions={"needs": ["tools"], "region": "eu"})
    refused = tried(console, catalogue.route)
    assert "condition" in refused
    assert "Passed over" in refused
    met = tried(console, catalogue.route, **{"try-needs": ["tools"], "try-headers": "x-tollgate-region: eu"})
    assert "region" in met
    Deployment.objects.update(region="eu")
    met = tried(console, catalogue.route, **{"try-needs": ["tools"], "try-headers": "x-tollgate-region: eu"})
    assert "It would go to openai-large" in met


@pytest.mark.parametrize("operation", ["chat", "messages", "responses", "gemini", "gemini_stream"])
@pytest.mark.parametrize("need", ["tools", "thinking", "images", "documents"])
def test_every_endpoint_can_need_it(console, catalogue, operation, need):
    RouteTarget.objects.update(conditions={"needs": [need]})
    text = tried(console, catalogue.route, **{"try-operation": operation, "try-needs": [need]})
    assert "does not meet its condition" not in text


def test_a_wrong_form_is_not_tried(console, catalogue):
    text = tried(console, catalogue.route, **{"targets-0-weight": "-1", "retries": "99"})
    assert "Not tried" in text
    assert "Weight: " in text
    assert "Retries: " in text


def test_a_new_route_is_tried_before_it_is_saved(console, catalogue):
    fields = {
        **console.fields(f"{ROUTES}add/"),
        **rows("targets", {"deployment": catalogue.deployment.pk, "priority": "0", "weight": "100"}),
        "try-operation": "messages",
        "try-size": "100000",
    }
    text = console.client.post(f"{ROUTES}try/", fields).content.decode()
    assert "It would go to openai-large" in text
    assert Route.objects.count() == 1


def test_a_route_is_for_operators(console, catalogue, charlie):
    assert charlie.get(page(catalogue.route)).status_code == 403
    assert charlie.post(page(catalogue.route, "try"), {}).status_code == 403
    assert charlie.post(f"{ROUTES}try/", {}).status_code == 403
    assert charlie.get(PROGRESS).status_code == 403
    assert console.client.get(page(catalogue.route, "try")).status_code == 405


# --- What came of a change -----------------------------------------------------------------------------------


def test_saving_tells_which_revision_it_became(console, catalogue):
    publish()
    response = console.submit(page(catalogue.route), retries="3")
    told = console.get(response["Location"]).content.decode()
    assert f"{PROGRESS.rstrip('/')}" in told
    waiting = console.get(PROGRESS, after="1", look="0").content.decode()
    assert "hx-get" in waiting
    publish()
    text = console.get(PROGRESS, after="1").content.decode()
    assert "Revision 2" in text
    assert "0 of 0 workers" in text


def test_a_draft_says_that_it_waits(console, catalogue, settings):
    publish()
    settings.CONFIG_PUBLISHING = "manual"
    Route.objects.update(retries=4)
    publish()
    assert "waits as a draft" in console.get(PROGRESS, after="1").content.decode()


def test_nothing_that_is_served_has_changed(console, catalogue):
    publish()
    text = console.get(PROGRESS, after="1", look="30").content.decode()
    assert "No new revision" in text
    assert "hx-get" not in text
    assert console.get(PROGRESS, after="x", look="-1").status_code == 200


# --- Aliases -------------------------------------------------------------------------------------------------


def test_an_alias_is_listed_with_its_route(console, catalogue):
    assert ModelAlias.objects.get().name in console.get("/admin/routing/modelalias/").content.decode()
