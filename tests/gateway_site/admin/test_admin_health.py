"""How deployments do, as an operator sees it: four states side by side, and what happened to them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from time import time
from typing import Any

import pytest
import redis
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from gateway_site.console.navigation import OPERATORS
from gateway_site.infra import telemetry
from providers.admin.provider import UNREAD
from providers.health_feed import STATES_KEY, Note, encode
from providers.models import Deployment, Provider
from routing.models import HealthEvent
from tenants.models import User

EVENTS = "/admin/routing/healthevent/"
DEPLOYMENTS = "/admin/providers/deployment/"
PROVIDERS = "/admin/providers/provider/"


@pytest.fixture
def client_of_valkey(stores: tuple[str, str]) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(stores[1]) as client:
        client.flushall()
        yield client


@pytest.fixture
def deployment(db) -> Deployment:
    provider = Provider.objects.create(slug="openai", adapter="openai")
    return Deployment.objects.create(slug="gpt", provider=provider, model="gpt-5-mini")


def page_of(item: Deployment | Provider) -> str:
    return reverse(f"admin:providers_{item._meta.model_name}_change", args=[item.pk])


def hold(client: redis.Redis, kind: str, *, seconds: float = 60.0, slug: str = "gpt", **changes: Any) -> None:
    field = "cooldown" if kind == "cooled_down" else "breaker"
    given = {"deployment": slug, "provider": "openai", "kind": kind, "old": "", "new": "", "at": time()}
    note = Note(**{**given, "until": time() + seconds, **changes})
    client.hset(STATES_KEY, f"{slug}/{field}", encode(note))


# --- The four states -----------------------------------------------------------------------------------------


def test_a_deployment_that_nobody_knows_anything_of_is_in_good_health(console, deployment, client_of_valkey):
    for url in (DEPLOYMENTS, page_of(deployment)):
        text = console.get(url).content.decode()
        assert all(part in text for part in ("Enabled", "Closed", "None", "Never probed"))


def test_the_four_states_stand_side_by_side_with_their_reasons(console, deployment, client_of_valkey):
    hold(client_of_valkey, "breaker_opened", reason="status <503>")
    hold(client_of_valkey, "cooled_down", reason="429, asked for 30 s")
    Deployment.objects.update(
        probe_result="rejected",
        probe_reason="It refuses our credential (401).",
        probed_at=timezone.now() - timedelta(minutes=3),
        is_enabled=False,
    )
    for url in (DEPLOYMENTS, page_of(deployment)):
        text = console.get(url).content.decode()
        for part in ("Disabled", "Open", "status &lt;503&gt;", "Cools down", "asked for 30 s", "Rejects the probe"):
            assert part in text
        assert "3\N{NO-BREAK SPACE}minutes ago: It refuses our credential (401)." in text


@pytest.mark.parametrize(
    ("kind", "seconds", "shown"),
    [
        ("breaker_opened", -1, "Half-open"),
        ("breaker_half_open", 0, "Half-open"),
        ("breaker_closed", 0, "Closed"),
        ("cooled_down", -1, "None"),
    ],
)
def test_what_is_over_is_not_shown_as_if_it_held(console, deployment, client_of_valkey, kind, seconds, shown):
    hold(client_of_valkey, kind, seconds=seconds)
    text = console.get(page_of(deployment)).content.decode()
    assert shown in text
    assert "until" not in text.partition("Health")[2].partition("Capabilities")[0]


def test_what_the_provider_has_switched_off_says_so(console, deployment, client_of_valkey):
    hold(client_of_valkey, "breaker_opened")
    Provider.objects.update(breaker_enabled=False, cooldown_enabled=False)
    text = console.get(page_of(deployment)).content.decode().partition("Four states")[2]
    assert "Off" in text
    assert "Open" not in text.partition("Capabilities")[0]


def test_a_list_asks_valkey_once(console, deployment, client_of_valkey):
    for number in range(5):
        Deployment.objects.create(slug=f"more-{number}", provider=deployment.provider, model="m")
        hold(client_of_valkey, "breaker_opened", slug=f"more-{number}")

    def calls() -> int:
        return int(client_of_valkey.info("commandstats").get("cmdstat_hmget", {}).get("calls", 0))  # type: ignore[union-attr]

    before = calls()
    with CaptureQueriesContext(connection) as queries:
        text = console.get(DEPLOYMENTS).content.decode()
    assert text.count(">Open<") + text.count("Open\n") >= 5
    assert calls() == before + 1
    assert len(queries) < 12


def test_without_valkey_the_states_are_unknown_and_the_pages_open(console, deployment, settings):
    settings.VALKEY_URL = "redis://127.0.0.1:1/0"
    for url in (DEPLOYMENTS, page_of(deployment)):
        response = console.get(url)
        assert response.status_code == 200
        assert "Unknown" in response.content.decode()


def test_a_provider_that_is_off_is_told_beside_the_own_switch(console, deployment, client_of_valkey):
    Provider.objects.update(is_enabled=False)
    assert "its provider is disabled" in console.get(page_of(deployment)).content.decode()


def test_a_new_deployment_has_no_health_yet(console, deployment):
    text = console.get(f"{DEPLOYMENTS}add/").content.decode()
    assert "Four states" not in text
    assert "a whole picture" in text  # what a probe costs


def test_the_list_shows_health_before_what_a_deployment_is_like(console, deployment, client_of_valkey):
    shown = console.get(DEPLOYMENTS).content.decode()
    columns = [shown.index(f"column-{name}") for name in ("manual_switch", "breaker", "cooldown", "probe", "region")]
    assert columns == sorted(columns)
    assert "its provider is disabled" not in shown
    type(deployment.provider).objects.update(is_enabled=False)
    assert "its provider is disabled" in console.get(DEPLOYMENTS).content.decode()


def test_a_long_reason_is_cut_short_in_the_list_and_whole_in_its_title(console, deployment, client_of_valkey):
    type(deployment).objects.update(
        probe_result="rejected", probe_reason="It refuses (400): " + "and so on " * 20, probed_at=timezone.now()
    )
    shown = console.get(DEPLOYMENTS).content.decode()
    assert f'class="health-words text-xs" title="just now: It refuses (400): {"and so on " * 20}"' in shown


@pytest.mark.parametrize("path", [PROVIDERS, DEPLOYMENTS])
def test_lists_read_no_secrets_certificates_and_catalogues(console, deployment, client_of_valkey, path):
    with CaptureQueriesContext(connection) as queries:
        shown = console.get(path).content.decode()
    selected = [query["sql"].split(" FROM ")[0] for query in queries if '"providers_' in query["sql"]]
    for name in (*UNREAD, "capabilities"):
        assert not any(f'"{name}",' in sql or sql.endswith(f'"{name}"') for sql in selected), name
    assert len(selected) <= 3
    assert ("Not stored" in shown) is (path == PROVIDERS)


def test_health_events_stand_in_the_group_that_their_page_names(console):
    [group] = [each["title"] for each in OPERATORS if any(item["title"] == "Health events" for item in each["items"])]
    assert console.get(EVENTS).context["opts"].app_config.verbose_name == group


# --- The manual switch ---------------------------------------------------------------------------------------


def switched() -> list[tuple[str, str, str, str]]:
    events = HealthEvent.objects.order_by("pk")
    return [(event.kind, event.deployment, event.provider, event.reason) for event in events]


def test_whoever_turns_the_switch_of_a_page_is_named(console, deployment):
    assert console.submit(page_of(deployment), is_enabled="").status_code == 302
    assert switched() == [("switched_off", "gpt", "openai", "alice")]
    event = HealthEvent.objects.get()
    assert (event.old, event.new) == ("on", "off")
    console.submit(page_of(deployment), region="eu")
    assert len(switched()) == 1


def test_so_is_whoever_uses_an_action(console, deployment):
    console.confirm(reverse("admin:providers_provider_disable", args=[deployment.provider.pk]))
    console.act(DEPLOYMENTS, "disable_selected", deployment)
    console.act(DEPLOYMENTS, "enable_selected", deployment)
    assert switched() == [
        ("switched_off", "", "openai", "alice"),
        ("switched_off", "gpt", "openai", "alice"),
        ("switched_on", "gpt", "openai", "alice"),
    ]


def test_a_switch_is_counted_when_it_is_committed(deployment, django_capture_on_commit_callbacks):
    def counted() -> float:
        labels = {"deployment": "gpt", "kind": "switched_off"}
        return telemetry.REGISTRY.get_sample_value("health_events_total", labels) or 0

    before = counted()
    with django_capture_on_commit_callbacks(execute=True):
        deployment.is_enabled = False
        deployment.save()
        assert counted() == before
    assert counted() == before + 1


def test_a_file_that_is_applied_is_named(deployment, tmp_path, capsys, client_of_valkey):
    file = tmp_path / "gateway.yaml"
    file.write_text("deployments:\n  - {slug: gpt, provider: openai, model: gpt-5-mini, enabled: false}\n")
    call_command("apply", str(file), "--dry-run")
    assert switched() == []
    call_command("apply", str(file), "--no-publish")
    assert switched() == [("switched_off", "gpt", "openai", "manage.py apply")]


# --- Events --------------------------------------------------------------------------------------------------


def event(**changes: Any) -> HealthEvent:
    given = {"deployment": "gpt", "provider": "openai", "kind": "breaker_opened", "old": "closed", "new": "open"}
    return HealthEvent.objects.create(**{**given, "reason": "status <503>", "worker": "node-7", **changes})


def test_events_are_listed_with_what_changed_and_why(console, deployment):
    shown = event(until=timezone.now())
    event(deployment="", kind="switched_off", old="on", new="off", reason="alice")
    text = console.get(EVENTS).content.decode()
    for part in ("gpt", "Breaker opened", "closed → open", "status &lt;503&gt;", "node-7", "all of openai", "alice"):
        assert part in text
    page = console.get(reverse("admin:routing_healthevent_change", args=[shown.pk])).content.decode()
    assert "status &lt;503&gt;" in page


def test_events_are_narrowed_by_kind_and_deployment_newest_first(console, db):
    event(at=timezone.now() - timedelta(hours=1))
    event(deployment="claude", kind="probe_failed")
    event(at=timezone.now() - timedelta(days=20), deployment="old")

    def found(**query: str) -> list[str]:
        return [row.deployment for row in console.get(EVENTS, **query).context["cl"].result_list]

    assert found() == ["claude", "gpt"]
    assert found(kind__exact="probe_failed") == ["claude"]
    assert found(deployment="gpt") == ["gpt"]
    assert found(period="all") == ["claude", "gpt", "old"]


def test_charlie_sees_none_of_it(client, deployment):
    charlie = User.objects.create_user("charlie", is_staff=True)
    client.force_login(charlie)
    event()
    for url in (EVENTS, DEPLOYMENTS, reverse("admin:routing_healthevent_change", args=[HealthEvent.objects.get().pk])):
        assert client.get(url).status_code == 403
