"""What the public pages say of the gateway's state, for whoever uses it: no worker and no store is named. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

type State = Literal["up", "degraded", "down", "unknown"]

WORDS: dict[State, str] = {"up": "Working", "degraded": "Impaired", "down": "Not working", "unknown": "Not known"}
HEADLINES: dict[State, str] = {
    "up": "Everything works",
    "degraded": "Working, with restrictions",
    "down": "Not working",
    "unknown": "The state is not known yet",
}
OVERALL: dict[str, State] = {"ok": "up", "degraded": "degraded", "down": "down"}
BREAKERS: dict[str, State] = {"closed": "up", "half_open": "degraded", "open": "down"}
# Nothing else is ever quite without effect: what is away is done without, or done later.
ESSENTIAL = "Answering requests"
# What people notice, of which components of /health it is made, and what is wrong while one of those is.
PARTS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (ESSENTIAL, ("snapshot",), "Requests may be refused, or answered by an older configuration."),
    ("Models", ("breakers", "pools"), "Some models do not answer, or slowly; others take over where there are any."),
    (
        "Limits and budgets",
        ("valkey",),
        "Limits are counted less exactly than usual, or requests are refused because of that.",
    ),
    ("Keys and console", ("postgres",), "Keys that were not used lately may be refused, and nothing can be changed."),
    ("Usage reports", ("usage", "celery"), "Usage is recorded, but shows later than usual."),
)
GRAVITY: tuple[State, ...] = ("down", "degraded", "unknown", "up")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One line of the status page."""

    name: str
    state: State
    note: str = ""

    @property
    def word(self) -> str:
        """Its state, for people."""
        return WORDS[self.state]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """All of it."""

    state: State
    parts: tuple[Part, ...] = ()
    providers: tuple[Part, ...] = ()

    @property
    def headline(self) -> str:
        """The first thing to know."""
        return HEADLINES[self.state]


UNKNOWN = Status(state="unknown")


def public_status(document: Mapping[str, Any], providers: Sequence[Mapping[str, Any]] = ()) -> Status:
    """Say it, from what `health.report.health` says, and from breakers by provider where those may be named."""
    states: dict[str, State] = {name: part["state"] for name, part in document["components"].items()}
    return Status(
        state=OVERALL[document["status"]],
        parts=tuple(_part(name, [states[each] for each in of], note) for name, of, note in PARTS),
        providers=tuple(Part(name=each["provider"], state=BREAKERS[each["state"]]) for each in providers),
    )


def _part(name: str, states: Sequence[State], note: str) -> Part:
    state = min(states, key=GRAVITY.index)
    if state == "down" and name != ESSENTIAL:
        state = "degraded"
    return Part(name=name, state=state, note=note if state in {"degraded", "down"} else "")
