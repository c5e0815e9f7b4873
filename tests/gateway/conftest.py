"""One stack for all gateway tests: what a person gets from `make run`, with the tests' own configuration added."""

from collections.abc import Iterator

import pytest

from tenants.keys import generate
from tests.environment import STATE_DIR
from tests.gateway.stack import ROOT, Stack, running_stack

NAMES = (
    "ALICE",
    "NARROW",
    "LIMITED",
    "SERIAL",
    "EXPIRED",
    "REVOKED",
    "CHARLIE",
    "SUSPENDED",
    "PURIST",
    "CAREFUL",
    "CURIOUS",
    "PICKY",
    "KEEPER",
    "TROUBLED",
)


class Keys:
    """The secrets of the tests' keys, by name in lower case."""

    def __init__(self) -> None:
        for name in NAMES:
            setattr(self, name.lower(), generate())

    alice: str
    narrow: str
    limited: str
    serial: str
    expired: str
    revoked: str
    charlie: str
    suspended: str
    purist: str
    careful: str
    curious: str
    picky: str
    keeper: str
    troubled: str


@pytest.fixture(scope="session")
def keys() -> Keys:
    return Keys()


@pytest.fixture(scope="package")
def stack(keys: Keys) -> Iterator[Stack]:
    """Everything running, with two web workers."""
    with running_stack(STATE_DIR / "stack") as stack:
        variables = {f"{name}_KEY": getattr(keys, name.lower()) for name in NAMES}
        stack.manage("apply", str(ROOT / "tests/gateway/gateway.yaml"), SIMULATOR_URL=stack.simulator_url, **variables)
        # `apply` refuses a key that has expired already; time does it here.
        stack.execute("UPDATE tenants_apikey SET expires_at = '2026-01-01' WHERE name = 'old'")
        yield stack
