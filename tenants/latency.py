"""Histograms of latencies: how a time becomes a bucket, and which time a percentile is. Pure.

Bucket n holds the times from 1.1^(n-1) ms to 1.1^n ms: each is a tenth wider than the one before, so a percentile is off by
a tenth at the most, and by half of that as a rule. A histogram is an array of PostgreSQL that begins with its first bucket.
"""

from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate
from math import log

GROWTH = 1.1
LAST_BUCKET = 160  # more than an hour
ADD_HISTOGRAMS = "tollgate_add_histograms"  # a function in the database: adds the second to the first
COUNT_BUCKETS = "tollgate_count_buckets"  # another: a histogram of a list of buckets
PERCENTILES = (50, 95, 99)


def bucket_sql(milliseconds: str) -> str:
    """Return the SQL that says into which bucket a column's time goes; not for NULL."""
    return (
        f"least({LAST_BUCKET}, 1 + floor(ln(greatest({milliseconds}, 1)::float8) * {1 / log(GROWTH)!r}::float8)::int)"
    )


def bounds(bucket: int) -> tuple[float, float]:
    """Return between which times, in milliseconds, those of a bucket are."""
    return GROWTH ** (bucket - 1), GROWTH**bucket


def percentile(histogram: Mapping[int, float], per_cent: float) -> float | None:
    """Return the time, in milliseconds, that so many per cent of requests did not exceed; None of no requests."""
    buckets = sorted(bucket for bucket, count in histogram.items() if count > 0)
    if not buckets:
        return None
    sums = list(accumulate(histogram[bucket] for bucket in buckets))
    rank = sums[-1] * per_cent / 100
    place = min(bisect_left(sums, rank), len(buckets) - 1)
    low, high = bounds(buckets[place])
    count = histogram[buckets[place]]
    part = (rank - (sums[place] - count)) / count
    return float(low * (high / low) ** part)


def percentiles(histogram: Mapping[int, float]) -> dict[int, float | None]:
    """Return the percentiles that people look at, in milliseconds."""
    return {per_cent: percentile(histogram, per_cent) for per_cent in PERCENTILES}
