"""The file as typed values: every section, every field, its type and its default.

A field that is absent has its model's default, so that the file alone says how an object is. What people
switch by hand or keep outside of the file is left as it is when it is absent: `enabled`, `suspended`,
`revoked`, credentials, proxies, secrets, prices, and the lists of limits, budgets, projects and keys.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from django.core.validators import MaxValueValidator, validate_email
from django.db.models import Model

from providers.models import Deployment, ModelPrice, Provider
from providers.models.price import UNIT_FIELDS
from providers.registry import ADAPTERS, KNOWN_DIALECTS
from routing.declaration import fields
from routing.declaration import readers as read
from routing.declaration.document import Broken, Cursor, Lookup, Problem, Reading, compose
from routing.declaration.readers import Entry, entry, optional, required
from routing.models import ModelAlias, Route, RouteTarget
from tenants.models import ApiKey, Budget, RateLimit, Tenant
from tenants.models.limits import COUNTS_THE_SAME, MOST_PER_CENT
from tenants.models.tenant import validate_timezone
from tenants.services import check_secret


def default_of(model: type[Model], name: str) -> Any:
    """The default of a model's field."""
    return model._meta.get_field(name).get_default()  # type: ignore[union-attr]


def most(model: type[Model], name: str) -> int:
    """The greatest value that a model's field takes."""
    validators = model._meta.get_field(name).validators  # type: ignore[union-attr]
    return min(each.limit_value for each in validators if isinstance(each, MaxValueValidator))


def check_alias(name: str) -> None:
    """Raise ValidationError unless this can be an alias."""
    ModelAlias(name=name).clean()


count = read.whole(minimum=1)
natural = read.whole(minimum=0)
alias_name = read.checked_by(read.text, check_alias)
dialect_name = read.choice(KNOWN_DIALECTS, "a dialect")


# --- Providers ---------------------------------------------------------------------------------------------


@entry
class Timeouts(Entry):
    connect: float = optional(read.seconds, default=default_of(Provider, "connect_timeout"))
    first_token: float = optional(read.seconds, default=default_of(Provider, "first_token_timeout"))
    between_tokens: float = optional(read.seconds, default=default_of(Provider, "between_tokens_timeout"))
    total: float = optional(read.seconds, default=default_of(Provider, "total_timeout"))


@entry
class ProviderLimits(Entry):
    requests_per_second: int | None = optional(count, default=None)
    tokens_per_minute: int | None = optional(count, default=None)
    max_concurrency: int | None = optional(count, default=None)


@entry
class Breaker(Entry):
    enabled: bool = optional(read.boolean, default=default_of(Provider, "breaker_enabled"))
    failures: int = optional(count, default=default_of(Provider, "breaker_failures"))
    window: float = optional(read.seconds, default=default_of(Provider, "breaker_window"))
    open_for: float = optional(read.seconds, default=default_of(Provider, "breaker_open_for"))
    half_open_successes: int = optional(count, default=default_of(Provider, "breaker_half_open_successes"))


@entry
class Cooldown(Entry):
    enabled: bool = optional(read.boolean, default=default_of(Provider, "cooldown_enabled"))
    max: float = optional(read.seconds, default=default_of(Provider, "cooldown_max"))


@entry
class Queue(Entry):
    size: int = optional(natural, default=default_of(Provider, "queue_size"))
    wait: float = optional(read.seconds, default=default_of(Provider, "queue_wait"))


@entry
class Tls(Entry):
    ca: str = optional(read.pem, default="")
    certificate: str = optional(read.pem, default="")
    key: str | None = optional(read.pem, default=None)  # None = the one that is stored, if the certificate stays


@entry
class ProviderEntry(Entry):
    slug: str = required(read.slug)
    name: str = optional(read.text, default="")
    adapter: str = required(read.choice(ADAPTERS, "an adapter"))
    dialects: tuple[str, ...] = optional(read.many(dialect_name), default=())
    base_url: str = optional(read.text, default="")
    allow_private_address: bool = optional(read.boolean, default=default_of(Provider, "allow_private_address"))
    credential: str | None = optional(read.text, default=None)  # "" removes it
    headers: Mapping[str, str] = optional(read.named(read.text), default=MappingProxyType({}))
    enabled: bool | None = optional(read.boolean, default=None)
    max_connections: int = optional(count, default=default_of(Provider, "max_connections"))
    timeouts: Timeouts = optional(read.record(Timeouts), default=Timeouts())
    limits: ProviderLimits = optional(read.record(ProviderLimits), default=ProviderLimits())
    breaker: Breaker = optional(read.record(Breaker), default=Breaker())
    cooldown: Cooldown = optional(read.record(Cooldown), default=Cooldown())
    queue: Queue = optional(read.record(Queue), default=Queue())
    http2: bool = optional(read.boolean, default=default_of(Provider, "http2"))
    proxy: str | None = optional(read.text, default=None)  # "" removes it
    tls: Tls = optional(read.record(Tls), default=Tls())


# --- Deployments and prices --------------------------------------------------------------------------------


@entry
class Units(Entry):
    """Money per unit; None = not priced, 0 = free."""

    input: Decimal | None = optional(read.money, default=None)
    cache_read: Decimal | None = optional(read.money, default=None)
    cache_write_5m: Decimal | None = optional(read.money, default=None)
    cache_write_1h: Decimal | None = optional(read.money, default=None)
    output: Decimal | None = optional(read.money, default=None)
    reasoning: Decimal | None = optional(read.money, default=None)
    audio_input: Decimal | None = optional(read.money, default=None)
    audio_output: Decimal | None = optional(read.money, default=None)
    image: Decimal | None = optional(read.money, default=None)
    character: Decimal | None = optional(read.money, default=None)
    second: Decimal | None = optional(read.money, default=None)
    per_request: Decimal | None = optional(read.money, default=None)

    def units(self) -> dict[str, Decimal]:
        """What is priced."""
        amounts = {unit: getattr(self, unit) for unit in UNIT_FIELDS}
        return {unit: amount for unit, amount in amounts.items() if amount is not None}

    def problems(self) -> Iterator[tuple[str, str]]:
        if not self.units():
            yield "", "needs at least one price; 0 says that it is free"


@entry
class Tier(Units):
    above: int = required(count)  # tokens of the prompt

    def stored(self) -> dict[str, Any]:
        """The tier as the model keeps it."""
        return {"above": self.above, **{unit: f"{amount:f}" for unit, amount in self.units().items()}}


@entry
class PriceEntry(Units):
    currency: str = optional(read.currency, default=default_of(ModelPrice, "currency"))
    per: int = optional(count, default=default_of(ModelPrice, "per"))
    effective_from: datetime | None = optional(read.moment, default=None)  # None = from now on, when it changes
    tiers: tuple[Tier, ...] = optional(read.entries(Tier), default=())
    multipliers: Mapping[str, Decimal] = optional(read.named(read.money), default=MappingProxyType({}))


@entry
class DeploymentEntry(Entry):
    slug: str = required(read.slug)
    provider: str = required(read.slug)
    model: str = required(read.text)
    kind: str = optional(read.choice(Deployment.Kind.values, "a kind"), default=default_of(Deployment, "kind"))
    dialect: str = optional(dialect_name, default="")
    context_window: int | None = optional(count, default=None)
    max_output_tokens: int | None = optional(count, default=None)
    region: str = optional(read.text, default="")
    tags: tuple[str, ...] = optional(read.many(read.text), default=())
    probe_every: int | None = optional(count, default=None)
    enabled: bool | None = optional(read.boolean, default=None)
    prices: tuple[PriceEntry, ...] = optional(read.one_or_more(PriceEntry), default=())
    cost_prices: tuple[PriceEntry, ...] = optional(read.one_or_more(PriceEntry), default=())

    def problems(self) -> Iterator[tuple[str, str]]:
        for name, prices in (("prices", self.prices), ("cost_prices", self.cost_prices)):
            moments = [price.effective_from for price in prices]
            if len(moments) > len(set(moments)):
                yield name, "has two prices that begin at the same time"


# --- Routes ------------------------------------------------------------------------------------------------


@entry
class Conditions(Entry):
    needs: tuple[str, ...] | None = optional(read.many(read.text), default=None)
    region: str | None = optional(read.text, default=None)
    tag: str | None = optional(read.text, default=None)
    header: Mapping[str, str] | None = optional(read.named(read.text), default=None)
    end_user_percent: float | None = optional(read.per_cent, default=None)

    def stored(self) -> dict[str, Any]:
        """The conditions as the model keeps them."""
        needs = list(self.needs) if self.needs is not None else None
        found = {
            "needs": needs,
            "region": self.region,
            "tag": self.tag,
            "header": self.header,
            "end_user_percent": self.end_user_percent,
        }
        return {name: value for name, value in found.items() if value is not None}


@entry
class TargetEntry(Entry):
    deployment: str = required(read.slug)
    priority: int = optional(natural, default=default_of(RouteTarget, "priority"))
    weight: int = optional(
        read.whole(minimum=0, maximum=most(RouteTarget, "weight")), default=default_of(RouteTarget, "weight")
    )
    conditions: Conditions = optional(read.record(Conditions), default=Conditions())


@entry
class CacheEntry(Entry):
    exact: bool = optional(read.boolean, default=default_of(Route, "cache_exact"))
    semantic: bool = optional(read.boolean, default=default_of(Route, "cache_semantic"))
    ttl: int = optional(count, default=default_of(Route, "cache_ttl"))


@entry
class AliasEntry(Entry):
    alias: str = required(alias_name)
    tenant: str | None = optional(read.slug, default=None)  # None = as its route's


def alias_entry(at: Cursor) -> AliasEntry:
    """A name, or a name and whose it is."""
    if at.is_mapping:
        return read.record(AliasEntry)(at)
    return AliasEntry(path=at.path, alias=alias_name(at))


@entry
class RouteEntry(Entry):
    alias: str | None = optional(alias_name, default=None)
    tenant: str | None = optional(read.slug, default=None)  # whose aliases these are; None = everybody's
    name: str | None = optional(read.text, default=None)
    aliases: tuple[AliasEntry, ...] = optional(read.many(alias_entry), default=())  # further ones
    strategy: str = optional(read.choice(Route.Strategy.values, "a strategy"), default=default_of(Route, "strategy"))
    first_token_timeout: float | None = optional(read.seconds, default=None)
    between_tokens_timeout: float | None = optional(read.seconds, default=None)
    total_timeout: float | None = optional(read.seconds, default=None)
    retries: int = optional(read.whole(minimum=0, maximum=most(Route, "retries")), default=default_of(Route, "retries"))
    on_disconnect: str = optional(
        read.choice(Route.OnDisconnect.values, "a way to treat a disconnect"),
        default=default_of(Route, "on_disconnect"),
    )
    fallback_on_content_policy: bool = optional(read.boolean, default=default_of(Route, "fallback_on_content_policy"))
    hedge: bool = optional(read.boolean, default=default_of(Route, "hedge"))
    collapse_identical: bool = optional(read.boolean, default=default_of(Route, "collapse_identical"))
    cache: CacheEntry = optional(read.record(CacheEntry), default=CacheEntry())
    targets: tuple[TargetEntry, ...] = required(read.entries(TargetEntry))

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.alias is None and self.name is None:
            yield "", "needs an alias or a name"

    @property
    def route_name(self) -> str:
        """Its name, or what it is called by default."""
        return self.name or default_route_name(self.alias or "", self.tenant)

    @property
    def all_aliases(self) -> tuple[AliasEntry, ...]:
        """Every name that leads to it, and whose it is: None = everybody's."""
        further = (replace(alias, tenant=alias.tenant or self.tenant) for alias in self.aliases)
        if self.alias is None:
            return tuple(further)
        return (AliasEntry(path=f"{self.path}.alias", alias=self.alias, tenant=self.tenant), *further)


def default_route_name(alias: str, tenant: str | None) -> str:
    """What a route is called that has no name of its own."""
    return alias if tenant is None else f"{tenant}/{alias}"


# --- Tenants -----------------------------------------------------------------------------------------------


@entry
class LimitEntry(Entry):
    requests: int | None = optional(count, default=None)
    tokens: int | None = optional(count, default=None)
    concurrency: int | None = optional(count, default=None)
    per: str = optional(read.choice(RateLimit.Per.values, "a time"), default="")
    burst: int | None = optional(count, default=None)
    model: str = optional(read.text, default="")
    per_end_user: bool = optional(read.boolean, default=False)

    def problems(self) -> Iterator[tuple[str, str]]:
        given = [kind for kind in RateLimit.Kind.values if getattr(self, kind) is not None]
        if len(given) != 1:
            yield "", "needs exactly one of requests, tokens and concurrency"
        elif self.concurrency is not None and self.per:
            yield "per", "has no meaning for concurrency, which is counted at every moment"
        elif self.concurrency is None and not self.per:
            yield "", "needs per: second, minute, hour or day"
        elif self.requests is None and self.burst is not None:
            yield "burst", "has a meaning for requests only"

    @property
    def kind(self) -> str:
        """What is limited."""
        return next(kind for kind in RateLimit.Kind.values if getattr(self, kind) is not None)

    @property
    def amount(self) -> int:
        """How many."""
        amount: int = getattr(self, self.kind)
        return amount


@entry
class Increase(Entry):
    amount: Decimal | None = optional(read.money, default=None)  # None = as it is stored
    until: datetime | None = optional(read.last_moment, default=None)

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.amount is None:
            yield "", "needs an amount"
        elif self.amount and self.until is None:
            yield "", "needs until: when it ends"


@entry
class BudgetEntry(Entry):
    amount: Decimal = required(read.money)
    currency: str = optional(read.currency, default=default_of(Budget, "currency"))
    per: str = optional(read.choice(Budget.Period.values, "a period"), default=default_of(Budget, "period"))
    days: int | None = optional(read.whole(minimum=1, maximum=most(Budget, "rolling_days")), default=None)
    hard: bool = optional(read.boolean, default=default_of(Budget, "is_hard"))
    alert_at: tuple[int, ...] = optional(read.many(read.whole(minimum=1, maximum=MOST_PER_CENT)), default=())
    increase: Increase = optional(read.record(Increase), default=Increase())
    model: str = optional(read.text, default="")
    per_end_user: bool = optional(read.boolean, default=False)

    def problems(self) -> Iterator[tuple[str, str]]:
        if self.per == Budget.Period.ROLLING and self.days is None:
            yield "", "needs days: how many a rolling budget looks back"
        elif self.per != Budget.Period.ROLLING and self.days is not None:
            yield "days", "has a meaning for per: rolling only"
        twice = [threshold for threshold in self.alert_at if self.alert_at.count(threshold) > 1]
        if twice:
            yield "alert_at", f"has {twice[0]} twice"

    @property
    def identity(self) -> tuple[Any, ...]:
        """What two budgets of one scope must differ in."""
        values = fields.BUDGET.values(self)
        return tuple(values[name] for name in COUNTS_THE_SAME)


@entry
class Governed(Entry):
    """What limits and budgets can be put on; None = those it has stay."""

    limits: tuple[LimitEntry, ...] | None = optional(read.entries(LimitEntry), default=None)
    budgets: tuple[BudgetEntry, ...] | None = optional(read.entries(BudgetEntry), default=None)


@entry
class ProjectEntry(Governed):
    slug: str = required(read.slug)
    name: str = optional(read.text, default="")


@entry
class ApiKeyEntry(Governed):
    name: str = required(read.text)
    project: str | None = optional(read.slug, default=None)
    secret: str | None = optional(read.checked_by(read.text, check_secret), default=None)
    models: tuple[str, ...] | None = optional(read.many(read.text), default=None)  # None = all of its tenant's
    expires_at: datetime | None = optional(read.last_moment, default=None)
    priority: str = optional(read.choice(ApiKey.Priority.values, "a priority"), default=default_of(ApiKey, "priority"))
    trace: bool = optional(read.boolean, default=default_of(ApiKey, "may_trace"))
    revoked: bool | None = optional(read.boolean, default=None)


@entry
class Floor(Entry):
    input: Decimal | None = optional(read.money, default=None)
    output: Decimal | None = optional(read.money, default=None)
    currency: str = optional(read.currency, default=default_of(Tenant, "floor_currency"))


@entry
class Alerts(Entry):
    emails: tuple[str, ...] = optional(read.many(read.checked_by(read.text, validate_email)), default=())
    webhook: str = optional(read.text, default="")


@entry
class Bodies(Entry):
    policy: str = optional(
        read.choice(Tenant.AuditPolicy.values, "a policy"), default=default_of(Tenant, "audit_policy")
    )
    retention_days: int = optional(
        read.whole(minimum=1, maximum=most(Tenant, "audit_retention_days")),
        default=default_of(Tenant, "audit_retention_days"),
    )
    redact_personal: bool = optional(read.boolean, default=default_of(Tenant, "audit_redacts_personal"))
    redact_media: bool = optional(read.boolean, default=default_of(Tenant, "audit_redacts_media"))


@entry
class TenantEntry(Governed):
    slug: str = required(read.slug)
    name: str = optional(read.text, default="")
    timezone: str = optional(read.checked_by(read.text, validate_timezone), default=default_of(Tenant, "timezone"))
    models: tuple[str, ...] | None = optional(read.many(read.text), default=None)  # None = every global alias
    translation_policy: str = optional(
        read.choice(Tenant.TranslationPolicy.values, "a policy"),
        default=default_of(Tenant, "translation_policy"),
    )
    unpriced_policy: str = optional(
        read.choice(Tenant.UnpricedPolicy.values, "a policy"), default=default_of(Tenant, "unpriced_policy")
    )
    floor: Floor = optional(read.record(Floor), default=Floor())
    stores_responses: bool = optional(read.boolean, default=default_of(Tenant, "stores_responses"))
    response_retention_days: int = optional(
        read.whole(minimum=1, maximum=most(Tenant, "response_retention_days")),
        default=default_of(Tenant, "response_retention_days"),
    )
    bodies: Bodies = optional(read.record(Bodies), default=Bodies())
    without_valkey: str = optional(
        read.choice(Tenant.WithoutValkey.values, "a way to go on without Valkey"),
        default=default_of(Tenant, "without_valkey"),
    )
    unmapped_models: bool = optional(read.boolean, default=default_of(Tenant, "allows_catalogue"))
    alerts: Alerts = optional(read.record(Alerts), default=Alerts())
    suspended: bool | None = optional(read.boolean, default=None)
    projects: tuple[ProjectEntry, ...] = optional(read.entries(ProjectEntry), default=())
    api_keys: tuple[ApiKeyEntry, ...] = optional(read.entries(ApiKeyEntry), default=())


# --- The whole ---------------------------------------------------------------------------------------------


@entry
class Sections(Entry):
    providers: tuple[ProviderEntry, ...] = optional(read.entries(ProviderEntry), default=())
    deployments: tuple[DeploymentEntry, ...] = optional(read.entries(DeploymentEntry), default=())
    routes: tuple[RouteEntry, ...] = optional(read.entries(RouteEntry), default=())
    tenants: tuple[TenantEntry, ...] = optional(read.entries(TenantEntry), default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What there is to refer to."""

    providers: frozenset[str] = frozenset()
    deployments: frozenset[str] = frozenset()
    tenants: frozenset[str] = frozenset()
    projects: frozenset[tuple[str, str]] = frozenset()  # tenant and project

    def __or__(self, other: "Names") -> "Names":
        return Names(
            providers=self.providers | other.providers,
            deployments=self.deployments | other.deployments,
            tenants=self.tenants | other.tenants,
            projects=self.projects | other.projects,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """A file that was read: what is sound of it, and what is wrong with it."""

    sections: Sections = field(default_factory=Sections)
    names: Names = field(
        default_factory=Names
    )  # of what is not sound, too: it is there, so a reference to it is not wrong
    records: Sequence[Entry] = ()  # every entry that could be read: broken ones have defaults in their gaps
    lines: Mapping[str, int] = field(default_factory=dict)  # by path
    problems: tuple[Problem, ...] = ()

    def every[E: Entry](self, cls: type[E]) -> list[E]:
        """All entries of a kind, sound or broken."""
        return [entry for entry in self.records if type(entry) is cls]

    def problem(self, path: str, message: str) -> Problem:
        """A problem at a path, or in the line of the nearest one above it that stands in the file."""
        there = path
        while there and there not in self.lines:
            there = there[: max(there.rfind("."), there.rfind("["), 0)]
        return Problem(line=self.lines.get(there, 1), path=path, message=message)


def read_declaration(text: str, *, lookup: Lookup) -> Declaration:
    """Read a file; `lookup` returns the value of an environment variable or None."""
    reading = Reading(lookup=lookup)
    root = compose(text, reading)
    if root is None:
        return Declaration(problems=tuple(reading.problems))
    sections = Sections()
    with suppress(Broken):
        sections = read.record(Sections)(root)
    names = _names(Cursor(node=root.node, path="", line=1, reading=Reading(lookup=lookup)))
    return Declaration(
        sections=sections,
        names=names,
        records=reading.records,
        lines=reading.lines,
        problems=tuple(reading.problems),
    )


def _names(root: Cursor) -> Names:
    tenants = dict(_named_items(root, "tenants"))
    return Names(
        providers=frozenset(name for name, _ in _named_items(root, "providers")),
        deployments=frozenset(name for name, _ in _named_items(root, "deployments")),
        tenants=frozenset(tenants),
        projects=frozenset(
            (tenant, project) for tenant, at in tenants.items() for project, _ in _named_items(at, "projects")
        ),
    )


def _named_items(at: Cursor, section: str) -> Iterator[tuple[str, Cursor]]:
    """The slugs in a list, as far as they can be read."""
    with suppress(Broken, KeyError):
        for item in at.members()[section].items():
            with suppress(Broken, KeyError):
                yield item.members()["slug"].text(), item
