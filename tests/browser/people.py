"""Who works with the console, and their sessions, for tests that are not about signing in."""

import json
from collections.abc import Callable
from typing import Any

from django.conf import settings

from tests.browser.inside import PASSWORD as PASSWORD
from tests.gateway.stack import Stack

type SessionsOf = Callable[[str], dict[str, Any]]


def sessions_of(stack: Stack) -> SessionsOf:
    """Make the people of the journeys, and return what makes a browser theirs."""
    keys = made_inside(stack, "make_people")
    return lambda name: session_state(keys[name])


def made_inside(stack: Stack, name: str) -> dict[str, Any]:
    """Run a function of `inside`, and return what it says."""
    said = stack.manage("shell", "-c", f"from tests.browser import inside; inside.{name}()").stdout
    line = next(line for line in said.splitlines() if line.startswith("FOUND "))
    found: dict[str, Any] = json.loads(line.removeprefix("FOUND "))
    return found


def session_state(key: str) -> dict[str, Any]:
    """What a browser has to have for a session to be its own."""
    cookie = {"name": settings.SESSION_COOKIE_NAME, "value": key, "domain": "127.0.0.1", "path": "/"}
    rest = {"expires": -1, "httpOnly": True, "secure": False, "sameSite": "Lax"}
    return {"cookies": [{**cookie, **rest}], "origins": []}
