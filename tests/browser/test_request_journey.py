"""A request that fell back is found and read: what was tried, why, and what it cost. Charlie finds nothing of it."""

from tests.browser.chromium import expect
from tests.browser.test_keys_journey import hello


def test_an_operator_reads_why_a_request_went_where_it_went(operator, charlie, stack, keys):
    reply = stack.post("/v1/chat/completions", keys["alice"], hello("falling", "Hello [[model=first status=503]]"))
    assert reply.status_code == 200
    request_id = reply.headers["x-request-id"]
    stack.record(request_id)

    operator.goes_to("/admin/")
    operator.follows("Requests")
    operator.follows("Several attempts")
    operator.page.get_by_role("row").filter(has_text="falling").get_by_role("link").first.click()
    operator.sees("Attempts")
    attempts = operator.page.get_by_role("table").first
    expect(attempts).to_contain_text("falling-first")
    expect(attempts).to_contain_text("503")
    expect(attempts).to_contain_text("north-fast")
    operator.sees("Usage and cost")
    operator.sees("0.000")
    operator.sees(request_id)

    charlie.goes_to(f"/admin/tenants/usagerecord/?q={request_id}")
    charlie.does_not_see("falling")
    charlie.goes_to(operator.page.url)
    charlie.does_not_see("falling")
