"""The script as it is served: whole or not at all, with the gateway's own address in it."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.gateway_site.install_script.machine import ALICE, Machine


def test_half_a_script_does_nothing(machine: Machine) -> None:
    for part in (0.4, 0.8, 0.999):
        whole = machine.script
        machine.script = whole[: int(len(whole) * part)]
        machine.run(f"--key={ALICE}")
        machine.script = whole
    assert machine.files() == {}


@pytest.mark.parametrize("host", ["gateway.example.com", "[::1]:8080", "127.0.0.1:1"])
def test_the_host_that_served_it_is_filled_in(client: Client, settings: Any, host: str) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    reply = client.get("/install.sh", headers={"host": host})
    assert reply["content-type"] == "text/plain; charset=utf-8"
    assert f"SERVED_BY='http://{host}'\n" in reply.content.decode()
    assert "@@" not in reply.content.decode()


@pytest.mark.parametrize("host", ["a'; rm -rf ~; '", "$(id)", "`id`", "a\nb", "a b", "a/b", "", "ä.example.com", "a@b"])
@pytest.mark.parametrize("path", ["/install.sh", "/"])
def test_a_hostile_host_is_refused(client: Client, settings: Any, host: str, path: str) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    reply = client.get(path, headers={"host": host})
    assert reply.status_code == 400
    assert b"rm -rf" not in reply.content
    assert b"$(id)" not in reply.content


def test_behind_https_it_says_https(client: Client) -> None:
    reply = client.get("/install.sh", secure=True, headers={"host": "localhost"})
    assert "SERVED_BY='https://localhost'\n" in reply.content.decode()
