"""Providers as an operator enters them: secrets that no page shows, and forms that know their adapter."""

from __future__ import annotations

import html
import json
import re

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.urls import reverse

from gateway_site.infra import secrets
from providers.models import Provider
from tenants.models import User
from tests.gateway_site.admin.browsing import change
from tests.gateway_site.admin.upstreams import CREDENTIAL, PROVIDERS, TRAIL, credential_of
from tests.gateway_site.people import browser
from tests.providers.pem import identity


def test_it_makes_a_provider(console):
    response = console.submit(
        f"{PROVIDERS}add/",
        name="A server",
        slug="a-server",
        adapter="openai_compatible",
        base_url="https://llm.example.com/v1",
        dialects=["anthropic_messages", "openai_chat"],
        headers='{"x-team": "ml"}',
        credential=CREDENTIAL,
    )
    assert response.status_code == 302
    made = Provider.objects.get()
    assert made.headers == {"x-team": "ml"}
    assert set(made.dialects) == {"anthropic_messages", "openai_chat"}
    assert made.connect_timeout == 5
    assert credential_of(made) == CREDENTIAL


def test_a_credential_is_in_no_page(console, provider):
    refused = console.submit(change(provider), credential="sk-another", slug="")
    pages = [
        refused,
        *(console.get(url) for url in (PROVIDERS, change(provider), TRAIL)),
    ]
    assert all(page.status_code == 200 for page in pages)
    for page in pages:
        text = page.content.decode()
        assert CREDENTIAL not in text
        assert "sk-another" not in text
        assert provider.credential_encrypted not in text
    assert "Stored" in pages[1].content.decode()


def test_who_only_looks_is_offered_nothing_to_fill_in(provider):
    eve = User.objects.create_user("eve", is_staff=True)
    eve.user_permissions.set(Permission.objects.filter(codename="view_provider"))
    text = browser(eve).get(change(provider)).content.decode()
    assert "Stored" in text
    assert ">Connect timeout<" in text
    for part in (">Clear credential<", ">Proxy<", ">Clear proxy<", ">Client key<", ">Clear client key<", "5.0", "{}"):
        assert part not in text, part


def test_an_empty_field_keeps_the_credential(console, provider):
    assert console.submit(change(provider), name="Renamed").status_code == 302
    assert credential_of(provider) == CREDENTIAL
    assert provider.name == "Renamed"


def test_a_new_credential_replaces_the_old_one(console, provider):
    console.submit(change(provider), credential="sk-another")
    assert credential_of(provider) == "sk-another"


def test_a_box_removes_the_credential(console, provider):
    console.submit(change(provider), clear_credential="on")
    assert credential_of(provider) == ""
    assert "Not stored" in console.get(change(provider)).content.decode()


def test_a_new_credential_is_not_removed_at_once(console, provider, errors):
    response = console.submit(change(provider), credential="sk-another", clear_credential="on")
    assert list(errors(response)) == ["clear_credential"]
    assert credential_of(provider) == CREDENTIAL


SECRETS = {"proxy": "http://us:hush-proxy@proxy.test:3128", "client_key": identity()[1]}


@pytest.fixture
def guarded(provider) -> Provider:
    """A provider behind a proxy, with certificates."""
    provider.set_proxy(SECRETS["proxy"])
    provider.set_client_key(SECRETS["client_key"])
    provider.ca_certificate = provider.client_certificate = identity()[0]
    provider.full_clean()
    provider.save()
    return provider


def secret_of(provider: Provider, name: str) -> str:
    provider.refresh_from_db()
    stored = getattr(provider, f"{name}_encrypted")
    return secrets.decrypt(stored) if stored else ""


def test_it_sets_how_a_provider_is_reached(console, provider):
    certificate = identity()[0]
    given = {"ca_certificate": certificate.replace("\n", "\r\n") + "\r\n", "client_certificate": certificate}
    response = console.submit(change(provider), http2="on", queue_size="0", queue_wait="0.5", **given, **SECRETS)
    assert response.status_code == 302
    assert {name: secret_of(provider, name) for name in SECRETS} == SECRETS
    assert (provider.ca_certificate, provider.client_certificate) == (certificate, certificate)
    assert (provider.http2, provider.queue_size, provider.queue_wait) == (True, 0, 0.5)


def test_a_proxy_and_a_client_key_are_in_no_page(console, guarded):
    refused = console.submit(change(guarded), slug="", **SECRETS)
    for page in (refused, *(console.get(url) for url in (PROVIDERS, change(guarded), TRAIL))):
        text = page.content.decode()
        assert page.status_code == 200
        assert "hush-proxy" not in text
        assert "PRIVATE KEY" not in text
        assert guarded.proxy_encrypted not in text
        assert guarded.client_key_encrypted not in text


def test_empty_fields_keep_the_proxy_and_the_client_key(console, guarded):
    assert console.submit(change(guarded), name="Renamed").status_code == 302
    assert {name: secret_of(guarded, name) for name in SECRETS} == SECRETS
    assert LogEntry.objects.get().get_change_message() == "Changed Name."


def test_boxes_remove_the_proxy_and_the_client_key(console, guarded):
    response = console.submit(change(guarded), clear_proxy="on", clear_client_key="on", client_certificate="")
    assert response.status_code == 302
    assert {name: secret_of(guarded, name) for name in SECRETS} == {"proxy": "", "client_key": ""}


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"proxy": "socks5://proxy.test"}, "proxy"),
        ({"proxy": "http://proxy.test", "clear_proxy": "on"}, "clear_proxy"),
        ({"ca_certificate": "nonsense"}, "ca_certificate"),
        ({"client_certificate": "nonsense"}, "client_certificate"),
        ({"client_certificate": "\n".join(identity())}, "client_certificate"),
        ({"ca_certificate": "\n".join(identity())}, "ca_certificate"),
        ({"client_certificate": ""}, "client_certificate"),
        ({"clear_client_key": "on"}, "client_key"),
        ({"client_key": "nonsense"}, "client_key"),
        ({"client_key": identity("another")[1]}, "client_key"),
        ({"queue_wait": "0.01"}, "queue_wait"),
        ({"queue_wait": "301"}, "queue_wait"),
        ({"queue_size": "-1"}, "queue_size"),
    ],
)
def test_a_connection_that_cannot_be_made_names_the_field(console, guarded, errors, given, field):
    assert list(errors(console.submit(change(guarded), **given))) == [field]
    assert {name: secret_of(guarded, name) for name in SECRETS} == SECRETS


def test_wrong_input_names_the_field(console, errors):
    response = console.submit(
        f"{PROVIDERS}add/",
        slug="a b",
        adapter="openai_compatible",
        base_url="http://127.0.0.1:8000",
        headers='{"x-team":',
        connect_timeout="0",
    )
    assert set(errors(response)) == {"slug", "base_url", "headers", "connect_timeout"}


def test_a_provider_without_an_adapter_has_one_mistake(console, errors):
    page = "/admin/providers/provider/add/"
    assert errors(console.submit(page, slug="vllm", name="vLLM", adapter="")) == {
        "adapter": ["This field is required."]
    }


def test_emptied_json_is_the_empty_object(console, provider):
    provider.headers = {"x-team": "ml"}
    provider.save()
    assert console.fields(change(provider))["headers"] == '{"x-team": "ml"}'
    assert console.submit(change(provider), headers="").status_code == 302
    provider.refresh_from_db()
    assert provider.headers == {}


def test_ticked_dialects_keep_their_order(console, provider):
    Provider.objects.update(dialects=["openai_chat"])
    console.submit(change(provider), dialects=["anthropic_messages", "openai_chat"])
    provider.refresh_from_db()
    assert provider.dialects == ["openai_chat", "anthropic_messages"]


def test_it_disables_and_enables(console, provider):
    console.confirm(reverse("admin:providers_provider_disable", args=[provider.pk]))
    provider.refresh_from_db()
    assert not provider.is_enabled
    console.act(PROVIDERS, "enable_selected", provider)
    provider.refresh_from_db()
    assert provider.is_enabled


# --- What a form knows of its adapter --------------------------------------------------------------------------


def test_the_form_knows_each_adapter(console):
    text = console.get(f"{PROVIDERS}add/").content.decode()
    told = json.loads(html.unescape(re.search(r'data-adapters="([^"]+)"', text)[1]))  # type: ignore[index]
    assert told["anthropic"]["base_url"] == "https://api.anthropic.com"
    assert all(each["documentation"].startswith("https://") for each in told.values() if each["base_url"])


def test_a_long_credential_is_told_apart_by_its_end(console, provider):
    provider.set_credential("sk-long-enough-to-hide-the-rest-1a2b")
    provider.save()
    assert "ends in 1a2b" in console.get(change(provider)).content.decode()
    provider.set_credential("short-1a2b")
    provider.save()
    assert "1a2b" not in console.get(change(provider)).content.decode()


def test_charlie_sees_no_provider(charlie, provider):
    for url in (PROVIDERS, f"{PROVIDERS}add/", change(provider)):
        assert charlie.get(url).status_code in {302, 403, 404}, url
    assert charlie.post(change(provider), {"name": "Mine"}).status_code in {302, 403, 404}
    provider.refresh_from_db()
    assert provider.name == "OpenAI"
