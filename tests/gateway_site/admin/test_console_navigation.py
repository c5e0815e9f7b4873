"""The sidebar: every entry leads to a page, for everybody who is shown it; a wrong one takes no page along."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import RequestFactory
from structlog.testing import capture_logs

from gateway_site import navigation
from gateway_site.navigation import MEMBERS, OPERATORS, page
from tenants.auditors import GROUP
from tenants.models import Member, Tenant, User
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
    """What somebody finds in the sidebar."""
    request: Any = RequestFactory().get("/admin/")
    request.user, request.session = user, session
    user.standing = find_standing(user, session)
    groups = navigation.navigation(request)
    return [item for group in groups for item in group["items"] if item["permission"](request)]


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
