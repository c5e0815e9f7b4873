"""A small configuration in the database, for tests of what happens to it."""

from dataclasses import dataclass

from providers.models import Deployment, ModelPrice, Provider
from routing.models import ModelAlias, Route, RouteTarget
from tenants.models import Tenant

CREDENTIAL = "sk-the-upstreams-own-secret"


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """One of each."""

    provider: Provider
    deployment: Deployment
    price: ModelPrice
    route: Route
    target: RouteTarget
    alias: ModelAlias


def make_catalogue(*, slug: str = "openai", tenant: Tenant | None = None) -> Catalogue:
    """Make a provider with a credential, and an alias `smart` that leads to its only deployment."""
    provider = Provider(slug=slug, adapter="openai", headers={"x-team": "a-header-that-may-be-secret"})
    provider.set_credential(CREDENTIAL)
    provider.save()
    deployment = Deployment.objects.create(slug=f"{slug}-large", provider=provider, model="gpt-5")
    price = ModelPrice.objects.create(deployment=deployment, input="1.25", output=10)
    route = Route.objects.create(name=f"{slug}-smart")
    target = RouteTarget.objects.create(route=route, deployment=deployment)
    alias = ModelAlias.objects.create(name="smart", route=route, tenant=tenant)
    return Catalogue(provider=provider, deployment=deployment, price=price, route=route, target=target, alias=alias)
