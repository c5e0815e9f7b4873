"""Does a provider work? What the console says before it is saved, in words that tell failures apart."""

from __future__ import annotations

import pytest

from providers.models import Provider
from providers.simulator.models import MODELS
from tenants.models import AuditEvent
from tests.gateway_site.admin.browsing import change
from tests.gateway_site.admin.upstreams import (
    KEY,
    PROVIDERS,
    credential_of,
    free_port,
    running_simulator,
    running_upstream,
    server,
)

NEW = f"{PROVIDERS}test-connection/"


def test_url(provider: Provider) -> str:
    return change(provider).replace("/change/", "/test-connection/")


test_url.__test__ = False  # type: ignore[attr-defined]


def asked(console, provider: Provider, **changes: str) -> str:
    """What the page shows when Test connection is pressed, with some fields changed and not saved."""
    response = console.client.post(test_url(provider), {**console.fields(change(provider)), **changes})
    assert response.status_code == 200
    text = response.content.decode()
    assert KEY not in text
    return " ".join(text.split())


def test_a_connection_that_works_says_what_answered(console):
    with running_simulator(key=KEY) as simulator:
        text = asked(console, server(simulator.url))
    assert "Works" in text
    assert f"It lists {len(MODELS)} models." in text
    assert " ms<" in text
    event = AuditEvent.objects.get(action="connection_tested")
    assert (event.actor, event.detail["result"]) == ("alice", "works")


def test_a_model_that_is_named_is_asked(console):
    with running_simulator(key=KEY) as simulator:
        provider = server(simulator.url)
        assert "sim-fast answered." in asked(console, provider, check_model="sim-fast")
        assert "Rejected" in asked(console, provider, check_model="sim-nothing")


def test_it_is_tested_before_it_is_saved(console):
    with running_simulator(key=KEY) as simulator:
        fields = console.fields(f"{PROVIDERS}add/")
        fields |= {"adapter": "openai_compatible", "base_url": simulator.url, "allow_private_address": "on"}
        text = console.client.post(NEW, {**fields, "credential": KEY}).content.decode()
    assert "Works" in text
    assert "not saved yet" in text
    assert KEY not in text
    assert not Provider.objects.exists()


def test_what_is_stored_stays_as_it_is(console):
    with running_simulator(key=KEY) as simulator:
        provider = server(simulator.url)
        assert "refuses our credential (401)" in asked(console, provider, credential="sk-a-wrong-one")
    assert credential_of(provider) == KEY


def test_no_credential_is_another_thing_than_a_wrong_one(console):
    with running_simulator(key=KEY) as simulator:
        assert "It wants a credential (401)." in asked(console, server(simulator.url, key=""))


def test_a_wrong_path_may_be_a_server_without_a_list(console):
    with running_upstream({"error": {"message": "no"}}, status=404) as upstream:
        text = asked(console, server(upstream.url))
    assert "Cannot be probed" in text
    assert "no list of models at this path (404)" in text


@pytest.mark.parametrize(
    ("status", "body", "verdict", "words"),
    [
        (403, {}, "Rejected", "refuses our credential (403)"),
        (429, {}, "Rejected", "rate limit (429)"),
        (302, {}, "Rejected", "sends to another address (302)"),
        (200, b"<html>Welcome</html>", "Rejected", "no list of models"),
        (503, {"error": {"message": f"overloaded, {KEY}"}}, "Unreachable", "failed with status 503"),
    ],
)
def test_it_tells_failures_apart(console, status, body, verdict, words):
    with running_upstream(body, status=status) as upstream:
        text = asked(console, server(upstream.url))
    assert verdict in text
    assert words in text


def test_a_vendors_path_that_is_not_there_is_refused(console):
    with running_upstream({}, status=404) as upstream:
        provider = server(upstream.url)
        text = asked(console, provider, adapter="openai")
    assert "There is nothing at this path (404)." in text


def test_nobody_at_home_is_not_a_refusal(console):
    text = asked(console, server(f"http://127.0.0.1:{free_port()}"))
    assert "Unreachable" in text
    assert "connection was refused" in text


def test_a_name_that_leads_nowhere(console):
    assert "cannot be resolved (DNS)" in asked(console, server("http://no-such-host.invalid"))


def test_plain_http_is_no_tls(console):
    with running_simulator() as simulator:
        assert "(TLS)" in asked(console, server(simulator.url.replace("http:", "https:")))


def test_a_private_address_is_not_asked_unless_allowed(console):
    with running_simulator() as simulator:
        provider = server(simulator.url)
        fields = console.fields(change(provider))
        del fields["allow_private_address"]  # as a browser leaves out a box that is not ticked
        text = console.client.post(test_url(provider), fields).content.decode()
        assert "Not asked" in text
        assert "private network" in text
        named = {**fields, "base_url": simulator.url.replace("127.0.0.1", "localhost")}
        text = console.client.post(test_url(provider), named).content.decode()
        assert "private network" in text
        assert "Works" not in text
        assert not simulator.requests


def test_only_who_may_change_a_provider_asks_it(console, provider, charlie):
    assert charlie.post(test_url(provider), {}).status_code == 403
    assert charlie.post(NEW, {}).status_code == 403
    assert console.client.get(NEW).status_code == 405
