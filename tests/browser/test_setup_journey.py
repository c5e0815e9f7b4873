"""The setup guide on the first run: provider, model, tenant, key, and the first request, which is seen arriving."""

import re

from tests.browser.chromium import expect


def test_the_setup_guide_leads_to_the_first_request(operator, charlie, stack):
    operator.goes_to("/admin/setup/?step=provider")
    operator.page.locator("label").filter(has=operator.page.locator("[data-own]")).click()
    operator.types("Base URL", f"{stack.simulator_url}/v1")
    operator.page.get_by_label("It is in a private network").check(force=True)
    operator.types("Credential", "of-the-setup-guide")
    operator.presses("Save and go on")

    operator.sees("Which model, under which name?")
    operator.types("Model", "sim-fast")
    operator.types("Alias", "first-model")
    operator.page.get_by_role("radio", name=re.compile("A price of my own")).check()
    operator.types("Input", "1")
    operator.types("Output", "2")
    operator.presses("Save and go on")

    operator.sees("The first request")
    operator.goes_to("/admin/setup/?step=tenant")  # this gateway has tenants, so the guide would go on by itself
    operator.sees("Who will call?")
    operator.types("Name", "Newcomers")
    operator.presses("Save and go on")
    operator.sees("Newcomers")
    operator.goes_to("/admin/setup/?step=key")
    operator.types("Name", "first key")
    operator.presses("Make the key")
    secret = operator.page.locator("#secret").inner_text().strip()
    operator.sees("Waiting for a request with this key")

    body = {"model": "first-model", "messages": [{"role": "user", "content": "Hello"}]}
    assert stack.post("/v1/chat/completions", secret, body).status_code == 200
    operator.sees("It arrived, and was answered.")
    operator.sees("first-model")

    charlie.expected += ["403", "favicon.ico"]
    reply = charlie.page.goto("/admin/setup/")
    assert reply is not None
    assert reply.status == 403
    expect(charlie.page.get_by_text("Newcomers")).to_have_count(0)
