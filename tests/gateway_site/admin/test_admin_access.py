"""Only operators see the console: charlie is nobody there, and neither is a member of the staff without permissions."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import NoReverseMatch, reverse

from tenants.models import Tenant, User

pytestmark = pytest.mark.django_db

LOGIN = "/admin/login/"


def console_urls() -> list[str]:
    """Every list, every form, every action of the console, found by its registry."""
    reverse("admin:index")
    urls = []
    for model, page in admin.site._registry.items():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        urls += [reverse(f"{name}_changelist"), reverse(f"{name}_add")]
        urls += [reverse(f"{name}_{kind}", args=["1"]) for kind in ("change", "delete")]
        urls += list(_action_urls(page))
    return urls


def _action_urls(page: Any) -> list[str]:
    actions = (*page._get_base_actions_list(), *page._get_base_actions_detail(), *page._get_base_actions_row())
    return [_reverse_action(f"admin:{action.action_name}") for action in actions]


def _reverse_action(name: str) -> str:
    try:
        return reverse(name)
    except NoReverseMatch:
        return reverse(name, args=["1"])


@pytest.fixture
def charlie() -> Client:
    client = Client()
    client.force_login(User.objects.create_user("charlie", password="charlie's long password"))
    return client


@pytest.fixture
def charlie2() -> Client:
    client = Client()
    client.force_login(User.objects.create_user("charlie2", password="charlie's long password", is_staff=True))
    return client


def test_the_crawl_finds_the_console():
    urls = console_urls()
    assert len(urls) > 80
    assert "/admin/tenants/apikey/1/revoke/" in urls
    assert "/admin/routing/configrevision/publish_now/" in urls


@pytest.mark.parametrize("method", ["get", "post"])
def test_charlie_is_sent_to_the_login_everywhere(charlie, method):
    for url in ["/admin/", "/admin/autocomplete/", "/admin/password_change/", *console_urls()]:
        response = getattr(charlie, method)(url)
        assert response.status_code == 302, url
        assert response.url.startswith(LOGIN), url


def test_a_stranger_is_sent_to_the_login(client):
    for url in ["/admin/", *console_urls()]:
        assert client.get(url).url.startswith(LOGIN), url


@pytest.mark.parametrize("method", ["get", "post"])
def test_staff_without_permissions_is_refused_everywhere(charlie2, tenant, method):
    for url in console_urls():
        assert getattr(charlie2, method)(url).status_code == 403, url


def test_staff_without_permissions_reads_no_history(charlie2, tenant):
    assert charlie2.get(reverse("admin:tenants_tenant_history", args=[tenant.pk])).status_code == 403


def test_staff_without_permissions_sees_an_empty_console(charlie2, tenant):
    page = charlie2.get("/admin/").content.decode()
    assert "/admin/tenants/" not in page
    assert "/admin/providers/" not in page
    assert "/admin/routing/" not in page


def test_staff_without_permissions_finds_nothing_in_autocompletes(charlie2, tenant):
    query = {"app_label": "tenants", "model_name": "apikey", "field_name": "tenant"}
    assert charlie2.get("/admin/autocomplete/", query).status_code == 403


def test_an_action_needs_a_form_of_ours(alice, tenant):
    """A link on another site may open a dialog, which changes nothing; a post from there has no CSRF token."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    url = reverse("admin:tenants_tenant_suspend", args=[tenant.pk])
    assert client.get(url).status_code == 200
    assert client.post(url, {"_form_submitted": "True"}).status_code == 403
    assert not Tenant.objects.get().is_suspended


def test_permissions_are_django_s_own(charlie2, tenant):
    staff = User.objects.get(username="charlie2")
    staff.user_permissions.add(Permission.objects.get(codename="view_tenant"))
    assert charlie2.get(reverse("admin:tenants_tenant_changelist")).status_code == 200
    assert charlie2.get(reverse("admin:tenants_tenant_change", args=[tenant.pk])).status_code == 200
    assert charlie2.post(reverse("admin:tenants_tenant_suspend", args=[tenant.pk])).status_code == 403
    assert charlie2.post(reverse("admin:tenants_tenant_change", args=[tenant.pk])).status_code == 403
