"""Which models somebody's programs may ask for, as the configuration that is served has them: what /v1/models lists."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from django.conf import settings

from gateway_site.infra import valkey
from gateway_site.infra.valkey import StoreUnavailable
from routing import snapshot_store
from routing.pipeline import usable_names
from routing.snapshot import EMPTY, LiveRoute, LiveSnapshot, Snapshot
from tenants.models import ApiKey, Tenant
from tenants.principal import Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class UsableModel:
    """A name that may be sent, and what is behind it."""

    name: str
    kind: str = "chat"
    dialect: str = ""  # what its first deployment speaks
    currencies: tuple[str, ...] = ()  # that its deployments are sold in now; empty: it has no price


def usable_models(tenant: Tenant, key: ApiKey | None = None) -> list[UsableModel]:
    """Return what a tenant may use, or one of its keys; chat models first, each kind by name."""
    live, principal = LiveSnapshot(served_snapshot(), {}), caller_of(tenant, key)
    found = [_model(live, principal, name) for name in usable_names(live, principal)]
    return sorted(found, key=lambda model: (model.kind != "chat", model.kind, model.name))


def served_snapshot() -> Snapshot:
    """Return the configuration that is served: from Valkey, else the newest from Postgres."""
    try:
        with valkey.connect(settings.VALKEY_URL) as client:
            blob = client.get(snapshot_store.SNAPSHOT_KEY)
        return snapshot_store.decode(blob) if blob is not None else _stored()  # type: ignore[arg-type]
    except (StoreUnavailable, msgspec.DecodeError):
        return _stored()


def _stored() -> Snapshot:
    blob = snapshot_store.newest_blob()
    return snapshot_store.decode(blob) if blob is not None else EMPTY


def caller_of(tenant: Tenant, key: ApiKey | None = None) -> Principal:
    """Return as much of a principal as decides which models it may use."""
    return Principal(
        key_id=key.pk if key is not None else 0,
        key_name=key.name if key is not None else "",
        key_prefix=key.prefix if key is not None else "",
        tenant_id=tenant.pk,
        tenant=tenant.slug,
        tenant_models=_patterns(tenant.allowed_models),
        key_models=_patterns(key.allowed_models) if key is not None else None,
        allows_catalogue=tenant.allows_catalogue,
    )


def _patterns(allowed: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if allowed is None else tuple(allowed)


def _model(live: LiveSnapshot, principal: Principal, name: str) -> UsableModel:
    route = live.resolve(name, principal.tenant_id)
    if route is None:
        return UsableModel(name=name)  # of a catalogue: it has neither a kind nor a price of its own
    return _of_route(name, route)


def _of_route(name: str, route: LiveRoute) -> UsableModel:
    deployments = [target.deployment for target in route.targets]
    if not deployments:
        return UsableModel(name=name)
    sold = {price.currency for each in deployments for price in each.facts.prices if price.side == "sell"}
    first = deployments[0]
    return UsableModel(
        name=name, kind=first.facts.kind, dialect=next(iter(first.dialects), ""), currencies=tuple(sorted(sold))
    )
