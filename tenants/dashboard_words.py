"""How the console writes sums and other numbers, and how they have changed. Pure."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal

type Direction = Literal["up", "down", ""]  # which way is good; "": neither

NOTHING = "\N{EN DASH}"
EXACT = 100_000  # what is less is written with all its digits
SIZES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))
LARGEST_CHANGE = 10.0  # beyond that, per cent say nothing
SMALLEST_CHANGE = 0.0005
NOTEWORTHY = 0.02  # what is less is neither good nor bad


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How a number has changed against the period before."""

    text: str
    tone: Literal["good", "bad", "plain"] = "plain"
    arrow: Literal["up", "down", ""] = ""


NO_CHANGE = Change(text="as before")
NOTHING_BEFORE = Change(text="nothing before")


def count(number: float) -> str:
    """A number of things, short when it is large."""
    if abs(number) < EXACT:
        return f"{round(number):,}"
    size, letter = next(each for each in SIZES if abs(number) >= each[0])
    return f"{number / size:.3g}{letter}" if abs(number) / size < 999.5 else f"{number / size:,.0f}{letter}"


def amount(money: Decimal) -> str:
    """An amount of money: cents, or for less than one the first digits that tell something."""
    if not money:
        return "0"
    if abs(money) >= 1:
        return f"{money:,.2f}"
    digits = max(2, 3 - money.adjusted() - 1)
    return f"{money:.{min(digits, 10)}f}".rstrip("0").rstrip(".") or "0"


def share(part: float | None) -> str:
    """A share in per cent."""
    if part is None:
        return NOTHING
    return f"{part:.2%}" if 0 < part < 0.1 else f"{part:.1%}"


def duration(milliseconds: float | None) -> str:
    """A time that a request took."""
    if milliseconds is None:
        return NOTHING
    if milliseconds < 999.5:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.2f} s" if milliseconds < 9_995 else f"{milliseconds / 1000:.1f} s"


def day(moment: datetime) -> str:
    """A day, as 24 Nov."""
    return f"{moment.day} {moment:%b}"


def change(now: float | Decimal | None, before: float | Decimal | None, *, good: Direction = "") -> Change | None:
    """Compare a number with that of the period before; None where there is neither."""
    if not now and not before:
        return None
    if not before or now is None:
        return NOTHING_BEFORE if not before else None
    return _worded(float(now) / float(before) - 1, good)


def change_of_share(now: float | None, before: float | None, *, good: Direction = "") -> Change | None:
    """Compare shares: by how many points."""
    if now is None or before is None:
        return None
    points = now - before
    if abs(points) < SMALLEST_CHANGE:
        return NO_CHANGE
    tone = _tone(points * 4, good)  # half a point is much of a share
    return Change(text=f"{abs(points) * 100:.1f} points", tone=tone, arrow=_arrow(points))


def _worded(part: float, good: Direction) -> Change:
    if abs(part) < SMALLEST_CHANGE:
        return NO_CHANGE
    text = f"{part + 1:,.0f} times" if part > LARGEST_CHANGE else f"{abs(part):.1%}"
    return Change(text=text, tone=_tone(part, good), arrow=_arrow(part))


def _arrow(difference: float) -> Literal["up", "down"]:
    return "up" if difference > 0 else "down"


def _tone(difference: float, good: Direction) -> Literal["good", "bad", "plain"]:
    if not good or abs(difference) < NOTEWORTHY:
        return "plain"
    return "good" if _arrow(difference) == good else "bad"
