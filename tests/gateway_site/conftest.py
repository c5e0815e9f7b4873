"""Bob owns Acme, charlie owns another tenant."""

import pytest
from django.core.cache import cache

from tenants.models import Tenant, User
from tests.gateway_site.people import make_member


@pytest.fixture
def acme(db: None) -> Tenant:
    return Tenant.objects.create(slug="acme", name="Acme")


@pytest.fixture
def bob(acme: Tenant) -> User:
    return make_member(acme, "bob")


@pytest.fixture
def charlie(db: None) -> User:
    return make_member(Tenant.objects.create(slug="charlies", name="Charlie's"), "charlie")


@pytest.fixture
def no_attempts_yet(stores: tuple[str, str]) -> None:
    """Nobody has tried to sign in, so that nobody is kept waiting."""
    cache.clear()
