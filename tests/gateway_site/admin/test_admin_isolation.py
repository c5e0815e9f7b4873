"""Charlie, of another tenant, asks everything at every address of the console and of its API, and finds nothing of Acme's.

The addresses come from the registry and the resolver, and the objects from the models: what is added is asked for, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.utils import flatten_fieldsets
from django.contrib.auth.models import Permission
from django.test import RequestFactory
from django.urls import reverse

from routing.websocket_urls import websocket_urlpatterns
from tenants.admin.scope import ScopedMixin
from tenants.models import Tenant, User
from tenants.roles import PERMISSIONS
from tenants.standing import ACTS_AS, find_standing
from tests.gateway_site.admin.browsing import form_of
from tests.gateway_site.admin.crawl import (
    Marked,
    Visitor,
    autocompletes,
    is_refused,
    make_upstream,
    owned_models,
    places,
)

pytestmark = pytest.mark.django_db

ACME, CHARLIES = "zqx7", "cxw5"
ACME_S_NUMBERS = re.compile(r"""(/|value="|id"?[:=] ?"?)73100\d\d""")
OPERATORS_ONLY = ("zqx9", "0.00731073")  # upstreams, workers, what the operator pays
SHOWN_ELSEWHERE = {"tenants.RequestBody", "tenants.CreditTopUp"}  # on the pages of its record, of its budget
VISITORS = ("owner", "developer", "viewer", "acting")


@pytest.fixture
def acme(db: None) -> Marked:
    return Marked(ACME, 7_310_001).make()


@pytest.fixture
def charlies(db: None) -> Marked:
    return Marked(CHARLIES, 5_520_001).make()


@pytest.fixture(params=VISITORS)
def charlie(request: pytest.FixtureRequest, charlies: Marked) -> Visitor:
    """A member of the other tenant, in each of the roles; and an operator in the place of its owner."""
    return visitor(request.param, charlies)


def visitor(kind: str, marked: Marked) -> Visitor:
    if kind != "acting":
        return Visitor(marked.users[kind])
    operator = User.objects.create_superuser("operator", "operator@example.com", first_name="Olga")
    return Visitor(operator, **{ACTS_AS: marked.tenant.pk})


def leaks(text: str, sent: object = "") -> list[str]:
    """What an answer has of Acme that the question had not."""
    found = [ACME] if ACME in text and ACME not in str(sent) else []
    return found + [match[0] for match in ACME_S_NUMBERS.finditer(text) if match[0][-7:] not in str(sent)]


def forged(marked: Marked) -> dict[str, Any]:
    """Values for any form, with somebody's objects wherever one may be named."""
    named = {
        each.name: marked.objects[each.related_model].pk
        for model in owned_models()
        for each in model._meta.concrete_fields
        if each.related_model in marked.objects
    }
    words = dict.fromkeys(("name", "slug", "reason", "note", "model", "end_user"), "x")
    times = {"until_0": "2031-01-01", "until_1": "00:00:00"}
    marks = {"_form_submitted": "True", "_save": "Save", "post": "yes", "amount": "1", "role": "owner"}
    return words | times | marks | {"email": "x@example.com"} | named | {"user": marked.users["owner"].pk}


def own_form(someone: Visitor, address: str) -> dict[str, Any]:
    """What a browser would send from a page of their own."""
    sent = form_of(someone.ask("get", address)[1])
    return {name: value for name, value in sent.items() if name != "csrfmiddlewaretoken"}


def pages() -> Iterator[tuple[str, Any]]:
    """The pages of models, with the first part of their URLs' names."""
    reverse("admin:index")
    for model, page in admin.site._registry.items():
        yield f"admin:{model._meta.app_label}_{model._meta.model_name}", page


def visible_models() -> set[Any]:
    """What some role may view."""
    names = {permission for role in PERMISSIONS.values() for permission in role}
    found = {apps.get_model(name.split(".")[0], name.split("_", 1)[1]) for name in names}
    return {model for model in found if model._meta.label not in SHOWN_ELSEWHERE}


# --- Laws --------------------------------------------------------------------------------------------------


def test_the_crawl_finds_the_control_plane():
    forms = {place.form for place in places()}
    assert len(forms) > 150
    assert {"/admin/tenants/apikey/%(object_id)s/revoke/", "/admin/autocomplete/", "/api/v1/usage"} <= forms
    assert {"/admin/usage", "/admin/queue", "/admin/tenants/tenant/%(object_id)s/history/"} <= forms


def test_whatever_a_role_may_see_has_a_page_of_its_own_tenant_only():
    reverse("admin:index")
    for model in visible_models():
        assert isinstance(admin.site._registry.get(model), ScopedMixin), model
    for model in map(apps.get_model, SHOWN_ELSEWHERE):
        assert model not in admin.site._registry, model


def test_what_is_hidden_from_members_is_hidden_by_every_page(acme: Marked):
    reverse("admin:index")
    request: Any = RequestFactory().get("/")
    request.user = acme.users["owner"]
    request.user.standing = find_standing(request.user, {})
    for model in visible_models():
        page: Any = admin.site._registry[model]
        for item in (acme.objects[model], *([None] if page.has_add_permission(request) else [])):
            fields = flatten_fieldsets(page.get_fieldsets(request, item))
            assert not {*fields} & {*page.operator_fields}, model
        assert not {*page.get_list_display(request)} & {*page.operator_fields}, model
        names = {each[0] if isinstance(each, tuple) else each for each in page.get_list_filter(request)}
        assert not names & {*page.operator_filters}, model


def test_nobody_but_operators_has_permissions_of_what_has_no_tenant():
    for role, permissions in PERMISSIONS.items():
        for name in permissions:
            model = Permission.objects.get(codename=name.split(".")[1]).content_type.model_class()
            assert model in {Tenant, *owned_models()}, (role, name)


def test_every_websocket_is_known():
    """Whoever adds one tests it with charlie, as tests/gateway/test_live_view.py does, and then names it here."""
    assert [str(each.pattern) for each in websocket_urlpatterns] == ["^ws/live/?$", ""]


# --- Charlie -----------------------------------------------------------------------------------------------


def test_charlie_sees_nothing_at_any_address(acme: Marked, charlie: Visitor):
    make_upstream()
    wrong = []
    for place in places():
        for address in place.addresses(acme):
            response, text = charlie.ask("get", address)
            if leaks(text, address) or (place.names and place.page and not is_refused(response)):
                wrong.append((address, response.status_code, leaks(text, address)))
    assert not wrong


def test_charlie_changes_nothing_at_any_address(acme: Marked, charlies: Marked, charlie: Visitor):
    make_upstream()
    before, wrong = acme.state(), []
    for place in places():
        own = next(place.addresses(charlies))
        for address in place.addresses(acme):
            for method in set(place.methods) - {"get"}:
                data = forged(acme)
                if place.page is not None and method == "post":
                    data = own_form(charlie, own) | data
                response, text = charlie.ask(method, address, data)
                is_shown = bool(place.names) and place.page is not None and not is_refused(response)
                if leaks(text, (address, data)) or is_shown:
                    wrong.append((method, address, response.status_code, leaks(text, (address, data))))
    assert not wrong
    assert acme.state() == before


def test_charlie_runs_no_action_on_what_is_not_theirs(acme: Marked, charlie: Visitor):
    before, wrong = acme.state(), []
    for name, page in pages():
        item = acme.objects.get(page.model)
        chosen = {"_selected_action": [1 if item is None else item.pk], "post": "yes", "select_across": "0"}
        for _function, action, _description in page._get_base_actions():
            data = {"action": action, **chosen}
            response, text = charlie.ask("post", reverse(f"{name}_changelist"), data)
            if leaks(text, data):
                wrong.append((name, action, response.status_code, leaks(text, data)))
    assert not wrong
    assert acme.state() == before


def test_charlie_learns_nothing_from_filters_searches_and_forms_that_are_filled_in(acme: Marked, charlie: Visitor):
    wrong = []
    for name, page in pages():
        for view, asked in (("changelist", searches(page, acme)), ("add", [filled_in(page, acme)])):
            address = reverse(f"{name}_{view}")
            for query in asked:
                response, text = charlie.ask("get", address, query)
                if leaks(text, query):
                    wrong.append((address, query, response.status_code, leaks(text, query)))
                if response.status_code == 403:  # the page is not for them, whatever they ask it for
                    break
    assert not wrong


def searches(page: Any, marked: Marked) -> Iterator[dict[str, Any]]:
    """What the address of a list may ask for."""
    yield from ({"q": ACME[1:]}, {"o": "1"}, {"e": "1"}, {"all": ""}, {"_popup": "1", "_to_field": "id"})
    for name, item in named_by(page, marked):
        yield {f"{name}__id__exact": item.pk}
        if item._meta.pk.name != "id":
            yield {f"{name}__{item._meta.pk.name}__exact": item.pk}
        yield {name: item.pk}
    if page.model in marked.objects:
        yield {"pk": marked.objects[page.model].pk}
        yield {"pk__in": f"{marked.objects[page.model].pk}"}
    yield {"tenant__name__startswith": ACME[:3]}
    yield {"user__password__startswith": "a"}


def filled_in(page: Any, marked: Marked) -> dict[str, Any]:
    """What the address of a form for a new object may fill in: every field that names another object."""
    return {"_popup": "1", "_to_field": "id"} | {name: item.pk for name, item in named_by(page, marked)}


def named_by(page: Any, marked: Marked) -> Iterator[tuple[str, Any]]:
    """The fields of a page's objects that name others, each with somebody's."""
    for model, item in marked.objects.items():
        for each in page.model._meta.get_fields():
            if each.is_relation and each.related_model is model:
                yield each.name, item


def test_charlie_tries_out_no_field_by_filtering_their_own(charlies: Marked):
    """What the operator pays could be found in twenty questions."""
    owner = visitor("owner", charlies)
    for model, lookup in (("usagerecord", "cost_price__gte"), ("usageday", "cost_price__lt"), ("apikey", "digest__gt")):
        response, _ = owner.ask("get", f"/admin/tenants/{model}/", {lookup: "0"})
        assert (response.status_code, response.url) == (302, f"/admin/tenants/{model}/?e=1"), model


def test_charlie_finds_nothing_in_autocompletes(acme: Marked, charlie: Visitor):
    for query in autocompletes():
        for more in ({}, {"term": ACME[1:]}, {"tenant": f"{acme.tenant.pk}"}):
            response, text = charlie.ask("get", "/admin/autocomplete/", query | more)
            assert response.status_code in {200, 403, 404}, query
            assert not leaks(text, more), query


def test_charlie_finds_nothing_in_the_palette(acme: Marked, charlie: Visitor, settings: Any):
    commands = settings.UNFOLD.get("COMMAND", {})
    settings.UNFOLD = {**settings.UNFOLD, "COMMAND": {**commands, "search_models": True}}
    for term in (ACME[1:], "x", "e"):
        assert not leaks(charlie.ask("get", "/admin/search/", {"s": term})[1], term)


def test_the_palette_forgets_what_an_operator_has_found(acme: Marked, charlies: Marked):
    operator = visitor("acting", charlies)
    operator.session.clear()
    operator.client.logout()
    term = {"s": ACME[1:]}
    assert leaks(operator.ask("get", "/admin/search/", term)[1])
    operator.session[ACTS_AS] = charlies.tenant.pk
    operator.client.logout()
    assert not leaks(operator.ask("get", "/admin/search/", term)[1])


# --- Those whose it is -------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", PERMISSIONS)
def test_members_see_their_own(acme: Marked, charlies: Marked, role: str):
    someone = visitor(role, acme)
    for name in sorted(PERMISSIONS[role]):
        model = apps.get_model(name.split(".")[0], name.split("_", 1)[1])
        if ".view_" not in name or model not in visible_models():
            continue
        url = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        listed, text = someone.ask("get", reverse(f"{url}_changelist"))
        assert listed.status_code in {200, 302}, model  # the tenant itself may be shown at once
        assert CHARLIES not in text, model
        page, text = someone.ask("get", reverse(f"{url}_change", args=[acme.objects[model].pk]))
        assert page.status_code == 200, model
        assert ACME in text, model


@pytest.mark.parametrize("role", [role for role in PERMISSIONS if role != "owner"])
def test_members_see_nothing_that_is_the_operators(acme: Marked, role: str):
    make_upstream()
    someone, wrong = visitor(role, acme), []
    for place in places():
        for address in place.addresses(acme):
            wrong += operators_in(someone.ask("get", address)[1], address)
    assert not wrong


def test_who_acts_as_an_owner_sees_exactly_what_the_owner_sees_and_that_is_nothing_of_the_operators(acme: Marked):
    make_upstream()
    owner, acting = visitor("owner", acme), visitor("acting", acme)
    wrong: list[Any] = []
    for place in places():
        for address in place.addresses(acme):
            (answer, text), (same, _) = (someone.ask("get", address) for someone in (owner, acting))
            wrong += operators_in(text, address)
            if answer.status_code != same.status_code:
                wrong.append((address, answer.status_code, same.status_code))
    assert not wrong


def operators_in(text: str, address: str) -> list[tuple[str, str]]:
    """What an answer has that is the operators' own."""
    return [(address, each) for each in OPERATORS_ONLY if each in text]
