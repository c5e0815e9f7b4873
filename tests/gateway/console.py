"""The console as a browser sees it, and a connection to each worker."""

from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser

import httpx
import psutil

from tests.gateway.stack import Stack


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


@contextmanager
def signed_in(stack: Stack) -> Iterator[httpx.Client]:
    """A browser in which the operator has signed in."""
    with httpx.Client(base_url=stack.url, follow_redirects=True, timeout=30) as client:
        reply = send_form(client, "/admin/login/", username="admin", password=stack.operator_password, next="/admin/")
        assert "Sign in" not in reply.text
        yield client


def send_form(client: httpx.Client, path: str, **values: str) -> httpx.Response:
    """Fill in a page's form as it stands, but for these values, and send it."""
    form = Form(client.get(path).text).fields | values
    form.pop("_addanother", None)
    reply = client.post(path, data=form, headers={"referer": f"{client.base_url}{path}"})
    assert reply.status_code == 200, reply.text[:500]
    return reply


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
