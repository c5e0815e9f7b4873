"""Outages that are switched on from outside, so that a provider can die and come back in the middle of a test."""

import time
from collections.abc import Callable, Sequence
from itertools import accumulate


class Outages:
    """Who is down now, by name: a request takes part in one with the marker ``outage=name``."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turns: dict[str, tuple[float, ...]] = {}  # moments at which it changes: down, up, down, up, …

    def begin(self, name: str, seconds: Sequence[float]) -> None:
        """Go down now, for the first so many seconds; then up for the next, down for the next; up after the last."""
        self._turns[name] = tuple(accumulate(seconds, initial=self._clock()))

    def is_down(self, name: str) -> bool:
        """Whether it is; one that never began is not."""
        turns = self._turns.get(name, ())
        passed = sum(turn <= self._clock() for turn in turns)
        return passed % 2 == 1 and passed < len(turns)

    def clear(self) -> None:
        """End all of them."""
        self._turns.clear()
