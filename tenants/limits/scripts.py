"""What admission has in Valkey: its scripts, the names of its keys, and how they are told what to do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from gateway_site.infra.valkey import Script
from tenants.limits.charges import EXACT, Argument, Hold, settle_arguments
from tenants.limits.spool import SpooledSettle

USAGE_STREAM = b"tollgate:usage"
RESERVATION_PREFIX = "tollgate:reservation:"
RESERVATIONS = "tollgate:reservations"
COUNTED = "tollgate:budgets:counted"  # there: what was spent is what the counters say

LEASE_MS = 40_000  # what a killed worker holds is free again after this, and the next sweep
SETTLED_MS = 120_000  # how long a repeated settle is recognised; the ledger's primary key guards beyond
SWEPT_MS = 86_400_000  # how long after a sweep a late settle is recognised

_FOLDER = Path(__file__).parent
RESERVE = Script(_FOLDER / "reserve.lua")
ADOPT = Script(_FOLDER / "adopt.lua")
SETTLE = Script(_FOLDER / "settle.lua")
SETTLE_TOGETHER = Script(_FOLDER / "settle_together.lua")
RENEW = Script(_FOLDER / "renew.lua")
SWEEP = Script(_FOLDER / "sweep.lua")
COUNT = Script(_FOLDER / "count.lua")
HOLDS = Script(_FOLDER / "holds.lua")
PEEK = Script(_FOLDER / "peek.lua")
STORE_PRINCIPAL = Script(_FOLDER / "store_principal.lua")
SCRIPTS = (RESERVE, ADOPT, SETTLE, SETTLE_TOGETHER, RENEW, STORE_PRINCIPAL)  # that workers call

ADMITTED, UNCOUNTED = 1, -1  # what reserve.lua returns first
ROOMY, SPACIOUS = 1, 2  # what it says of the room that is left
SETTLED, NO_ROOM, LATE = (0, 1), 2, 3  # what settle.lua returns
MOST_EACH = EXACT // 64  # nanos or tokens of one that is settled with others: sums stay exact


class Asked(msgspec.Struct, frozen=True, gc=False):
    """One request that asks to be admitted."""

    request_id: str
    if_lost: bytes  # the usage event, should its worker be killed
    arguments: list[Argument]  # of its rules
    holds: tuple[Hold, ...]


def reserve_command(
    rules: tuple[str, ...], arguments: Sequence[Argument], asked: Sequence[Asked], *, room: int = 0
) -> tuple[tuple[str, ...], list[Any]]:
    """Return the keys of the script and its arguments, which are what all that ask need together.

    `room`: for how many more like it there must be room, if it is a reservation ahead.
    """
    keys = (RESERVATIONS, COUNTED, *rules, *[RESERVATION_PREFIX + each.request_id for each in asked])
    found: list[Any] = [len(asked), LEASE_MS, room, *arguments]
    for each in asked:
        found += (each.request_id, each.if_lost, *[hold.amount for hold in each.holds if hold.kind == "b"])
    return keys, found


def settle_command(settle: SpooledSettle, *, remembered_ms: int = SETTLED_MS) -> tuple[Any, ...]:
    """Return the keys of the script, and behind them its arguments."""
    request_id = settle.request_id
    keys, arguments = settle_arguments(settle.holds, settle.cost, settle.currency)
    note = 1 if settle.replaces_lost else 2 if settle.doubtful_since else 0
    return (
        (USAGE_STREAM, RESERVATION_PREFIX + request_id, RESERVATIONS, COUNTED, *keys),
        *(request_id, remembered_ms, settle.event, settle.tokens, settle.reserved_at, note),
        *arguments,
    )


def settle_together_command(settles: Sequence[SpooledSettle]) -> tuple[Any, ...]:
    """The same for several of the same rules (`by_rules`)."""
    holds, currency = settles[0].holds, settles[0].currency
    arguments: list[Argument] = [len(settles), SETTLED_MS]
    for hold in holds:
        if hold.kind == "c":
            arguments.append("c")
        elif hold.kind == "t":
            arguments += ("t", hold.window_ms)
        else:
            arguments += ("b", hold.slot, 1 if hold.currency == currency else 0)
    for settle in settles:
        arguments += (settle.request_id, settle.event, settle.reserved_at, settle.cost)
        for hold in settle.holds:
            if hold.kind == "b":
                arguments.append(hold.amount)
            elif hold.kind == "t":
                arguments.append(settle.tokens - hold.amount)
    keys = [hold.key for hold in holds]
    reservations = [RESERVATION_PREFIX + settle.request_id for settle in settles]
    return ((USAGE_STREAM, RESERVATIONS, COUNTED, *keys, *reservations), *arguments)


def by_rules(settles: list[SpooledSettle]) -> list[list[SpooledSettle]]:
    """Return them in groups that can be settled together."""
    if len(settles) == 1:  # as most leave
        return [settles]
    groups: dict[object, list[SpooledSettle]] = {}
    for settle in settles:
        groups.setdefault(_rules_of(settle), []).append(settle)
    return list(groups.values())


def _rules_of(settle: SpooledSettle) -> object:
    """Return what those have in common that can be settled together: of which rules they hold something, and their currency.

    One so large that sums might not be exact has nothing in common with others.
    """
    found: list[object] = [settle.currency]
    most = max(settle.cost, settle.tokens)
    for hold in settle.holds:
        found += (hold.kind, hold.key, hold.window_ms, hold.slot, hold.currency)
        most = max(most, hold.amount)
    return tuple(found) if most < MOST_EACH else settle.request_id
