"""When a budget's periods begin and end, in the time zone of its tenant. Pure.

A period is named by its start in seconds since 1970: that name is in the counters of Valkey, in the ledger and in
`BudgetSpend`, so it must not depend on anything but the moment, the period and the zone.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

ENDLESS = frozenset({"total", "credit"})


def slot_start(period: str, moment: float, zone: str) -> int:
    """Return when the slot of a moment (seconds since 1970) began: a calendar period, a rolling budget's day, 0 for ever."""
    return _slot(period, moment, zone)[0]


def slot_end(period: str, moment: float, zone: str) -> float:
    """Return when the slot of a moment ends; infinity for what has no end."""
    return _slot(period, moment, zone)[1]


def first_slot(rolling_days: int, moment: float, zone: str) -> int:
    """Return when the first day of a rolling window began that has this moment in its last day."""
    today = datetime.fromtimestamp(moment, _zone(zone))
    return _start_of_day(today - timedelta(days=rolling_days - 1), zone)


def counter_name(budget_id: int, resets: int, start: int, end_user: str = "") -> str:
    """Return the name of a budget's counter as ledger records have it."""
    return f"{budget_id}.{resets}:{start}:{end_user}" if end_user else f"{budget_id}.{resets}:{start}"


def _slot(period: str, moment: float, zone: str) -> tuple[int, float]:
    if period in ENDLESS:
        return 0, float("inf")
    day = datetime.fromtimestamp(moment, _zone(zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "week":
        first = day - timedelta(days=day.weekday())
        following = first + timedelta(days=7)
    elif period == "month":
        first = day.replace(day=1)
        following = (first + timedelta(days=32)).replace(day=1)
    elif period == "quarter":
        first = day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
        following = (first + timedelta(days=95)).replace(day=1)
    else:  # a day, or the day of a rolling window
        first, following = day, day + timedelta(days=1)
    return _start_of_day(first, zone), float(_start_of_day(following, zone))


def _start_of_day(day: datetime, zone: str) -> int:
    """Return the first moment of a day; where clocks jump over midnight, it is the moment of the jump."""
    local = datetime(day.year, day.month, day.day, tzinfo=_zone(zone))
    return int(local.astimezone(UTC).timestamp())


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
