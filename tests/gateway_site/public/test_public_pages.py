"""The public pages: for everybody, with and without stores, and telling nothing of who uses the gateway."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.conf import settings as django_settings
from django.contrib.staticfiles import finders
from django.db import connection
from django.test import Client
from django.utils import timezone

from gateway_site.asgi import Application, is_data_plane
from gateway_site.health.report import health
from gateway_site.public.status import PARTS, UNKNOWN, public_status
from tenants.models import LegalDocument, Member, Tenant, User
from tests.gateway_site.facts import deployment, facts, report
from tests.gateway_site.infra.postgres_away import postgres_at

PAGES = ("/", "/status", "/terms", "/privacy")
LEGAL = ("/terms", "/privacy")
STORELESS = ("/", "/status", "/install.sh")


def publish(kind: str = "terms", text: str = "# Ours", **values: Any) -> LegalDocument:
    return LegalDocument.objects.create(kind=kind, text=text, **values)


# What they are.


@pytest.mark.django_db
@pytest.mark.parametrize("path", PAGES)
def test_anybody_may_read_them_and_gets_no_cookie(client: Client, path: str) -> None:
    reply = client.get(path)
    assert reply.status_code == 200
    assert reply["content-type"] == "text/html; charset=utf-8"
    assert not reply.cookies


@pytest.mark.django_db
@pytest.mark.parametrize("path", PAGES)
def test_they_run_and_load_nothing_but_our_own_files(client: Client, path: str) -> None:
    reply = client.get(path)
    policy = reply["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    text = reply.content.decode()
    assert not re.search(r"<style|\bstyle=|\bon[a-z]+=|javascript:|<script(?! src=\"/static/)", text)
    linked = re.findall(r'(?:src|href)="([^"#]+)', text)
    assert all(link.startswith("/") and not link.startswith("//") for link in linked)
    for link in linked:
        if link.startswith("/static/"):
            assert finders.find(link.removeprefix("/static/")), link


@pytest.mark.django_db
@pytest.mark.parametrize("path", [*PAGES, "/install.sh"])
def test_every_link_leads_somewhere(client: Client, path: str) -> None:
    for link in set(re.findall(r'<a [^>]*href="(/[^"#]*)', client.get(path).content.decode())):
        assert is_data_plane(link, "GET") or client.get(link).status_code in {200, 302}, link


@pytest.mark.django_db
@pytest.mark.parametrize("path", [*PAGES, "/install.sh"])
def test_they_tell_of_nobody_and_of_nothing_inside(client: Client, path: str) -> None:
    Member.objects.create(
        tenant=Tenant.objects.create(slug="acme-corp", name="Acme"), user=User.objects.create_user("alice")
    )
    text = client.get(path).content.decode().lower()
    for word in ("acme", "alice", "django", "valkey", "postgres", "uvicorn", django_settings.SECRET_KEY, "0.1.0"):
        assert word.lower() not in text, word


@pytest.mark.parametrize("path", ["/", "/status", "/install.sh"])
def test_they_take_no_posts(client: Client, path: str) -> None:
    assert client.post(path).status_code == 405


def test_the_home_page_says_how_to_reach_this_very_gateway(client: Client) -> None:
    text = client.get("/", headers={"host": "localhost:4242"}).content.decode()
    assert "curl -sSL http://localhost:4242/install.sh | bash -s -- " in text
    assert 'base_url="http://localhost:4242/v1"' in text


def test_head_of_the_root_stays_with_the_data_plane() -> None:
    assert is_data_plane("/", "HEAD")
    assert not is_data_plane("/", "GET")
    assert not any(is_data_plane(path, "GET") for path in (*PAGES, "/install.sh"))


WHAT_IS_LOADED = """
import django, sys
django.setup()
from django.test import Client
for path in ("/", "/status", "/install.sh"):
    assert Client().get(path, headers={"host": "localhost"}).status_code == 200
print([name for name in ("gateway_site.urls", "django.contrib.admin.sites", "celery", "tenants.admin", "unfold.sites")
       if name in sys.modules])
"""


def test_they_do_not_load_the_console() -> None:
    command = [sys.executable, "-c", WHAT_IS_LOADED]
    environment = {"DJANGO_SETTINGS_MODULE": "gateway_site.settings"} | _environment()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert "gateway_site.urls" not in done.stdout
    assert "tenants.admin" not in done.stdout
    assert "celery" not in done.stdout


def _environment() -> dict[str, str]:
    names = ("SECRET_KEY", "TOLLGATE_SECRETS_KEY", "TOLLGATE_KEY_PEPPER", "TOLLGATE_STATE_DIR", "PATH", "HOME")
    return {name: os.environ[name] for name in names if name in os.environ}


# How the gateway is.


def test_all_is_well() -> None:
    status = public_status(health(facts()))
    assert (status.state, status.headline) == ("up", "Everything works")
    assert {part.word for part in status.parts} == {"Working"}


def test_what_is_away_shows_in_the_parts_that_people_notice() -> None:
    ill = report(components={"valkey": "up", "postgres": "down", "spool": "empty"})
    status = public_status(health(facts(ill, readiness="degraded")))
    assert status.state == "degraded"
    [part] = [part for part in status.parts if part.state != "up"]
    assert (part.name, part.word) == ("Keys and console", "Impaired")
    assert "Keys that were not used lately" in part.note


def test_it_is_down_when_this_worker_can_serve_nobody() -> None:
    status = public_status(health(facts(readiness="down", is_configured=False)))
    assert (status.state, status.headline) == ("down", "Not working")


def test_every_component_of_the_health_is_part_of_something_that_exists() -> None:
    components = health(facts())["components"]
    assert {name for _, names, _ in PARTS for name in names} <= components.keys()


def test_without_a_runtime_it_says_that_it_does_not_know(client: Client) -> None:
    assert UNKNOWN.headline in client.get("/status").content.decode()


@asynccontextmanager
async def running() -> AsyncIterator[httpx.AsyncClient]:
    """The whole application, as a server runs it, without a socket."""
    application = Application()
    inbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    outbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    lifespan = asyncio.create_task(application({"type": "lifespan"}, inbox.get, outbox.put))
    await inbox.put({"type": "lifespan.startup"})
    assert (await outbox.get())["type"] == "lifespan.startup.complete"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=application), base_url="http://localhost") as client:
        yield client
    await inbox.put({"type": "lifespan.shutdown"})
    await lifespan


@pytest.mark.django_db(transaction=True)
async def test_a_running_worker_tells_how_it_is_and_names_no_provider(settings: Any) -> None:
    async with running() as client:
        reply = await client.get("/status")
        assert reply.status_code in {200, 503}
        assert "Answering requests" in reply.text
        assert UNKNOWN.headline not in reply.text
        assert (await client.get("/")).status_code == 200
        assert (await client.head("/")).content == b""
        brief = (await client.get("/health")).json()
        assert (reply.status_code == 503) is (brief["status"] == "down")


def test_providers_are_named_only_where_the_operator_says_so() -> None:
    document = health(facts(report(deployments=(deployment(),))))
    assert public_status(document).providers == ()
    [part] = public_status(document, [{"provider": "anthropic", "state": "open"}]).providers
    assert (part.name, part.word) == ("anthropic", "Not working")
    assert django_settings.STATUS_NAMES_PROVIDERS is False


# Without PostgreSQL.


@pytest.mark.parametrize("path", STORELESS)
def test_pages_that_need_no_store_ask_none(client: Client, path: str) -> None:
    assert client.get(path).status_code == 200  # asking the database would fail in this test


@pytest.mark.django_db(transaction=True)
def test_documents_outlive_the_database_where_a_worker_has_read_them(client: Client, tmp_path: Path) -> None:
    publish("terms", "Our own terms.")
    assert "Our own terms." in client.get("/terms").content.decode()
    with postgres_at(tmp_path):
        connection.close()
        assert "Our own terms." in client.get("/terms").content.decode()
        away = client.get("/privacy/7")
        assert (away.status_code, away["retry-after"]) == (503, "30")
        assert "ships with Tollgate" not in away.content.decode()
        for path in STORELESS:
            assert client.get(path).status_code == 200


# Terms and privacy.


@pytest.mark.django_db
@pytest.mark.parametrize("path", LEGAL)
def test_the_texts_that_ship_say_so(client: Client, path: str) -> None:
    assert "The text that ships with Tollgate" in client.get(path).content.decode()


@pytest.mark.django_db
def test_the_operators_version_is_shown_and_earlier_ones_are_listed(client: Client) -> None:
    today = timezone.now().date()
    publish(text="First.", effective_from=today - timedelta(days=9))
    publish(text="Second <b>&amp;</b>.", effective_from=today)
    publish(text="Third.", effective_from=today + timedelta(days=9))
    text = client.get("/terms").content.decode()
    assert "Second &lt;b&gt;&amp;amp;&lt;/b&gt;." in text
    assert f'in force since <time datetime="{today.isoformat()}">' in text
    assert 'href="/terms/1"' in text
    assert 'href="/terms/3">Version 3</a> takes effect on' in text
    old = client.get("/terms/1").content.decode()
    assert "First." in old
    assert "This is not the version" in old
    assert client.get("/terms/4").status_code == client.get("/privacy/1").status_code == 404


@pytest.fixture
def alice(db: None) -> User:
    return User.objects.create_user("alice", password="alice's long password")


@pytest.fixture
def bob(alice: User) -> User:
    tenant = Tenant.objects.create(slug="acme", name="Acme")
    bob = User.objects.create_user("bob", password="bob's long password")
    Member.objects.create(tenant=tenant, user=bob)
    return bob


def signed_in(user: User, **options: Any) -> Client:
    client = Client(**options)
    client.force_login(user)
    return client


def test_a_member_accepts_the_version_in_force_once(bob: User) -> None:
    document = publish(effective_from=date(2026, 1, 1))
    client = signed_in(bob)
    assert "I accept version 1" in client.get("/terms").content.decode()
    for _ in range(2):
        assert client.post("/terms", {"version": "1"}).url == "/terms"
    assert [each.document for each in bob.legal_acceptances.all()] == [document]
    text = client.get("/terms").content.decode()
    assert "You accepted this version on" in text
    assert "<button" not in text
    publish()
    assert "I accept version 2" in client.get("/terms").content.decode()


def test_the_form_is_safe_from_other_sites(bob: User) -> None:
    publish()
    client = signed_in(bob, enforce_csrf_checks=True)
    assert client.post("/terms", {"version": "1"}).status_code == 403
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get("/terms").content.decode())
    assert token is not None
    assert client.post("/terms", {"version": "1", "csrfmiddlewaretoken": token[1]}).status_code == 302


@pytest.mark.parametrize("version", ["2", "", "x", "99999999999999999999", "1"])
def test_nothing_else_can_be_accepted(bob: User, version: str) -> None:
    publish(effective_from=timezone.now().date() - timedelta(days=1))
    publish(effective_from=timezone.now().date() + timedelta(days=1))
    path = "/privacy" if version == "1" else "/terms"
    assert signed_in(bob).post(path, {"version": version}).status_code == 409
    assert not bob.legal_acceptances.exists()


def test_charlie_and_strangers_accept_nothing(alice: User, client: Client) -> None:
    charlie = User.objects.create_user("charlie")
    publish()
    for outsider in (client, signed_in(charlie), signed_in(alice)):
        assert "<button" not in outsider.get("/terms").content.decode()
        assert outsider.post("/terms", {"version": "1"}).status_code == 403
    assert not LegalDocument.objects.get().acceptances.exists()
