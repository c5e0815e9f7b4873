"""One running gateway and one browser for all journeys; each test has browser contexts that nobody has used."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from tenants.keys import generate
from tests.browser.chromium import Chromium, NoBrowser, Person, installed_chromium, person_at
from tests.browser.house import House, furnished
from tests.browser.people import SessionsOf, sessions_of
from tests.environment import STATE_DIR
from tests.gateway.stack import ROOT, Stack, running_stack

KEYS = ("ALICE", "SAVER", "CHARLIE")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    try:
        with installed_chromium() as chromium:
            yield chromium
    except NoBrowser as error:
        pytest.exit(str(error), returncode=1)


@pytest.fixture(scope="session")
def keys() -> dict[str, str]:
    """The secrets of the declared keys, by tenant."""
    return {name.lower(): generate() for name in KEYS}


@pytest.fixture(scope="session")
def stack(chromium: Chromium, keys: dict[str, str]) -> Iterator[Stack]:
    """Everything running; asks for the browser first, because there is no need for it without."""
    with running_stack(STATE_DIR / "browser", workers=1) as stack:
        variables = {f"{name}_KEY": keys[name.lower()] for name in KEYS}
        declared = str(ROOT / "tests/browser/gateway.yaml")
        stack.manage("apply", declared, SIMULATOR_URL=stack.simulator_url, **variables)
        yield stack


@pytest.fixture(scope="session")
def sessions(stack: Stack) -> SessionsOf:
    """The cookies of people who have signed in."""
    return sessions_of(stack)


@pytest.fixture
def somebody_at(chromium: Chromium) -> Iterator[Callable[..., Person]]:
    """Makes people with a browser each, at a gateway: `somebody_at(url)`, or with options of a browser context."""
    with ExitStack() as open_browsers:

        def make(url: str, **options: Any) -> Person:
            return open_browsers.enter_context(person_at(chromium, url, **options))

        yield make


@pytest.fixture
def somebody(somebody_at: Callable[..., Person], stack: Stack) -> Callable[..., Person]:
    """Makes people with a browser each at the gateway of the journeys."""
    return partial(somebody_at, stack.url)


@pytest.fixture
def operator(somebody: Callable[..., Person], sessions: SessionsOf) -> Person:
    """The operator, signed in."""
    return somebody(storage_state=sessions("operator"))


@pytest.fixture
def charlie(somebody: Callable[..., Person], sessions: SessionsOf) -> Person:
    """The outsider: an owner of another tenant, signed in."""
    return somebody(storage_state=sessions("charlie"))


@pytest.fixture(scope="session")
def empty_stack(chromium: Chromium) -> Iterator[Stack]:
    """Another gateway, to look at: on its first day, until somebody asks for the `house`."""
    with running_stack(STATE_DIR / "looks", workers=1) as stack:
        yield stack


@pytest.fixture(scope="session")
def house(empty_stack: Stack) -> House:
    """The same when it has been used for two weeks."""
    return furnished(empty_stack)
