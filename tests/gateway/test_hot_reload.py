"""What is changed in the console is served by every worker within a second."""

import re
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser

import httpx
import psutil
import pytest

from tests.gateway.conftest import Keys
from tests.gateway.stack import Stack, wait_for

BODY = {"model": "switching", "messages": [{"role": "user", "content": "hi"}]}


class Form(HTMLParser):
    """The fields of a page's main form with the values that they hold."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._select = ""
        self._textarea = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        name = values.get("name") or ""
        if tag == "input" and name:
            kind = values.get("type", "text")
            if kind not in {"checkbox", "radio", "submit", "button"} or "checked" in values:
                self.fields[name] = values.get("value") or ("on" if kind == "checkbox" else "")
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and "selected" in values:
            self.fields[self._select] = values.get("value") or ""
        elif tag == "textarea":
            self._textarea = name
            self.fields[name] = ""

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.fields[self._textarea] += data.strip()

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = ""
        elif tag == "textarea":
            self._textarea = ""


@pytest.fixture
def console(stack: Stack) -> Iterator[httpx.Client]:
    """A browser in which the operator has signed in."""
    with httpx.Client(base_url=stack.url, follow_redirects=True, timeout=30) as client:
        page = client.get("/admin/login/")
        form = Form(page.text).fields | {"username": "admin", "password": stack.operator_password, "next": "/admin/"}
        page = client.post("/admin/login/", data=form, headers={"referer": f"{stack.url}/admin/login/"})
        assert page.status_code == 200
        assert "Sign in" not in page.text
        yield client


def test_a_route_changed_in_the_console_is_served_by_all_workers_within_a_second(
    stack: Stack, keys: Keys, console: httpx.Client
) -> None:
    (route_id,) = stack.query("SELECT id FROM routing_route WHERE name = 'switching'")[0]
    deployments = dict(stack.query("SELECT slug, id FROM providers_deployment"))
    seconds = []
    for deployment in ("sim-chat-other", "sim-chat") * 3:
        path = f"/admin/routing/route/{route_id}/change/"
        form = Form(console.get(path).text).fields
        (row,) = [name for name in form if re.fullmatch(r"targets-0-deployment", name)]
        form[row] = str(deployments[deployment])
        form.pop("_addanother", None)
        saved = console.post(path, data=form | {"_save": "Save"}, headers={"referer": stack.url + path})
        saved_at = time.monotonic()
        assert "/change/" not in str(saved.url), "the form was not accepted"
        with every_worker(stack) as workers:
            wait_for(lambda: all(_served_by(worker, keys.alice) == deployment for worker in workers), deployment)  # noqa: B023
        seconds.append(time.monotonic() - saved_at)
    assert statistics.median(seconds) < 1.0, seconds


def test_a_provider_a_model_a_tenant_and_a_key_made_in_the_console_can_be_called_at_once(
    stack: Stack, console: httpx.Client
) -> None:
    def add(page: str, **values: str) -> httpx.Response:
        path = f"/admin/{page}/add/"
        form = Form(console.get(path).text).fields | values | {"_save": "Save"}
        reply = console.post(path, data=form, headers={"referer": stack.url + path})
        assert reply.status_code == 200
        return reply

    add(
        "providers/provider",
        slug="made-by-hand",
        adapter="openai_compatible",
        base_url=f"{stack.simulator_url}/v1",
        allow_private_address="on",
        credential="a-secret",
    )
    (provider,) = stack.query("SELECT id FROM providers_provider WHERE slug = 'made-by-hand'")[0]
    add("providers/deployment", slug="made-by-hand", provider=str(provider), model="sim-fast")
    (deployment,) = stack.query("SELECT id FROM providers_deployment WHERE slug = 'made-by-hand'")[0]
    add(
        "routing/route",
        name="made-by-hand",
        **{
            "targets-TOTAL_FORMS": "1",
            "targets-0-deployment": str(deployment),
            "targets-0-priority": "0",
            "targets-0-weight": "100",
            "targets-0-conditions": "{}",
            "aliases-TOTAL_FORMS": "1",
            "aliases-0-name": "made-by-hand",
        },
    )
    add("tenants/tenant", slug="made-by-hand", name="Made by hand")
    (tenant,) = stack.query("SELECT id FROM tenants_tenant WHERE slug = 'made-by-hand'")[0]
    shown = add("tenants/apikey", tenant=str(tenant), name="first")
    made_at = time.monotonic()
    secret = re.search(r"tg_[A-Za-z0-9]{40}", shown.text)
    assert secret is not None

    body = {"model": "made-by-hand", "messages": [{"role": "user", "content": "hi"}]}
    wait_for(
        lambda: stack.post("/v1/chat/completions", secret[0], body).status_code == 200 or None, "an answer", seconds=2
    )
    assert time.monotonic() - made_at < 1.5
    listing = console.get("/admin/tenants/apikey/")
    assert secret[0] not in listing.text


def test_a_revoked_key_is_refused_by_all_workers_within_a_second(stack: Stack, console: httpx.Client) -> None:
    (tenant,) = stack.query("SELECT id FROM tenants_tenant WHERE slug = 'alice'")[0]
    path = "/admin/tenants/apikey/"
    seconds = []
    for number in range(20):
        name = f"short-lived-{number}"
        form = Form(console.get(f"{path}add/").text).fields | {"tenant": str(tenant), "name": name, "_save": "Save"}
        shown = console.post(f"{path}add/", data=form, headers={"referer": f"{stack.url}{path}add/"})
        secret = re.search(r"tg_[A-Za-z0-9]{40}", shown.text)
        assert secret is not None
        (key_id,) = stack.query("SELECT id FROM tenants_apikey WHERE name = %s", name)[0]
        action = {"action": "revoke_selected", "_selected_action": str(key_id), "index": "0"}
        token = {"csrfmiddlewaretoken": Form(console.get(path).text).fields["csrfmiddlewaretoken"]}
        with every_worker(stack) as workers:
            assert all(_status(worker, secret[0]) == 200 for worker in workers)
            console.post(path, data=action | token, headers={"referer": stack.url + path})
            began = time.monotonic()
            wait_for(lambda: all(_status(worker, secret[0]) == 401 for worker in workers), "the refusal")  # noqa: B023
            seconds.append(time.monotonic() - began)
    assert max(seconds) < 1.0, seconds


@contextmanager
def every_worker(stack: Stack) -> Iterator[list[httpx.Client]]:
    """Open connections until there is one to each worker, and keep those."""
    pids = {worker.pid for worker in stack.workers()}
    reached: dict[int, httpx.Client] = {}
    opened = []
    try:
        for _ in range(200):
            client = httpx.Client(base_url=stack.url, timeout=10)
            opened.append(client)
            network = client.get("/ready").extensions["network_stream"]
            reached.setdefault(_worker_of(network.get_extra_info("client_addr")[1], pids), client)
            if reached.keys() >= pids:
                break
        assert reached.keys() >= pids, "not every worker takes connections"
        yield list(reached.values())
    finally:
        for client in opened:
            client.close()


def _worker_of(port: int, pids: set[int]) -> int:
    """Return the worker that holds the other end of a connection from a local port."""
    for pid in pids:
        for connection in psutil.Process(pid).net_connections(kind="tcp"):
            if connection.raddr and connection.raddr.port == port:
                return pid
    raise AssertionError(f"no worker holds the connection from port {port}")


def _served_by(worker: httpx.Client, key: str) -> str:
    reply = worker.post("/v1/chat/completions", json=BODY, headers={"authorization": f"Bearer {key}"})
    return reply.headers.get("x-tollgate-deployment", "")


def _status(worker: httpx.Client, key: str) -> int:
    return worker.post("/v1/chat/completions", json=BODY, headers={"authorization": f"Bearer {key}"}).status_code
