"""What is told of deployments' health through Valkey: the names under which it stands there, and one event's form.

Workers tell of breakers and cooldowns (`routing/health_sharing.py`), Celery of probes (`probes.py`).
"""

import msgspec

CHANNEL = "tollgate:health"  # announcements: Message
EVENTS_STREAM = "tollgate:health:events"  # on the way into the database: Note, in the field "event"
EVENTS_KEPT = 10_000  # of those that nobody drains
STATES_KEY = "tollgate:health:states"  # deployment/breaker, deployment/cooldown → the Note that holds
PROBES_KEY = "tollgate:probes"  # deployment → what its last probe found


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """One event; times are seconds since 1970."""

    deployment: str
    provider: str
    kind: str
    old: str
    new: str
    at: float
    reason: str = ""
    until: float | None = None
    worker: str = ""


class ProbesFound(msgspec.Struct, frozen=True, kw_only=True):
    """The announcement of what probes found: deployment → result."""

    probes: dict[str, str]
    worker: str = ""


encode = msgspec.json.Encoder().encode
decode_note = msgspec.json.Decoder(Note).decode


def field_of(deployment: str, *, is_cooldown: bool) -> str:
    """Return under which field of the states a deployment's breaker or cooldown stands."""
    return f"{deployment}/{'cooldown' if is_cooldown else 'breaker'}"
