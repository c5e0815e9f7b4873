"""A gateway, and machines with one shell or the other."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway_site.install_script.machine import Gateway, Machine


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(params=["bash", "dash"])
def machine(request: pytest.FixtureRequest, tmp_path: Path, gateway: Gateway) -> Machine:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not here")
    return Machine(tmp_path, request.param, gateway.host)


@pytest.fixture
def dash(tmp_path: Path, gateway: Gateway) -> Machine:
    return Machine(tmp_path, "dash" if shutil.which("dash") else "bash", gateway.host)


@pytest.fixture
def bash(tmp_path: Path, gateway: Gateway) -> Machine:
    return Machine(tmp_path, "bash", gateway.host)
