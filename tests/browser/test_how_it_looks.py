"""Every page as each kind of person sees it, wide and narrow, light and dark: pictures to look at, and what can be measured.

They are written to .tollgate/screenshots, or where $SCREENSHOTS says. These pages are of a gateway of their own: first as
it is on its first day, then with everything that there is to see (`inside.py`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tenants.keys import generate
from tests.browser.looks import look_at
from tests.browser.pages import EXPECTED, LISTS_OF_OPERATORS, PAGES, PUBLIC
from tests.browser.people import made_inside, session_state
from tests.browser.states import STATES
from tests.browser.test_keys_journey import hello
from tests.environment import STATE_DIR
from tests.gateway.stack import ROOT, Stack, running_stack

OUTSIDERS = ("newcomer", "long")  # Charlies: owners of other tenants than Acme
FIRST_DAY = LISTS_OF_OPERATORS | {f"public-{name}": PUBLIC[name] for name in ("status", "terms", "privacy")}


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """A gateway to look at: who has a session there, and the numbers of its pages."""

    stack: Stack
    sessions: dict[str, Any]
    numbers: dict[str, Any]

    def state(self, who: str) -> dict[str, Any]:
        """What makes a browser somebody's; nobody's has nothing."""
        return {"storage_state": session_state(self.sessions[who])} if who in self.sessions else {}


@pytest.fixture(scope="module")
def empty_stack(chromium: Any) -> Iterator[Stack]:
    with running_stack(STATE_DIR / "looks", workers=1) as stack:
        yield stack


@pytest.fixture(scope="module")
def house(empty_stack: Stack) -> House:
    """The gateway as it is when it has been used for two weeks."""
    keys = {"ACME_KEY": generate(), "LONG_KEY": generate()}
    declared = str(ROOT / "tests/browser/scenery.yaml")
    empty_stack.manage("apply", declared, SIMULATOR_URL=empty_stack.simulator_url, **keys)
    requests = _requests(empty_stack, keys["ACME_KEY"])
    sessions = made_inside(empty_stack, "make_scenery")
    numbers = sessions.pop("numbers")
    return House(stack=empty_stack, sessions=sessions, numbers={**numbers, **requests})


def _requests(stack: Stack, key: str) -> dict[str, Any]:
    """Ask for one answer that comes another way, one that loses something, and one that fails."""
    odd = {"frequency_penalty": 0.5, "seed": 7, "temperature": 0.2}
    asked = {
        "request": hello("falling", "Hello [[model=claude-opus-5 status=503]]"),
        "lossy_request": {**hello("falling"), **odd},
        "failed_request": hello("failing", "Hello [[status=503]]"),
    }
    replies = {name: stack.post("/v1/chat/completions", key, body) for name, body in asked.items()}
    return {name: stack.record(reply.headers["x-request-id"])["request_id"] for name, reply in replies.items()}


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
        reply = person.page.goto(address.format(**house.numbers))
        assert reply is not None
        if f"{reply.status}" != EXPECTED.get(name, "200"):
            found.append(f"{name}: answered with {reply.status}")
        found += look_at(person, f"{pictures}-{name}")
        if who in OUTSIDERS:
            person.does_not_see("Acme")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", list(STATES))
def test_what_comes_of_it_can_be_read_too(somebody_at, house, name):
    state = STATES[name]
    options = {"reduced_motion": "reduce", "java_script_enabled": state.has_scripts, **house.state(state.who)}
    person = somebody_at(house.stack.url, **options)
    person.expected += [state.expected] if state.expected else []
    state.do(person)
    found = look_at(person, f"state-{name}", has_scripts=state.has_scripts)
    assert not found, "\n".join(found)
