"""The gateway whose pages are looked at, and what there is to see there."""

from dataclasses import dataclass
from typing import Any

from tenants.keys import generate
from tests.browser.people import made_inside, session_state
from tests.browser.test_keys_journey import hello
from tests.gateway.stack import ROOT, Stack


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """A gateway to look at: who has a session there, and the numbers of its pages."""

    stack: Stack
    sessions: dict[str, Any]
    numbers: dict[str, Any]

    def state(self, who: str) -> dict[str, Any]:
        """What makes a browser somebody's; nobody's has nothing."""
        return {"storage_state": session_state(self.sessions[who])} if who in self.sessions else {}


def furnished(stack: Stack) -> House:
    """Make an empty gateway one that has been used for two weeks."""
    keys = {"ACME_KEY": generate(), "LONG_KEY": generate()}
    stack.manage("apply", str(ROOT / "tests/browser/scenery.yaml"), SIMULATOR_URL=stack.simulator_url, **keys)
    requests = _requests(stack, keys["ACME_KEY"])
    sessions = made_inside(stack, "make_scenery")
    numbers = sessions.pop("numbers")
    return House(stack=stack, sessions=sessions, numbers={**numbers, **requests})


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
