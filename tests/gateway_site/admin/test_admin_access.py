"""Who sees what of the console: operators, auditors, members, operators in an owner's place; charlie sees nothing."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.urls import NoReverseMatch, reverse

from gateway_site.infra.admin import Admin
from tenants.auditors import GROUP
from tenants.models import ApiKey, AuditEvent, Member, Project, Tenant, User
from tests.gateway_site.admin.browsing import Console, member_console, rows
from tests.gateway_site.people import browser

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


def test_there_are_our_own_pages_only():
    """Those of libraries know nothing of standing."""
    reverse("admin:index")
    assert all(isinstance(page, Admin) for page in admin.site._registry.values())


def test_the_crawl_finds_the_console():
    urls = console_urls()
    assert len(urls) > 80
    assert "/admin/tenants/apikey/1/revoke/" in urls
    assert "/admin/routing/configrevision/publish_now/" in urls


@pytest.mark.parametrize("method", ["get", "post"])
def test_charlie_is_sent_to_the_login_everywhere(charlie, method):
    for url in ["/admin/", "/admin/autocomplete/", *console_urls()]:
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


# --- Members -----------------------------------------------------------------------------------------------


def signed_in(user: User) -> Console:
    return Console(browser(user))


@pytest.fixture
def member(tenant: Tenant) -> Any:
    """Signs in somebody with a role in Acme."""

    def make(role: str) -> Console:
        return member_console(tenant, f"acme-{role}", role)

    return make


@pytest.fixture
def globex(db: None) -> Tenant:
    return Tenant.objects.create(slug="globex", name="Globex")


def page_of(item: Any) -> str:
    return reverse(f"admin:tenants_{item._meta.model_name}_change", args=[item.pk])


def test_a_developer_makes_a_key_of_their_own_tenant_whatever_the_form_says(member, tenant, globex):
    developer = member("developer")
    fields = developer.fields("/admin/tenants/apikey/add/", tenant=f"{globex.pk}")
    assert not {"tenant", "priority", "may_trace"} & {*fields}
    forged = {"tenant": f"{globex.pk}", "priority": "high", "may_trace": "on", "name": "ci"}
    assert developer.submit("/admin/tenants/apikey/add/", **forged).status_code == 200
    key = ApiKey.objects.get()
    assert (key.tenant, key.priority, key.may_trace, key.created_by.username) == (
        tenant,
        "normal",
        False,
        "acme-developer",
    )


def test_a_developer_s_key_has_a_name_of_its_own_and_a_project_of_theirs(member, tenant, globex, errors):
    developer = member("developer")
    own, foreign = (Project.objects.create(tenant=each, slug="web") for each in (tenant, globex))
    developer.submit("/admin/tenants/apikey/add/", name="ci", project=f"{own.pk}")
    refused = developer.submit("/admin/tenants/apikey/add/", name="other", project=f"{foreign.pk}")
    assert list(errors(refused)) == ["project"]
    twice = developer.submit("/admin/tenants/apikey/add/", name="ci")
    assert list(errors(twice)) == ["__all__"]
    assert ApiKey.objects.get().project == own


def test_a_developer_revokes_a_key_and_a_viewer_only_looks(member, tenant):
    developer, viewer = member("developer"), member("viewer")
    developer.submit("/admin/tenants/apikey/add/", name="ci")
    key = ApiKey.objects.get()
    revoke = reverse("admin:tenants_apikey_revoke", args=[key.pk])
    assert viewer.get(page_of(key)).status_code == 200
    for answer in (
        viewer.get("/admin/tenants/apikey/add/"),
        viewer.client.post(page_of(key), {"name": "mine"}),
        viewer.client.post(revoke, {"_form_submitted": "True"}),
    ):
        assert answer.status_code == 403
    developer.confirm(revoke)
    key.refresh_from_db()
    assert key.revoked_at is not None


def test_an_owner_changes_what_is_theirs_and_nothing_that_the_operator_decides(member, tenant):
    owner = member("owner")
    forged = {"slug": "mine", "allowed_models": "gpt-*", "translation_policy": "never", "allows_catalogue": "on"}
    forged |= {"without_valkey": "refuse", "unpriced_policy": "floor", "floor_input": "0", "floor_output": "0"}
    chosen = {"name": "Acme Inc", "timezone": "Europe/Berlin", "alert_emails": "ops@acme.example"}
    before = Tenant.objects.get()
    fields = owner.fields(page_of(tenant))
    assert not {*forged} & {*fields}
    assert owner.submit(page_of(tenant), **forged, **chosen).status_code == 302
    after = Tenant.objects.get()
    assert (after.name, after.timezone, after.alert_emails) == ("Acme Inc", "Europe/Berlin", ["ops@acme.example"])
    for name in forged:
        assert getattr(after, name) == getattr(before, name), name


def test_an_owner_neither_suspends_nor_resumes_nor_deletes_their_tenant(member, tenant):
    owner = member("owner")
    tenant.suspend("The bill is not paid")
    for action in ("suspend", "resume", "act_as_owner"):
        url = reverse(f"admin:tenants_tenant_{action}", args=[tenant.pk])
        assert owner.client.post(url, {"_form_submitted": "True"}).status_code == 403, action
    assert owner.client.post(f"/admin/tenants/tenant/{tenant.pk}/delete/", {"post": "yes"}).status_code == 403
    owner.act("/admin/tenants/tenant/", "resume_selected", tenant)
    assert Tenant.objects.get().suspended_reason == "The bill is not paid"


def test_members_of_a_suspended_tenant_are_told_why(member, tenant):
    tenant.suspend("The bill is not paid")
    text = member("viewer").get("/admin/tenants/apikey/").content.decode()
    assert "is suspended" in text
    assert "The bill is not paid" in text


def test_a_tenant_keeps_an_owner(member, tenant, errors):
    owner, developer = member("owner"), member("developer")
    own, other = (Member.objects.get(user__username=f"acme-{role}") for role in ("owner", "developer"))
    assert "role" in errors(owner.submit(page_of(own), role="viewer"))
    assert owner.client.post(f"/admin/tenants/member/{own.pk}/delete/", {"post": "yes"}).status_code == 403
    assert owner.submit(page_of(other), role="owner").status_code == 302
    owner.client.post(
        "/admin/tenants/member/",
        {"action": "delete_selected", "_selected_action": [own.pk, other.pk], "post": "yes"},
    )
    assert Member.objects.count() == 2
    assert owner.submit(page_of(own), role="viewer").status_code == 302
    assert developer.client.post(f"/admin/tenants/member/{own.pk}/delete/", {"post": "yes"}).status_code == 302
    assert Member.objects.get() == other


def test_an_owner_picks_no_member_from_the_users_that_there_are(member, tenant, charlie):
    owner, stranger = member("owner"), User.objects.get(username="charlie")
    assert owner.get("/admin/tenants/member/add/").status_code == 403
    own = Member.objects.get()
    owner.submit(page_of(own), user=f"{stranger.pk}", role="owner")
    owner.submit(page_of(tenant), **rows("members", {"user": f"{stranger.pk}", "role": "owner"}))
    assert Member.objects.get().user.username == "acme-owner"
    query = {"app_label": "tenants", "model_name": "member", "field_name": "user"}
    assert owner.client.get("/admin/autocomplete/", query).status_code == 403


@pytest.mark.parametrize("role", ["owner", "developer", "viewer"])
def test_members_find_their_own_pages_and_no_operator_s(member, role):
    someone = member(role)
    text = someone.get("/admin/").content.decode()
    for link in ("/admin/tenants/apikey/", "/admin/usage", "/admin/tenants/budget/", "/admin/connect"):
        assert f'href="{link}"' in text, link
    for link in (
        "/admin/providers/",
        "/admin/routing/route/",
        "/admin/queue",
        "/admin/dry-run",
        "/admin/tenants/user/",
    ):
        assert f'href="{link}' not in text, link
    assert someone.get("/admin/usage").status_code == 200
    for page in ("/admin/queue", "/admin/dry-run", "/admin/auth/group/", "/admin/tenants/user/"):
        assert someone.get(page).status_code == 403, page


def test_a_member_of_two_tenants_changes_from_one_to_the_other(member, tenant, globex):
    developer = member("developer")
    user = User.objects.get(username="acme-developer")
    assert "/admin/tenant/" not in developer.get("/admin/").content.decode()
    Member.objects.create(tenant=globex, user=user, role="viewer")
    Project.objects.create(tenant=globex, slug="theirs")
    projects = "/admin/tenants/project/"
    assert "theirs" not in developer.get(projects).content.decode()
    assert "Globex" in developer.get("/admin/").content.decode()
    assert developer.client.get("/admin/tenant/").status_code == 405
    developer.client.post("/admin/tenant/", {"tenant": f"{globex.pk}"})
    assert "theirs" in developer.get(projects).content.decode()
    assert developer.get("/admin/tenants/apikey/add/").status_code == 403


def test_nobody_changes_to_a_tenant_that_is_not_theirs(member, tenant, globex):
    owner = member("owner")
    for forged in (f"{globex.pk}", "x", "", f"{tenant.pk} or true"):
        owner.client.post("/admin/tenant/", {"tenant": forged})
        assert "Globex" not in owner.get("/admin/").content.decode()


# --- In an owner's place -----------------------------------------------------------------------------------


def test_an_operator_acts_as_an_owner_and_stops(console, alice, tenant, globex):
    Project.objects.create(tenant=globex, slug="theirs")
    console.confirm(reverse("admin:tenants_tenant_act_as_owner", args=[tenant.pk]))
    home = console.get("/admin/").content.decode()
    assert "You act as owner of <strong>Acme</strong>" in home
    assert "/admin/providers/" not in home
    assert console.get("/admin/providers/provider/").status_code == 403
    assert console.get(page_of(globex)).status_code == 302
    assert "theirs" not in console.get("/admin/tenants/project/").content.decode()
    console.submit("/admin/tenants/project/add/", name="web", slug="web")
    assert Project.objects.get(slug="web").tenant == tenant
    stopped = console.client.post("/admin/acting/stop/", follow=True)
    assert "You act as owner" not in stopped.content.decode()
    assert console.get(page_of(globex)).status_code == 200
    events = AuditEvent.objects.filter(tenant=tenant, actor="alice").order_by("pk")
    assert [each.action for each in events if "act" in each.action] == ["acted_as_owner", "stopped_acting"]
    made = AuditEvent.objects.get(object_type="tenants.project", action="created", tenant=tenant)
    assert (made.actor, made.acting_for) == ("alice", tenant)


def test_acting_begins_and_ends_with_a_form_of_ours(console, alice, tenant):
    url = reverse("admin:tenants_tenant_act_as_owner", args=[tenant.pk])
    assert console.get(url).status_code == 200
    assert "You act as owner" not in console.get("/admin/").content.decode()
    stranger = Client(enforce_csrf_checks=True)
    stranger.force_login(alice)
    assert stranger.post(url, {"_form_submitted": "True"}).status_code == 403
    assert console.client.get("/admin/acting/stop/").status_code == 405


def test_signing_out_ends_acting(console, alice, tenant):
    console.confirm(reverse("admin:tenants_tenant_act_as_owner", args=[tenant.pk]))
    console.client.logout()
    console.client.force_login(alice)
    assert "You act as owner" not in console.get("/admin/").content.decode()


def test_auditors_look_at_everything_and_act_for_nobody(tenant):
    user = User.objects.create_user("eve", is_staff=True)
    user.groups.add(Group.objects.get(name=GROUP))
    auditor = signed_in(user)
    for page in ("tenants/tenant", "providers/provider", "routing/route", "tenants/user", "tenants/auditevent"):
        assert auditor.get(f"/admin/{page}/").status_code == 200, page
        assert auditor.get(f"/admin/{page}/add/").status_code == 403, page
    assert "Act as owner" not in auditor.get(page_of(tenant)).content.decode()
    for action in ("act_as_owner", "suspend"):
        url = reverse(f"admin:tenants_tenant_{action}", args=[tenant.pk])
        assert auditor.client.post(url, {"_form_submitted": "True"}).status_code == 403
    assert not Tenant.objects.get().is_suspended
