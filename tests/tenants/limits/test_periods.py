"""When periods begin and end: whole, one after the other, wherever the clocks jump."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tenants.limits.periods import counter_name, first_slot, slot_end, slot_start

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/Santiago",  # clocks jump over midnight
    "Africa/Cairo",
    "America/Havana",  # midnight comes twice
    "Asia/Beirut",
    "Asia/Kathmandu",  # 5:45
    "Asia/Kolkata",
    "Australia/Lord_Howe",  # half an hour of summer
    "America/St_Johns",
    "Pacific/Apia",  # a day that never was
    "Pacific/Kiritimati",  # another
    "Pacific/Chatham",
    "Asia/Tehran",
)
WITHOUT_A_DAY = {"Pacific/Apia", "Pacific/Kiritimati"}
CALENDAR = ("day", "week", "month", "quarter", "rolling")
periods, zones = st.sampled_from(CALENDAR), st.sampled_from(ZONES)
moments = st.floats(0, 4_000_000_000)  # to 2096


def at(text: str, zone: str = "UTC") -> float:
    """Return a local time as seconds since 1970."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def local(seconds: float, zone: str) -> str:
    return f"{datetime.fromtimestamp(seconds, ZoneInfo(zone)):%a %Y-%m-%d %H:%M:%S}"


@given(periods, moments, zones)
def test_a_moment_is_in_its_slot(period, moment, zone):
    assert slot_start(period, moment, zone) <= moment < slot_end(period, moment, zone)


@given(periods, moments, zones)
def test_a_slot_is_named_after_its_start_whoever_asks_in_it(period, moment, zone):
    start, end = slot_start(period, moment, zone), slot_end(period, moment, zone)
    for other in (start, (start + end) / 2, end - 0.001):
        assert (slot_start(period, other, zone), slot_end(period, other, zone)) == (start, end)


@given(periods, moments, zones)
def test_where_a_slot_ends_the_next_begins(period, moment, zone):
    start, end = slot_start(period, moment, zone), slot_end(period, moment, zone)
    assert slot_start(period, end, zone) == end
    assert slot_end(period, start - 1, zone) == start


@given(moments, zones)
def test_longer_periods_are_made_of_days(moment, zone):
    for period in ("week", "month", "quarter"):
        start, end = slot_start(period, moment, zone), slot_end(period, moment, zone)
        assert slot_start("day", start, zone) == start
        assert slot_start("day", end, zone) == end
    for period in ("month", "quarter"):
        assert slot_start("month", slot_start(period, moment, zone), zone) == slot_start(period, moment, zone)


@given(moments, zones)
def test_slots_begin_when_the_calendar_says_so(moment, zone):
    here = datetime.fromtimestamp(moment, ZoneInfo(zone))
    for period, days in {
        "day": {here.date()},
        "week": {here.date() - timedelta(days=here.weekday())},
        "month": {here.date().replace(day=1)},
        "quarter": {here.date().replace(month=month, day=1) for month in (1, 4, 7, 10)},
    }.items():
        # The first moment of a day, so that a second before it was another day: not always midnight.
        start = slot_start(period, moment, zone)
        assert datetime.fromtimestamp(start, ZoneInfo(zone)).date() in days
        assert datetime.fromtimestamp(start - 1, ZoneInfo(zone)).date() not in days


@pytest.mark.parametrize(
    ("period", "moment", "start", "end"),
    [
        ("day", "2026-05-15 23:59:59", "Fri 2026-05-15 00:00:00", "Sat 2026-05-16 00:00:00"),
        ("week", "2026-05-17 23:59:59", "Mon 2026-05-11 00:00:00", "Mon 2026-05-18 00:00:00"),
        ("week", "2026-05-18 00:00:00", "Mon 2026-05-18 00:00:00", "Mon 2026-05-25 00:00:00"),
        ("week", "2026-01-01 12:00:00", "Mon 2025-12-29 00:00:00", "Mon 2026-01-05 00:00:00"),
        ("month", "2024-02-29 12:00:00", "Thu 2024-02-01 00:00:00", "Fri 2024-03-01 00:00:00"),
        ("month", "2026-12-31 23:59:59", "Tue 2026-12-01 00:00:00", "Fri 2027-01-01 00:00:00"),
        ("quarter", "2026-05-15 12:00:00", "Wed 2026-04-01 00:00:00", "Wed 2026-07-01 00:00:00"),
        ("quarter", "2026-11-30 12:00:00", "Thu 2026-10-01 00:00:00", "Fri 2027-01-01 00:00:00"),
        ("rolling", "2026-05-15 12:00:00", "Fri 2026-05-15 00:00:00", "Sat 2026-05-16 00:00:00"),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"])
def test_periods_are_those_of_the_tenants_calendar(period, moment, start, end, zone):
    seconds = at(moment, zone)
    assert local(slot_start(period, seconds, zone), zone) == start
    assert local(slot_end(period, seconds, zone), zone) == end


@pytest.mark.parametrize(
    ("zone", "noon", "start", "hours"),
    [
        ("Europe/Berlin", "2026-03-29 12:00", "2026-03-28T23:00:00+00:00", 23),
        ("Europe/Berlin", "2026-10-25 12:00", "2026-10-24T22:00:00+00:00", 25),
        ("Australia/Lord_Howe", "2026-10-04 12:00", "2026-10-03T13:30:00+00:00", 23.5),
        ("Australia/Lord_Howe", "2026-04-05 12:00", "2026-04-04T13:00:00+00:00", 24.5),
        ("America/Santiago", "2024-09-08 12:00", "2024-09-08T04:00:00+00:00", 23),  # it began at one
        ("America/Santiago", "2024-04-06 12:00", "2024-04-06T03:00:00+00:00", 25),  # its last hour came twice
        ("Africa/Cairo", "2024-04-26 12:00", "2024-04-25T22:00:00+00:00", 23),
        ("America/Havana", "2024-11-03 12:00", "2024-11-03T04:00:00+00:00", 25),  # its first hour came twice
        ("Asia/Kathmandu", "2026-05-15 12:00", "2026-05-14T18:15:00+00:00", 24),
        ("Pacific/Apia", "2011-12-29 12:00", "2011-12-29T10:00:00+00:00", 24),
        ("Pacific/Apia", "2011-12-31 12:00", "2011-12-30T10:00:00+00:00", 24),  # there was no 30th
    ],
)
def test_days_are_as_long_as_the_clocks_make_them(zone, noon, start, hours):
    moment = at(noon, zone)
    assert datetime.fromtimestamp(slot_start("day", moment, zone), UTC).isoformat() == start
    assert slot_end("day", moment, zone) - slot_start("day", moment, zone) == hours * 3600


@given(moments)
def test_what_has_no_end_has_one_slot(moment):
    for period in ("total", "credit"):
        assert (slot_start(period, moment, "UTC"), slot_end(period, moment, "UTC")) == (0, float("inf"))


@given(moments, zones, st.integers(1, 400))
@example(788868000.0, "Pacific/Kiritimati", 2)  # there was no 31st of December 1994
def test_a_rolling_window_has_so_many_days_with_today(moment, zone, days):
    slot, count = slot_start("rolling", moment, zone), 1
    first = first_slot(days, moment, zone)
    while slot > first:
        slot, count = slot_start("rolling", slot - 1, zone), count + 1
    assert slot == first
    assert count == days or (zone in WITHOUT_A_DAY and count == days - 1)


def test_a_window_of_one_day_is_today():
    assert first_slot(1, at("2026-05-15 12:00"), "UTC") == slot_start("day", at("2026-05-15 12:00"), "UTC")


def test_charlies_month_begins_when_his_own_calendar_says_so():
    moment = at("2026-05-31 23:30")
    assert local(slot_start("month", moment, "UTC"), "UTC") == "Fri 2026-05-01 00:00:00"
    assert local(slot_start("month", moment, "Asia/Tokyo"), "Asia/Tokyo") == "Mon 2026-06-01 00:00:00"


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ((7, 0, 1_777_593_600), "7.0:1777593600"),
        ((7, 3, 0), "7.3:0"),
        ((7, 3, 0, "dora"), "7.3:0:dora"),
        ((7, 3, 0, "a:b c"), "7.3:0:a:b c"),
    ],
)
def test_a_counters_name_says_what_it_counts(facts, name):
    assert counter_name(*facts) == name
