"""Routes and deployments as the hot path has them, made without a database; and Valkey, emptied for tests with stores."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from routing.snapshot import Deployment, LiveDeployment, LiveRoute, LiveTarget, Provider, Route, Secrets, Target

type MakeDeployment = Callable[..., LiveDeployment]
type MakeRoute = Callable[..., LiveRoute]


@pytest.fixture(scope="session")
def make_deployment() -> MakeDeployment:
    """Make a deployment with a provider of its own; `provider` are the provider's fields."""

    def make(
        slug: str = "d", *, credential: str = "sk-ours", provider: dict[str, Any] | None = None, **fields: Any
    ) -> LiveDeployment:
        owner = {
            "slug": "p",
            "adapter": "openai_compatible",
            "base_url": "https://upstream/v1",
            "dialects": ("openai_chat",),
        }
        facts = Deployment(**{"slug": slug, "provider": "p", "model": f"model-of-{slug}", **fields})
        return LiveDeployment(facts, Provider(**(owner | (provider or {}))), Secrets(credential=credential))

    return make


@pytest.fixture(scope="session")
def make_route(make_deployment: MakeDeployment) -> MakeRoute:
    """Make a route to deployments: each has a slug, and fields of the target or of the deployment."""

    def make(targets: dict[str, dict[str, Any]], **fields: Any) -> LiveRoute:
        live = []
        for slug, details in targets.items():
            place = {name: details[name] for name in ("priority", "weight", "conditions") if name in details}
            rest = {name: value for name, value in details.items() if name not in place}
            live.append(LiveTarget(Target(deployment=slug, **place), make_deployment(slug, **rest)))
        return LiveRoute(Route(**{"name": "r", **fields}), live)

    return make


@pytest.fixture(autouse=True)
def _empty_valkey(request: pytest.FixtureRequest) -> None:
    """Nothing of the test before is left in the shared Valkey; tests without stores do not start them for this."""
    if "stores" in request.fixturenames or request.node.get_closest_marker("django_db"):
        with redis.Redis.from_url(request.getfixturevalue("stores")[1]) as client:
            client.flushall()


@pytest.fixture
def client(stores: tuple[str, str]) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(stores[1]) as client:
        yield client
