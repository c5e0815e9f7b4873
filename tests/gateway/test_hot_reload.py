"""What is made in the console can be called at once."""

import re
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.gateway.console import send_form, signed_in
from tests.gateway.stack import Stack, wait_for


@pytest.fixture
def console(stack: Stack) -> Iterator[httpx.Client]:
    """A browser in which the operator has signed in."""
    with signed_in(stack) as client:
        yield client


def test_a_provider_a_model_a_tenant_and_a_key_made_in_the_console_can_be_called_at_once(
    stack: Stack, console: httpx.Client
) -> None:
    def add(page: str, **values: str) -> httpx.Response:
        return send_form(console, f"/admin/{page}/add/", **values, _save="Save")

    add(
        "providers/provider",
        slug="made-by-hand",
        adapter="openai_compatible",
        base_url=f"{stack.simulator_url}/v1",
        allow_private_address="on",
        credential="a-secret",
    )
    (provider,) = stack.query("SELECT id FROM providers_provider WHERE slug = 'made-by-hand'")[0]
    add("providers/deployment", slug="made-by-hand", provider=str(provider), model="sim-fast")
    (deployment,) = stack.query("SELECT id FROM providers_deployment WHERE slug = 'made-by-hand'")[0]
    add(
        "routing/route",
        name="made-by-hand",
        **{
            "targets-TOTAL_FORMS": "1",
            "targets-0-deployment": str(deployment),
            "targets-0-priority": "0",
            "targets-0-weight": "100",
            "targets-0-conditions": "{}",
            "aliases-TOTAL_FORMS": "1",
            "aliases-0-name": "made-by-hand",
        },
    )
    add("tenants/tenant", slug="made-by-hand", name="Made by hand")
    (tenant,) = stack.query("SELECT id FROM tenants_tenant WHERE slug = 'made-by-hand'")[0]
    shown = add("tenants/apikey", tenant=str(tenant), name="first")
    made_at = time.monotonic()
    secret = re.search(r"tg_[A-Za-z0-9]{40}", shown.text)
    assert secret is not None

    body = {"model": "made-by-hand", "messages": [{"role": "user", "content": "hi"}]}
    wait_for(
        lambda: stack.post("/v1/chat/completions", secret[0], body).status_code == 200 or None, "an answer", seconds=2
    )
    assert time.monotonic() - made_at < 1.5
    listing = console.get("/admin/tenants/apikey/")
    assert secret[0] not in listing.text
