"""Alice operates the gateway in the console, through its forms, as a browser would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from django.http import HttpResponse
from django.test import Client

from providers.models import Deployment, Provider
from tenants.models import Tenant, User
from tests.gateway_site.admin.browsing import Console
from tests.gateway_site.admin.upstreams import CREDENTIAL
from tests.gateway_site.people import browser


@pytest.fixture
def alice(db: None) -> User:
    return User.objects.create_superuser("alice", "alice@example.com", "alice's long password")


@pytest.fixture
def console(alice: User) -> Console:
    return Console(browser(alice))


@pytest.fixture
def tenant(acme: Tenant) -> Tenant:
    return acme


@pytest.fixture
def errors() -> Callable[[HttpResponse], dict[str, list[str]]]:
    """The errors of a refused form, by field; rows of inlines by prefix."""

    def read(response: Any) -> dict[str, list[str]]:
        assert response.status_code == 200, "the form was accepted"
        found = {name: list(texts) for name, texts in response.context["adminform"].form.errors.items()}
        for inline in response.context["inline_admin_formsets"]:
            for row in inline.formset.forms:
                found |= {f"{row.prefix}-{name}": list(texts) for name, texts in row.errors.items()}
            if inline.formset.non_form_errors():
                found[inline.formset.prefix] = list(inline.formset.non_form_errors())
        return found

    return read


@pytest.fixture
def provider(db) -> Provider:
    provider = Provider(slug="openai", name="OpenAI", adapter="openai")
    provider.set_credential(CREDENTIAL)
    provider.save()
    return provider


@pytest.fixture
def deployment(provider) -> Deployment:
    return Deployment.objects.create(slug="gpt", provider=provider, model="gpt-5-mini")


@pytest.fixture
def bob(bob: User) -> Client:
    return browser(bob)


@pytest.fixture
def charlie(charlie: User) -> Client:
    """An owner of another tenant."""
    return browser(charlie)


@pytest.fixture
def valkey(stores: tuple[str, str]) -> Iterator[redis.Redis]:
    """Emptied before and after."""
    with redis.Redis.from_url(stores[1]) as client:
        client.flushall()
        yield client
        client.flushall()
