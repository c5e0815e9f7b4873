"""What the script that sets Claude Code and Codex up writes, and what it leaves as it was."""

from __future__ import annotations

import json
import tomllib

import pytest

from tests.gateway_site.install_script.machine import ALICE, Gateway, Machine, mode


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
