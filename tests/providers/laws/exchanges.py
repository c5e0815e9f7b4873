"""The recorded exchanges, and marks that run a law for each of them, alone or with every other dialect."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from providers.conformance.crossing import may_be_asked_by
from providers.conformance.recorded import Recorded, load
from providers.dialects.base import Dialect
from providers.registry import DIALECTS

EXCHANGES = Path(__file__).resolve().parents[2] / "exchanges"
RECORDED = [*load(EXCHANGES)]


def label(recorded: Recorded) -> str:
    return f"{recorded.dialect}/{recorded.name}"


each_exchange = pytest.mark.parametrize("recorded", RECORDED, ids=label)


def each_pair(pairs: Iterable[tuple[Recorded, Dialect]]) -> pytest.MarkDecorator:
    """Run a law for exchanges, each with another dialect."""
    values = [pytest.param(recorded, other, id=f"{label(recorded)}-{other.name}") for recorded, other in pairs]
    return pytest.mark.parametrize(("recorded", "other"), values)


DIRECTIONS = [
    (recorded, other) for recorded in RECORDED for other in DIALECTS.values() if may_be_asked_by(recorded, other)
]

# A request on its way to upstreams of the other dialects.
each_crossing = each_pair(
    (recorded, other) for recorded in RECORDED for other in DIALECTS.values() if other.name != recorded.dialect
)
# An answer on its way to clients of every dialect; for laws about what all exchanges share, some are enough.
each_direction = each_pair(DIRECTIONS)
some_directions = each_pair(DIRECTIONS[::5])
each_dialect = pytest.mark.parametrize("dialect", DIALECTS.values(), ids=list(DIALECTS))
