"""The playground: an answer comes through the gateway, piece by piece, with what it cost and the same as code."""

import re

from tests.browser.chromium import expect


def test_an_answer_streams_in_the_playground_and_tells_what_it_cost(somebody, sessions):
    bob = somebody(storage_state=sessions("developer"))
    bob.goes_to("/admin/")
    bob.follows("Playground")
    bob.field("Model").select_option("chat")
    bob.types("Message", "Hello [[chunks=40 interval=0.1]]")
    bob.presses("Run")
    answer = bob.page.locator("#answer")
    expect(answer).to_have_text(re.compile(r"\w+"))
    began = len(answer.inner_text())
    expect(bob.page.get_by_role("button", name="Stop")).to_be_visible()
    expect(bob.page.get_by_text("Route taken")).to_be_visible()
    expect(bob.page.locator("#cost")).to_have_text(re.compile(r"\d USD"))
    assert len(answer.inner_text()) > began
    expect(bob.page.locator("#first-token")).to_have_text(re.compile(r"\d"))
    bob.sees("The same as code")
    bob.page.get_by_role("tab", name="Python").click()
    bob.sees("from openai import")


def test_charlie_is_offered_his_own_models_and_billed_himself(charlie):
    charlie.goes_to("/admin/")
    charlie.follows("Playground")
    charlie.sees("billed to Charlie Inc")
    charlie.does_not_see("Alice")
    charlie.goes_to("/admin/playground/?tenant=1")
    charlie.does_not_see("Alice")
    charlie.does_not_see("Demo")
