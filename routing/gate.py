"""In front of a provider: how much may go to it, and whose turn it is when that is used up.

There are two kinds of gates. A provider's keeps the limits of its configuration: requests a second, tokens a minute,
requests at once. A deployment's keeps what the vendor says is left, for vendors count by model: one that is used up leaves
the others open. As long as there is room, entering costs a few comparisons. Otherwise a request waits in the gate's queue
(`policy/fair_queue.py`), until there is room, its time is over or its client leaves; whoever comes later never overtakes,
not even a small request one that needs many tokens.

Workers share a limit without asking each other: each keeps its equal part. Together they never take more than the limit
(but for one request at once each, where there are more workers than that), and less while load is uneven.

What the vendor says is left is spent here by every request that is let through, and corrected by every answer. When it is
used up, the gate is closed until the vendor's reset, but never longer than the provider's longest cooldown.
"""

import asyncio
import math
from collections.abc import Iterable, Sequence
from time import monotonic

import msgspec

from gateway_site.infra import telemetry
from gateway_site.infra.tallies import Count, Level, Timing
from routing.policy.fair_queue import Entry, FairQueue, QueueFull
from routing.policy.headroom import Allowance, is_scarce, read_headroom
from routing.policy.token_bucket import TokenBucket
from routing.snapshot import Provider
from tenants.errors import ProviderSaturated

type HeaderPairs = Sequence[tuple[bytes, bytes]]

LIMITS = ("requests_per_second", "tokens_per_minute", "max_concurrency")
LONGEST_CLOSED_SECONDS = 300.0  # where the provider does not say
SOONEST_SECONDS = 0.001  # timers are no more exact
SOONEST_RETRY_SECONDS = 0.1
UNKNOWN_STAY_SECONDS = 1.0  # of a request at the provider, before the first has left
SMOOTHING = 0.1  # the weight of the newest stay

queue_depth = Level(telemetry.upstream_queue_depth)
queue_wait = Timing(telemetry.upstream_queue_wait)
saturated = Count(telemetry.upstream_saturated)


class GateStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """One gate of one worker; limits are this worker's part, None: no such limit. Counts begin with the worker."""

    provider: str
    deployment: str = ""  # whose headroom it keeps; empty: it keeps the provider's own limits
    requests_per_second: float | None = None
    tokens_per_minute: float | None = None
    max_concurrency: int | None = None
    queue_size: int = 0
    queue_wait: float = 0.0  # seconds
    in_use: int = 0
    is_saturated: bool = False
    waiting_low: int = 0
    waiting_normal: int = 0
    waiting_high: int = 0
    waiting_tenants: int = 0
    admitted: int = 0
    waited: int = 0  # of those admitted
    refused: int = 0
    refused_queue_full: int = 0
    refused_timed_out: int = 0
    refused_displaced: int = 0
    abandoned: int = 0  # clients that left the queue
    longest_wait: float = 0.0  # seconds
    average_wait: float | None = None  # seconds, of those that waited; None: nobody has
    requests_left: int | None = None  # as the vendor says, less what went since; None: it does not say
    requests_left_until: float | None = None  # seconds since 1970
    tokens_left: int | None = None
    tokens_left_until: float | None = None


class Permit:
    """One request's place; given back with `Gate.leave`, or `Gate.refund` when the request was not sent."""

    __slots__ = ("entered", "is_held", "tokens", "waited")

    def __init__(self, tokens: int, entered: float, waited: float) -> None:
        self.tokens = tokens  # what it was charged
        self.entered = entered
        self.waited = waited  # seconds
        self.is_held = True


class _Waiter:
    """A request in the queue."""

    __slots__ = ("future", "since", "tokens")

    def __init__(self, future: asyncio.Future[Permit], tokens: int, since: float) -> None:
        self.future = future
        self.tokens = tokens
        self.since = since


class _Left:
    """What a vendor says is left, less what went since, until it says otherwise or the time is over."""

    __slots__ = ("limit", "remaining", "resets_at", "since", "until")

    def __init__(self, allowance: Allowance, *, since: float, until: float) -> None:
        self.since = since  # by the clock of this module
        self.remaining = allowance.remaining
        self.limit = allowance.limit or math.inf
        self.resets_at = allowance.resets_at
        self.until = until

    def wait(self, amount: int, now: float) -> float:
        """Return the seconds until this much may go; who needs more than the whole limit waits for all of it."""
        return max(0.0, self.until - now) if self.remaining < max(1, min(amount, self.limit)) else 0.0


class Gate:
    """The gate of one provider, or of one of its deployments, in one worker."""

    def __init__(self, provider: Provider, *, peers: int, deployment: str = "") -> None:
        self.deployment = deployment
        self.in_use = 0
        self._requests: TokenBucket | None = None
        self._tokens: TokenBucket | None = None
        self._requests_left: _Left | None = None
        self._tokens_left: _Left | None = None
        self._queue: FairQueue[_Waiter] = FairQueue(0)
        self._timer: asyncio.TimerHandle | None = None
        self._stay = UNKNOWN_STAY_SECONDS
        self._admitted = self._waited = self._abandoned = self._waits = 0
        self._refused = {"queue_full": 0, "timed_out": 0, "displaced": 0}
        self._longest_wait = self._total_wait = 0.0
        self.adjust(provider, peers=peers)

    def adjust(self, provider: Provider, *, peers: int) -> None:
        """Keep other limits from now on; whoever waits goes on waiting."""
        now, limits = monotonic(), {} if self.deployment else provider.limits
        concurrency = limits.get("max_concurrency")
        self.provider = provider.slug
        self._max_concurrency = None if concurrency is None else max(1, concurrency // peers)
        self._requests = _resized(self._requests, limits.get("requests_per_second"), 1.0, peers, now)
        self._tokens = _resized(self._tokens, limits.get("tokens_per_minute"), 60.0, peers, now)
        self._queue.size = provider.queue_size  # of each worker, as it is documented
        self._queue_wait = provider.queue_wait
        self._heeds_vendor = heeds_vendor(provider)
        self._longest_closed = float(provider.cooldown.get("max", LONGEST_CLOSED_SECONDS))
        self._requests_left = _current(self._requests_left, now) if self._heeds_vendor else None
        self._tokens_left = _current(self._tokens_left, now) if self._heeds_vendor else None
        self._wake()

    @property
    def is_saturated(self) -> bool:
        """Whether a request would have to wait now."""
        return len(self._queue) > 0 or self._delay(1, monotonic()) > 0

    @property
    def is_empty(self) -> bool:
        """Whether nobody is in or before it."""
        return not self.in_use and not len(self._queue)

    @property
    def is_needless(self) -> bool:
        """Whether it could be taken away: it has no limits, nobody is in or before it, and the vendor has said nothing."""
        limits = (self._max_concurrency, self._requests, self._tokens, self._requests_left, self._tokens_left)
        return self.is_empty and limits.count(None) == len(limits)

    async def enter(self, *, tenant: str, priority: int, tokens: int, wait: float) -> Permit:
        """Return a place at once if there is room, else when it is this request's turn; raises ProviderSaturated."""
        now = monotonic()
        if not len(self._queue) and not self._delay(tokens, now):
            return self._admit(tokens, now)
        return await self._wait(tenant, priority, tokens, min(wait, self._queue_wait))

    def leave(self, permit: Permit) -> None:
        """Give a place back; once is enough, twice does no harm."""
        if permit.is_held:
            permit.is_held = False
            self.in_use -= 1
            self._stay += SMOOTHING * (monotonic() - permit.entered - self._stay)
            self._wake()

    def refund(self, permit: Permit) -> None:
        """Undo an admission: the request was not sent, and its place and its charge are another's."""
        if permit.is_held:
            permit.is_held = False
            self.in_use -= 1
            self._admitted -= 1
            self._waited -= permit.waited > 0
            self._give_back(permit)
            self._wake()

    def settle_tokens(self, permit: Permit, used: int) -> None:
        """Charge what a request used instead of what was expected."""
        more = used - permit.tokens
        if self._tokens is not None and more:
            self._tokens.take(more, monotonic())
        if self._tokens_left is not None and self._tokens_left.since <= permit.entered:  # else it has been recounted
            self._tokens_left.remaining -= more
        permit.tokens = used
        self._wake()

    def learn(self, headers: HeaderPairs, now: float) -> None:
        """Heed what an answer's headers say is left; `now` is in seconds since 1970."""
        headroom = read_headroom(headers, now) if self._heeds_vendor else None
        if headroom is not None:
            # What an answer does not speak of stays as it was: some name one of the two.
            self._requests_left = self._left(headroom.requests, now) or self._requests_left
            self._tokens_left = self._left(headroom.tokens, now) or self._tokens_left
            self._wake()

    def statistics(self) -> GateStatistics:
        """Return plain values."""
        now = monotonic()
        low, normal, high = self._queue.lengths()
        requests, tokens = (_current(left, now) for left in (self._requests_left, self._tokens_left))
        return GateStatistics(
            provider=self.provider,
            deployment=self.deployment,
            requests_per_second=None if self._requests is None else self._requests.rate,
            tokens_per_minute=None if self._tokens is None else self._tokens.rate * 60,
            max_concurrency=self._max_concurrency,
            queue_size=self._queue.size,
            queue_wait=self._queue_wait,
            in_use=self.in_use,
            is_saturated=self.is_saturated,
            waiting_low=low,
            waiting_normal=normal,
            waiting_high=high,
            waiting_tenants=self._queue.tenants(),
            admitted=self._admitted,
            waited=self._waited,
            refused=sum(self._refused.values()),
            refused_queue_full=self._refused["queue_full"],
            refused_timed_out=self._refused["timed_out"],
            refused_displaced=self._refused["displaced"],
            abandoned=self._abandoned,
            longest_wait=self._longest_wait,
            average_wait=self._total_wait / self._waits if self._waits else None,
            requests_left=None if requests is None else max(0, requests.remaining),
            requests_left_until=None if requests is None else requests.resets_at,
            tokens_left=None if tokens is None else max(0, tokens.remaining),
            tokens_left_until=None if tokens is None else tokens.resets_at,
        )

    # --- Room ------------------------------------------------------------------------------------------------

    def _delay(self, tokens: int, now: float) -> float:
        """Return the seconds until there is room for a request; infinite when somebody has to leave first."""
        if self._max_concurrency is not None and self.in_use >= self._max_concurrency:
            return math.inf
        delay = 0.0
        if self._requests is not None:
            delay = self._requests.wait(1, now)
        if self._tokens is not None:
            delay = max(delay, self._tokens.wait(tokens, now))
        if self._requests_left is not None:
            delay = max(delay, self._requests_left.wait(1, now))
        if self._tokens_left is not None:
            delay = max(delay, self._tokens_left.wait(tokens, now))
        return delay

    def _admit(self, tokens: int, now: float, waited: float = 0.0) -> Permit:
        self.in_use += 1
        self._admitted += 1
        if self._requests is not None:
            self._requests.take(1, now)
        if self._tokens is not None:
            self._tokens.take(tokens, now)
        if self._requests_left is not None:
            self._requests_left.remaining -= 1
        if self._tokens_left is not None:
            self._tokens_left.remaining -= tokens
        return Permit(tokens, now, waited)

    def _give_back(self, permit: Permit) -> None:
        now = monotonic()
        if self._requests is not None:
            self._requests.take(-1, now)
        if self._tokens is not None:
            self._tokens.take(-permit.tokens, now)
        for left, amount in ((self._requests_left, 1), (self._tokens_left, permit.tokens)):
            if left is not None and left.since <= permit.entered:  # else the vendor has counted anew, without it
                left.remaining += amount

    def _left(self, allowance: Allowance | None, now: float) -> _Left | None:
        if allowance is None:
            return None
        seconds = min(allowance.resets_at - now, self._longest_closed)
        kept = msgspec.structs.replace(allowance, resets_at=now + seconds)
        moment = monotonic()
        return _Left(kept, since=moment, until=moment + seconds)

    # --- Turns -----------------------------------------------------------------------------------------------

    async def _wait(self, tenant: str, priority: int, tokens: int, seconds: float) -> Permit:
        if seconds <= 0:
            raise self._refusal("timed_out", self._queue.position_of_next(tenant=tenant, priority=priority), tokens)
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop.create_future(), tokens, monotonic())
        entry = self._push(waiter, tenant, priority)
        expiry = loop.call_later(seconds, self._expire, entry)
        self._wake()
        try:
            return await waiter.future
        except asyncio.CancelledError:
            self._abandon(entry)
            raise
        finally:
            expiry.cancel()

    def _push(self, waiter: _Waiter, tenant: str, priority: int) -> Entry[_Waiter]:
        try:
            entry, displaced = self._queue.push(waiter, tenant=tenant, priority=priority)
        except QueueFull:
            ahead = self._queue.position_of_next(tenant=tenant, priority=priority)
            raise self._refusal("queue_full", ahead, waiter.tokens) from None
        if displaced is None:
            queue_depth.change(1, self.provider)
        elif not displaced.item.future.done():
            ahead = self._queue.position_of_next(tenant=displaced.tenant, priority=displaced.priority)
            self._note_wait(monotonic() - displaced.item.since)
            displaced.item.future.set_exception(self._refusal("displaced", ahead, displaced.item.tokens))
        return entry

    def _wake(self) -> None:
        """Let in whoever's turn it is, as long as there is room; then look again when there will be."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while (entry := self._queue.first()) is not None:
            waiter, now = entry.item, monotonic()
            if waiter.future.done():  # cancelled in this turn of the loop
                self._remove(entry)
                continue
            delay = self._delay(waiter.tokens, now)
            if delay:
                if delay < math.inf:
                    loop = waiter.future.get_loop()
                    self._timer = loop.call_later(max(delay, SOONEST_SECONDS), self._wake)
                return
            self._queue.take(entry)
            queue_depth.change(-1, self.provider)
            self._waited += 1
            self._note_wait(now - waiter.since)
            waiter.future.set_result(self._admit(waiter.tokens, now, now - waiter.since))

    def _expire(self, entry: Entry[_Waiter]) -> None:
        """Refuse a request that has waited long enough."""
        waiter = entry.item
        if waiter.future.done():
            return
        ahead = self._queue.position(entry)
        self._remove(entry)
        self._note_wait(monotonic() - waiter.since)
        waiter.future.set_exception(self._refusal("timed_out", ahead, waiter.tokens))
        self._wake()

    def _abandon(self, entry: Entry[_Waiter]) -> None:
        """Take a request out whose client left; if it had its turn in this very moment, that goes to the next."""
        future = entry.item.future
        self._remove(entry)
        if future.cancelled():
            self._abandoned += 1
        elif future.exception() is None:
            self._abandoned += 1
            self.refund(future.result())
        self._wake()

    def _remove(self, entry: Entry[_Waiter]) -> None:
        if self._queue.remove(entry):
            queue_depth.change(-1, self.provider)

    def _note_wait(self, seconds: float) -> None:
        self._waits += 1
        self._total_wait += seconds
        self._longest_wait = max(self._longest_wait, seconds)
        queue_wait.add(seconds, self.provider)

    # --- Refusals --------------------------------------------------------------------------------------------

    def _refusal(self, reason: str, ahead: int, tokens: int) -> ProviderSaturated:
        self._refused[reason] += 1
        saturated.add(self.provider, reason)
        seconds = self._retry_after(ahead, tokens)
        before = "no other request waits" if not ahead else f"{ahead} request{'s wait' if ahead > 1 else ' waits'}"
        place = f"provider {self.provider!r}"
        if self.deployment:
            place = f"deployment {self.deployment!r} of {place}"
        return ProviderSaturated(
            f"{REASONS[reason].format(place)}: {before} before this one. This is the gateway's own capacity at the "
            f"provider, not a limit of your key. Try again in {seconds:.3g} s.",
            headers={
                "retry-after": str(math.ceil(seconds)),
                "retry-after-ms": str(math.ceil(seconds * 1000)),
                "x-tollgate-queue-position": str(ahead + 1),
            },
            retry_after_seconds=seconds,
        )

    def _retry_after(self, ahead: int, tokens: int) -> float:
        """Estimate when there is room behind those who wait."""
        delay = self._delay(tokens, monotonic())
        seconds = delay if delay < math.inf else 0.0
        if self._max_concurrency is not None:
            seconds = max(seconds, (ahead + 1) * self._stay / self._max_concurrency)
        if self._requests is not None:
            seconds = max(seconds, ahead / self._requests.rate)
        return min(max(seconds, SOONEST_RETRY_SECONDS), max(self._longest_closed, SOONEST_RETRY_SECONDS))


REASONS = {
    "queue_full": "The queue for {} is full",
    "timed_out": "There was no room in time at {}",
    "displaced": "There is no room at {}, and this request's place in the queue went to another one",
}


class Gates:
    """The gates of one worker: of providers with limits, and of deployments whose vendors have said what is left."""

    def __init__(self) -> None:
        self._limits: dict[str, Gate] = {}  # by provider
        self._learned: dict[str, Gate] = {}  # by deployment
        self._providers: tuple[Provider, ...] = ()
        self._peers = 1

    def of(self, provider: Provider) -> Gate | None:
        """Return a provider's gate; None when its configuration does not limit it."""
        return self._limits.get(provider.slug)

    def learned(self, deployment: str) -> Gate | None:
        """Return a deployment's gate; None when its vendor has said nothing."""
        return self._learned.get(deployment)

    def keep(self, providers: Iterable[Provider], *, peers: int) -> None:
        """Go by another configuration, or share with another number of workers; whoever waits goes on waiting."""
        self._providers, self._peers = tuple(providers), max(1, peers)
        limits, self._limits = self._limits, {}
        learned, self._learned = self._learned, {}
        for provider in self._providers:
            gate = limits.get(provider.slug)
            if gate is not None:
                gate.adjust(provider, peers=self._peers)
            elif has_limits(provider):
                gate = Gate(provider, peers=self._peers)
            if gate is not None and not gate.is_needless:
                self._limits[provider.slug] = gate
        known = {provider.slug: provider for provider in self._providers}
        for deployment, gate in learned.items():
            if gate.provider in known:
                gate.adjust(known[gate.provider], peers=self._peers)
                if not gate.is_needless:
                    self._learned[deployment] = gate

    def share(self, peers: int) -> None:
        """Share the limits with another number of workers."""
        if max(1, peers) != self._peers:
            self.keep(self._providers, peers=peers)

    def learn(self, deployment: str, provider: Provider, headers: HeaderPairs, now: float) -> None:
        """Heed what an answer's headers say is left for a deployment, also of one that had no gate yet."""
        gate = self._learned.get(deployment)
        if (gate is None or gate.is_empty) and not is_scarce(headers):
            self._learned.pop(deployment, None)  # there is plenty again
            return
        if gate is None or gate.provider != provider.slug:
            if not heeds_vendor(provider) or read_headroom(headers, now) is None:
                return
            gate = self._learned[deployment] = Gate(provider, peers=self._peers, deployment=deployment)
        gate.learn(headers, now)

    def statistics(self) -> list[GateStatistics]:
        """Return what every gate has done: providers by name, then deployments."""
        both = (self._limits, self._learned)
        return [gate.statistics() for gates in both for _, gate in sorted(gates.items())]


def has_limits(provider: Provider) -> bool:
    """Whether a provider's configuration limits it."""
    return any(provider.limits.get(name) is not None for name in LIMITS)


def heeds_vendor(provider: Provider) -> bool:
    """Whether the gateway rests when the vendor asks for it: headroom is a cooldown before the 429."""
    return bool(provider.cooldown.get("enabled", True))


def _resized(
    bucket: TokenBucket | None, limit: int | None, seconds: float, peers: int, now: float
) -> TokenBucket | None:
    """Return the bucket for this worker's part of a limit on a number of seconds; None without a limit."""
    if limit is None:
        return None
    rate, capacity = limit / seconds / peers, max(1.0, limit / peers)
    if bucket is None:
        return TokenBucket(rate=rate, capacity=capacity, now=now)
    bucket.resize(rate=rate, capacity=capacity, now=now)
    return bucket


def _current(left: _Left | None, now: float) -> _Left | None:
    return left if left is not None and now < left.until else None
