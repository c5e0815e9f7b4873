"""How the script edits the tools' own files: Claude Code's JSON and Codex's TOML."""

from __future__ import annotations

import json
import tomllib

import pytest

from tests.gateway_site.install_script.machine import ALICE, Machine

ENGINES = ("python3", "node", "jq")


@pytest.mark.parametrize("engine", ENGINES)
def test_any_of_three_programs_edits_json_alike(bash: Machine, engine: str) -> None:
    bash.edits_with(engine)
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
    bash.edits_with(engine)
    bash.write_settings(text)
    assert "nothing was changed" in bash.refuses(f"--key={ALICE}")
    assert bash.files() == {".claude/settings.json": text.encode()}


def test_it_says_what_is_missing_when_nothing_can_edit_json(machine: Machine) -> None:
    machine.lacks("python3")
    said = machine.refuses(f"--key={ALICE}")
    assert "python3, node or jq" in said
    assert machine.files() == {}


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
