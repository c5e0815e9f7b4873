"""The console's pages of revisions: drafts and who may publish them, pinned roll backs, and which worker runs what."""

from datetime import timedelta
from time import time
from typing import Any

import msgspec
import pytest
import redis
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Permission
from django.db import connection, connections
from django.test import AsyncClient, Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from providers.models import Deployment, Provider
from routing.models import ConfigChange, ConfigRevision, ModelAlias, Route
from routing.report import REPORT_KEY, WORKERS_KEY, WorkerReport
from routing.services import publish, roll_back, served_revision
from tenants.models import Tenant, User
from tests.gateway_site.admin.browsing import Console
from tests.gateway_site.infra.own_valkey import OwnValkey
from tests.routing.catalogue import make_catalogue

LIST = "/admin/routing/configrevision/"
PUBLISH_NOW = "/admin/routing/configrevision/publish_now/"


@pytest.fixture
def route(valkey: redis.Redis, db: None) -> Route:
    """Of a catalogue that is published as revision 1."""
    route = make_catalogue().route
    publish()
    return route


@pytest.fixture
def bob(db: None) -> Console:
    client = Client()
    client.force_login(User.objects.create_superuser("bob", "bob@example.com", "bob's long password"))
    return Console(client)


def save_in_console(console: Console, route: Route, **changes: Any) -> None:
    assert console.submit(reverse("admin:routing_route_change", args=[route.pk]), **changes).status_code == 302


def page(number: int) -> str:
    return reverse("admin:routing_configrevision_change", args=[ConfigRevision.objects.get(number=number).pk])


def url(action: str, number: int) -> str:
    revision = ConfigRevision.objects.get(number=number)
    return reverse(f"admin:routing_configrevision_{action}", args=[revision.pk])


def text(console: Console, path: str) -> str:
    return " ".join(console.get(path).content.decode().split())


def report(valkey: redis.Redis, worker: str, **facts: Any) -> None:
    host, _, pid = worker.partition("-")
    known = {"version": "1", "started_at": time() - 60, "at": time(), "revision": 1} | facts
    told = WorkerReport(worker=worker, host=host, pid=int(pid), **known)
    valkey.set(REPORT_KEY + worker, msgspec.json.encode(told), ex=10)
    valkey.zadd(WORKERS_KEY, {worker: time()})


# --- Drafts --------------------------------------------------------------------------------------------------


def test_alice_changes_and_bob_publishes(console, bob, route, settings):
    settings.CONFIG_PUBLISHING = "four_eyes"
    save_in_console(console, route, retries="4")
    gone_to = console.confirm(PUBLISH_NOW, note="More patience")
    assert gone_to.url == page(2)

    shown = text(console, page(2))
    assert "~ route openai-smart: retries 1 → 4" in shown
    assert "Revision 2 has changes of yours: somebody else has to publish it." in shown
    assert url("publish_shown", 2) not in shown
    console.confirm(url("publish_shown", 2))
    assert "Nothing was published: Revision 2 has changes of yours" in text(console, LIST)
    assert served_revision().number == 1

    shown = text(bob, page(2))
    assert "It has no changes of yours." in shown
    assert url("publish_shown", 2) in shown
    bob.confirm(url("publish_shown", 2))
    published = ConfigRevision.objects.get(number=2)
    assert (published.status, published.approved_by.username, published.changed_by) == ("published", "bob", ["alice"])
    shown = text(console, page(2))
    assert all(name in shown for name in ("alice", "bob", "More patience"))
    assert url("publish_shown", 2) not in shown
    assert "Published." in text(console, reverse("admin:routing_configrevision_history", args=[published.pk]))


def test_the_list_says_that_a_draft_waits(console, route, settings):
    settings.CONFIG_PUBLISHING = "manual"
    assert "No draft waits" in text(console, LIST)
    save_in_console(console, route, retries="4")
    publish()
    shown = text(console, LIST)
    assert f'<a href="{page(2)}" class="font-semibold underline">Revision 2</a> waits to be published' in shown
    assert "with 1 change by alice" in shown


def test_a_draft_with_errors_has_no_button(console, route, settings):
    settings.CONFIG_PUBLISHING = "manual"
    type(route.targets.get().deployment.provider).objects.create(slug="<b>broken</b>", adapter="nonesuch")
    publish()
    shown = text(console, page(2))
    assert "Revision 2 cannot be served" in shown
    assert "<b>broken" not in shown
    assert url("publish_shown", 2) not in shown


def test_a_draft_that_is_outdated_is_refused_with_the_new_one(console, route, settings):
    settings.CONFIG_PUBLISHING = "manual"
    Route.objects.update(retries=4)
    publish()
    Route.objects.update(retries=5)
    console.confirm(url("publish_shown", 2))
    assert "Revision 3 shows what it is now." in text(console, LIST)
    assert served_revision().number == 1


def test_whoever_deletes_a_tenant_changed_its_aliases(console, bob, route, settings):
    tenant = Tenant.objects.create(slug="acme")
    ModelAlias.objects.create(name="own", tenant=tenant, route=route)
    publish()
    settings.CONFIG_PUBLISHING = "four_eyes"
    url_of_tenant = reverse("admin:tenants_tenant_delete", args=[tenant.pk])
    assert console.client.post(url_of_tenant, {"post": "yes"}).status_code == 302
    publish()
    assert ConfigRevision.objects.get(number=3).changed_by == ["alice"]
    console.confirm(url("publish_shown", 3))
    assert served_revision().number == 2
    bob.confirm(url("publish_shown", 3))
    assert served_revision().number == 3


def test_every_way_of_the_console_names_its_user(console, route):
    provider = Provider.objects.get()
    own = ModelAlias.objects.create(name="own", route=route)
    ways = (
        lambda: save_in_console(console, route, retries="4"),
        lambda: console.confirm(reverse("admin:providers_provider_disable", args=[provider.pk])),
        lambda: console.act("/admin/providers/deployment/", "disable_selected", Deployment.objects.get()),
        lambda: console.act("/admin/routing/modelalias/", "delete_selected", own),
        lambda: console.client.post(
            "/admin/routing/modelalias/", {"action": "delete_selected", "_selected_action": [own.pk], "post": "yes"}
        ),
    )
    noted = []
    for way in ways:
        before = ConfigChange.objects.count()
        way()
        noted.append(ConfigChange.objects.count() - before)
    assert noted == [1, 1, 1, 0, 1]  # the fourth only asks whether it is meant
    alice = User.objects.get(username="alice")
    assert set(ConfigChange.objects.values_list("username", "user_id")) == {("alice", alice.pk)}
    assert not ModelAlias.objects.filter(name="own").exists()


@pytest.mark.django_db(transaction=True)
async def test_the_name_gets_through_to_pages_behind_an_event_loop(valkey):
    def prepare() -> tuple[User, str]:
        alice = User.objects.create_superuser("alice", password="alice's long password")
        provider = make_catalogue().provider
        return alice, reverse("admin:providers_provider_disable", args=[provider.pk])

    alice, path = await sync_to_async(prepare)()
    client = AsyncClient()
    try:
        await client.aforce_login(alice)
        assert (await client.post(path, {"_form_submitted": "True"})).status_code == 302
        noted = await ConfigChange.objects.aget()
    finally:
        await sync_to_async(connections.close_all)()  # of the thread that served the page
    assert (noted.username, noted.user_id) == ("alice", alice.pk)


def test_a_page_shows_changes_before_the_checksum_and_errors_where_there_are_some(console, route):
    shown = text(console, page(1))
    assert shown.index("What it changed") < shown.index("Checksum")
    assert "Errors" not in shown
    Provider.objects.create(slug="broken", adapter="nonesuch")
    publish()
    shown = text(console, page(2))
    assert shown.index("What it changed") < shown.index("Errors") < shown.index("Checksum")


def test_the_list_reads_no_changes_and_no_errors(console, route):
    with CaptureQueriesContext(connection) as queries:
        assert console.get(LIST).status_code == 200
    [asked] = [query["sql"] for query in queries if "served_number" in query["sql"]]
    assert not any(f'"{name}",' in asked for name in ("blob", "diff", "errors"))


# --- Pinned --------------------------------------------------------------------------------------------------


def test_a_roll_back_says_that_it_is_pinned_and_what_waits(console, route):
    Route.objects.update(retries=7)
    publish()
    assert url("roll_back_to", 2) not in text(console, page(2))  # it is served
    assert url("roll_back_to", 1) in text(console, page(1))
    console.confirm(url("roll_back_to", 1))
    publish()
    for path in (LIST, page(3)):
        shown = text(console, path)
        assert "is served (Roll back to revision 1) and is <strong>pinned</strong>" in shown
        assert "Revision 4</a> waits to be published" in shown
    console.confirm(url("publish_shown", 4))
    assert "pinned</strong>" not in text(console, LIST)
    assert served_revision().number == 4


def test_publish_now_unpins_when_nothing_differs(console, route):
    Route.objects.update(retries=7)
    publish()
    roll_back(revision=ConfigRevision.objects.get(number=1))
    Route.objects.update(retries=1)
    gone_to = console.confirm(PUBLISH_NOW)
    assert "is not pinned any more" in text(console, gone_to.url)
    assert not served_revision().is_pinned


# --- Workers -------------------------------------------------------------------------------------------------


def test_the_list_shows_which_worker_runs_what(console, route, valkey):
    report(valkey, "node1-11")
    report(valkey, "node1-12")
    shown = text(console, LIST)
    assert "2 workers, all current" in shown
    assert all(fact in shown for fact in ("node1", ">11<", ">12<"))
    assert "have not loaded" not in shown


def test_a_worker_that_lags_is_marked(console, route, valkey):
    Route.objects.update(retries=7)
    publish()
    ConfigRevision.objects.filter(number=2).update(published_at=timezone.now() - timedelta(seconds=90))
    report(valkey, "node1-11", revision=2)
    report(valkey, "node2-12", revision=1)
    shown = text(console, LIST)
    assert "2 workers, 1 behind" in shown
    assert "1 of 2 workers have not loaded the newest revision." in shown
    assert any(f"{seconds} s behind" in shown for seconds in range(90, 100))


def test_a_worker_that_has_just_missed_one_is_no_reason_to_worry(console, route, valkey):
    Route.objects.update(retries=7)
    publish()
    report(valkey, "node1-11", revision=1)
    shown = text(console, LIST)
    assert "1 worker, 1 behind" in shown
    assert "have not loaded" not in shown


def test_without_valkey_the_page_opens_and_says_so(console, route, tmp_path, settings):
    settings.VALKEY_URL = OwnValkey(tmp_path).url
    assert "Valkey cannot be reached" in text(console, LIST)


def test_charlie_may_look_and_not_publish(console, route, settings):
    settings.CONFIG_PUBLISHING = "manual"
    Route.objects.update(retries=4)
    publish()
    charlie = User.objects.create_user("charlie", password="charlie's long password", is_staff=True)
    client = Client()
    client.force_login(charlie)
    assert client.get(page(2)).status_code == 403
    charlie.user_permissions.add(Permission.objects.get(codename="view_configrevision"))
    shown = client.get(page(2)).content.decode()
    assert "retries 1 → 4" in shown
    assert url("publish_shown", 2) not in shown
    for path in (PUBLISH_NOW, url("publish_shown", 2), url("roll_back_to", 1)):
        assert client.post(path, {"_form_submitted": "True"}).status_code == 403
    assert served_revision().number == 1
