"""What the connect page tells people to paste works: each snippet, with a real key in it, against a running gateway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from gateway_site.infra.words import DIALECTS
from routing.connect import Setup, Tool, claude_code_environment, codex_config, tools
from routing.examples import Ask, Connection, code_for, request_of
from tests.gateway.stack import Stack

AWKWARD = """It's "quoted", $HOME `id` \\n é
and a second line"""


def setup_of(stack: Stack, key: str, *, model: str = "chat") -> Setup:
    return Setup(connection=Connection(origin=stack.url, key=key), model=model, has_secret=True)


def tool(setup: Setup, slug: str) -> Tool:
    return next(each for each in tools(setup) if each.slug == slug)


def snippets(setup: Setup, slug: str, language: str) -> list[str]:
    found = [each.text for each in tool(setup, slug).snippets if each.language == language]
    assert found
    return found


def in_shell(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables}
    return subprocess.run(
        ["sh", "-e", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def in_python(text: str, **variables: str) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables}
    done = subprocess.run(
        [sys.executable, "-c", text], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- Run ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("model", ["chat", "messages-only"])
def test_curl_answers(stack, keys, number, model):
    command = snippets(setup_of(stack, keys.alice, model=model), "curl", "curl")[number]
    done = in_shell(f"{command} -sS")
    answer = json.loads(done.stdout)
    assert "error" not in answer, answer
    assert answer.get("choices") or answer.get("content")


def test_curl_lists_the_models_of_the_key(stack, keys):
    done = in_shell(f"{snippets(setup_of(stack, keys.narrow), 'curl', 'shell')[0]} -sS")
    assert json.loads(done.stdout)["data"]


@pytest.mark.parametrize("slug", ["openai", "anthropic", "google"])
def test_the_sdk_in_python_answers(stack, keys, slug):
    (text,) = snippets(setup_of(stack, keys.alice), slug, "python")
    assert in_python(text).strip()


@pytest.mark.parametrize(
    ("slug", "program"),
    [
        (
            "openai",
            "from openai import OpenAI; print(OpenAI().chat.completions.create(model='chat',"
            " messages=[{'role': 'user', 'content': 'Hi'}]).choices[0].message.content)",
        ),
        (
            "anthropic",
            "from anthropic import Anthropic; print(Anthropic().messages.create(model='chat', max_tokens=64,"
            " messages=[{'role': 'user', 'content': 'Hi'}]).content[0].text)",
        ),
    ],
)
def test_the_variables_are_enough_for_a_program_that_stays_as_it_is(stack, keys, slug, program):
    (exports,) = snippets(setup_of(stack, keys.alice), slug, "shell")
    done = in_shell(f'{exports}\nexec "$PYTHON" -c "$PROGRAM"', PYTHON=sys.executable, PROGRAM=program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_install_line_sets_both_tools_up(stack, keys, tmp_path):
    setup = setup_of(stack, keys.alice)
    line = next(each.text for each in tool(setup, "claude-code").snippets if "install.sh" in each.text)
    done = in_shell(line, HOME=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads((tmp_path / ".claude/settings.json").read_text())["env"]
    expected = claude_code_environment(setup)
    assert {name: written.get(name) for name in expected} == expected
    config = tomllib.loads((tmp_path / ".codex/config.toml").read_text())
    assert config["model_providers"]["tollgate"]["base_url"] == setup.connection.openai_base


def test_what_claude_code_sends_by_its_settings_is_answered(stack, keys):
    environment = claude_code_environment(setup_of(stack, keys.alice))
    program = (
        "import os; from anthropic import Anthropic; print(Anthropic(auth_token=os.environ['ANTHROPIC_AUTH_TOKEN'],"
        " api_key=None).messages.create(model=os.environ['ANTHROPIC_MODEL'], max_tokens=64,"
        " messages=[{'role': 'user', 'content': 'Hi'}]).content[0].text)"
    )
    variables = {name: value for name, value in environment.items() if name != "ANTHROPIC_API_KEY"}
    assert in_python(program, **variables).strip()


# --- Every request as code -----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_streamed", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_awkward_texts_arrive_as_they_were_typed_in_curl(stack, keys, dialect, is_streamed):
    ask = Ask(
        dialect=dialect,
        model="chat",
        user=AWKWARD,
        system=AWKWARD,
        max_tokens=64,
        temperature=0.5,
        is_streamed=is_streamed,
    )
    done = in_shell(code_for(ask, Connection(origin=stack.url, key=keys.alice), "curl") + " -sS")
    assert '"error":{' not in done.stdout.replace(" ", ""), done.stdout
    assert done.stdout.strip()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_awkward_texts_arrive_as_they_were_typed_in_python(stack, keys, dialect):
    """Whole and streamed, in one process: what takes long is to import a vendor's client."""
    ask = Ask(dialect=dialect, model="chat", user=AWKWARD, system=AWKWARD, max_tokens=64)
    connection = Connection(origin=stack.url, key=keys.alice)
    programs = [code_for(replace(ask, is_streamed=each), connection, "python") for each in (False, True)]
    said = in_python(f"for program in {programs!r}:\n    exec(program, {{}})\n    print('\\0')").split("\0")
    assert [bool(each.strip()) for each in said] == [True, True, False]


def test_a_revoked_key_is_told_so(stack, keys):
    command = snippets(setup_of(stack, keys.revoked), "curl", "curl")[0]
    assert "revoked_api_key" in in_shell(f"{command} -sS").stdout


def test_charlies_key_is_refused_what_is_alices(stack, keys):
    for key, is_refused in ((keys.alice, False), (keys.charlie, True)):
        command = snippets(setup_of(stack, key, model="alice-only"), "curl", "curl")[0]
        assert ("model_not_found" in in_shell(f"{command} -sS").stdout) == is_refused


# --- Read ----------------------------------------------------------------------------------------------------


ODD = Setup(
    connection=Connection(origin="https://gw.example.com", key="sk-\"odd'$key\\"), model='a "b" \\c', has_secret=True
)


def test_json_and_toml_can_be_read_whatever_stands_in_them():
    (settings,) = snippets(ODD, "claude-code", "json")
    assert json.loads(settings)["env"]["ANTHROPIC_AUTH_TOKEN"] == ODD.connection.key
    config = tomllib.loads(codex_config(ODD))
    assert (config["model"], config["model_provider"]) == (ODD.model, "tollgate")
    assert config["model_providers"]["tollgate"]["wire_api"] == "responses"


@pytest.mark.parametrize("slug", ["claude-code", "openai", "anthropic", "google"])
def test_a_shell_reads_odd_values_as_they_are(slug):
    exports = next(text for text in snippets(ODD, slug, "shell") if text.startswith("export"))
    name = next(line for line in exports.splitlines() if "KEY=" in line or "TOKEN=" in line).split("=")[0].split()[1]
    lines = "\n".join(line for line in exports.splitlines() if line.startswith("export"))
    assert in_shell(f'{lines}\nprintf %s "${name}"').stdout == ODD.connection.key


@pytest.mark.parametrize("slug", ["openai", "anthropic", "google", "langchain"])
def test_python_can_be_compiled_whatever_stands_in_it(slug):
    for text in snippets(ODD, slug, "python"):
        compile(text, slug, "exec")


def test_javascript_is_javascript(tmp_path):
    if subprocess.run(["which", "node"], capture_output=True, check=False).returncode:
        pytest.skip("no node here")
    texts = [
        each.text for each in (each for tool in tools(ODD) for each in tool.snippets) if each.language == "javascript"
    ]
    texts += [
        code_for(Ask(dialect=dialect, model="m", user=AWKWARD, is_streamed=is_streamed), ODD.connection, "javascript")
        for dialect in DIALECTS
        for is_streamed in (False, True)
    ]
    for number, text in enumerate(texts):
        path: Path = tmp_path / f"{number}.mjs"
        path.write_text(text)
        done = subprocess.run(["node", "--check", str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, text + done.stderr


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_was_not_said_is_not_sent(dialect):
    body = json.dumps(request_of(Ask(dialect=dialect, model="m", user="Hi")).body)
    assert "null" not in body
    assert "temperature" not in body
    assert "system" not in body.lower()


def test_without_a_secret_none_is_asked_to_be_in_a_command():
    setup = Setup(connection=Connection(origin="https://gw.example.com", key="tg_abcd…"))
    line = next(each.text for each in tool(setup, "codex").snippets if "install.sh" in each.text)
    assert "TOLLGATE_API_KEY" not in line
    assert "--model" not in line
