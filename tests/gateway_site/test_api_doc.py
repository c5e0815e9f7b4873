"""docs/api.md: every command in it does what it says, from top to bottom."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from tenants.api_tokens import create_token
from tenants.models import ApiKey, Budget, RateLimit, Tenant, User
from tenants.scopes import AREAS

pytestmark = pytest.mark.django_db

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
ORIGIN = "https://gateway.example.com"


def commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.startswith("curl ")]


def run(command: list[str], token: str) -> Any:
    """Do what curl would do."""
    words = [word.replace("$TOLLGATE", ORIGIN).replace("$TOKEN", token) for word in command[1:]]
    method, data, headers, url = None, None, {}, ""
    while words:
        match words.pop(0):
            case "-X":
                method = words.pop(0)
            case "-H":
                name, _, value = words.pop(0).partition(": ")
                headers[name] = value
            case "-d":
                data = words.pop(0)
            case word:
                url = word
    method = method or ("GET" if data is None else "POST")
    kind = headers.pop("Content-Type", "application/json")
    return Client().generic(method, url.removeprefix(ORIGIN), data or "", content_type=kind, headers=headers)


def test_every_command_works() -> None:
    alice = User.objects.create_superuser("alice", password="alice's long password")
    _, token = create_token(name="docs", scopes=["*"], created_by=alice)
    assert len(commands()) > 10
    answers = [run(command, token) for command in commands()]
    assert [answer.status_code for answer in answers if answer.status_code >= 300] == [], [
        answer.content for answer in answers if answer.status_code >= 300
    ]
    assert Tenant.objects.get().timezone == "Europe/Berlin"
    assert ApiKey.objects.count() == RateLimit.objects.count() == Budget.objects.count() == 1
    [key] = answers[-3].json()["items"]
    assert key["name"] == "ci"


def test_charlies_token_finds_nothing_of_it() -> None:
    alice = User.objects.create_superuser("alice", password="alice's long password")
    _, token = create_token(name="docs", scopes=["*"], created_by=alice)
    for command in commands():
        run(command, token)
    charlies = Tenant.objects.create(slug="charlies", name="Charlie's")
    _, other = create_token(name="charlies", scopes=["*"], tenant=charlies)
    answers = [run(command, other) for command in commands()]
    assert not any(answer.status_code in {201, 204} for answer in answers)
    assert not any(b"Acme" in answer.content for answer in answers)


def test_it_names_every_scope() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"`{area}`" in text or f"`{area}:read`" in text for area in AREAS)
