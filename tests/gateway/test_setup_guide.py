"""From an empty installation to the first request, as the setup guide leads: in the console of a running gateway."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.environment import STATE_DIR
from tests.gateway.console import Form, signed_in
from tests.gateway.stack import Stack, running_stack, wait_for

PAGE = "/admin/setup/"
SECRET = re.compile(r"tg_[A-Za-z0-9]{40}")
DEMO = ("ModelAlias", "Route", "Deployment", "Provider", "ApiKey", "Tenant")  # each before what it needs


@pytest.fixture(scope="module")
def empty() -> Iterator[Stack]:
    """Everything running, and nothing of the demo but the operator and the simulator's process."""
    with running_stack(STATE_DIR / "setup") as stack:
        imports = "from providers.models import *; from routing.models import *; from tenants.models import *"
        stack.manage("shell", "-c", "; ".join((imports, *(f"{name}.objects.all().delete()" for name in DEMO))))
        yield stack


@pytest.fixture(scope="module")
def browser(empty: Stack) -> Iterator[httpx.Client]:
    with signed_in(empty) as client:
        yield client


def step(browser: httpx.Client, page: httpx.Response, **fields: Any) -> httpx.Response:
    """Fill in the form of a page and send it."""
    given = Form(page.text).fields | fields
    reply = browser.post(page.url, data=given, headers={"referer": str(page.url)})
    assert reply.status_code == 200, reply.text[:500]
    assert "setup-error" not in reply.text, reply.text
    return reply


def told(browser: httpx.Client, page: httpx.Response, words: str) -> httpx.Response | None:
    """Ask again where the page asks again, until it says something."""
    url = re.search(r'hx-get="([^"]*/arrival[^"]*)"', page.text)[1].replace("&amp;", "&")
    reply = browser.get(url)
    return reply if words in reply.text else None


def test_from_nothing_to_the_first_request(empty, browser):
    page = browser.get(PAGE)
    assert "Who answers?" in page.text
    assert "Local simulator" in page.text

    listed = step(browser, page, adapter="simulator", action="test")
    assert "Works" in listed.text

    page = step(browser, page, adapter="simulator", action="save")
    assert "Which model" in page.text
    offered = step(browser, page, action="models")
    assert 'data-model="sim-steady"' in offered.text

    page = step(browser, page, model="sim-steady", alias="first", price="own", input_price="1", output_price="2")
    assert "Who will call?" in page.text
    page = step(browser, page, name="Growth")
    assert "A key to call with" in page.text
    page = step(browser, page, name="first program")
    assert "The first request" in page.text
    secret = SECRET.search(page.text)[0]

    if "Waiting for a request with this key" not in page.text:  # the model was on its way to the workers
        page = wait_for(lambda: told(browser, page, "Waiting for a request with this key"), "every worker to have it")
    assert "is live in every worker (2)" in page.text

    refused = empty.post("/v1/chat/completions", secret, {"model": "no-such", "messages": []})
    assert refused.status_code == 404
    assert told(browser, page, "It arrived") is None  # it used nothing, and is no request of the ledger

    ask = {"model": "first", "messages": [{"role": "user", "content": "Say hello in one sentence."}]}
    answer = empty.post("/v1/chat/completions", secret, ask)
    assert answer.status_code == 200, answer.text
    arrived = wait_for(lambda: told(browser, page, "was answered"), "the first request").text
    record = empty.record(answer.headers["x-request-id"])
    assert f"{record['input_tokens']} in, {record['output_tokens']} out" in arrived
    assert f"{record['cost']:.10f}".rstrip("0") in arrived
    assert "Limits and budgets" in arrived
    assert "Use your own provider" in arrived
    link = re.search(r'href="(/admin/tenants/usagerecord/[^"]+)"', arrived)[1]
    assert browser.get(link).status_code == 200

    # It is all there now, and nobody is asked again.
    again = browser.get(PAGE).text
    assert "The first request" in again
    assert not SECRET.search(again)


def test_a_request_that_fails_is_explained(empty, browser):
    page = step(browser, browser.get(f"{PAGE}?step=model"), model="sim-unauthorized", alias="down", price="later")
    page = step(browser, browser.get(f"{PAGE}?step=key&alias=down"), name="second program")
    secret = SECRET.search(page.text)[0]
    if "Waiting for a request with this key" not in page.text:
        page = wait_for(lambda: told(browser, page, "Waiting for a request with this key"), "every worker to have it")
    ask = {"model": "down", "messages": [{"role": "user", "content": "Hello"}]}
    answer = empty.post("/v1/chat/completions", secret, ask)
    assert answer.status_code >= 400
    failed = wait_for(lambda: told(browser, page, "It arrived"), "the request that failed")
    assert answer.headers["x-tollgate-error"] in failed.text
    assert "goes on waiting" in failed.text
