"""Where the script lets the tools send requests, and the one request that it sends at the end.

Charlie's key is not one of this gateway.
"""

from __future__ import annotations

import pytest

from tests.gateway_site.install_script.machine import ALICE, CHARLIE, Gateway, Machine


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
