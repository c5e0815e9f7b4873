"""Somebody's machine, on which the script runs in a real shell and a home of its own, and a gateway that knows one key.

It is alice's. Charlie has one that the gateway does not know.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

ALICE = "tg_alice0123456789"
CHARLIE = "tg_charlie"
TOOLS = (
    *("awk", "cat", "chmod", "cmp", "curl", "cut", "dirname", "git", "grep", "head"),
    *("mkdir", "mktemp", "mv", "readlink", "rm", "sed", "sort", "stty", "tr", "uname"),
)
MODELS = {"data": [{"type": "model", "id": "smart"}, {"type": "model", "id": "fast"}]}


class Gateway(ThreadingHTTPServer):
    """Takes one key and remembers what it was asked."""

    def __init__(self, key: str = ALICE) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.key = key
        self.asked: list[tuple[str, str, Any]] = []

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Gateway

    def do_GET(self) -> None:
        self._answer(MODELS)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((self.path, self.headers["authorization"], body))
        self._answer({"type": "message"}, body)

    def _answer(self, content: Any, body: Any = None) -> None:
        if body is None:
            self.server.asked.append((self.path, self.headers["authorization"], None))
        is_known = self.headers["authorization"] == f"Bearer {self.server.key}"
        status = 200 if is_known else 401
        data = json.dumps(content if is_known else {"error": {"message": "This API key is not known."}}).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class Machine:
    """Somebody's machine: a home, a shell, and the tools that are there."""

    def __init__(self, folder: Path, shell: str, host: str) -> None:
        self.home = folder / "home of alice"
        self.home.mkdir()
        self.shell, self.host = shell, host
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        for tool in (*TOOLS, "python3"):
            self.has(tool)
        self.script = Client().get("/install.sh", headers={"host": host}).content
        self.settings = self.home / ".claude" / "settings.json"
        self.config = self.home / ".codex" / "config.toml"

    def has(self, tool: str) -> None:
        path = os.path.realpath(sys.executable) if tool == "python3" else shutil.which(tool)
        if path is None:
            pytest.skip(f"{tool} is not here")
        (self.bin / tool).symlink_to(path)

    def lacks(self, *tools: str) -> None:
        for tool in tools:
            (self.bin / tool).unlink(missing_ok=True)

    def edits_with(self, engine: str) -> None:
        """Have one program alone that can edit JSON."""
        self.lacks("python3")
        self.has(engine)

    @property
    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": str(self.bin), "TMPDIR": str(self.temporary), "LANG": "C"}

    def run(self, *arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        """Pipe the script into the shell, without a terminal."""
        done = subprocess.run(
            [str(shutil.which(self.shell)), "-s", "--", *arguments],
            input=self.script.decode(),
            env=self.environment | variables,
            cwd=cwd or self.home,
            start_new_session=True,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not list(self.temporary.iterdir()), "it left something behind"
        return done

    def installs(self, *arguments: str, **variables: str) -> str:
        """Run it, which must go well, and return all that it said."""
        done = self.run(*arguments, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def refuses(self, *arguments: str, **variables: str) -> str:
        """Run it, which must fail, and return what it said of that."""
        done = self.run(*arguments, **variables)
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stderr

    @property
    def env(self) -> dict[str, str]:
        env: dict[str, str] = json.loads(self.settings.read_text())["env"]
        return env

    @property
    def provider(self) -> dict[str, Any]:
        provider: dict[str, Any] = tomllib.loads(self.config.read_text())["model_providers"]["tollgate"]
        return provider

    def write_settings(self, content: Any) -> str:
        text = content if isinstance(content, str) else json.dumps(content)
        self.settings.parent.mkdir(exist_ok=True)
        self.settings.write_text(text)
        return text

    def write_config(self, text: str) -> str:
        self.config.parent.mkdir(exist_ok=True)
        self.config.write_text(text)
        return text

    def files(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.home)): path.read_bytes() for path in self.home.rglob("*") if path.is_file()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)
