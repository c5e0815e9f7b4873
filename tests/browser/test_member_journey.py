"""A developer is invited, joins, and finds key, connect page and usage, and nothing of the operator's or of charlie's."""

import re

from tests.browser.chromium import expect
from tests.browser.people import PASSWORD
from tests.browser.test_keys_journey import hello

OPERATORS_PAGES = (
    "Providers",
    "Deployments",
    "Prices",
    "Routes",
    "Revisions",
    "Nodes",
    "Users",
    "Tenants",
    "Health events",
)
OPERATORS_ADDRESSES = (
    "/admin/providers/provider/",
    "/admin/routing/route/",
    "/admin/routing/configrevision/",
    "/admin/tenants/user/",
    "/admin/nodes/",
    "/admin/configuration/",
)


def test_an_invited_developer_finds_key_connect_page_and_usage(operator, somebody, charlie, stack, keys):
    assert stack.post("/v1/chat/completions", keys["alice"], hello("chat")).status_code == 200
    operator.goes_to("/admin/")
    operator.follows("Invitations")
    operator.adds()
    operator.chooses("Tenant", "Alice Ltd")
    operator.types("E-mail address", "dave@example.com")
    operator.presses("Save")
    link = operator.page.locator("#secret").inner_text().strip()

    dave = somebody()
    dave.goes_to(link)
    dave.sees("to Alice Ltd as developer")
    dave.types("Your name", "Dave Doe")
    dave.types("Password", PASSWORD)
    dave.types("Password, again", PASSWORD)
    dave.presses("Create account and join")
    expect(dave.page).to_have_title(re.compile("Home"))

    for page in OPERATORS_PAGES:
        expect(dave.page.get_by_role("link", name=re.compile(rf"^(\w+ )?{page}$"))).to_have_count(0)
    dave.follows("API keys")
    dave.sees("alice-main")
    dave.does_not_see("charlie-main")
    dave.follows("Connect")
    dave.sees(stack.url)
    dave.sees("Claude Code")
    dave.follows("Usage report")
    expect(dave.page.get_by_role("table").first).to_contain_text("USD")
    dave.does_not_see("What we pay")
    dave.follows("Requests")
    expect(dave.page.get_by_role("row").filter(has_text="alice-main").first).to_be_visible()

    dave.expected.append("403")
    dave.expected.append("404")
    for address in OPERATORS_ADDRESSES:
        reply = dave.page.goto(address)
        assert reply is not None
        assert reply.status in {403, 404}, address

    charlie.goes_to("/admin/")
    for page in ("Members", "Invitations"):
        charlie.follows(page)
        expect(charlie.page).to_have_title(re.compile(page))
        charlie.does_not_see("dave@example.com")


def test_a_developer_makes_a_key_and_the_first_request_with_it(somebody, sessions, stack):
    bob = somebody(storage_state=sessions("developer"))
    bob.goes_to("/admin/")
    bob.follows("API keys")
    bob.adds()
    bob.types("Name", "laptop of bob")
    bob.presses("Save")
    bob.sees("Put it into your tool")
    secret = bob.page.locator("#secret").inner_text().strip()
    assert stack.post("/v1/messages", secret, {**hello("chat"), "max_tokens": 64}).status_code == 200
