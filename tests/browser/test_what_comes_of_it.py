"""What pages look like after somebody has done something there, in the same pictures as all others."""

import pytest

from tests.browser.looks import look_at
from tests.browser.states import STATES


@pytest.mark.parametrize("name", list(STATES))
def test_what_comes_of_it_can_be_read(somebody_at, house, name):
    state = STATES[name]
    options = {"reduced_motion": "reduce", "java_script_enabled": state.has_scripts, **house.state(state.who)}
    person = somebody_at(house.stack.url, **options)
    person.expected += [state.expected] if state.expected else []
    state.do(person)
    found = look_at(person, f"state-{name}", has_scripts=state.has_scripts)
    assert not found, "\n".join(found)
