"""The script that sets Claude Code and Codex up, as it is served, run by real shells in a home of its own.

The key is alice's. Charlie has one that the gateway does not know.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

ALICE = "tg_alice0123456789"
CHARLIE = "tg_charlie"
TOOLS = (
    *(
        "awk",
        "cat",
        "chmod",
        "cmp",
        "curl",
        "cut",
        "dirname",
        "git",
        "grep",
        "head",
        "mkdir",
        "mktemp",
        "mv",
        "readlink",
    ),
    *("rm", "sed", "sort", "stty", "tr", "uname"),
)
ENGINES = ("python3", "node", "jq")
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


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


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
        for tool in TOOLS:
            self.has(tool)
        self.has("python3", os.path.realpath(sys.executable))
        self.script = Client().get("/install.sh", headers={"host": host}).content
        self.settings = self.home / ".claude" / "settings.json"
        self.config = self.home / ".codex" / "config.toml"

    def has(self, tool: str, path: str | None = None) -> None:
        path = path or shutil.which(tool)
        if path is None:
            pytest.skip(f"{tool} is not here")
        (self.bin / tool).symlink_to(path)

    def lacks(self, *tools: str) -> None:
        for tool in tools:
            (self.bin / tool).unlink(missing_ok=True)

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


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# What it writes.


def test_it_sets_both_tools_up_in_an_empty_home_and_tries_them(machine: Machine, gateway: Gateway) -> None:
    said = machine.installs(f"--key={ALICE}", "--model=smart")
    url = f"http://{gateway.host}"
    assert (
        machine.env.items()
        >= {
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_AUTH_TOKEN": ALICE,
            "ANTHROPIC_API_KEY": "",
            "ANTHROPIC_MODEL": "smart",
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": "smart",
        }.items()
    )
    config = tomllib.loads(machine.config.read_text())
    assert (config["model"], config["model_provider"]) == ("smart", "tollgate")
    assert machine.provider["base_url"] == f"{url}/v1"
    assert machine.provider["wire_api"] == "responses"
    assert machine.provider["experimental_bearer_token"] == ALICE
    assert mode(machine.settings) == mode(machine.config) == 0o600
    assert [(path, key, body["model"]) for path, key, body in gateway.asked] == [
        ("/v1/messages", f"Bearer {ALICE}", "smart")
    ]
    assert ALICE not in said
    assert sorted(machine.files()) == [".claude/settings.json", ".codex/config.toml"]


def test_it_keeps_what_is_there_and_a_copy_of_it(machine: Machine) -> None:
    before = {"model": "opus", "env": {"EDITOR": "vi", "ANTHROPIC_MODEL": "old"}, "hooks": {"Stop": [1.5, None, "ł"]}}
    text = machine.write_settings(before)
    toml = machine.write_config('# mine\nmodel = "gpt-5"\nmodel_provider="x"\n\n[tui]\nmodel = "not this one"\n')
    machine.settings.chmod(0o644)
    machine.installs(f"--key={ALICE}", "--model=smart")
    now = json.loads(machine.settings.read_text())
    assert (now["model"], now["hooks"], now["env"]["EDITOR"]) == ("opus", before["hooks"], "vi")
    assert now["env"]["ANTHROPIC_MODEL"] == "smart"
    config = tomllib.loads(machine.config.read_text())
    assert (config["model"], config["model_provider"], config["tui"]["model"]) == ("smart", "tollgate", "not this one")
    kept = machine.settings.with_name("settings.json.before-tollgate")
    assert kept.read_text() == text
    assert machine.config.with_name("config.toml.before-tollgate").read_text() == toml
    assert mode(kept) == mode(machine.settings) == 0o600


def test_a_second_run_changes_nothing_and_a_third_one_everything_it_is_told(machine: Machine) -> None:
    machine.write_settings({"env": {"A": "1"}})
    machine.write_config('model = "gpt-5"\n')
    machine.installs(f"--key={ALICE}", "--model=smart")
    first = machine.files()
    assert "as it should be already" in machine.installs(f"--key={ALICE}", "--model=smart")
    assert machine.files() == first
    machine.installs(f"--key={ALICE}")
    assert "ANTHROPIC_MODEL" not in machine.env
    assert tomllib.loads(machine.config.read_text())["model"] == "gpt-5"
    kept = {name for name in first if name.endswith(".before-tollgate")}
    assert {name: machine.files()[name] for name in kept} == {name: first[name] for name in kept}


def test_a_key_arrives_as_it_is_whatever_is_in_it(machine: Machine, gateway: Gateway) -> None:
    key = 'tg_"quoted"back\\slash\\n$HOME`id`\'=&|;<>*?[]{}#!~%schlüssel'
    gateway.key = key.encode().decode("latin-1")
    said = machine.installs(TOLLGATE_API_KEY=key)
    assert machine.env["ANTHROPIC_AUTH_TOKEN"] == machine.provider["experimental_bearer_token"] == key
    assert key not in said


@pytest.mark.parametrize("key", ["tg_two words", "tg_line\nbreak"])
def test_a_key_that_fits_in_no_header_is_refused(bash: Machine, key: str) -> None:
    assert "nothing was changed" in bash.refuses(TOLLGATE_API_KEY=key)
    assert bash.files() == {}


@pytest.mark.parametrize("engine", ENGINES)
def test_any_of_three_programs_edits_json_alike(bash: Machine, engine: str) -> None:
    bash.lacks("python3")
    bash.has(engine, os.path.realpath(sys.executable) if engine == "python3" else None)
    text = bash.write_settings('{"z": 1, "env": {"A": "1", "ANTHROPIC_MODEL": "old"}, "a": ["ł", {"deep": null}]}')
    bash.installs(f"--key={ALICE}", "--model=smart", "--log-level=debug")
    bash.installs(f"--key={ALICE}")
    now = json.loads(bash.settings.read_text())
    assert list(now) == ["z", "env", "a"]
    assert now["a"] == ["ł", {"deep": None}]
    assert (now["env"]["A"], now["env"]["ANTHROPIC_MODEL"], now["env"]["ANTHROPIC_AUTH_TOKEN"]) == ("1", "old", ALICE)
    assert bash.settings.read_text().startswith('{\n  "z": 1,\n  "env": {\n    "A": "1",')
    bash.installs("--uninstall")
    assert bash.settings.read_text() == text


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("text", ['{"env": {', "[]", '{"env": null}', "{} {}"])
def test_json_that_is_broken_or_something_else_stays_untouched(bash: Machine, engine: str, text: str) -> None:
    bash.lacks("python3")
    bash.has(engine, os.path.realpath(sys.executable) if engine == "python3" else None)
    bash.write_settings(text)
    assert "nothing was changed" in bash.refuses(f"--key={ALICE}")
    assert bash.files() == {".claude/settings.json": text.encode()}


def test_it_says_what_is_missing_when_nothing_can_edit_json(machine: Machine) -> None:
    machine.lacks("python3")
    said = machine.refuses(f"--key={ALICE}")
    assert "python3, node or jq" in said
    assert machine.files() == {}


def test_an_empty_file_counts_as_none(dash: Machine) -> None:
    dash.write_settings("")
    dash.installs(f"--key={ALICE}")
    assert dash.env["ANTHROPIC_AUTH_TOKEN"] == ALICE


def test_a_link_stays_a_link(dash: Machine) -> None:
    stored = dash.home / "dotfiles" / "claude.json"
    stored.parent.mkdir()
    stored.write_text("{}")
    dash.settings.parent.mkdir()
    dash.settings.symlink_to("../dotfiles/claude.json")
    dash.installs(f"--key={ALICE}")
    assert dash.settings.is_symlink()
    assert json.loads(stored.read_text())["env"]["ANTHROPIC_AUTH_TOKEN"] == ALICE


def test_it_writes_where_the_tools_have_been_told_to_look(dash: Machine) -> None:
    elsewhere = {"CLAUDE_CONFIG_DIR": str(dash.home / "c"), "CODEX_HOME": str(dash.home / "x")}
    dash.installs(f"--key={ALICE}", **elsewhere)
    assert sorted(dash.files()) == ["c/settings.json", "x/config.toml"]


# Codex.


def test_a_provider_of_the_same_name_is_put_aside(machine: Machine) -> None:
    text = machine.write_config(
        '[model_providers.tollgate]\nname = "Mine"\nenv_key = "X"\n[model_providers.tollgate.http_headers]\na = "b"\n'
        '[[other]]\nx = [\n  ["y"]\n]\n\n[model_providers.tollgate2]\nname = "Another"'
    )
    machine.installs(f"--key={ALICE}")
    assert machine.provider["name"] == "Tollgate"
    config = tomllib.loads(machine.config.read_text())
    assert config["other"] == [{"x": [["y"]]}]
    assert config["model_providers"]["tollgate2"] == {"name": "Another"}
    machine.installs("--uninstall")
    assert machine.config.read_text() == text


@pytest.mark.parametrize(
    "text", ["model = ", 'model_providers = { tollgate = { name = "a" } }', '[model_providers]\ntollgate.name = "a"\n']
)
def test_toml_that_cannot_be_edited_stays_untouched(bash: Machine, text: str) -> None:
    bash.write_config(text)
    assert "nothing was changed" in bash.refuses(f"--key={ALICE}")
    assert bash.files() == {".codex/config.toml": text.encode()}


def test_half_a_block_of_its_own_is_left_to_its_owner(dash: Machine) -> None:
    dash.installs(f"--key={ALICE}")
    torn = dash.config.read_text().replace("# <<< tollgate\n", "", 1)
    dash.config.write_text(torn)
    dash.refuses(f"--key={ALICE}")
    assert dash.config.read_text() == torn


# Taking it back.


def test_uninstall_removes_what_was_not_there(dash: Machine) -> None:
    dash.installs(f"--key={ALICE}", "--model=smart")
    dash.installs("--uninstall")
    assert dash.files() == {}
    assert "nothing of this script" in dash.installs("--uninstall")


def test_uninstall_puts_back_every_byte(machine: Machine) -> None:
    machine.write_settings('{ "env":{"ANTHROPIC_BASE_URL":"https://mine"} ,\n\n"n": 1.50 }')
    machine.write_config('  model_provider = "x"  # why\r\nmodel="y"')
    before = machine.files()
    machine.installs(f"--key={ALICE}", "--model=smart")
    machine.installs("openrouter", "--uninstall")
    assert machine.files() == before


def test_uninstall_leaves_what_was_changed_since(dash: Machine) -> None:
    dash.write_settings({"env": {"ANTHROPIC_BASE_URL": "https://mine"}, "theme": "dark"})
    dash.write_config('model = "gpt-5"\n')
    dash.installs(f"--key={ALICE}", "--model=smart")
    now = json.loads(dash.settings.read_text())
    now["theme"], now["env"]["CLAUDE_CODE_SUBAGENT_MODEL"] = "light", "small"
    dash.write_settings(now)
    dash.config.write_text(dash.config.read_text() + "[tui]\nx = 1\n")
    dash.installs("--uninstall")
    assert json.loads(dash.settings.read_text()) == {
        "env": {"ANTHROPIC_BASE_URL": "https://mine", "CLAUDE_CODE_SUBAGENT_MODEL": "small"},
        "theme": "light",
    }
    assert dash.config.read_text() == 'model = "gpt-5"\n[tui]\nx = 1\n'
    assert not list(dash.home.rglob("*.before-tollgate"))


# For a project, and only to look.


def test_a_project_gets_settings_of_its_own(machine: Machine) -> None:
    project = machine.home / "my project"
    project.mkdir()
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    done = machine.run("--project", f"--key={ALICE}", cwd=project)
    assert done.returncode == 0, done.stderr
    local = project / ".claude" / "settings.local.json"
    assert json.loads(local.read_text())["env"]["ANTHROPIC_AUTH_TOKEN"] == ALICE
    assert mode(local) == 0o600
    assert not machine.settings.exists()
    assert not machine.config.exists()
    assert "add it to .gitignore" in done.stderr
    (project / ".gitignore").write_text(".claude/settings.local.json\n")
    assert ".gitignore" not in machine.run("--project", f"--key={ALICE}", cwd=project).stderr
    assert machine.run("--project", "--uninstall", cwd=project).returncode == 0
    assert not local.exists()


def test_print_shows_all_of_it_but_the_key_and_writes_nothing(machine: Machine, gateway: Gateway) -> None:
    machine.write_settings({"env": {"SECRET": "hush"}})
    before = machine.files()
    said = machine.installs("--print", f"--key={ALICE}", "--model=smart")
    assert f"ANTHROPIC_BASE_URL = http://{gateway.host}" in said
    assert "ANTHROPIC_AUTH_TOKEN = (your key)" in said
    assert 'model_provider = "tollgate"' in said
    assert "Nothing was written" in said
    assert ALICE not in said
    assert "hush" not in said
    assert machine.files() == before
    assert gateway.asked == []


def test_print_of_uninstall_changes_nothing_either(dash: Machine) -> None:
    dash.installs(f"--key={ALICE}")
    before = dash.files()
    assert "Would take the gateway out" in dash.installs("--print", "--uninstall")
    assert dash.files() == before


# Where to.


def test_port_means_a_gateway_on_this_machine(dash: Machine, gateway: Gateway) -> None:
    dash.installs("gateway", f"--port={gateway.server_port}", f"--key={ALICE}")
    assert dash.env["ANTHROPIC_BASE_URL"] == f"http://localhost:{gateway.server_port}"


@pytest.mark.parametrize(
    ("preset", "url", "has_codex"),
    [
        ("openrouter", "https://openrouter.ai/api", True),
        ("moonshot", "https://api.moonshot.ai/anthropic", False),
        ("moonshot-cn", "https://api.moonshot.cn/anthropic", False),
    ],
)
def test_a_vendor_is_spoken_to_without_the_gateway(bash: Machine, preset: str, url: str, has_codex: bool) -> None:
    said = bash.installs(preset, "--print")
    assert f"ANTHROPIC_BASE_URL = {url}\n" in said
    assert ("config.toml" in said) is has_codex
    assert bash.host not in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port=0"], "65535"),
        (["--port=80a"], "65535"),
        (["--port=99999"], "65535"),
        (["openrouter", "--port=1"], "this machine"),
        (["gateway", "moonshot"], "not two"),
        (["elsewhere"], "elsewhere"),
        (["--keys=x"], "--keys"),
        (["--key", "x"], "one word"),
        (["--log-level=loud"], "--log-level"),
        (['--model=a"b'], "name of a model"),
        (["--model=a b"], "name of a model"),
    ],
)
def test_it_says_what_it_does_not_understand(bash: Machine, arguments: list[str], words: str) -> None:
    assert words in bash.refuses(*arguments, TOLLGATE_API_KEY=ALICE)
    assert bash.files() == {}


def test_names_of_models_may_have_brackets_and_slashes(dash: Machine) -> None:
    dash.installs(f"--key={ALICE}", "--model=vendor/Model-4.5:free[1m]")
    assert dash.env["ANTHROPIC_MODEL"] == "vendor/Model-4.5:free[1m]"


# The request at the end.


def test_charlies_key_is_refused_by_the_gateway_and_he_is_told(machine: Machine) -> None:
    said = machine.refuses(f"--key={CHARLIE}", "--model=smart")
    assert "refuses the key (status 401): This API key is not known." in said
    assert CHARLIE not in said


def test_without_a_model_it_lists_those_of_the_key(dash: Machine, gateway: Gateway) -> None:
    said = dash.installs(f"--key={ALICE}")
    assert "fast smart" in said
    assert "choose one with --model=" in said
    assert gateway.asked == [("/v1/models", f"Bearer {ALICE}", None)]


def test_a_gateway_that_is_not_there_is_named(bash: Machine, gateway: Gateway) -> None:
    gateway.server_close()
    assert f"http://{gateway.host} cannot be reached" in bash.refuses(f"--key={ALICE}", "--log-level=error")


def test_without_curl_it_says_that_nothing_was_tried(bash: Machine) -> None:
    bash.lacks("curl")
    assert "nothing could be tried" in bash.installs(f"--key={ALICE}")


@pytest.mark.parametrize(
    ("level", "has_news", "has_details"),
    [("error", False, False), ("warning", False, False), ("info", True, False), ("debug", True, True)],
)
def test_it_says_as_much_as_it_is_told_to(bash: Machine, level: str, has_news: bool, has_details: bool) -> None:
    said = bash.installs(f"--key={ALICE}", "--model=smart", f"--log-level={level}")
    assert ("Done." in said) is has_news
    assert ("answered 200" in said) is has_details
    assert ALICE not in said
    warned = bash.installs(f"--key={ALICE}", f"--log-level={level}")
    assert ("Warning: No model" in warned) is (level != "error")


# The key, when nobody gave it.


def test_without_a_key_and_a_terminal_it_says_how_to_give_one(dash: Machine) -> None:
    assert "--key=" in dash.refuses()
    assert dash.files() == {}


TYPIST = """
import os, pty, sys
shell, script, key = sys.argv[1:]
child, terminal = pty.fork()
if child == 0:
    os.execv("/bin/sh", ["sh", "-c", '"$1" -s <"$2"', "sh", shell, script])
said = b""
try:
    while data := os.read(terminal, 1024):
        said += data
        if key and b"not shown" in said:
            os.write(terminal, key.encode() + b"\\n")
            key = ""
except OSError:
    pass
print(said.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_it_asks_for_the_key_on_the_terminal_and_does_not_show_it(machine: Machine, tmp_path: Path) -> None:
    script = tmp_path / "install.sh"
    script.write_bytes(machine.script)
    shell = str(shutil.which(machine.shell))
    done = subprocess.run(
        [sys.executable, "-c", TYPIST, shell, str(script), ALICE],
        env=machine.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.env["ANTHROPIC_AUTH_TOKEN"] == ALICE
    assert "(it is not shown)" in done.stdout


# Elsewhere.

ONLY_OF_GNU = re.compile(
    r"sed -[ir]|readlink -f|\brealpath\b|grep -P|date -d|stat -c|sort -V|mktemp --|xargs -r|base64 -w|head -n -|cp -[at]"
    r"|\btac\b|\bgawk\b|\bgensub\b|\becho -[en]|\btimeout \d"
)


def test_it_asks_no_tool_for_what_that_of_a_mac_cannot_do(dash: Machine) -> None:
    """That it asks nothing of bash, every test in dash shows."""
    assert [line for line in dash.script.decode().splitlines() if ONLY_OF_GNU.search(line)] == []


def test_a_mac_s_own_shell_is_enough(bash: Machine) -> None:
    """There, sh is a bash that keeps to POSIX."""
    folder = bash.home.parent / "posix"
    folder.mkdir()
    (folder / "sh").symlink_to(str(shutil.which("bash")))
    bash.shell = str(folder / "sh")
    bash.installs(f"--key={ALICE}", "--model=smart")
    assert bash.env["ANTHROPIC_MODEL"] == "smart"
    bash.installs("--uninstall")
    assert bash.files() == {}


@pytest.mark.skipif(not os.path.exists("/usr/bin/python3"), reason="there is no /usr/bin/python3 here")
def test_a_mac_without_its_developer_tools_is_asked_nothing_by_python3(bash: Machine) -> None:
    """There, /usr/bin/python3 opens a window that offers them."""
    bash.lacks("python3", "uname")
    (bash.bin / "uname").write_text("#!/bin/sh\necho Darwin\n")
    (bash.bin / "uname").chmod(0o755)
    done = bash.run(f"--key={ALICE}", "--log-level=debug", PATH=f"{bash.bin}:/usr/bin:/bin")
    said = done.stdout + done.stderr
    assert "edited with python" not in said
    assert "python3, node or jq" in said or "edited with" in said


# As it is served.


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
