"""The live view moves while requests run, and stops one. Charlie's shows nothing of it."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.browser.chromium import Person, expect
from tests.browser.test_keys_journey import hello
from tests.gateway.stack import Stack, wait_for

SLOW = "stop me [[chunks=600 interval=0.1]]"  # a minute


def test_the_live_view_shows_a_request_growing_and_stops_it(operator, charlie, stack, keys):
    for person in (operator, charlie):
        person.goes_to("/admin/")
        person.follows("Live")
        person.sees("Nothing is under way at the moment.")
    with long_answer(stack, keys["alice"]) as answer:
        row = flight(operator, "alice-main")
        expect(row).to_contain_text("north")
        first = tokens(row)
        wait_for(lambda: tokens(row) > first, "more tokens")
        expect(operator.page.get_by_role("definition").first).to_have_text(re.compile("[1-9]"))
        expect(charlie.page.get_by_text("Nothing is under way at the moment.")).to_be_visible()
        expect(flight(charlie, "alice-main")).to_have_count(0)

        row.get_by_role("button", name=re.compile("^Stop")).click()
        row.get_by_role("button", name=re.compile("Really stop")).click()
        wait_for(lambda: answer.get("is_over"), "the end of the answer")
    expect(row).to_have_count(0)
    wait_for(lambda: stack.upstream_request("stop me").outcome == "disconnected", "the upstream's connection closed")
    assert "request_stopped" in answer["text"]


def flight(person: Person, key: str):
    return person.page.get_by_role("row").filter(has_text=key)


def tokens(row: Any) -> int:
    found = re.search(r"(\d[\d,]*)", row.get_by_role("cell").nth(6).inner_text())
    return int(found[1].replace(",", "")) if found else 0


@contextmanager
def long_answer(stack: Stack, key: str) -> Iterator[dict[str, Any]]:
    """Read a slow answer beside the test; afterwards `text` has what came of it."""
    answer: dict[str, Any] = {"text": ""}

    def read() -> None:
        headers = {"authorization": f"Bearer {key}"}
        body = {**hello("chat", SLOW), "stream": True}
        try:
            with httpx.stream(
                "POST", f"{stack.url}/v1/chat/completions", headers=headers, json=body, timeout=90
            ) as reply:
                for text in reply.iter_text():
                    answer["text"] += text
                    if "is_given_up" in answer:
                        break
        except httpx.HTTPError as error:
            answer["text"] += repr(error)
        answer["is_over"] = True

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield answer
    finally:
        answer["is_given_up"] = True
        thread.join(90)
