"""What a target may ask of a request, and a request of a target. Pure.

A target's conditions keep requests away from it: it serves those that meet all of them.
- needs            the request needs all of these: tools, images, thinking, …
- region, tag      the request asked for this region, for this tag
- header           the request has these headers, with these values
- end_user_percent the caller is among these per cent of all: by end user, else session, else API key
A request's wishes (`x-tollgate-region`, `x-tollgate-tag`) keep it away from deployments: only those of the region, and
with all the tags, are asked.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from providers.canonical.inbound import Facts
from routing.policy.affinity import percentile
from tenants.errors import InvalidRequest

PREFIX = b"x-tollgate-"
REGION, TAG, TIMEOUT, TRACE, PRIORITY = (
    PREFIX + name for name in (b"region", b"tag", b"timeout", b"trace", b"priority")
)
WISHES = frozenset({REGION, TAG, TIMEOUT, TRACE, PRIORITY})
MAX_TIMEOUT_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a request says to the gateway itself, in its headers."""

    region: str = ""
    tags: frozenset[str] = frozenset()
    timeout: float | None = None  # seconds after which the answer is of no use to the client
    trace: bool = False
    priority: bytes | None = None
    headers: Mapping[str, str] | None = None  # all of them, where a route's conditions look at some
    caller: str = ""  # whom percentages are counted by


NO_WISHES = Wishes()


def read_wishes(headers: Mapping[bytes, bytes], *, with_headers: bool, caller: str) -> Wishes:
    """Read a request's own headers; raises InvalidRequest naming the one that is wrong.

    `with_headers`: a route's conditions may look at any of them, and at the caller.
    """
    if not with_headers and WISHES.isdisjoint(headers):
        return NO_WISHES
    return Wishes(
        region=headers.get(REGION, b"").decode("latin-1").strip(),
        tags=frozenset(tag.strip() for tag in headers.get(TAG, b"").decode("latin-1").split(",") if tag.strip()),
        timeout=_seconds(headers[TIMEOUT]) if TIMEOUT in headers else None,
        trace=headers.get(TRACE) == b"1",
        priority=headers.get(PRIORITY),
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
        if with_headers
        else None,
        caller=caller,
    )


def unmet(conditions: Mapping[str, Any], facts: Facts, wishes: Wishes, route: str) -> str | None:
    """Return the first of a target's conditions that a request does not meet; None when it meets all."""
    for name, value in conditions.items():
        if not _MEETS[name](value, facts, wishes, route):
            return name
    return None


def unwanted(region: str, tags: Sequence[str], wishes: Wishes) -> str | None:
    """Return which wish of the request a deployment does not fulfil; None when it fulfils all."""
    if wishes.region and region != wishes.region:
        return "region"
    return "tag" if wishes.tags and not wishes.tags.issubset(tags) else None


def _has_headers(wanted: Mapping[str, str], facts: Facts, wishes: Wishes, route: str) -> bool:
    sent = wishes.headers or {}
    return all(sent.get(name.lower()) == value for name, value in wanted.items())


_MEETS: dict[str, Callable[[Any, Facts, Wishes, str], bool]] = {
    "needs": lambda value, facts, wishes, route: facts.needs >= frozenset(value),
    "region": lambda value, facts, wishes, route: wishes.region == value,
    "tag": lambda value, facts, wishes, route: value in wishes.tags,
    "header": _has_headers,
    "end_user_percent": lambda value, facts, wishes, route: percentile(route, wishes.caller) < value,
}


def _seconds(value: bytes) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MAX_TIMEOUT_SECONDS:
        raise InvalidRequest(
            "'x-tollgate-timeout' must be a number of seconds, more than 0 and at most 86,400.",
            param="x-tollgate-timeout",
        )
    return seconds
