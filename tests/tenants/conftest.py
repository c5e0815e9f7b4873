"""Alice owns a tenant, Bob is a member of it, Charlie is an outsider with a tenant of his own."""

from collections.abc import Iterator

import pytest
import redis

from tenants.models import Member, Tenant, User
from tests.gateway_site.infra.own_valkey import OwnValkey, own_valkey


@pytest.fixture(autouse=True)
def _empty_valkey(request: pytest.FixtureRequest) -> None:
    """Nothing of the test before is left in the shared Valkey; tests without stores do not start them for this."""
    if "stores" in request.fixturenames or request.node.get_closest_marker("django_db"):
        with redis.Redis.from_url(request.getfixturevalue("stores")[1]) as client:
            client.flushall()


@pytest.fixture
def valkey_url(stores: tuple[str, str]) -> str:
    return stores[1]


@pytest.fixture(scope="module")
def own_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnValkey]:
    with own_valkey(tmp_path_factory.mktemp("own")) as server:
        yield server


@pytest.fixture
def own_server(own_process: OwnValkey) -> OwnValkey:
    """A Valkey that tests of one file may mistreat, emptied; each leaves it running."""
    with redis.Redis.from_url(own_process.url) as client:
        client.flushall()
    return own_process


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
