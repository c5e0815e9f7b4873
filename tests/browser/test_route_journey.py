"""A route is edited and the next request follows it; a roll back, and requests follow that."""

from tests.browser.chromium import Person, expect
from tests.browser.test_keys_journey import hello
from tests.gateway.stack import Stack, wait_for


def test_a_request_follows_the_route_as_it_was_just_saved_and_as_it_was_before_a_roll_back(
    operator, charlie, stack, keys
):
    assert served_by(stack, keys["alice"]) == "north-fast"
    served_before = revision_served(operator)

    operator.follows("Routes")
    operator.follows("switching")
    weight(operator, "north-fast").fill("0")
    weight(operator, "south-fast").fill("100")
    expect(row(operator, "north-fast")).to_contain_text("last resort")
    expect(row(operator, "south-fast")).to_contain_text("100%")
    operator.presses("Save")
    operator.sees("was changed successfully")
    follows(stack, keys["alice"], "south-fast")

    operator.follows("Revisions")
    operator.sees("weight")
    operator.follows(served_before)
    operator.presses("Roll back to this")
    operator.sees("Roll back to this revision?")
    operator.presses("Roll back")
    follows(stack, keys["alice"], "north-fast")
    operator.follows("Revisions")
    operator.sees("pinned")
    operator.presses("Publish now")
    operator.sees("Publish the configuration?")
    operator.presses("Publish")
    operator.presses("Publish this draft")
    operator.sees("Publish this draft?")
    operator.presses("Publish")
    follows(stack, keys["alice"], "south-fast")

    charlie.goes_to("/admin/")
    for page in ("Routes", "Revisions", "Providers"):
        expect(charlie.page.get_by_role("link", name=page)).to_have_count(0)


def revision_served(person: Person) -> str:
    """Return the name of the revision that is served now, as the list of revisions has it."""
    person.goes_to("/admin/routing/configrevision/")
    served = person.page.get_by_role("row").filter(has=person.page.get_by_text("Served", exact=True))
    return served.get_by_role("link").first.inner_text()


def row(person: Person, deployment: str):
    return person.page.locator("#targets-group").get_by_role("row").filter(has_text=deployment)


def weight(person: Person, deployment: str):
    return row(person, deployment).get_by_role("spinbutton").last


def served_by(stack: Stack, key: str) -> str:
    return stack.post("/v1/chat/completions", key, hello("switching")).headers["x-tollgate-deployment"]


def follows(stack: Stack, key: str, deployment: str) -> None:
    wait_for(lambda: served_by(stack, key) == deployment, f"an answer of {deployment}")
