"""What pages look like after somebody has done something: refused forms, open menus, secrets, answers, no scripts.

Each is a function of who does it and of the gateway, which ends with the page in front of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.browser.chromium import Person, expect
from tests.browser.people import PASSWORD

type Doing = Callable[[Person], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Who gets there, and how."""

    who: str
    do: Doing
    expected: str = ""  # what the browser complains of on the way
    has_scripts: bool = True


def refused(address: str, *, says: str, near: str = "", **fields: str) -> Doing:
    """Send a form as it must not be; its field says what is wrong, and so close to it that nobody has to look for it."""

    def do(person: Person) -> None:
        person.goes_to(address)
        for name, value in fields.items():
            person.page.locator(f"[name='{name}']").locator("visible=true").first.fill(value)
        # As a browser without checks of its own: the gateway's words are looked at.
        person.page.evaluate("document.querySelectorAll('form').forEach((form) => { form.noValidate = true })")
        _send(person)
        words = person.page.get_by_text(says).locator("visible=true").first
        expect(words).to_be_visible()
        if near:
            _is_near(person, near, words)

    return do


def _send(person: Person) -> None:
    buttons = "#content button[type=submit], #content input[type=submit], button[name=_save], main button[type=submit]"
    person.page.locator(buttons).locator("visible=true").last.click()


def _is_near(person: Person, name: str, words: Any) -> None:
    field = person.page.locator(f"[name='{name}']").locator("visible=true").first.bounding_box()
    said = words.bounding_box()
    assert field is not None
    assert said is not None
    gap = max(said["y"] - field["y"] - field["height"], field["y"] - said["y"] - said["height"])
    assert gap < 48, f"{gap} px between {name} and what is said about it"


def after(address: str, *steps: tuple[str, str] | Callable[[Person], Any], sees: str = "") -> Doing:
    """Open a page and take steps there: presses, or something of one's own."""

    def do(person: Person) -> None:
        person.goes_to(address)
        for step in steps:
            if callable(step):
                step(person)
            else:
                getattr(person, step[0])(step[1])
        if sees:
            person.sees(sees)

    return do


def clicks(selector: str) -> Callable[[Person], None]:
    """Click the first thing that is seen of a selector."""
    return lambda person: person.page.locator(selector).locator("visible=true").first.click()


def _opens_palette(person: Person) -> None:
    person.page.keyboard.press("Control+k")
    expect(person.page.locator("#search-input-command")).to_be_focused()
    person.page.keyboard.type("acme")
    expect(person.page.locator("#command-results li").first).to_be_visible()


def _asks_in_the_playground(person: Person) -> None:
    person.field("Model").select_option("fast")
    person.types("Message", "Hello [[chunks=8 interval=0.01]]")
    person.presses("Run")
    expect(person.page.locator("#cost")).to_contain_text("USD")
    expect(person.page.get_by_text("Route taken")).to_be_visible()


def _is_wrong_about_the_password(person: Person) -> None:
    person.goes_to("/admin/login/")
    person.signs_in("alice", "not this one")
    person.sees("The name or the password is not right.")


def _comes_to_the_second_factor(person: Person) -> None:
    person.goes_to("/admin/login/")
    person.signs_in("bob", PASSWORD)
    person.sees("Second factor")


def _makes_a_key(person: Person) -> None:
    person.goes_to("/admin/tenants/apikey/add/")
    person.types("Name", "of the picture")
    person.presses("Save")
    person.sees("This is the only time the key can be seen")


def _makes_a_token(person: Person) -> None:
    person.goes_to("/admin/tenants/apitoken/add/")
    person.types("Name", "of the picture")
    person.page.get_by_label("Usage: read").check()
    person.presses("Save")
    expect(person.page.locator("#secret")).to_be_visible()


def _invites(person: Person) -> None:
    person.goes_to("/admin/tenants/invitation/add/")
    person.types("E-mail address", "pia@example.com")
    person.presses("Save")
    expect(person.page.locator("#secret")).to_be_visible()


def _is_asked_whether_to_revoke(person: Person) -> None:
    person.goes_to("/admin/tenants/apikey/")
    person.follows("search-indexer")
    person.presses("Revoke")
    person.sees("Revoke this key?")


def _without_scripts(address: str) -> State:
    return State(who="owner", do=after(address), has_scripts=False)


NEW = "/admin/tenants/{}/add/"
STATES: dict[str, State] = {
    "refused-sign-in": State(who="nobody", do=_is_wrong_about_the_password),
    "second-factor": State(who="nobody", do=_comes_to_the_second_factor),
    "refused-key": State(who="owner", do=refused(NEW.format("apikey"), says="This field is required", near="name")),
    "refused-invitation": State(
        who="owner", do=refused(NEW.format("invitation"), says="valid email", near="email", email="not an address")
    ),
    "refused-rule": State(
        who="owner",
        do=refused(NEW.format("alertrule"), says="This field is required", near="threshold", name="Odd", threshold=""),
    ),
    "refused-tenant": State(
        who="operator", do=refused(NEW.format("tenant"), says="valid “slug”", near="slug", name="Bad", slug="no slug!")
    ),
    "refused-budget": State(
        who="operator", do=refused(NEW.format("budget"), says="This field is required", near="amount", amount="")
    ),
    "refused-limit": State(who="operator", do=refused(NEW.format("ratelimit"), says="This field is required")),
    "refused-provider": State(
        who="operator",
        do=refused(
            "/admin/providers/provider/add/", says="Give an address", near="base_url", slug="x", base_url="no address"
        ),
    ),
    "refused-route": State(
        who="operator", do=refused("/admin/routing/route/add/", says="This field is required", near="name", name="")
    ),
    "refused-report": State(
        who="owner", do=refused("/admin/usage/", says="neither a day", **{"from": "yesterday"}), expected="422"
    ),
    "refused-yaml": State(
        who="operator", do=refused("/admin/configuration/", says="line", text="providers: [nonsense")
    ),
    "key-made": State(who="owner", do=_makes_a_key),
    "token-made": State(who="owner", do=_makes_a_token),
    "link-of-invitation": State(who="owner", do=_invites),
    "dialog": State(who="owner", do=_is_asked_whether_to_revoke),
    "palette": State(who="operator", do=after("/admin/", _opens_palette)),
    "filters": State(who="operator", do=after("/admin/tenants/usagerecord/", ("presses", "Filters"))),
    "custom-time": State(who="operator", do=after("/admin/", clicks(".home-custom summary"))),
    "numbers-of-a-chart": State(who="operator", do=after("/admin/", clicks(".home-numbers summary"))),
    "playground-answered": State(who="owner", do=after("/admin/playground/", _asks_in_the_playground)),
    "connect-codex": State(
        who="owner", do=after("/admin/connect/", lambda person: person.page.get_by_role("tab", name="Codex").click())
    ),
    "live-without-scripts": _without_scripts("/admin/live/"),
    "home-without-scripts": _without_scripts("/admin/"),
    "connect-without-scripts": _without_scripts("/admin/connect/"),
    "sign-in-without-scripts": State(who="nobody", do=after("/admin/login/"), has_scripts=False),
    "front-without-scripts": State(who="nobody", do=after("/"), has_scripts=False),
}
