"""Which target a session goes to: the same one each time, on every worker, with nothing stored. Pure.

Weighted rendezvous hashing: each target draws a lot from the session's name and its own. When a target is lost only its
own sessions move, and they come back with it. Thaler and Ravishankar, Using name-based mappings to increase hit rates, 1998.
"""

import math
from hashlib import blake2b
from zlib import crc32

MASK = (1 << 64) - 1
SPREAD = 0x9E3779B97F4A7C15  # 2**64 divided by the golden ratio: Steele, Lea and Flood, SplittableRandom, 2014
BUCKETS = 10_000


def name_hash(name: str) -> int:
    """Return 64 well-mixed bits of a name; the same in every process."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def lot(weight: int, draw: float) -> float:
    """Return a lot for a weight from a draw in [0, 1): sorted by theirs, targets come first with chances like their weights.

    Exponential variates: Efraimidis and Spirakis, Weighted random sampling, 2006.
    """
    return -math.log(1.0 - draw) / weight if weight else math.inf


def draw(session: int, target: int) -> float:
    """Return a number in [0, 1) that a session and a target always draw; both are `name_hash`es."""
    mixed = ((session ^ target) * SPREAD) & MASK
    mixed ^= mixed >> 31
    mixed = (mixed * 0xBF58476D1CE4E5B9) & MASK
    return (mixed >> 11) / (1 << 53)


def percentile(*names: str) -> float:
    """Return where names stand among all, from 0 up to 100: the same place each time, for A/B tests."""
    return crc32("\0".join(names).encode("utf-8", "surrogatepass")) % BUCKETS / (BUCKETS / 100)
