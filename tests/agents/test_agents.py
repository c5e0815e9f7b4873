"""Claude Code and Codex finish a run that uses tools, through a real gateway, whatever the upstream speaks.

The simulator's `sim-agent` plays the model: it has the agent write a file, read it back, and then says what it saw.
Where thoughts are sealed, and with DeepSeek, it goes on only when its own come back.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest

from providers.simulator.agent import FILE, LINE
from tests.agents.agents import Ask, Gateway, ask_claude_code, ask_codex
from tests.agents.desk import Desk
from tests.gateway.stack import Stack, wait_for

STEPS = 3  # write, read, answer
# The end of an alias and the dialect of the upstream that serves it.
UPSTREAMS = {
    "on-messages": "anthropic_messages",
    "on-chat": "openai_chat",
    "on-deepseek": "openai_chat",
    "on-responses": "openai_responses",
    "on-gemini": "gemini",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent and the model that it believes to talk to."""

    program: str
    dialect: str
    model: str  # the beginning of an alias
    ask: Ask


# The beginning of the model's name decides how Codex offers its tools.
AGENTS = (
    Agent(program="Claude Code", dialect="anthropic_messages", model="claude", ask=ask_claude_code),
    # An unknown model gets functions, a namespace and web search,
    Agent(program="Codex", dialect="openai_responses", model="codex", ask=ask_codex),
    # this one a custom tool with a grammar, and tool search,
    Agent(program="Codex", dialect="openai_responses", model="gpt-5.5", ask=ask_codex),
    # and this one custom tools that run JavaScript, in namespaces, among the input.
    Agent(program="Codex", dialect="openai_responses", model="gpt-6.1-sol", ask=ask_codex),
)


@pytest.mark.parametrize("upstream", UPSTREAMS)
@pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.model)
def test_it_writes_a_file_reads_it_back_and_says_what_it_saw(
    agent: Agent, upstream: str, programs: dict[str, Path], stack: Stack, gateway: Gateway, desk: Desk
) -> None:
    alias, file = f"{agent.model}-{upstream}", desk.work / FILE

    prompt = f"Write a line to the file {file}, read it back and tell me what it says."
    report = agent.ask(programs[agent.program], desk, gateway, alias, prompt)

    assert (report.exit_code, report.problems) == (0, ()), report.printed
    assert file.read_text() == f"{LINE}\n"
    assert LINE in report.answer, report.printed
    assert _served(stack, alias) == [(agent.dialect, UPSTREAMS[upstream], "served")] * STEPS


def _served(stack: Stack, alias: str) -> list[tuple[str, str, str]]:
    """Return each request of an alias: the client's dialect, the upstream's, and how it ended."""
    sql = "SELECT dialect, dialect_upstream, outcome FROM tenants_usagerecord WHERE alias = %s ORDER BY started_at"
    return wait_for(lambda: _all_of(stack.query(sql, alias)), f"{STEPS} usage records of {alias}")


def _all_of(rows: list[tuple[str, str, str]]) -> list[tuple[str, str, str]] | None:
    return rows if len(rows) >= STEPS else None
