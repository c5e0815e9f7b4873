"""A rate as a bucket that fills up steadily. Pure; times are seconds of any clock that never goes back."""

SLACK = 1e-6  # sums of floats: whoever waited exactly long enough has waited long enough


class TokenBucket:
    """Holds up to `capacity` and gains `rate` a second; what is taken may be more than there is, and is then owed."""

    __slots__ = ("_at", "_level", "capacity", "rate")

    def __init__(self, *, rate: float, capacity: float, now: float) -> None:
        self.rate = rate
        self.capacity = capacity
        self._level = capacity
        self._at = now

    def level(self, now: float) -> float:
        """Return how much is there; below zero, how much is owed."""
        if now > self._at:
            self._level = min(self.capacity, self._level + (now - self._at) * self.rate)
            self._at = now
        return self._level

    def wait(self, amount: float, now: float) -> float:
        """Return the seconds until there is enough; who wants more than the bucket holds gets it when it is full."""
        missing = min(amount, self.capacity) - self.level(now)
        return missing / self.rate if missing > SLACK else 0.0

    def take(self, amount: float, now: float) -> None:
        """Take an amount out; a negative one puts it back."""
        self._level = min(self.capacity, self.level(now) - amount)

    def resize(self, *, rate: float, capacity: float, now: float) -> None:
        """Go on with another rate and size, and what is there."""
        self._level = min(self.level(now), capacity)
        self.rate, self.capacity = rate, capacity
