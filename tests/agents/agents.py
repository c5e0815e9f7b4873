"""The agents: how each is told where the gateway is, started, and read."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.agents.desk import Desk

CODEX_CONFIG = """\
model = "{alias}"
model_provider = "tollgate"
check_for_update_on_startup = false

[analytics]
enabled = false

[model_providers.tollgate]
name = "Tollgate"
base_url = "{url}/v1"
env_key = "TOLLGATE_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Where the gateway is, and a key for it."""

    url: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an agent says of its run."""

    exit_code: int
    answer: str  # its last words
    problems: tuple[str, ...]  # what it says went wrong: errors, retries, tools that failed
    printed: str  # everything, for whoever reads a failure


type Ask = Callable[[Path, Desk, Gateway, str, str], Report]


def ask_claude_code(program: Path, desk: Desk, gateway: Gateway, alias: str, prompt: str) -> Report:
    """Let Claude Code do what the prompt says. https://code.claude.com/docs/en/llm-gateway"""
    command = [str(program), "-p", prompt, "--output-format", "stream-json", "--verbose"]
    finished = desk.run(
        [*command, "--permission-mode", "bypassPermissions"],
        ANTHROPIC_BASE_URL=gateway.url,
        ANTHROPIC_AUTH_TOKEN=gateway.key,
        ANTHROPIC_MODEL=alias,
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
        CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK="1",
        CLAUDE_CODE_MAX_RETRIES="0",
        CLAUDE_CODE_TMPDIR=str(desk.temporary),
        DISABLE_AUTOUPDATER="1",
        DISABLE_ERROR_REPORTING="1",
        DISABLE_TELEMETRY="1",
    )
    lines = _lines(finished.output)
    result: dict[str, Any] = next((line for line in lines if line.get("type") == "result"), {})
    return Report(
        exit_code=finished.exit_code,
        answer=str(result.get("result", "")),
        problems=tuple(json.dumps(line) for line in lines if _is_claude_problem(line)),
        printed=finished.output + finished.complaints,
    )


def ask_codex(program: Path, desk: Desk, gateway: Gateway, alias: str, prompt: str) -> Report:
    """Let Codex do what the prompt says. https://developers.openai.com/codex/config-reference"""
    folder = desk.home / ".codex"
    folder.mkdir()
    (folder / "config.toml").write_text(CODEX_CONFIG.format(alias=alias, url=gateway.url))
    command = [str(program), "exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
    finished = desk.run([*command, prompt], TOLLGATE_KEY=gateway.key)
    lines = _lines(finished.output)
    items = [line["item"] for line in lines if line.get("type") == "item.completed"]
    said = [item["text"] for item in items if item["type"] == "agent_message"]
    return Report(
        exit_code=finished.exit_code,
        answer=said[-1] if said else "",
        problems=tuple(json.dumps(line) for line in lines if _is_codex_problem(line)),
        printed=finished.output + finished.complaints,
    )


def _is_claude_problem(line: dict[str, Any]) -> bool:
    if line.get("type") == "user":
        return any(isinstance(part, dict) and part.get("is_error") for part in line["message"]["content"])
    return bool(line.get("is_error") or line.get("error") or line.get("subtype") == "api_retry")


def _is_codex_problem(line: dict[str, Any]) -> bool:
    item = line.get("item", {})
    if item.get("type") == "error":
        return "Model metadata" not in item["message"]  # it says so of every model that it does not know by name
    return line.get("type") in {"error", "turn.failed"} or item.get("status") == "failed" or bool(item.get("exit_code"))


def _lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]
