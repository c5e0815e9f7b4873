"""Every WebSocket there is, as the router lists them, opened by strangers and by charlie: refused, or nothing of Acme's.

`tests/gateway/test_live_view.py` does the same to a whole gateway with real requests; here whoever adds a socket need not
think of it: the routes are found.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from time import time
from typing import Any

import pytest
import redis
from asgiref.testing import ApplicationCommunicator
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.test import Client
from django.utils.regex_helper import normalize

from gateway_site.asgi import SOCKET_PREFIX, Application
from routing.live import TELLING_KEY, WATCHED_KEY, Flight, Telling, encode
from routing.report import WORKERS_KEY
from routing.websocket_urls import websocket_urlpatterns
from tenants.models import Member, Tenant, User
from tenants.standing import ACTS_AS, TENANT

pytestmark = pytest.mark.django_db(transaction=True)

MARK = "zqx7"  # in every text of Acme's
WORKER = f"{MARK}-node:1"
LISTEN_SECONDS = 2.5  # two snapshots
OUTSIDERS = ("owner", "developer", "viewer", "acting")
INSIDERS = ("of_acme", "operator")
STRANGERS = ("nobody", "made_up", "signed_out", "no_member", "ex_member", "ex_operator", "switched_off", "no_rights")


def socket_paths(patterns: Any = None, prefix: str = "/") -> Iterator[str]:
    """An address for every route, numbers and names filled in."""
    for each in websocket_urlpatterns if patterns is None else patterns:
        for form, names in normalize(each.pattern.regex.pattern):
            path = prefix + form % dict.fromkeys(names, "1")
            inner = getattr(each.callback, "routes", None) if isinstance(each.callback, URLRouter) else None
            if inner is not None:
                yield from socket_paths(inner, path)
            else:
                yield path if path.startswith(SOCKET_PREFIX) else f"{SOCKET_PREFIX}nowhere"


@pytest.fixture
def acme(valkey: redis.Redis) -> Tenant:
    """A request of Acme's is under way, and a worker tells of it."""
    acme = Tenant.objects.create(slug=MARK, name=MARK)
    flight = Flight(
        request_id=MARK,
        age=1.0,
        tenant_id=acme.pk,
        tenant=acme.slug,
        key=MARK,
        alias=MARK,
        provider=MARK,
        deployment=MARK,
        is_stream=True,
        phase="streaming",
        tokens=7,
        attempts=1,
        can_stop=True,
    )
    telling = Telling(
        worker=WORKER,
        began_at=time(),
        at=time(),
        revision=1,
        flights=[flight],
        in_flight={acme.pk: 1},
        intervals=[],
        conditions=[],
    )
    valkey.zadd(WORKERS_KEY, {WORKER: time() + 1000})
    valkey.set(TELLING_KEY + WORKER, encode(telling))
    valkey.set(WATCHED_KEY, 1, ex=100)
    return acme


@pytest.fixture
def charlies(db: None) -> Tenant:
    return Tenant.objects.create(slug="charlies", name="Charlie's")


@pytest.fixture
def sessions(acme: Tenant, charlies: Tenant) -> dict[str, str]:
    """Everybody's session cookie."""
    return {kind: session_of(kind, acme, charlies) for kind in (*OUTSIDERS, *STRANGERS, *INSIDERS)}


def session_of(kind: str, acme: Tenant, charlies: Tenant) -> str:
    """The session cookie of somebody who wants to see Acme's."""
    if kind in {"nobody", "made_up"}:
        return "" if kind == "nobody" else "a" * 32
    is_staff = kind in {"acting", "no_rights", "ex_operator", "operator"}
    user = User.objects.create_user(kind, is_staff=is_staff, is_superuser=is_staff and kind != "no_rights")
    if kind in {"owner", "developer", "viewer"}:
        Member.objects.create(tenant=charlies, user=user, role=kind)
    if kind in {"signed_out", "ex_member", "switched_off", "of_acme"}:
        Member.objects.create(tenant=acme, user=user, role="owner")
    key = signed_in(user, {TENANT: acme.pk, **({ACTS_AS: charlies.pk} if kind == "acting" else {})})
    _lose_it(kind, user)
    return key


def signed_in(user: User, said: dict[str, int]) -> str:
    client = Client()
    client.force_login(user)
    session = client.session
    session.update(said)  # as if one could choose
    session.save()
    return str(client.cookies[settings.SESSION_COOKIE_NAME].value)


def _lose_it(kind: str, user: User) -> None:
    """What happened to them after they had signed in."""
    match kind:
        case "signed_out":
            user.set_password("another long password")
            user.save()
        case "ex_member":
            Member.objects.filter(user=user).delete()
        case "ex_operator":
            User.objects.filter(pk=user.pk).update(is_staff=False)
        case "switched_off":
            User.objects.filter(pk=user.pk).update(is_active=False)


@asynccontextmanager
async def gateway() -> AsyncIterator[Application]:
    """The application of a worker, opened as a server opens it."""
    application = Application()
    life = ApplicationCommunicator(application, {"type": "lifespan", "asgi": {"version": "3.0"}})
    await life.send_input({"type": "lifespan.startup"})
    assert (await life.receive_output(20))["type"] == "lifespan.startup.complete"
    try:
        yield application
    finally:
        await life.send_input({"type": "lifespan.shutdown"})
        await life.receive_output(20)


async def told(application: Application, path: str, session: str, origin: str = "http://localhost") -> list[Any]:
    """All that a socket says in some seconds, and how it closes; what is sent to it makes no difference."""
    headers = [(b"cookie", f"{settings.SESSION_COOKIE_NAME}={session}".encode()), (b"origin", origin.encode())]
    socket = WebsocketCommunicator(application, path, [*headers, (b"host", b"localhost")])
    is_open, code = await socket.connect(timeout=10)
    if not is_open:
        return [{"type": "websocket.close", "code": code}]
    for text in ("{}", json.dumps({"tenant": 1, "tenant_id": 1, "subscribe": "*"}), "\0"):
        await socket.send_to(text_data=text)
    found: list[Any] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(LISTEN_SECONDS):
            while not found or found[-1]["type"] != "websocket.close":
                found.append(await socket.receive_output(LISTEN_SECONDS + 1))
    if not found or found[-1]["type"] != "websocket.close":
        await socket.disconnect()
    return found


async def everything(sessions: dict[str, str], kinds: tuple[str, ...]) -> dict[tuple[str, str], list[Any]]:
    """What some of them are told by all sockets."""
    asked = [(path, kind) for path in dict.fromkeys(socket_paths()) for kind in kinds]
    async with gateway() as application:
        answers = await asyncio.gather(*(told(application, path, sessions[kind]) for path, kind in asked))
    return dict(zip(asked, answers, strict=True))


def test_the_crawl_finds_the_sockets():
    assert "/ws/live" in {path.rstrip("/") for path in socket_paths()}


async def test_strangers_are_refused_by_every_socket(sessions: dict[str, str]):
    answers = await everything(sessions, STRANGERS)
    assert [where for where, said in answers.items() if [each["type"] for each in said] != ["websocket.close"]] == []


async def test_charlie_is_told_nothing_of_acme_s_by_any_socket(sessions: dict[str, str]):
    answers = await everything(sessions, OUTSIDERS)
    assert [where for where, said in answers.items() if MARK in str(said)] == []
    assert all(len(answers[path, kind]) > 1 for path, kind in answers if path.startswith("/ws/live"))


async def test_those_whose_it_is_are_told(sessions: dict[str, str]):
    """So the two tests above would notice."""
    answers = await everything(sessions, INSIDERS)
    for (path, kind), said in answers.items():
        assert (MARK in str(said)) == path.startswith("/ws/live"), (path, kind)


async def test_no_socket_opens_for_a_page_of_another_site(sessions: dict[str, str]):
    async with gateway() as application:
        for path in socket_paths():
            said = await told(application, path, sessions["operator"], origin="https://evil.example")
            assert [each["type"] for each in said] == ["websocket.close"], path
