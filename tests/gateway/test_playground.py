"""The playground against a running gateway: its key is bound, billed and ended as any other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway_site.infra.words import DIALECTS
from tests.gateway.console import Form, signed_in
from tests.gateway.stack import Stack, wait_for

PAGE = "/admin/playground/"


@pytest.fixture(scope="module")
def browser(stack: Stack) -> Iterator[httpx.Client]:
    with signed_in(stack) as client:
        yield client


def tenant_id(stack: Stack, slug: str) -> str:
    return str(stack.query("SELECT id FROM tenants_tenant WHERE slug = %s", slug)[0][0])


def prepare(browser: httpx.Client, stack: Stack, *, tenant: str = "alice", **fields: str) -> dict[str, Any]:
    """Do what the page's script does before it asks the gateway."""
    chosen = tenant_id(stack, tenant)
    token = Form(browser.get(PAGE, params={"tenant": chosen}).text).fields["csrfmiddlewaretoken"]
    asked = {"dialect": "openai_chat", "model": "chat", "user": "Hello", "tenant": chosen, "needs_key": "on", **fields}
    reply = browser.post(
        f"{PAGE}request", data=asked | {"csrfmiddlewaretoken": token}, headers={"referer": f"{browser.base_url}{PAGE}"}
    )
    assert reply.status_code == 200, reply.text[:500]
    return dict(reply.json())


def send(stack: Stack, asked: dict[str, Any]) -> httpx.Response:
    return stack.post(asked["path"], asked["key"]["secret"], asked["body"], **asked["headers"])


@pytest.mark.parametrize("stream", ["", "on"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_format_is_answered_and_billed_to_the_tenant(stack, browser, dialect, stream):
    asked = prepare(browser, stack, dialect=dialect, **({"stream": stream} if stream else {}))
    reply = send(stack, asked)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("text/event-stream") == bool(stream)
    request_id = reply.headers["x-request-id"]
    record = stack.record(request_id)
    assert str(record["tenant_id"]) == tenant_id(stack, "alice")
    found = wait_for(lambda: told(browser, request_id), "the outcome")
    assert found["output_tokens"] == record["output_tokens"] > 0
    assert found["cost"].endswith(" USD")
    assert found["attempts"][0]["deployment"] == record["deployment"]


def told(browser: httpx.Client, request_id: str) -> dict[str, Any] | None:
    reply = browser.get(f"{PAGE}outcome", params={"request_id": request_id})
    return dict(reply.json()) if reply.status_code == 200 else None


def test_the_tenant_s_own_models_and_nobody_else_s(stack, browser):
    assert send(stack, prepare(browser, stack, model="alice-only")).status_code == 200
    refused = send(stack, prepare(browser, stack, tenant="charlie", model="alice-only"))
    assert (refused.status_code, refused.headers["x-tollgate-error"]) == (404, "model_not_found")


def test_a_suspended_tenant_is_refused_here_too(stack, browser):
    refused = send(stack, prepare(browser, stack, tenant="suspended"))
    assert (refused.status_code, refused.headers["x-tollgate-error"]) == (403, "tenant_suspended")


def test_the_secret_before_works_on_in_another_tab_and_one_before_that_does_not(stack, browser):
    tabs = [prepare(browser, stack) for _ in range(3)]
    assert [send(stack, tab).status_code for tab in reversed(tabs)] == [200, 200, 401]


def test_the_session_is_no_key(stack, browser):
    asked = prepare(browser, stack)
    reply = browser.post(asked["path"], content=json.dumps(asked["body"]), headers={"content-type": "application/json"})
    assert (reply.status_code, reply.headers["x-tollgate-error"]) == (401, "missing_api_key")
