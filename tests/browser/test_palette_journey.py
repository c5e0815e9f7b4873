"""Ctrl+K finds what somebody types, and Enter opens it; members have it, too. Charlie finds nothing of alice's."""

import re

from tests.browser.chromium import Person, expect


def test_ctrl_k_finds_a_key_and_enter_opens_it(operator, somebody, sessions, charlie):
    for person in (operator, somebody(storage_state=sessions("developer"))):
        person.goes_to("/admin/")
        looks_for(person, "alice-main")
        expect(results(person).filter(has_text="alice-main")).to_have_count(1)
        person.page.keyboard.press("Enter")
        expect(person.page).to_have_url(re.compile(r"/admin/tenants/apikey/\d+/change/"))
        expect(person.field("Name")).to_have_value("alice-main")

    charlie.goes_to("/admin/")
    looks_for(charlie, "charlie-main")
    expect(results(charlie).filter(has_text="charlie-main")).to_have_count(1)
    charlie.goes_to("/admin/")
    looks_for(charlie, "alice-main")
    charlie.sees("Nothing matched your search")
    expect(results(charlie).get_by_role("link")).to_have_count(0)


def test_a_page_is_opened_by_its_name(operator):
    operator.goes_to("/admin/")
    looks_for(operator, "nodes")
    results(operator).filter(has_text="Nodes").first.click()
    expect(operator.page).to_have_url(re.compile(r"/admin/nodes"))


def looks_for(person: Person, words: str) -> None:
    person.page.keyboard.press("Control+k")
    expect(person.page.locator("#search-input-command")).to_be_focused()
    person.page.keyboard.type(words)


def results(person: Person):
    return person.page.locator("#command-results li")
