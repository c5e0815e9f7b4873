"""Law 2: a request that is read and written in its own dialect is the same JSON, unknown fields and nulls included."""

import json
from typing import Any

from providers.conformance.crossing import read_request, send
from providers.conformance.recorded import Recorded
from providers.registry import DIALECTS
from tests.providers.laws.exchanges import each_exchange, label


def changes(before: Any, after: Any, at: str = "") -> list[str]:
    """Say where two JSON values differ; 1 and 1.0 do, and so does a null that is missing."""
    if isinstance(before, dict) and isinstance(after, dict):
        found = [f"{at}.{name} is missing: {before[name]!r}" for name in before if name not in after]
        found += [f"{at}.{name} is new: {after[name]!r}" for name in after if name not in before]
        return found + [
            change for name in before if name in after for change in changes(before[name], after[name], f"{at}.{name}")
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [change for i, (old, new) in pairs for change in changes(old, new, f"{at}[{i}]")]
    return [] if type(before) is type(after) and before == after else [f"{at}: {before!r} became {after!r}"]


@each_exchange
def test_law_2_a_request_survives_its_own_dialect(recorded: Recorded):
    dialect = DIALECTS[recorded.dialect]
    request = read_request(recorded, dialect)
    crossed = send(request, dialect, model=request.model)
    found = changes(json.loads(recorded.request), json.loads(crossed.body))
    assert not found, "\n  ".join([f"{label(recorded)} came back changed:", *found])
    assert crossed.losses == (), f"{label(recorded)} lost something in its own dialect: {crossed.losses}"
