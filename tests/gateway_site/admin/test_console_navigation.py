"""The sidebar: every entry leads to a page, for everybody who is shown it; a wrong one takes no page along."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client, RequestFactory
from structlog.testing import capture_logs

from gateway_site.console import navigation
from gateway_site.console.navigation import MEMBERS, OPERATORS, page
from tenants.auditors import GROUP
from tenants.models import Member, Project, Tenant, User
from tenants.services import create_key
from tenants.standing import ACTS_AS, find_standing
from tests.gateway_site.people import browser, make_member

pytestmark = pytest.mark.django_db

STANDINGS = ("operator", "auditor", "acting", "owner", "developer", "viewer")


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry whose name nobody knows."""
    first, *others = OPERATORS
    entry = page("Nowhere", "home", "no_such_page")
    monkeypatch.setattr(navigation, "OPERATORS", ({**first, "items": [*first["items"], entry]}, *others))


def person(kind: str, acme: Tenant) -> tuple[User, dict[str, Any]]:
    """Somebody, and what their session says."""
    if kind in Member.Role.values:
        return make_member(acme, kind, kind), {}
    user = User.objects.create_user(kind, is_staff=True, is_superuser=kind != "auditor")
    if kind == "auditor":
        user.groups.add(Group.objects.get(name=GROUP))
    return user, {ACTS_AS: acme.pk} if kind == "acting" else {}


def entries(user: User, session: dict[str, Any]) -> list[dict[str, Any]]:
    """What somebody finds in the sidebar, each with its group."""
    request: Any = RequestFactory().get("/admin/")
    request.user, request.session = user, session
    user.standing = find_standing(user, session)
    groups = navigation.navigation(request)
    found = [{**item, "group": group["title"]} for group in groups for item in group["items"]]
    return [item for item in found if item["permission"](request)]


def test_every_entry_is_known():
    for group in (*OPERATORS, *MEMBERS):
        for item in group["items"]:
            assert str(item["link"]).startswith("/admin/"), item["title"]


@pytest.mark.parametrize("kind", STANDINGS)
def test_everybody_gets_where_their_sidebar_leads(acme: Tenant, kind: str):
    user, session = person(kind, acme)
    client, found = browser(user, **session), entries(user, session)
    assert len(found) > 5
    for item in found:
        response = client.get(str(item["link"]), follow=True)
        assert response.status_code == 200, item["title"]


def way(client: Client, path: str) -> list[str]:
    """The parts of a page's heading."""
    page = client.get(path, follow=True).content.decode()
    return re.findall(r'title="([^"]*)" class="crumb ', page)


@pytest.mark.parametrize("kind", STANDINGS)
def test_a_heading_begins_with_the_sidebar_s_group_and_says_nothing_twice(acme: Tenant, kind: str):
    user, session = person(kind, acme)
    client = browser(user, **session)
    for item in entries(user, session):
        first, *others = way(client, str(item["link"]))
        assert first == (item["group"] or item["title"])
        assert first not in others


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("", ["Home"]),
        ("queue/", ["Upstreams", "Queues"]),
        ("tenants/tenant/", ["Tenants"]),
        ("tenants/apikey/add/", ["Tenants", "API keys", "Add API key"]),
        ("tenants/project/{project}/change/", ["Tenants", "Projects", "bots"]),
        ("tenants/apikey/{key}/rotate/", ["Tenants", "API keys", "New secret for robot"]),
        ("tenants/project/{project}/delete/", ["Tenants", "Projects", "bots", "Delete"]),
        ("providers/modelprice/import/", ["Upstreams", "Prices", "Import prices"]),
        ("providers/modelprice/unpriced/", ["Upstreams", "Prices", "Unpriced models"]),
        ("security/sessions/", ["Security", "Sessions"]),
    ],
)
def test_a_heading_ends_with_the_page_itself(acme: Tenant, path: str, parts: list[str]):
    project = Project.objects.create(tenant=acme, slug="bots")
    key, _ = create_key(tenant=acme, name="robot")
    user, session = person("operator", acme)
    assert way(browser(user, **session), f"/admin/{path.format(key=key.pk, project=project.pk)}") == parts


def test_an_owner_s_settings_are_called_as_in_the_sidebar(acme: Tenant):
    user, session = person("owner", acme)
    assert way(browser(user, **session), f"/admin/tenants/tenant/{acme.pk}/change/") == ["Tenant", "Settings"]


def test_a_wrong_entry_is_left_out_and_complained_about_once(acme: Tenant, wrong: None):
    user, session = person("operator", acme)
    client = browser(user, **session)
    with capture_logs() as logs:
        pages = [client.get("/admin/") for _ in range(2)]
    assert [response.status_code for response in pages] == [200, 200]
    assert "Nowhere" not in pages[0].content.decode()
    assert [each["name"] for each in logs if each["event"] == "navigation_entry_left_out"] == ["no_such_page"]


def test_charlie_finds_no_page_of_the_operators(acme: Tenant):
    charlie = make_member(Tenant.objects.create(slug="charlies"), "charlie")
    titles = {item["title"] for item in entries(charlie, {})}
    assert not titles & {"Tenants", "Providers", "Routes", "Users", "Nodes", "YAML", "Queues"}
