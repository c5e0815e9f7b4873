"""A tenant and its key, from nothing to the first answer. Charlie, another tenant's owner, finds neither."""

import re

from tests.browser.chromium import expect
from tests.gateway.stack import wait_for


def test_an_operator_makes_a_tenant_and_a_key_whose_secret_is_shown_once(operator, charlie, stack):
    operator.goes_to("/admin/")
    operator.follows("Tenants")
    operator.adds()
    operator.types("Name", "Bakery")
    expect(operator.field("Slug")).to_have_value("bakery")
    operator.presses("Save")
    operator.sees("was added successfully")

    operator.follows("API keys")
    operator.adds()
    operator.chooses("Tenant", "Bakery")
    operator.types("Name", "till")
    operator.presses("Save")
    operator.sees("This is the only time the key can be seen")
    operator.context.grant_permissions(["clipboard-read", "clipboard-write"])
    operator.presses("Copy key")
    operator.sees("Copied")
    secret = operator.page.evaluate("navigator.clipboard.readText()")
    assert re.fullmatch(r"tg_\w{40}", secret)
    assert stack.post("/v1/chat/completions", secret, hello("chat")).status_code == 200

    operator.follows("I have copied it: go to the key")
    operator.sees("Active")
    assert secret not in operator.page.content()
    where = operator.page.url

    charlie.goes_to("/admin/")
    charlie.follows("API keys")
    charlie.sees("charlie-main")
    charlie.does_not_see("till")
    charlie.page.goto(where)
    charlie.does_not_see("till")


def test_a_revoked_key_is_refused_at_once(operator, stack):
    operator.goes_to("/admin/tenants/apikey/add/")
    operator.chooses("Tenant", "Alice Ltd")
    operator.types("Name", "short-lived")
    operator.presses("Save")
    secret = operator.page.locator("#secret").inner_text().strip()
    assert stack.post("/v1/chat/completions", secret, hello("chat")).status_code == 200
    operator.follows("I have copied it: go to the key")
    operator.presses("Revoke")
    operator.sees("Revoke this key?")
    operator.presses("Revoke")
    operator.sees("Revoked")
    wait_for(
        lambda: stack.post("/v1/chat/completions", secret, hello("chat")).status_code == 401, "the refusal", seconds=5
    )


def hello(model: str, text: str = "Hello") -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": text}]}
