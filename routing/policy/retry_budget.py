"""How many retries a provider may get: a share of its requests, so that an outage does not become a storm. Pure."""

SHARE = 0.2  # of the requests may be asked again
RESERVE = 10.0  # retries that a quiet provider always has
MOST = 100.0
REFILL_PER_SECOND = 1.0  # up to the reserve


class RetryBudget:
    """A bucket of retries: each request puts a share in, each retry takes one out.

    Google, Site Reliability Engineering, chapter 21: retries bounded by a share of the requests.
    """

    __slots__ = ("_filled_at", "left")

    def __init__(self) -> None:
        self.left = RESERVE
        self._filled_at = 0.0

    def deposit(self) -> None:
        """A request was sent that is no retry."""
        if self.left < MOST:
            self.left += SHARE

    def withdraw(self, now: float) -> bool:
        """Take a retry; False when there is none left."""
        if self.left < RESERVE:
            self.left = min(RESERVE, self.left + max(0.0, now - self._filled_at) * REFILL_PER_SECOND)
        self._filled_at = now
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True
