"""Who works with the console, and their sessions, for tests that are not about signing in."""

import json
from collections.abc import Callable
from typing import Any

from django.conf import settings

from tests.gateway.stack import Stack

type SessionsOf = Callable[[str], dict[str, Any]]

PASSWORD = "four rather ordinary words"
MAKE = """
import json
from django.conf import settings
from django.contrib import auth
from django.contrib.sessions.backends.db import SessionStore
from tenants.models import Member, Tenant, User

def person(name, tenant="", role="", **fields):
    user, is_new = User.objects.get_or_create(username=name, defaults={"email": f"{name}@example.com", **fields})
    if is_new:
        user.set_password(PASSWORD)
        user.save()
    if tenant:
        Member.objects.get_or_create(user=user, tenant=Tenant.objects.get(slug=tenant), defaults={"role": role})
    session = SessionStore()
    session[auth.SESSION_KEY] = str(user.pk)
    session[auth.BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[auth.HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return session.session_key

print("SESSIONS", json.dumps({
    "operator": person("olga", is_staff=True, is_superuser=True),
    "owner": person("alice", "alice", "owner"),
    "developer": person("bob", "alice", "developer"),
    "charlie": person("charlie", "charlie", "owner"),
}))
"""


def sessions_of(stack: Stack) -> SessionsOf:
    """Make the people, and return what makes a browser theirs."""
    said = stack.manage("shell", "-c", f"PASSWORD = {PASSWORD!r}\n{MAKE}").stdout
    line = next(line for line in said.splitlines() if line.startswith("SESSIONS "))
    keys = json.loads(line.removeprefix("SESSIONS "))

    def state(name: str) -> dict[str, Any]:
        cookie = {"name": settings.SESSION_COOKIE_NAME, "value": keys[name], "domain": "127.0.0.1", "path": "/"}
        rest = {"expires": -1, "httpOnly": True, "secure": False, "sameSite": "Lax"}
        return {"cookies": [{**cookie, **rest}], "origins": []}

    return state
