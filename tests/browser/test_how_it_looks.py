"""Every page as each kind of person sees it, wide and narrow, light and dark: pictures to look at, and what can be measured.

They are written to .tollgate/screenshots, or where $SCREENSHOTS says. These pages are of a gateway of their own: first as
it is on its first day, then with everything that there is to see (`inside.py`).
"""

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.house import House
from tests.browser.looks import look_at
from tests.browser.pages import EXPECTED, LEAD_ON, LISTS_OF_OPERATORS, PAGES, PUBLIC
from tests.browser.people import made_inside

OUTSIDERS = ("newcomer", "long")  # Charlies: owners of other tenants than Acme
FIRST_DAY = LISTS_OF_OPERATORS | {f"public-{name}": PUBLIC[name] for name in ("status", "terms", "privacy")}


def test_a_gateway_on_its_first_day_says_what_to_do(somebody_at, empty_stack):
    sessions = made_inside(empty_stack, "make_operator")
    house = House(stack=empty_stack, sessions=sessions, numbers={})
    look_around(somebody_at, house, "operator", FIRST_DAY, "first-day")


@pytest.mark.parametrize("who", list(PAGES))
def test_every_page_can_be_read_wide_and_narrow_in_light_and_in_dark(somebody_at, house, who):
    look_around(somebody_at, house, who, PAGES[who], who)


def look_around(somebody_at: Callable[..., Any], house: House, who: str, pages: dict[str, str], pictures: str) -> None:
    """Open all of these pages, take their pictures, and fail where one cannot be read."""
    person = somebody_at(house.stack.url, reduced_motion="reduce", **house.state(who))
    person.expected += list(EXPECTED.values())
    found = []
    for name, address in pages.items():
        path = address.format(**house.numbers)
        reply = person.page.goto(path)
        assert reply is not None
        if f"{reply.status}" != EXPECTED.get(name, "200"):
            found.append(f"{name}: answered with {reply.status}")
        if name not in LEAD_ON and (came_to := person.page.url.removeprefix(house.stack.url)) != path:
            found.append(f"{name}: {path} led to {came_to}")
        found += look_at(person, f"{pictures}-{name}")
        if who in OUTSIDERS:
            person.does_not_see("Acme")
    assert not found, "\n".join(found)
