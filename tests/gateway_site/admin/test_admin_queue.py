"""What the page /admin/queue says of the workers' queues, and to whom."""

from __future__ import annotations

from datetime import UTC, datetime
from time import time

import msgspec
import pytest
import redis
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from gateway_site.console.navigation import OPERATORS
from routing.gate import GateStatistics
from routing.report import REPORT_KEY, WORKERS_KEY, WorkerReport
from tenants.models import User

pytestmark = pytest.mark.django_db

PAGE = "/admin/queue"
UNTIL = datetime(2026, 11, 21, 14, 3, 5, tzinfo=UTC).timestamp()
BUSY = GateStatistics(
    provider="openai",
    requests_per_second=12.5,
    tokens_per_minute=150_000,
    max_concurrency=8,
    queue_size=100,
    in_use=8,
    is_saturated=True,
    waiting_low=1,
    waiting_normal=20,
    waiting_high=3,
    waiting_tenants=5,
    admitted=1_234,
    waited=56,
    refused=7,
    refused_queue_full=4,
    refused_timed_out=3,
    abandoned=2,
    longest_wait=4.2,
    average_wait=0.25,
    tokens_left=1_200,
    tokens_left_until=UNTIL,
)


def report(valkey: redis.Redis, worker: str, *gates: GateStatistics) -> None:
    """Let a worker say how its gates are."""
    told = WorkerReport(
        worker=worker,
        host="node",
        pid=1,
        version="1",
        started_at=time(),
        at=time(),
        revision=1,
        gates=msgspec.to_builtins(list(gates)),
    )
    valkey.zadd(WORKERS_KEY, {worker: time() + 10})
    valkey.set(REPORT_KEY + worker, msgspec.json.encode(told))


def test_it_shows_every_worker_s_queue_by_provider(console, valkey):
    report(valkey, "node-2", BUSY)
    said = {"requests_left": 59, "requests_left_until": UNTIL, "is_saturated": False}
    report(valkey, "node-1", BUSY, GateStatistics(provider="groq", deployment="groq-small", **said))
    page = console.get(PAGE).content.decode()
    assert page.index("groq") < page.index("openai") < page.index("node-2")
    for words in (
        "16 in use, 48 waiting, 14 refused since the workers started",
        "12.5 requests/s",
        "150,000 tokens/min",
        "8 of 8",
        "24 of 100",
        "3 high, 20 normal, 1 low",
        "of 5 tenants",
        "250 ms",
        "4.2 s at most",
        "1,234",
        "56 after waiting",
        "4 queue full",
        "3 waited too long",
        "2 clients gone",
        "1,200 tokens until 14:03:05",
        "59 requests until 14:03:05",
        "groq-small",
        "saturated",
        "has room",
    ):
        assert words in page, words


def test_a_deployment_whose_vendor_has_nothing_left_is_named_and_its_requests_count_once(console, valkey):
    limits = GateStatistics(provider="openai", max_concurrency=8, in_use=5)
    spent = GateStatistics(provider="openai", deployment="gpt-large", in_use=3, is_saturated=True, tokens_left=0)
    report(valkey, "node-1", limits, spent)
    report(valkey, "node-2", GateStatistics(provider="groq", deployment="groq-small", in_use=2))
    page = console.get(PAGE).content.decode()
    assert "saturated: gpt-large" in page
    assert "5 in use" in page
    assert "2 in use" in page


def test_machines_get_json(console, valkey):
    report(valkey, "node-1", BUSY)
    answer = console.get(PAGE, format="json")
    assert answer["content-type"] == "application/json"
    [worker] = answer.json()["workers"]
    assert worker["worker"] == "node-1"
    assert set(worker) == {"worker", "at", "queues"}
    assert msgspec.convert(worker["queues"], list[GateStatistics]) == [BUSY]


def test_its_title_is_its_name_in_the_sidebar(console, valkey):
    report(valkey, "node-1", BUSY)
    page = console.get(PAGE)
    items = [item["title"] for group in OPERATORS for item in group["items"]]
    assert page.context["title"] in items
    assert "Clients gone</th>" not in page.content.decode()  # it stands below "Refused"


def test_it_says_when_there_is_nothing_to_show(console, valkey):
    report(valkey, "node-1")
    assert "No queues at present" in console.get(PAGE).content.decode()


def test_a_worker_of_another_version_does_not_break_it(console, valkey):
    report(valkey, "node-1", BUSY)
    told = msgspec.json.decode(valkey.get(REPORT_KEY + "node-1"))
    told["gates"] = [{"provider": "openai", "in_use": 3, "a_field_of_tomorrow": 1}]
    valkey.set(REPORT_KEY + "node-1", msgspec.json.encode(told))
    assert "3 in use, 0 waiting" in console.get(PAGE).content.decode()


def test_it_says_when_valkey_is_away(console, settings):
    settings.VALKEY_URL = "redis://127.0.0.1:1/0"
    assert "Valkey cannot be reached" in console.get(PAGE).content.decode()
    answer = console.get(PAGE, format="json")
    assert (answer.status_code, list(answer.json())) == (503, ["error"])


def test_it_has_a_place_in_the_sidebar(console, valkey):
    assert reverse("queue") == PAGE
    assert f'href="{PAGE}"' in console.get("/admin/").content.decode()
    assert console.get(f"{PAGE}/").status_code == 200


def test_charlie_sees_nothing_of_it(client, valkey):
    report(valkey, "node-1", BUSY)
    charlie = User.objects.create_user("charlie", password="charlie's long password")
    assert client.get(PAGE).url.startswith("/admin/login/")
    client.force_login(charlie)
    assert client.get(PAGE).url.startswith("/admin/login/")
    assert client.get(PAGE, {"format": "json"}).url.startswith("/admin/login/")


def test_staff_needs_the_right_to_see_providers(valkey):
    staff = User.objects.create_user("charlie2", password="charlie's long password", is_staff=True)
    client = Client()
    client.force_login(staff)
    assert client.get(PAGE).status_code == 403
    assert client.get(PAGE, {"format": "json"}).status_code == 403
    assert PAGE not in client.get("/admin/").content.decode()
    staff.user_permissions.add(Permission.objects.get(codename="view_provider"))
    assert client.get(PAGE).status_code == 200
