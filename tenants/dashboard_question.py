"""What the console's first page is to show, read from its address: which time, of whom, grouped by what. Pure.

Usage is summed by hours and days (UTC), so a span begins and ends with one of them; the last one is under way as a rule. The
period before is as long, and its last hour or day counts by the part that has passed of ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

type Step = Literal["hour", "day"]

RANGES = {"1h": "1 hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days", "month": "This month"}
GROUPS = {"tenant": "Tenant", "model": "Model", "provider": "Provider"}
ORDERS = {"spend": "Spend", "requests": "Requests", "errors": "Errors"}
USUAL_RANGE, USUAL_ORDER = "24h", "spend"
CUSTOM = "custom"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MOST_DAYS = 92
MOST_HOURS = 48
FEWEST_HOURS = 12  # that a chart shows
LONGEST_TEXT = 200


class ViewRefused(ValueError):
    """A parameter makes no sense; the message says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A time in whole hours or days, and the same before it."""

    name: str  # of RANGES, or CUSTOM
    step: Step
    begins: datetime
    ends: datetime  # not included
    before: datetime  # when the period before begins
    passed: float = 1.0  # how much of the last hour or day is over

    @property
    def before_ends(self) -> datetime:
        """When the period before ends, not included."""
        return min(self.before + (self.ends - self.begins), self.begins)

    @property
    def shown_from(self) -> datetime:
        """Where charts begin: a chart of one hour would be a dot."""
        return min(self.begins, self.ends - FEWEST_HOURS * HOUR) if self.step == "hour" else self.begins

    @property
    def width(self) -> timedelta:
        """An hour or a day."""
        return HOUR if self.step == "hour" else DAY

    @property
    def moments(self) -> list[datetime]:
        """The hours or days of charts."""
        count = round((self.ends - self.shown_from) / self.width)
        return [self.shown_from + number * self.width for number in range(count)]


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the first page shows: which span, grouped by what, and only of whom."""

    span: Span
    group_by: str
    order: str = USUAL_ORDER
    tenant: str = ""  # only this one's slug; empty: all that may be seen
    model: str = ""
    provider: str = ""
    currency: str = ""  # of charts and tables; empty: the one that most requests are billed in


def read_view(parameters: Mapping[str, str], *, now: datetime, is_member: bool = False) -> View:
    """Return what is asked; raises ViewRefused. Members have one tenant, theirs, and are not told of providers."""
    given = {name: text.strip() for name, text in parameters.items() if text.strip()}
    groups = ("model",) if is_member else tuple(GROUPS)
    return View(
        span=_span(given, now.astimezone(UTC)),
        group_by=_choice(given, "by", groups, "model" if is_member else "tenant"),
        order=_choice(given, "order", tuple(ORDERS), USUAL_ORDER),
        tenant="" if is_member else _text(given, "tenant"),
        model=_text(given, "model"),
        provider="" if is_member else _text(given, "provider"),
        currency=_text(given, "currency"),
    )


def usual_view(*, now: datetime, is_member: bool = False) -> View:
    """What is shown when nothing else is asked for."""
    return read_view({}, now=now, is_member=is_member)


def _span(given: Mapping[str, str], now: datetime) -> Span:
    if "from" in given or "to" in given:
        return _custom_span(given, now)
    name = _choice(given, "range", tuple(RANGES), USUAL_RANGE)
    hour, today = now.replace(minute=0, second=0, microsecond=0), _midnight(now)
    match name:
        case "1h":
            return _ending_now(name, "hour", hour - HOUR, now)
        case "24h":
            return _ending_now(name, "hour", hour - 23 * HOUR, now)
        case "month":
            first = today.replace(day=1)
            return _ending_now(name, "day", first, now, before=(first - DAY).replace(day=1))
        case _:
            return _ending_now(name, "day", today - (int(name.removesuffix("d")) - 1) * DAY, now)


def _ending_now(name: str, step: Step, begins: datetime, now: datetime, before: datetime | None = None) -> Span:
    width = HOUR if step == "hour" else DAY
    last = now.replace(minute=0, second=0, microsecond=0) if step == "hour" else _midnight(now)
    ends = last + width
    return Span(
        name=name,
        step=step,
        begins=begins,
        ends=ends,
        before=begins - (ends - begins) if before is None else before,
        passed=(now - last) / width,
    )


def _custom_span(given: Mapping[str, str], now: datetime) -> Span:
    today = _midnight(now)
    first = _day(given, "from", None)
    last = min(_day(given, "to", today), today)
    if first is None:
        raise ViewRefused("from: give the first day, too.")
    if first > last:
        raise ViewRefused("from: the time has to begin before it ends, and not in the future.")
    if last - first >= MOST_DAYS * DAY:
        raise ViewRefused(f"from: {MOST_DAYS} days at the most; the usage report goes back further.")
    length = last + DAY - first
    step: Step = "hour" if length <= MOST_HOURS * HOUR else "day"
    if last == today:
        return _ending_now(CUSTOM, step, first, now)
    return Span(
        name=CUSTOM,
        step=step,
        begins=first,
        ends=last + DAY,
        before=first - length,
    )


def _day(given: Mapping[str, str], name: str, usual: datetime | None) -> datetime:
    text = given.get(name)
    if text is None:
        if usual is None:
            raise ViewRefused(f"{name}: give a day, too.")
        return usual
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ViewRefused(f"{name}: {text[:40]!r} is no day such as 2026-11-30.") from None
    if not 2000 <= day.year <= 9000:
        raise ViewRefused(f"{name}: there is nothing that long ago, or that far ahead.")
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _choice(given: Mapping[str, str], name: str, choices: tuple[str, ...], usual: str) -> str:
    chosen = given.get(name, usual)
    if chosen not in choices:
        raise ViewRefused(f"{name}: {chosen[:40]!r} is none of {', '.join(choices)}.")
    return chosen


def _text(given: Mapping[str, str], name: str) -> str:
    text = given.get(name, "")
    if len(text) > LONGEST_TEXT or "\0" in text:
        raise ViewRefused(f"{name}: too long, or not to be read.")
    return text


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)
