"""Every main page, wide and narrow, light and dark: screenshots to look at, and what can be measured of them.

They are written to .tollgate/screenshots, or where $SCREENSHOTS says.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.browser.chromium import Person
from tests.browser.test_keys_journey import hello
from tests.gateway.stack import ROOT, Stack

FOLDER = Path(os.environ.get("SCREENSHOTS") or ROOT / ".tollgate/screenshots")
LOOKS = (Path(__file__).parent / "looks.js").read_text()
SIZES = {"wide": (1440, 900), "narrow": (390, 844)}
PUBLIC = {"front": "/", "status": "/status", "terms": "/terms", "privacy": "/privacy", "sign-in": "/admin/login/"}
TENANTS = {
    "home": "/admin/",
    "live": "/admin/live/",
    "usage": "/admin/usage/",
    "requests": "/admin/tenants/usagerecord/",
    "request": "/admin/tenants/usagerecord/{request}/change/",
    "keys": "/admin/tenants/apikey/",
    "key": "/admin/tenants/apikey/{key}/change/",
    "new-key": "/admin/tenants/apikey/add/",
    "budgets": "/admin/tenants/budget/",
    "limits": "/admin/tenants/ratelimit/",
    "members": "/admin/tenants/member/",
    "invitations": "/admin/tenants/invitation/",
    "playground": "/admin/playground/?tenant={tenant}",
    "connect": "/admin/connect/?tenant={tenant}",
    "audit": "/admin/tenants/auditevent/",
    "security": "/admin/security/",
}
OPERATORS = TENANTS | {
    "setup": "/admin/setup/",
    "tenants": "/admin/tenants/tenant/",
    "tenant": "/admin/tenants/tenant/{tenant}/change/",
    "providers": "/admin/providers/provider/",
    "provider": "/admin/providers/provider/{provider}/change/",
    "deployments": "/admin/providers/deployment/",
    "deployment": "/admin/providers/deployment/{deployment}/change/",
    "prices": "/admin/providers/modelprice/",
    "unpriced": "/admin/providers/modelprice/unpriced/",
    "health": "/admin/routing/healthevent/",
    "queues": "/admin/queue/",
    "routes": "/admin/routing/route/",
    "route": "/admin/routing/route/{route}/change/",
    "aliases": "/admin/routing/modelalias/",
    "revisions": "/admin/routing/configrevision/",
    "revision": "/admin/routing/configrevision/{revision}/change/",
    "dry-run": "/admin/dry-run/",
    "nodes": "/admin/nodes/",
    "yaml": "/admin/configuration/",
    "tokens": "/admin/tenants/apitoken/",
    "users": "/admin/tenants/user/",
    "legal": "/admin/tenants/legaldocument/",
}


@pytest.fixture(scope="module")
def numbers(stack: Stack, keys: dict[str, str]) -> dict[str, Any]:
    """What the pages of single objects are called, with something to see on them."""
    body = hello("falling", "Hello [[model=first status=503]]")
    request = stack.post("/v1/chat/completions", keys["alice"], body).headers["x-request-id"]

    def first(table: str, column: str, value: str) -> Any:
        return stack.query(f"SELECT id FROM {table} WHERE {column} = %s ORDER BY id LIMIT 1", value)[0][0]

    return {
        "request": stack.record(request)["request_id"],
        "tenant": first("tenants_tenant", "slug", "alice"),
        "key": first("tenants_apikey", "name", "alice-main"),
        "provider": first("providers_provider", "slug", "north"),
        "deployment": first("providers_deployment", "slug", "north-fast"),
        "route": first("routing_route", "name", "switching"),
        "revision": first("routing_configrevision", "status", "published"),
    }


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("who", ["nobody", "owner", "operator"])
def test_every_page_can_be_read_wide_and_narrow_in_light_and_in_dark(somebody, sessions, numbers, who, theme):
    pages = {"nobody": PUBLIC, "owner": TENANTS, "operator": OPERATORS}[who]
    state = {} if who == "nobody" else {"storage_state": sessions(who)}
    person = somebody(color_scheme=theme, reduced_motion="reduce", **state)
    found = []
    for name, address in pages.items():
        person.goes_to(address.format(**numbers))
        for size, (width, height) in SIZES.items():
            person.page.set_viewport_size({"width": width, "height": height})
            complaints = looks(person, FOLDER / f"{who}-{name}-{size}-{theme}.png")
            found += [f"{name}, {size}: {complaint}" for complaint in complaints]
    assert not found, "\n".join(found)


def looks(person: Person, picture: Path) -> list[str]:
    """Take a picture of the whole page, and return what is wrong with it."""
    picture.parent.mkdir(parents=True, exist_ok=True)
    person.page.evaluate("document.fonts.ready")
    person.page.wait_for_timeout(100)  # for charts, which notice a new width a moment later
    person.page.screenshot(path=picture, full_page=True, animations="disabled")
    return list(person.page.evaluate(LOOKS))
