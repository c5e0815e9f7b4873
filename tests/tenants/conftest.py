"""Alice owns a tenant, Bob is a member of it, Charlie is an outsider with a tenant of his own."""

from collections.abc import Iterator

import pytest
import redis

from tenants.models import Member, Tenant, User


@pytest.fixture(autouse=True)
def _empty_valkey(request: pytest.FixtureRequest) -> None:
    """Nothing of the test before is left in the shared Valkey; tests without stores do not start them for this."""
    if "stores" in request.fixturenames or request.node.get_closest_marker("django_db"):
        with redis.Redis.from_url(request.getfixturevalue("stores")[1]) as client:
            client.flushall()


@pytest.fixture
def valkey_url(stores: tuple[str, str]) -> str:
    return stores[1]


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        yield client


@pytest.fixture
def alice() -> Tenant:
    tenant = Tenant.objects.create(slug="alice", name="Alice")
    Member.objects.create(tenant=tenant, user=User.objects.create_user("alice"), role=Member.Role.OWNER)
    return tenant


@pytest.fixture
def bob(alice: Tenant) -> User:
    user = User.objects.create_user("bob")
    Member.objects.create(tenant=alice, user=user)
    return user


@pytest.fixture
def charlie() -> Tenant:
    return Tenant.objects.create(slug="charlie", name="Charlie")
