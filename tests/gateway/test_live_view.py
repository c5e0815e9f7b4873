"""The live view over two workers: who watches sees requests come, move and be stopped; charlie sees nothing of it."""

import asyncio
import json
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from typing import Any

import aiohttp
import anthropic
import httpx
import openai
import psutil
import pytest
from django.conf import settings

from tests.gateway.calls import CHAT, MESSAGES, mark
from tests.gateway.conftest import Keys
from tests.gateway.console import Form, every_worker
from tests.gateway.stack import Stack, wait_for

SLOW = "[[chunks=400 interval=0.1]]"  # 40 s
LATE = "[[first=12]]"
SECONDS = 15

PEOPLE = """
import json
from django.conf import settings
from django.contrib import auth
from django.contrib.sessions.backends.db import SessionStore
from tenants.models import Member, Tenant, User

def person(name, tenant="", role="", **fields):
    user, _ = User.objects.get_or_create(username=name, defaults=fields)
    if tenant:
        home, _ = Tenant.objects.get_or_create(slug=tenant, defaults={"name": tenant})
        Member.objects.get_or_create(user=user, tenant=home, defaults={"role": role})
    session = SessionStore()
    session[auth.SESSION_KEY] = str(user.pk)
    session[auth.BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[auth.HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return session.session_key

print("SESSIONS", json.dumps({
    "operator": person("live-operator", is_staff=True, is_superuser=True),
    "developer": person("live-developer", "alice", "developer"),
    "viewer": person("live-viewer", "alice", "viewer"),
    "charlie": person("live-charlie", "charlie", "owner"),
    "leaver": person("live-leaver", "live-leaving", "owner"),
    "removed": person("live-removed", "live-leaving", "developer"),
    "suspended": person("live-suspended", "live-suspended", "owner"),
    "nobody": person("live-nobody"),
}))
"""


@pytest.fixture(scope="module")
def sessions(stack: Stack) -> dict[str, str]:
    """The session keys of people who have signed in."""
    said = stack.manage("shell", "-c", PEOPLE).stdout
    line = next(line for line in said.splitlines() if line.startswith("SESSIONS "))
    sessions = dict(json.loads(line.removeprefix("SESSIONS ")))
    with every_worker(stack) as clients:
        for client in clients:  # the console is loaded with its first page, which takes seconds
            cookie = f"{settings.SESSION_COOKIE_NAME}={sessions['operator']}"
            assert client.get("/admin/live/", headers={"cookie": cookie}, timeout=60).status_code == 200
    for name in ("operator", "developer", "viewer", "charlie"):
        open_page(stack, sessions[name])
    return sessions


# --- Who watches --------------------------------------------------------------------------------------------


class Watcher:
    """An open socket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def message(self) -> dict[str, Any]:
        """Return what comes next."""
        return dict(await self.socket.receive_json(timeout=SECONDS))

    async def snapshot(self, fits: Callable[[dict[str, Any]], object] = bool) -> dict[str, Any]:
        """Return the next snapshot that fits."""
        async with asyncio.timeout(SECONDS):
            while True:
                message = await self.message()
                if message["kind"] == "snapshot" and fits(message):
                    return message

    async def row(self, request_id: str, **fields: Any) -> dict[str, Any]:
        """Return a request's row, as soon as it says this."""

        def look(snapshot: dict[str, Any]) -> dict[str, Any] | None:
            found = row_of(snapshot, request_id)
            return found if found and all(found[name] == value for name, value in fields.items()) else None

        snapshot = await self.snapshot(look)
        return row_of(snapshot, request_id) or {}

    async def close_code(self) -> int:
        """Return how it was closed, reading what comes until then."""
        async with asyncio.timeout(SECONDS):
            async for _ in self.socket:
                pass
        return self.socket.close_code or 0


def row_of(snapshot: dict[str, Any], request_id: str) -> dict[str, Any] | None:
    return next((each for each in snapshot["requests"] if each["id"] == request_id), None)


@asynccontextmanager
async def watching(stack: Stack, session: str, *, origin: str = "") -> AsyncIterator[Watcher]:
    """Open the page's socket."""
    headers = {"cookie": f"{settings.SESSION_COOKIE_NAME}={session}", "origin": origin or stack.url}
    async with aiohttp.ClientSession() as client, client.ws_connect(f"{stack.url}/ws/live/", headers=headers) as socket:
        yield Watcher(socket)


@contextmanager
def console(stack: Stack, session: str) -> Iterator[httpx.Client]:
    """A browser with somebody's session."""
    with httpx.Client(base_url=stack.url, cookies={settings.SESSION_COOKIE_NAME: session}, timeout=30) as client:
        yield client


def press_stop(stack: Stack, session: str, request_id: str) -> httpx.Response:
    """Press a request's button on a page that is open."""
    token, cookies = open_page(stack, session)
    with httpx.Client(base_url=stack.url, cookies=cookies, timeout=30) as client:
        headers = {"x-csrftoken": token, "referer": f"{stack.url}/admin/live/"}
        return client.post(f"/admin/live/{request_id}/stop", headers=headers)


@cache
def open_page(stack: Stack, session: str) -> tuple[str, dict[str, str]]:
    """Open the page once; returns its token and the cookies that go with it."""
    with console(stack, session) as client:
        page = client.get("/admin/live/")
        assert page.status_code == 200, page.text[:300]
        return Form(page.text).fields["csrfmiddlewaretoken"], {
            each.name: each.value or "" for each in client.cookies.jar
        }


# --- What is asked ------------------------------------------------------------------------------------------


class Asked:
    """A request under way, in a thread."""

    def __init__(self, ask: Callable[["Asked"], None]) -> None:
        self.request_id = ""
        self.error: Exception | None = None
        self.chunks = 0
        self._thread = threading.Thread(target=self._run, args=(ask,), daemon=True)
        self._thread.start()

    def _run(self, ask: Callable[["Asked"], None]) -> None:
        try:
            ask(self)
        except Exception as error:
            self.error = error

    async def has_begun(self) -> str:
        """Return its id, once its answer has begun."""
        await asyncio.to_thread(wait_for, lambda: self.request_id, "the answer's beginning")
        return self.request_id

    async def ending(self) -> Exception | None:
        """Return what it ended with."""
        await asyncio.to_thread(self._thread.join, SECONDS)
        assert not self._thread.is_alive(), "it goes on"
        return self.error


def openai_stream(stack: Stack, key: str, client: httpx.Client | None = None) -> Asked:
    """Ask for a slow stream with OpenAI's SDK."""

    def ask(asked: Asked) -> None:
        with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=key, max_retries=0, http_client=client) as sdk:
            reply = sdk.chat.completions.with_raw_response.create(
                model="chat", stream=True, messages=[{"role": "user", "content": SLOW}]
            )
            asked.request_id = reply.headers["x-request-id"]
            for _ in reply.parse():
                asked.chunks += 1

    return Asked(ask)


def anthropic_stream(stack: Stack, key: str) -> Asked:
    """Ask for a slow stream with Anthropic's SDK, of an upstream that speaks its dialect."""

    def ask(asked: Asked) -> None:
        with anthropic.Anthropic(base_url=stack.url, api_key=key, max_retries=0) as sdk:
            reply = sdk.messages.with_raw_response.create(
                model="messages-only", max_tokens=4096, stream=True, messages=[{"role": "user", "content": SLOW}]
            )
            asked.request_id = reply.headers["x-request-id"]
            for _ in reply.parse():
                asked.chunks += 1

    return Asked(ask)


# --- Watching -----------------------------------------------------------------------------------------------


async def test_requests_of_both_workers_appear_move_and_are_stopped_from_one(stack, keys: Keys, sessions):
    with every_worker(stack) as clients:
        async with watching(stack, sessions["operator"]) as watcher:
            streams = [openai_stream(stack, keys.alice, client) for client in clients]
            for stream in streams:
                row = await watcher.row(await stream.has_begun(), phase="streaming")
                assert (row["tenant"], row["key"], row["model"], row["is_stream"]) == ("alice", "main", "chat", True)
                assert (row["provider"], row["deployment"], row["can_stop"]) == ("sim", "sim-chat", True)
                await watcher.snapshot(lambda told, row=row: row_of(told, row["id"])["tokens"] > row["tokens"])
                told = await watcher.snapshot(lambda told: told["rates"]["output"] > 0)
                assert told["in_flight"] >= 1
            for stream in streams:
                reply = await asyncio.to_thread(press_stop, stack, sessions["operator"], stream.request_id)
                assert (reply.status_code, reply.json()) == (200, {"stopped": stream.request_id})
                error = await stream.ending()
                assert isinstance(error, openai.APIError)
                assert "stopped at the gateway's console" in str(error)
                await watcher.snapshot(lambda told, stream=stream: row_of(told, stream.request_id) is None)
    for stream in streams:
        record = await asyncio.to_thread(stack.record, stream.request_id)
        assert (record["outcome"], record["error_code"], record["cost_status"]) == (
            "cut",
            "request_stopped",
            "estimated",
        )
        assert record["output_tokens"] >= stream.chunks // 2
        assert record["cost"] > 0
        audited = stack.query(
            "SELECT actor, action, detail->>'request_id' FROM tenants_auditevent WHERE detail->>'request_id' = %s",
            stream.request_id,
        )
        assert audited == [("live-operator", "request_stopped", stream.request_id)]


async def test_the_upstream_is_left_within_the_second(stack, keys: Keys, sessions):
    word = mark()
    body = CHAT.stream(f"{SLOW} {word}")

    def ask(asked: Asked) -> None:
        headers = {"authorization": f"Bearer {keys.alice}"}
        with httpx.stream("POST", stack.url + CHAT.path, json=body, headers=headers, timeout=60) as reply:
            asked.request_id = reply.headers["x-request-id"]
            content = b"".join(reply.iter_bytes())
            assert CHAT.end not in content
            assert CHAT.error_in(content)["code"] == "request_stopped"

    asked = Asked(ask)
    await asked.has_begun()
    await asyncio.to_thread(press_stop, stack, sessions["operator"], asked.request_id)
    assert await asked.ending() is None
    await asyncio.to_thread(wait_for, lambda: stack.upstream_request(word).outcome == "disconnected", "its departure")


async def test_anthropics_sdk_is_told_in_its_own_dialect(stack, keys: Keys, sessions):
    stream = anthropic_stream(stack, keys.alice)
    await stream.has_begun()
    reply = await asyncio.to_thread(press_stop, stack, sessions["developer"], stream.request_id)
    assert reply.status_code == 200
    error = await stream.ending()
    assert isinstance(error, anthropic.APIStatusError)
    assert "stopped at the gateway's console" in str(error)


@pytest.mark.parametrize("dialect", [CHAT, MESSAGES], ids=lambda dialect: dialect.name)
async def test_before_the_answer_has_begun_it_is_an_error_that_nobody_is_to_try_again(stack, keys, sessions, dialect):
    replies: list[httpx.Response] = []

    def ask(asked: Asked) -> None:
        replies.append(stack.post(dialect.path, keys.alice, dialect.body(LATE)))

    async with watching(stack, sessions["developer"]) as watcher:
        before = {each["id"] for each in (await watcher.snapshot())["requests"]}  # it is a second old

        def waiting(told: dict[str, Any]) -> list[str]:
            return [each["id"] for each in told["requests"] if each["phase"] == "waiting" and each["id"] not in before]

        asked = Asked(ask)
        [request_id] = waiting(await watcher.snapshot(waiting))
        assert (await asyncio.to_thread(press_stop, stack, sessions["developer"], request_id)).status_code == 200
        assert await asked.ending() is None
    [reply] = replies
    assert (reply.status_code, reply.headers["x-tollgate-error"]) == (503, "request_stopped")
    assert reply.headers["x-should-retry"] == "false"
    assert "stopped at the gateway's console" in dialect.refusal(reply.content).message
    record = await asyncio.to_thread(stack.record, request_id)
    assert (record["outcome"], record["error_code"], record["status"]) == ("gateway_failed", "request_stopped", 503)
    assert (record["cost_status"], record["input_tokens"] > 0) == ("estimated", True)  # the upstream worked on it


async def test_operators_see_health_and_workers(stack, sessions):
    async with watching(stack, sessions["operator"]) as watcher:
        told = await watcher.snapshot(lambda told: sum(is_heard(each) for each in told["workers"]) == 2)
    assert {each["name"]: each["state"] for each in told["providers"]}["sim"] in {"up", "degraded"}


def is_heard(worker: dict[str, Any]) -> bool:
    """Whether a worker serves a configuration and says so; one that another test has killed is told of for a while."""
    return worker["revision"] > 0 and worker["silent_since"] is None


async def test_sequence_numbers_go_up_over_connections(stack, sessions):
    numbers = []
    for _ in range(3):
        async with watching(stack, sessions["operator"]) as watcher:
            told = [(await watcher.snapshot())["sequence"] for _ in range(3)]
            assert told == sorted(set(told))  # seconds: no two snapshots in one
            numbers += told
    assert numbers == sorted(numbers)


# --- Whose it is --------------------------------------------------------------------------------------------


async def test_members_see_and_stop_their_own_and_charlie_neither(stack, keys: Keys, sessions):
    stream = openai_stream(stack, keys.alice)
    request_id = await stream.has_begun()
    async with (
        watching(stack, sessions["developer"]) as hers,
        watching(stack, sessions["viewer"]) as also_hers,
        watching(stack, sessions["charlie"]) as his,
    ):
        assert (await hers.row(request_id))["can_stop"]
        assert await also_hers.row(request_id)
        for _ in range(3):
            told = await his.snapshot()
            assert (told["requests"], told["in_flight"], told["rates"]["output"]) == ([], 0, 0)
            assert "alice" not in json.dumps(told)
            assert "workers" not in told
            assert all(set(each) == {"name", "state"} for each in told["providers"])
        assert (await asyncio.to_thread(press_stop, stack, sessions["charlie"], request_id)).status_code == 404
        assert (await asyncio.to_thread(press_stop, stack, sessions["viewer"], request_id)).status_code == 403
        assert (await hers.row(request_id))["can_stop"]
        assert (await asyncio.to_thread(press_stop, stack, sessions["developer"], request_id)).status_code == 200
    assert isinstance(await stream.ending(), openai.APIError)


def test_a_request_that_has_ended_cannot_be_stopped(stack, keys: Keys, sessions):
    request_id = stack.post(CHAT.path, keys.alice, CHAT.body()).headers["x-request-id"]
    assert press_stop(stack, sessions["operator"], request_id).status_code == 404


def test_nothing_is_stopped_without_a_token(stack, sessions):
    with console(stack, sessions["operator"]) as client:
        assert client.post(f"/admin/live/{'0' * 32}/stop").status_code == 403


# --- Who is let in ------------------------------------------------------------------------------------------


async def test_strangers_are_let_into_nothing(stack, sessions):
    for session in ("", "made-up", sessions["nobody"]):
        async with watching(stack, session) as watcher:
            assert await watcher.close_code() == 4403


async def test_a_page_of_another_site_opens_no_socket(stack, sessions):
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with watching(stack, sessions["operator"], origin="https://evil.example"):
            pass
    assert refused.value.status == 403


async def test_there_is_no_other_socket(stack):
    async with aiohttp.ClientSession() as client:
        for path in ("/ws/", "/ws/other/", "/admin/live/", "/v1/chat/completions"):
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await client.ws_connect(stack.url + path, headers={"origin": stack.url})


async def test_who_loses_the_right_is_disconnected(stack, sessions):
    async with (
        watching(stack, sessions["leaver"]) as leaver,
        watching(stack, sessions["removed"]) as removed,
        watching(stack, sessions["suspended"]) as suspended,
        watching(stack, sessions["operator"]) as operator,
    ):
        for watcher in (leaver, removed, suspended, operator):
            await watcher.snapshot()
        await asyncio.to_thread(_take_rights_away, stack, sessions)
        assert [await each.close_code() for each in (leaver, removed, suspended)] == [4403, 4403, 4403]
        assert await operator.snapshot()


def _take_rights_away(stack: Stack, sessions: dict[str, str]) -> None:
    stack.execute("DELETE FROM django_session WHERE session_key = %s", sessions["leaver"])
    stack.execute(
        "DELETE FROM tenants_member USING tenants_user WHERE user_id = tenants_user.id AND username = 'live-removed'"
    )
    stack.execute("UPDATE tenants_tenant SET suspended_at = now() WHERE slug = 'live-suspended'")


# --- Valkey is away -----------------------------------------------------------------------------------------


async def test_it_says_since_when_it_is_stale_and_goes_on_when_valkey_is_back(stack, sessions):
    async with watching(stack, sessions["operator"]) as watcher:
        before = await watcher.snapshot(lambda told: len(told["workers"]) == 2)
        [valkey] = [
            child
            for child in psutil.Process(stack.process.pid).children(recursive=True)
            if child.name() == "valkey-server"
        ]
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            message = await watcher.message()
            while message["kind"] != "stale":
                before = message
                message = await watcher.message()
        finally:
            os.kill(valkey.pid, signal.SIGKILL)
        assert message["since"] == before["at"]
        after = await watcher.snapshot(lambda told: sum(each["silent_since"] is None for each in told["workers"]) == 2)
        assert after["sequence"] > before["sequence"]
