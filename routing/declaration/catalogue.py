"""Writes what is served: providers, deployments with their prices, routes with their targets and aliases."""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from gateway_site.infra import secrets
from providers.models import Deployment, ModelPrice, Provider
from providers.models.price import UNIT_FIELDS
from routing.declaration import fields
from routing.declaration.changes import Difference, difference, show
from routing.declaration.run import Run
from routing.declaration.schema import (
    AliasEntry,
    DeploymentEntry,
    PriceEntry,
    ProviderEntry,
    TargetEntry,
)
from routing.models import ModelAlias, Route, RouteTarget
from tenants.models import Tenant

PRICE_FIELDS = ("currency", "per", *UNIT_FIELDS, "tiers", "multipliers")
PRICE_IN_FORCE = "a price that has been in force is not edited; leave effective_from out or set a later one"
PRICE_PATHS = {name: name for name in PRICE_FIELDS}


# --- Providers ---------------------------------------------------------------------------------------------


def write_providers(run: Run) -> None:
    stored = {provider.slug: provider for provider in Provider.objects.all()}
    for entry in run.declaration.sections.providers:
        _write_provider(run, entry, stored.setdefault(entry.slug, Provider(slug=entry.slug)))


def _write_provider(run: Run, entry: ProviderEntry, provider: Provider) -> None:
    also = [
        *_secret(provider.credential_encrypted, entry.credential, provider.set_credential, "credential"),
        *_secret(provider.proxy_encrypted, entry.proxy, provider.set_proxy, "proxy"),
        *_secret(provider.client_key_encrypted, _client_key(entry), provider.set_client_key, "client_key", "tls.key"),
    ]
    run.write(
        f"provider {entry.slug}",
        provider,
        fields.PROVIDER.values(entry),
        path=entry.path,
        paths=fields.PROVIDER.paths | {"credential_encrypted": "credential", "client_key": "tls.key"},
        also=also,
    )


def _client_key(entry: ProviderEntry) -> str | None:
    """The key that the file gives; a certificate that is gone takes its key along."""
    return "" if entry.tls.key is None and not entry.tls.certificate else entry.tls.key


def _secret(
    stored: str, said: str | None, store: Callable[[str], None], name: str, path: str = ""
) -> Iterator[Difference]:
    """Store what the file says of a secret, if anything, and yield that it differs from before, if it does."""
    if said is not None and said != _opened(stored):
        store(said)
        yield Difference(fields=(f"{name}_encrypted",), text=f"{path or name} (changed)")


def _opened(stored: str) -> str | None:
    """What is stored; None when no key opens it any more."""
    try:
        return secrets.decrypt(stored) if stored else ""
    except secrets.SecretUnreadable:
        return None


# --- Deployments -------------------------------------------------------------------------------------------


def write_deployments(run: Run) -> None:
    providers = {provider.slug: provider for provider in Provider.objects.all()}
    stored = {deployment.slug: deployment for deployment in Deployment.objects.select_related("provider")}
    for entry in run.declaration.sections.deployments:
        provider = providers.get(entry.provider)
        if provider is not None:  # else it has been noted as missing or broken
            deployment = stored.setdefault(entry.slug, Deployment(slug=entry.slug, provider=provider))
            _write_deployment(run, entry, deployment, provider)


def _write_deployment(run: Run, entry: DeploymentEntry, deployment: Deployment, provider: Provider) -> None:
    is_sound = run.write(
        f"deployment {entry.slug}",
        deployment,
        {"provider": provider, **fields.DEPLOYMENT.values(entry)},
        path=entry.path,
        paths=fields.DEPLOYMENT.paths,
        depends=True,  # on what its provider speaks
    )
    if is_sound:
        for price in entry.prices:
            _write_price(run, deployment, price, ModelPrice.Side.SELL)
        for price in entry.cost_prices:
            _write_price(run, deployment, price, ModelPrice.Side.COST)


# --- Prices ------------------------------------------------------------------------------------------------


def _write_price(run: Run, deployment: Deployment, entry: PriceEntry, side: str) -> None:
    """Begin a new price where it differs from the one in force; what was in force is never edited."""
    moment = entry.effective_from or run.now
    before = deployment.price_at(moment, side)
    values = _price_values(entry)
    differences = _price_differences(before, values)
    if not differences and _says_the_same(before, entry):
        return
    price = ModelPrice(deployment=deployment, side=side, effective_from=moment)
    if before is not None and before.effective_from == moment:
        if moment <= run.now:
            run.problem(entry.path, PRICE_IN_FORCE)
            return
        price = before
    subject = f"{'price' if side == ModelPrice.Side.SELL else 'cost price'} {deployment.slug}"
    if entry.effective_from is not None:
        subject += f" from {show(moment)}"
    details = tuple(difference.text for difference in differences)
    run.write(subject, price, values, path=entry.path, paths=PRICE_PATHS, details=details)


def _price_values(entry: PriceEntry) -> dict[str, Any]:
    values = {name: getattr(entry, name) for name in ("currency", "per", *UNIT_FIELDS)}
    multipliers = {name: f"{amount:f}" for name, amount in entry.multipliers.items()}
    return values | {"tiers": [tier.stored() for tier in entry.tiers], "multipliers": multipliers}


def _price_differences(before: ModelPrice | None, values: dict[str, Any]) -> list[Difference]:
    """What a price changes against the one in force; all that it says when there is none."""
    if before is None:
        said = {name: value for name, value in values.items() if value not in (None, [], {})}
        return [Difference(fields=(name,), text=f"{name} {show(value)}") for name, value in said.items()]
    return [
        difference(name, name, getattr(before, name), values[name])
        for name in PRICE_FIELDS
        if _comparable(getattr(before, name)) != _comparable(values[name])
    ]


def _comparable(value: Any) -> Any:
    """Tiers and multipliers with their amounts as numbers, whatever way these were written."""
    if isinstance(value, dict):
        return {name: Decimal(str(amount)) for name, amount in value.items()}
    return [_comparable(tier) for tier in value] or None if isinstance(value, list) else value


def _says_the_same(before: ModelPrice | None, entry: PriceEntry) -> bool:
    """Whether an equal price needs no row of its own: it has no date, or has just this one."""
    return entry.effective_from is None or (before is not None and before.effective_from == entry.effective_from)


# --- Routes ------------------------------------------------------------------------------------------------


def write_routes(run: Run) -> None:
    tenants = {tenant.slug: tenant for tenant in Tenant.objects.all()}
    deployments = {deployment.slug: deployment for deployment in Deployment.objects.all()}
    stored = {route.name: route for route in Route.objects.prefetch_related("targets__deployment")}
    aliases = {(alias.tenant_id, alias.name): alias for alias in ModelAlias.objects.select_related("route")}
    for entry in run.declaration.sections.routes:
        route = stored.setdefault(entry.route_name, Route(name=entry.route_name))
        subject = f"route {entry.route_name}"
        paths = fields.ROUTE.paths | {"name": "name" if entry.name else "alias"}
        if not run.write(subject, route, fields.ROUTE.values(entry), path=entry.path, paths=paths):
            continue
        run.notes += [f"Route {route.name}: {sentence}" for sentence in fields.without_effect(route)]
        _write_targets(run, route, entry.targets, deployments)
        for alias in entry.all_aliases:
            if alias.tenant is None or alias.tenant in tenants:
                _write_alias(run, route, alias, tenants.get(alias.tenant or ""), aliases)


def _write_targets(run: Run, route: Route, entries: Sequence[TargetEntry], deployments: dict[str, Deployment]) -> None:
    """Make the route's targets those of the file; unchanged ones keep their rows."""
    stored = {target.deployment.slug: target for target in route.targets.all()} if route.pk else {}
    for entry in entries:
        deployment = deployments.get(entry.deployment)
        if deployment is not None:  # else it has been noted as missing or broken
            target = stored.setdefault(entry.deployment, RouteTarget(route=route, deployment=deployment))
            values = {**fields.TARGET.values(entry), "conditions": entry.conditions.stored()}
            subject = f"target {route.name} → {entry.deployment}"
            run.write(subject, target, values, path=entry.path, paths=fields.TARGET.paths)
    for slug in stored.keys() - {entry.deployment for entry in entries}:
        run.delete(f"target {route.name} → {slug}", stored[slug])


def _write_alias(
    run: Run,
    route: Route,
    entry: AliasEntry,
    tenant: Tenant | None,
    stored: dict[tuple[int | None, str], ModelAlias],
) -> None:
    """Let a name lead to the route; further names that lead to it already go on doing so."""
    owner = tenant.pk if tenant is not None else None
    label = entry.alias if tenant is None else f"{tenant.slug}/{entry.alias}"
    alias = stored.setdefault((owner, entry.alias), ModelAlias(name=entry.alias, tenant=tenant, route=route))
    run.write(f"alias {label}", alias, {"route": route}, path=entry.path, paths={"name": "", "route": "route"})
