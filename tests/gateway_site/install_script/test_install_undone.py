"""The script takes back what it did, does it for one project, or only shows it."""

from __future__ import annotations

import json
import subprocess

from tests.gateway_site.install_script.machine import ALICE, Gateway, Machine, mode


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
