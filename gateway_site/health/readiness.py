"""Whether a worker should get requests: ready, degraded (a store is away, traffic goes on) or down. Pure."""

from dataclasses import dataclass
from typing import Literal

# What does not work while a store is away, for whoever reads /ready at night.
WITHOUT_VALKEY = (
    "limits are counted by each worker alone",
    "usage waits on disk",
    "changes and revocations are not announced",
)
WITHOUT_POSTGRES = (
    "the console does not work",
    "keys that no worker remembers get 503",
    "usage waits in Valkey",
)
WITHOUT_BOTH = (
    "limits are counted by each worker alone",
    "usage waits on disk",
    "the console does not work",
    "keys that this worker does not remember get 503",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """What a worker says of itself; `status` 503 sends load balancers elsewhere."""

    state: Literal["ready", "degraded", "down"]
    away: tuple[str, ...] = ()  # stores: valkey, postgres
    missing: tuple[str, ...] = ()  # what does not work meanwhile

    @property
    def status(self) -> int:
        """The HTTP status of /ready."""
        return 503 if self.state == "down" else 200


def readiness(
    *, is_configured: bool, has_valkey: bool, has_postgres: bool | None, is_stopping: bool = False
) -> Readiness:
    """Decide; `has_postgres` is None while nobody has asked it yet, which holds nothing up."""
    away = tuple(name for name, is_there in (("valkey", has_valkey), ("postgres", has_postgres)) if is_there is False)
    if is_stopping:
        return Readiness(state="down", away=away, missing=("this worker is stopping",))
    if not is_configured:
        return Readiness(state="down", away=away, missing=("no configuration: no store has one, nor has the disk",))
    return Readiness(state="degraded" if away else "ready", away=away, missing=_missing(away))


def _missing(away: tuple[str, ...]) -> tuple[str, ...]:
    if len(away) > 1:
        return WITHOUT_BOTH
    return {"valkey": WITHOUT_VALKEY, "postgres": WITHOUT_POSTGRES}[away[0]] if away else ()
