"""A budget runs out: the caller is told whose and until when, and so is whoever looks into the console."""

from tests.browser.chromium import expect
from tests.browser.test_keys_journey import hello
from tests.gateway.stack import wait_for


def test_a_budget_that_is_used_up_explains_itself_to_the_caller_and_in_the_console(operator, charlie, stack, keys):
    operator.goes_to("/admin/")
    operator.follows("Budgets")
    operator.adds()
    operator.types("Amount", "0.025")
    operator.chooses("Tenant", "Saver")
    operator.presses("Save")
    operator.sees("was added successfully")

    def refusal():
        reply = stack.post("/v1/chat/completions", keys["saver"], {**hello("dear"), "max_tokens": 10})
        return reply if reply.status_code == 402 else None

    reply = wait_for(refusal, "a refusal for want of budget")
    assert reply.json()["error"]["code"] == "budget_exhausted"
    sentence = reply.json()["error"]["message"]
    assert "0.025 USD" in sentence

    operator.follows("Budgets")
    expect(operator.page.get_by_role("row").filter(has_text="Saver")).to_contain_text("of 0.025 USD")
    operator.follows("Playground")
    operator.chooses("Tenant", "Saver")
    operator.field("Model").select_option("dear")
    operator.types("Message", "Hello")
    operator.expected.append("402")
    operator.presses("Run")
    operator.sees(sentence.split(".")[0])

    charlie.goes_to("/admin/")
    charlie.follows("Budgets")
    charlie.does_not_see("0.025 USD")
