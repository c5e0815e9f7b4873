"""Upstreams for the console's tests: servers on loopback ports, in a thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager

from gateway_site.infra import secrets
from providers.models import Provider
from providers.simulator import Simulator
from tests.gateway_site.admin.browsing import change
from tests.providers.upstream import Upstream, serving

PROVIDERS = "/admin/providers/provider/"
DEPLOYMENTS = "/admin/providers/deployment/"
ROUTES = "/admin/routing/route/"
TRAIL = "/admin/tenants/auditevent/"
CREDENTIAL = "sk-the-credential-itself"
KEY = "sk-ours-and-nobody-elses"


def models_url(provider: Provider) -> str:
    return change(provider).replace("/change/", "/models/")


def server(url: str, *, key: str = KEY) -> Provider:
    """A server of one's own, on this machine."""
    made = Provider(slug="sim", adapter="openai_compatible", base_url=url, allow_private_address=True)
    if key:
        made.set_credential(key)
    made.save()
    return made


def credential_of(provider: Provider) -> str:
    provider.refresh_from_db()
    return secrets.decrypt(provider.credential_encrypted) if provider.has_credential else ""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def running[T](server: AbstractAsyncContextManager[T]) -> Iterator[T]:
    """Let a server answer while a test, which has no event loop, looks at pages."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        found = asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(10)
        try:
            yield found
        finally:
            asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@contextmanager
def running_simulator(*, key: str | None = None) -> Iterator[Simulator]:
    """A provider that behaves."""
    with running(Simulator(port=0, key=key)) as simulator:
        yield simulator


@contextmanager
def running_upstream(body: object, *, status: int = 200) -> Iterator[Upstream]:
    """A server that says what it is told to."""
    upstream = Upstream(body)
    upstream.status = status
    with running(serving(upstream)):
        yield upstream
