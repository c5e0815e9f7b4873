"""The breaker of one deployment: closed, open, half-open. Pure; times are seconds since 1970.

Closed: everything passes. It opens when, within `window` seconds, there were at least `failures` failures and they were
half of all outcomes or more: a busy deployment with a failure now and then stays closed, a dead one opens soon.
Open: nothing passes for `open_for` seconds.
Half-open: one request at a time may try, in the one slot. `half_open_successes` successes close it, one failure opens it
again. A request that ends without an outcome (its client left) gives the slot back and counts for nothing.
"""

from typing import Literal

import msgspec

type State = Literal["closed", "open", "half_open"]

SLICES = 6  # of the window: it slides by a sixth at a time
FAILING_SHARE = 0.5


class BreakerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """As the provider has them."""

    enabled: bool = True
    failures: int = 5
    window: float = 60.0  # seconds
    open_for: float = 60.0  # seconds
    half_open_successes: int = 2


class Breaker:
    """One deployment's breaker, as one worker sees it."""

    __slots__ = (
        "_failed",
        "_is_slot_taken",
        "_slice",
        "_succeeded",
        "_successes",
        "changed_at",
        "consecutive_failures",
        "open_until",
        "settings",
        "state",
    )

    def __init__(self, settings: BreakerSettings) -> None:
        self.settings = settings
        self.state: State = "closed"
        self.changed_at = 0.0  # 0: never
        self.open_until = 0.0
        self.consecutive_failures = 0
        self._successes = 0  # of the half-open state
        self._is_slot_taken = False
        self._slice = 0  # the number of the newest slice of the window
        self._succeeded = [0] * SLICES
        self._failed = [0] * SLICES

    def look(self, now: float) -> State:
        """Return the state; an open breaker whose time is over is as good as half-open."""
        return "half_open" if self.state == "open" and now >= self.open_until else self.state

    @property
    def is_slot_free(self) -> bool:
        """Whether a request may try while half-open."""
        return not self._is_slot_taken

    @property
    def is_troubled(self) -> bool:
        """Whether others should know of its outcomes: it is not closed, or has failures in its window."""
        return self.state != "closed" or any(self._failed)

    def take_slot(self, now: float) -> bool:
        """Take the half-open slot; False when another request has it, or nothing may be tried yet."""
        if self._is_slot_taken or self.look(now) != "half_open":
            return False
        if self.state == "open":
            self._become("half_open", now)
        self._is_slot_taken = True
        return True

    def give_back_slot(self) -> None:
        """Let the next request try."""
        self._is_slot_taken = False

    def record(self, now: float, *, ok: int = 0, failed: int = 0, is_trial: bool = False) -> State | None:
        """Count outcomes; return the new state when they change it.

        `is_trial`: of requests that had the half-open slot. What began before the breaker opened and ends after it
        says nothing about how things stand now.
        """
        self.consecutive_failures = 0 if ok else self.consecutive_failures + failed
        if not self.settings.enabled:
            return None
        if self.state == "closed":
            return self._count(now, ok, failed)
        if not is_trial or self.state != "half_open":
            return None
        if failed:
            return self._open(now)
        self._successes += ok
        return self._close(now) if self._successes >= self.settings.half_open_successes else None

    def adopt(self, state: State, now: float, *, open_until: float = 0.0) -> None:
        """Take over what another worker decided."""
        if state == "open":
            self._become("open", now)
            self.open_until = open_until
        elif state != self.state:
            self._become(state, now)

    def window(self, now: float) -> tuple[int, int]:
        """Return the successes and failures of the window."""
        self._slide(now)
        return sum(self._succeeded), sum(self._failed)

    def _count(self, now: float, ok: int, failed: int) -> State | None:
        self._slide(now)
        place = self._slice % SLICES
        self._succeeded[place] += ok
        if not failed:
            return None
        self._failed[place] += failed
        failures = sum(self._failed)
        outcomes = failures + sum(self._succeeded)
        if failures >= self.settings.failures and failures >= FAILING_SHARE * outcomes:
            return self._open(now)
        return None

    def _slide(self, now: float) -> None:
        newest = int(now * SLICES / self.settings.window)
        passed = newest - self._slice
        if passed:
            for number in range(min(max(passed, 0), SLICES)):
                place = (newest - number) % SLICES
                self._succeeded[place] = self._failed[place] = 0
            self._slice = newest

    def _open(self, now: float) -> State:
        self.open_until = now + self.settings.open_for
        return self._become("open", now)

    def _close(self, now: float) -> State:
        return self._become("closed", now)

    def _become(self, state: State, now: float) -> State:
        self.state, self.changed_at = state, now
        self._successes = 0
        self._is_slot_taken = False
        self._succeeded, self._failed = [0] * SLICES, [0] * SLICES
        return state
