"""One gateway for all agents, and the agents themselves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tenants.keys import generate
from tests.agents.agents import Gateway
from tests.agents.desk import Desk
from tests.agents.desk import desk as new_desk
from tests.agents.install import CannotInstall, installed_programs
from tests.environment import STATE_DIR
from tests.gateway.stack import ROOT, Stack, running_stack


@pytest.fixture(scope="session")
def programs() -> dict[str, Path]:
    """The agents' programs, by name."""
    try:
        return installed_programs()
    except CannotInstall as error:
        pytest.exit(str(error), returncode=1)


@pytest.fixture(scope="session")
def key() -> str:
    return generate()


@pytest.fixture(scope="session")
def stack(programs: dict[str, Path], key: str) -> Iterator[Stack]:
    """Everything running, with two web workers; asks for the programs first, because there is no need for it without."""
    with running_stack(STATE_DIR / "agents") as stack:
        declared = str(ROOT / "tests/agents/gateway.yaml")
        stack.manage("apply", declared, SIMULATOR_URL=stack.simulator_url, AGENTS_KEY=key)
        yield stack


@pytest.fixture
def gateway(stack: Stack, key: str) -> Gateway:
    return Gateway(url=stack.url, key=key)


@pytest.fixture
def desk() -> Iterator[Desk]:
    with new_desk() as desk:
        yield desk
