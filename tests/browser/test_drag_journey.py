"""Targets are put into another order by dragging them, and the next request follows. Charlie has no routes to drag."""

from tests.browser.chromium import Person, expect
from tests.browser.test_keys_journey import hello
from tests.gateway.stack import Stack, wait_for


def test_a_target_that_is_dragged_to_the_top_is_asked_first(operator, charlie, stack, keys):
    assert served_by(stack, keys["alice"]) == "north-fast"
    operator.goes_to("/admin/")
    operator.follows("Routes")
    operator.follows("reordered")
    expect(rows(operator).first).to_contain_text("north-fast")
    handle = rows(operator).nth(1).locator(".cursor-move")
    handle.drag_to(rows(operator).first, target_position={"x": 20, "y": 2})
    expect(rows(operator).first).to_contain_text("south-fast")
    assert [tier(operator, place) for place in (0, 1)] == ["0", "1"]
    operator.presses("Save")
    operator.sees("was changed successfully")
    wait_for(lambda: served_by(stack, keys["alice"]) == "south-fast", "an answer of what is on top now")

    charlie.expected.append("403")
    reply = charlie.page.goto("/admin/routing/route/")
    assert reply is not None
    assert reply.status == 403


def test_a_target_is_moved_by_the_keyboard(operator, stack):
    operator.goes_to("/admin/routing/route/")
    operator.follows("reordered")
    first, second = (name(operator, place) for place in (0, 1))
    rows(operator).nth(1).get_by_role("button", name="Move up").focus()
    operator.page.keyboard.press("Enter")
    expect(rows(operator).first).to_contain_text(second)
    expect(rows(operator).first.get_by_role("button", name="Move up")).to_be_focused()
    assert [tier(operator, place) for place in (0, 1)] == ["0", "1"]
    operator.page.keyboard.press("Tab")
    operator.page.keyboard.press("Enter")
    expect(rows(operator).first).to_contain_text(first)


def name(person: Person, place: int) -> str:
    return rows(person).nth(place).locator(".select2-selection__rendered").inner_text()


def rows(person: Person):
    return person.page.locator("#targets-group tbody.form-group.original")


def tier(person: Person, place: int) -> str:
    return rows(person).nth(place).locator("input[name$=-priority]").input_value()


def served_by(stack: Stack, key: str) -> str:
    return stack.post("/v1/chat/completions", key, hello("reordered")).headers["x-tollgate-deployment"]
