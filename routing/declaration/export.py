"""Writes the database as a file that `apply` accepts and finds nothing to change in.

Defaults are left out. Secrets are, too: a credential becomes the variable that it is read from, and keys are
found again by their tenant and name.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

import yaml
from django.db.models import Prefetch
from django.utils import timezone

from providers.models import Deployment, ModelPrice, Provider
from providers.models.price import UNIT_FIELDS
from providers.registry import ADAPTERS
from routing.declaration import fields
from routing.declaration.schema import default_route_name
from routing.models import ModelAlias, Route, RouteTarget
from tenants.models import ApiKey, Budget, RateLimit, Tenant
from tenants.models.limits import ScopedRule

type Block = dict[str, Any]

SECRET_HEADER = re.compile(r"auth|key|token|secret|password|cookie|credential", re.IGNORECASE)


class Inline(dict[str, Any]):
    """A mapping that is written in one line."""


class Variable(str):
    """A variable of the environment, written as ${NAME}."""


def export(tenant: Tenant | None = None) -> str:
    """Return the whole configuration as YAML; of one tenant, only what is its own."""
    block: Block = {}
    if tenant is None:
        block |= {"providers": _providers(), "deployments": _deployments()}
    block |= {"routes": _routes(tenant), "tenants": _tenants(tenant)}
    return _dump({name: section for name, section in block.items() if section})


# --- Providers ---------------------------------------------------------------------------------------------


def _providers() -> list[Block]:
    providers = list(Provider.objects.all())
    return [_provider(provider, providers) for provider in providers]


def _provider(provider: Provider, among: Iterable[Provider]) -> Block:
    block: Block = {"slug": provider.slug, "adapter": provider.adapter}
    block |= _nested(fields.PROVIDER.changed(provider))
    if provider.has_credential:
        block["credential"] = Variable(_credential_variable(provider, among))
    if provider.has_proxy:
        block["proxy"] = Variable(_variable(provider.slug, "proxy"))
    if provider.has_client_key:
        block.setdefault("tls", {})["key"] = Variable(_variable(provider.slug, "client_key"))
    if provider.headers:
        block["headers"] = {
            name: Variable(_variable(provider.slug, name)) if SECRET_HEADER.search(name) else value
            for name, value in provider.headers.items()
        }
    return block


def _credential_variable(provider: Provider, among: Iterable[Provider]) -> str:
    """The variable that holds a vendor's key by custom, unless several providers would share it."""
    adapter = ADAPTERS.get(provider.adapter)
    same = [other for other in among if other.adapter == provider.adapter and other.has_credential]
    if adapter is not None and adapter.credential_variable and len(same) == 1:
        return adapter.credential_variable
    return _variable(provider.slug, "api_key")


def _variable(*parts: str) -> str:
    name = re.sub(r"[^A-Z0-9]", "_", "_".join(parts).upper())
    return f"_{name}" if name[0].isdigit() else name


# --- Deployments -------------------------------------------------------------------------------------------


def _deployments() -> list[Block]:
    prices = Prefetch("prices", ModelPrice.objects.order_by("effective_from"))
    rows = Deployment.objects.select_related("provider").prefetch_related(prices)
    return [_deployment(deployment) for deployment in rows]


def _deployment(deployment: Deployment) -> Block:
    block: Block = {"slug": deployment.slug, "provider": deployment.provider.slug, "model": deployment.model}
    block |= _nested(fields.DEPLOYMENT.changed(deployment))
    for name, side in (("prices", ModelPrice.Side.SELL), ("cost_prices", ModelPrice.Side.COST)):
        prices = _prices([price for price in deployment.prices.all() if price.side == side])
        if prices:
            block[name] = prices[0] if len(prices) == 1 else prices
    return block


def _prices(prices: list[ModelPrice]) -> list[Block]:
    """The price in force, which needs no date, and those to come."""
    now = timezone.now()
    begun = [price for price in prices if price.effective_from <= now]
    to_come = [price for price in prices if price.effective_from > now]
    dated = [_price(price) | {"effective_from": _moment(price.effective_from)} for price in to_come]
    return [_price(price) for price in begun[-1:]] + dated


def _price(price: ModelPrice) -> Block:
    units = {unit: getattr(price, unit) for unit in UNIT_FIELDS}
    block = Inline((unit, amount) for unit, amount in units.items() if amount is not None)
    block |= {name: getattr(price, name) for name in ("currency", "per")}
    if price.tiers:
        block["tiers"] = [Inline(tier) for tier in price.tiers]
    if price.multipliers:
        block["multipliers"] = Inline(price.multipliers)
    return block


# --- Routes ------------------------------------------------------------------------------------------------


def _routes(tenant: Tenant | None) -> list[Block]:
    routes, aliases = Route.objects.all(), ModelAlias.objects.select_related("tenant")
    if tenant is not None:
        routes, aliases = routes.filter(aliases__tenant=tenant).distinct(), aliases.filter(tenant=tenant)
    targets = RouteTarget.objects.select_related("deployment").order_by("priority", "pk")
    rows = routes.prefetch_related(Prefetch("targets", targets), Prefetch("aliases", aliases))
    return [_route(route) for route in rows]


def _route(route: Route) -> Block:
    block = _names(route) | _nested(fields.ROUTE.changed(route))
    return block | {"targets": [_target(target) for target in route.targets.all()]}


def _names(route: Route) -> Block:
    """The alias that gives the route its name comes first; those of other owners say whose they are."""
    owned = [(alias.tenant.slug if alias.tenant else None, alias.name) for alias in route.aliases.all()]
    owned.sort(key=lambda pair: (default_route_name(pair[1], pair[0]) != route.name, pair[0] or "", pair[1]))
    if any(owner is None for owner, _ in owned):
        owned.sort(key=lambda pair: pair[0] is not None)  # who says nothing is everybody's
    if not owned:
        return {"name": route.name}
    (tenant, alias), further = owned[0], owned[1:]
    block: Block = {"alias": alias}
    if tenant is not None:
        block["tenant"] = tenant
    if route.name != default_route_name(alias, tenant):
        block["name"] = route.name
    if further:
        block["aliases"] = [name if owner == tenant else Inline(alias=name, tenant=owner) for owner, name in further]
    return block


def _target(target: RouteTarget) -> Block:
    block = Inline(deployment=target.deployment.slug, priority=target.priority, weight=target.weight)
    if target.conditions:
        block["conditions"] = Inline(target.conditions)
    return block


# --- Tenants -----------------------------------------------------------------------------------------------


def _tenants(tenant: Tenant | None) -> list[Block]:
    rows = Tenant.objects.prefetch_related(
        "projects", "ratelimits", "budgets", Prefetch("api_keys", ApiKey.objects.of_programs().with_owner())
    )
    return [_tenant(row) for row in (rows if tenant is None else rows.filter(pk=tenant.pk))]


def _tenant(tenant: Tenant) -> Block:
    block: Block = {"slug": tenant.slug}
    if tenant.name != tenant.slug:
        block["name"] = tenant.name
    block |= _nested(fields.TENANT.changed(tenant))
    if tenant.is_suspended:
        block["suspended"] = True
    block |= _rules(tenant, "tenant", tenant.pk)
    projects = [
        {"slug": project.slug, **fields.PROJECT.changed(project), **_rules(tenant, "project", project.pk)}
        for project in tenant.projects.all()
    ]
    keys = [_api_key(tenant, key) for key in tenant.api_keys.all()]
    return block | {name: part for name, part in (("projects", projects), ("api_keys", keys)) if part}


def _api_key(tenant: Tenant, key: ApiKey) -> Block:
    block: Block = {"name": key.name}
    if key.project is not None:
        block["project"] = key.project.slug
    block |= fields.API_KEY.changed(key)
    if key.expires_at is not None:
        block["expires_at"] = _last_moment(key.expires_at)
    if key.revoked_at is not None:
        block["revoked"] = True
    return block | _rules(tenant, "api_key", key.pk)


def _rules(tenant: Tenant, scope: str, pk: int) -> Block:
    """The limits and budgets of one scope."""

    def of_scope(rules: Iterable[ScopedRule]) -> list[Any]:
        mine = (rule for rule in rules if rule.scope == scope and getattr(rule, f"{scope}_id") == pk)
        return sorted(mine, key=lambda rule: rule.pk)

    limits = [_limit(limit) for limit in of_scope(tenant.ratelimits.all())]
    budgets = [_budget(budget) for budget in of_scope(tenant.budgets.all())]
    return {name: part for name, part in (("limits", limits), ("budgets", budgets)) if part}


def _limit(limit: RateLimit) -> Block:
    rest = {name: value for name, value in fields.LIMIT.changed(limit).items() if name not in ("kind", "amount")}
    return Inline({limit.kind: limit.amount} | rest)


def _budget(budget: Budget) -> Block:
    always = {"amount": budget.amount, "currency": budget.currency, "per": budget.period}
    changed = fields.BUDGET.changed(budget)
    if not budget.increase or budget.increase_until is None or budget.increase_until <= timezone.now():
        changed = {path: value for path, value in changed.items() if not path.startswith("increase.")}
    else:
        changed["increase.until"] = _last_moment(budget.increase_until)
    return Inline(always | _nested(changed))


# --- YAML --------------------------------------------------------------------------------------------------


def _nested(changed: Mapping[str, Any]) -> Block:
    """`timeouts.connect` becomes a field of a mapping, in one line unless its values have several."""
    block: Block = {}
    for path, value in changed.items():
        outer, _, inner = path.partition(".")
        if inner:
            block.setdefault(outer, Inline())[inner] = value
        else:
            block[outer] = value
    return {name: _in_lines(value) if isinstance(value, Inline) else value for name, value in block.items()}


def _in_lines(mapping: Inline) -> Block:
    has_lines = any(isinstance(value, str) and "\n" in value for value in mapping.values())
    return dict(mapping) if has_lines else mapping


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _last_moment(moment: datetime) -> str:
    """The end of a day is written as the day."""
    utc = moment.astimezone(UTC)
    return utc.date().isoformat() if utc.timetz() == time.max.replace(tzinfo=UTC) else _moment(moment)


class _Dumper(yaml.SafeDumper):
    """Lists are indented, mappings of one line and lists of words stay in one line."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _write_inline(dumper: _Dumper, value: Inline) -> yaml.Node:
    return dumper.represent_mapping("tag:yaml.org,2002:map", value.items(), flow_style=True)


def _write_list(dumper: _Dumper, value: list[Any]) -> yaml.Node:
    words = all(isinstance(item, str | int | float) for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=words)


def _write_text(dumper: _Dumper, value: str) -> yaml.Node:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value.replace("${", "$${"), style=style)


def _write_variable(dumper: _Dumper, value: Variable) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", f"${{{value}}}")


def _write_money(dumper: _Dumper, value: Decimal) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", f"{value.normalize():f}", style='"')


def _write_number(dumper: _Dumper, value: float) -> yaml.Node:
    return dumper.represent_int(int(value)) if value.is_integer() else dumper.represent_float(value)


_Dumper.add_representer(Inline, _write_inline)
_Dumper.add_representer(Variable, _write_variable)
_Dumper.add_representer(list, _write_list)
_Dumper.add_representer(str, _write_text)
_Dumper.add_representer(Decimal, _write_money)
_Dumper.add_representer(float, _write_number)


def _dump(block: Block) -> str:
    return yaml.dump(block, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
