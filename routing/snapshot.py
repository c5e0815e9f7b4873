"""The configuration as the hot path sees it: an immutable value, compiled from the database and swapped by pointer.

`Snapshot` is what is stored and sent around (JSON); `LiveSnapshot` is the same with everything linked and prepared, made
once per worker and revision. Neither knows the database; `routing.compiler` does.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from yarl import URL

from providers.adapters.base import Adapter
from providers.canonical.inbound import Operation
from providers.dialects.base import Destination
from providers.pool import UNREADABLE, Pool
from providers.pricing import Ceiling, Price, ceiling_of, covers, price_at
from providers.profiles import profile_of
from providers.registry import ADAPTERS
from routing.health import DeploymentHealth, HealthBoard
from routing.policy.affinity import name_hash

if TYPE_CHECKING:
    from routing.gate import Gate, Gates


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds."""

    connect: float = 5.0
    first_token: float = 60.0
    between_tokens: float = 60.0
    total: float = 600.0


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint and a credential; the credential, the proxy and the client's key stay encrypted here."""

    slug: str
    adapter: str
    base_url: str
    dialects: tuple[str, ...]
    credential: str = ""
    headers: dict[str, str] = {}
    allows_private: bool = False
    is_enabled: bool = True
    max_connections: int = 200
    timeouts: Timeouts = Timeouts()
    limits: dict[str, int | None] = {}
    breaker: dict[str, Any] = {}
    cooldown: dict[str, Any] = {}
    http2: bool = False
    proxy: str = ""  # encrypted; empty: none
    ca_certificate: str = ""  # PEM; empty: whom the machine trusts
    client_certificate: str = ""  # PEM
    client_key: str = ""  # encrypted PEM
    queue_size: int = 100  # 0: no request waits
    queue_wait: float = 5.0  # seconds
    catalogue: tuple[str, ...] = ()  # the models that it says it has


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """An upstream model."""

    slug: str
    provider: str
    model: str
    kind: str = "chat"
    dialect: str = ""
    context_window: int | None = None
    max_output_tokens: int | None = None
    region: str = ""
    tags: tuple[str, ...] = ()
    is_enabled: bool = True
    capabilities: dict[str, Any] = {}  # what the upstream says of the model; {} = no more than its name
    prices: tuple[Price, ...] = ()


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment's place in a route."""

    deployment: str
    priority: int = 0
    weight: int = 100
    conditions: dict[str, Any] = {}


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Which deployments, and by what rules."""

    name: str
    strategy: str = "weighted"
    first_token_timeout: float | None = None
    between_tokens_timeout: float | None = None
    total_timeout: float | None = None
    retries: int = 1
    on_disconnect: str = "cancel"
    fallback_on_content_policy: bool = False
    hedge: bool = False  # the next target is asked as well when the first token is late
    cache: dict[str, Any] = {}
    targets: tuple[Target, ...] = ()


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """A name that clients send, and where it leads; `tenant_id` None: for everybody."""

    name: str
    route: str
    tenant_id: int | None = None


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A whole configuration."""

    number: int = 0
    providers: tuple[Provider, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    routes: tuple[Route, ...] = ()
    aliases: tuple[Alias, ...] = ()


EMPTY = Snapshot()
PRICES_SECONDS = 60.0
LONGEST_SLUG = 63  # of a deployment, in the ledger too
LIST_HEADERS = frozenset({"anthropic-beta", "openai-beta"})  # the operator's and the client's values both count
_decode = msgspec.json.Decoder(Snapshot).decode


def encode(snapshot: Snapshot) -> bytes:
    """Return the stored form; equal snapshots have equal bytes."""
    return msgspec.json.encode(snapshot, order="deterministic")


def decode(blob: bytes) -> Snapshot:
    """Read the stored form; raises msgspec.DecodeError."""
    return _decode(blob)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """A provider's secrets, decrypted; empty: it has none, or no key opens it."""

    credential: str = field(default="", repr=False)
    proxy: str = field(default="", repr=False)
    client_key: str = field(default="", repr=False)


NO_SECRETS = Secrets()


def pool_of(provider: Provider, secrets: Secrets) -> Pool:
    """Return how a provider is connected to."""
    return Pool(
        provider=provider.slug,
        max_connections=provider.max_connections,
        connect_timeout=provider.timeouts.connect,
        allows_private=provider.allows_private,
        http2=provider.http2,
        proxy=secrets.proxy or (UNREADABLE if provider.proxy else ""),
        ca_certificate=provider.ca_certificate,
        client_certificate=provider.client_certificate,
        client_key=secrets.client_key,
    )


class LiveDeployment:
    """A deployment with its provider, ready to be called."""

    __slots__ = (
        "_ceilings",
        "_ceilings_at",
        "_compared",
        "_compared_at",
        "adapter",
        "default_headers",
        "destination",
        "dialects",
        "facts",
        "fixed_headers",
        "gates",
        "health",
        "origin",
        "own_header_names",
        "permissive_destination",
        "pool",
        "provider",
        "response_headers",
        "urls",
    )

    def __init__(self, facts: Deployment, provider: Provider, secrets: Secrets) -> None:
        self.facts = facts
        self.provider = provider
        self.adapter: Adapter = ADAPTERS[provider.adapter]
        self.dialects = (facts.dialect,) if facts.dialect else provider.dialects  # best first
        self.origin = f"{provider.slug}/{facts.model}"  # of the seals that it mints
        self.permissive_destination = Destination(model=facts.model, origin=self.origin, quirks=self.adapter.quirks)
        self.destination = Destination(
            model=facts.model,
            origin=self.origin,
            profile=profile_of(facts.model, facts.capabilities),
            quirks=self.adapter.quirks,
            max_output_tokens=facts.max_output_tokens,
        )
        own = {name.lower(): value for name, value in provider.headers.items()}
        defaults = [pair for pair in self.adapter.headers if pair[0] not in own]
        self.fixed_headers = (*self.adapter.authorize(secrets.credential), *own.items())
        self.default_headers = tuple(defaults)  # sent unless the client sends its own
        self.own_header_names = frozenset(own) - LIST_HEADERS
        self.pool = pool_of(provider, secrets)
        self.health: DeploymentHealth = HealthBoard().of(facts.slug, provider.slug)  # until a worker has its own
        self._compared_at, self._compared = -1.0, (0.0, 0.0)
        self._ceilings_at = -1.0
        self._ceilings: tuple[Ceiling, ...] = ()
        self.gates: Gates | None = None  # of the worker
        self.urls: dict[tuple[str, str, str], URL] = {}
        self.response_headers = (
            (b"x-tollgate-provider", provider.slug.encode()),
            (b"x-tollgate-deployment", facts.slug.encode()),
            (b"x-tollgate-model", facts.model.encode("ascii", "replace")),
        )

    @property
    def gates_to_pass(self) -> "tuple[Gate, ...]":
        """Where requests may have to wait, in order: for what its vendor says is left, for its provider's limits."""
        gates = self.gates
        if gates is None:
            return ()
        learned, limits = gates.learned(self.facts.slug), gates.of(self.provider)
        if learned is None or learned.provider != self.provider.slug:  # it was another provider's until now
            return () if limits is None else (limits,)
        return (learned,) if limits is None else (learned, limits)

    @property
    def is_enabled(self) -> bool:
        """Whether neither manual switch is off."""
        return self.facts.is_enabled and self.provider.is_enabled

    def dialect_for(self, spoken: str) -> str:
        """Return the dialect in which it is asked by a client that speaks one: the same if it can be."""
        return spoken if spoken in self.dialects else self.dialects[0]

    def url(self, operation: Operation, query: str = "") -> URL:
        """Where an operation is asked for."""
        key = (operation.dialect, operation.name, query)
        url = self.urls.get(key)
        if url is None:
            path = operation.path.replace("{model}", quote(self.facts.model, safe=""))
            text = self.adapter.url(self.provider.base_url, operation.name, path)
            url = URL(f"{text}?{query}" if query else text, encoded=True)
            if len(self.urls) < 32:  # queries come from clients
                self.urls[key] = url
        return url

    def expected_cost(self, input_tokens: int, output_tokens: int, moment: float) -> float:
        """Return what so many tokens cost us, or are sold for where no cost is known; infinite when unpriced.

        For comparisons only: a new price may be seen a minute late. Bills are exact.
        """
        period = moment // PRICES_SECONDS
        if self._compared_at != period:
            self._compared_at, self._compared = period, self._unit_prices(moment)
        input_price, output_price = self._compared
        return input_tokens * input_price + output_tokens * output_price

    def ceilings(self, moment: float) -> tuple[Ceiling, ...]:
        """Return the most that requests cost from a moment on, one for each currency; nothing where it has no price."""
        period = moment // PRICES_SECONDS
        if self._ceilings_at != period:
            self._ceilings_at, self._ceilings = period, ceiling_of(self.facts.prices, period * PRICES_SECONDS)
        return self._ceilings

    def is_priced_whole(self, moment: float) -> bool:
        """Whether all that its requests use has a price to sell at: what has none may be billed otherwise."""
        price = price_at(self.facts.prices, "sell", moment)
        return price is not None and covers(price, self.facts.kind)

    def _unit_prices(self, moment: float) -> tuple[float, float]:
        prices = self.facts.prices
        price = price_at(prices, "cost", moment) or price_at(prices, "sell", moment)
        if price is None:
            return math.inf, math.inf
        return float(price.input or 0) / price.per, float(price.output or 0) / price.per


class LiveTarget:
    """A route's target with its deployment."""

    __slots__ = ("deployment", "facts", "hash")

    def __init__(self, facts: Target, deployment: LiveDeployment) -> None:
        self.facts = facts
        self.deployment = deployment
        self.hash = name_hash(facts.deployment)


class LiveRoute:
    """A route with its targets, in order of priority."""

    __slots__ = ("facts", "has_conditions", "header", "targets")

    def __init__(self, facts: Route, targets: Iterable[LiveTarget]) -> None:
        self.facts = facts
        self.has_conditions = any(target.conditions for target in facts.targets)
        self.targets = tuple(sorted(targets, key=lambda target: target.facts.priority))
        self.header = (b"x-tollgate-route", facts.name.encode("ascii", "replace"))


class _Names:
    """Exact names before patterns, longer patterns before shorter ones."""

    def __init__(self) -> None:
        self.exact: dict[str, LiveRoute] = {}
        self.patterns: list[tuple[str, LiveRoute]] = []

    def add(self, name: str, route: LiveRoute) -> None:
        if name.endswith("*"):
            self.patterns.append((name[:-1], route))
            self.patterns.sort(key=lambda pair: -len(pair[0]))
        else:
            self.exact[name] = route

    def find(self, name: str) -> LiveRoute | None:
        route = self.exact.get(name)
        if route is not None:
            return route
        return next((route for prefix, route in self.patterns if name.startswith(prefix)), None)


type Equip = Callable[[LiveDeployment], None]


def _leave_as_it_is(deployment: LiveDeployment) -> None:
    """Outside a worker, deployments are in good health and have no limits."""


class _Catalogue:
    """The models that enabled providers list, with routes that are made when they are asked for."""

    def __init__(self, providers: Iterable[Provider], secrets: Mapping[str, Secrets], equip: Equip) -> None:
        self._secrets = secrets
        self._equip = equip
        self._routes: dict[str, LiveRoute] = {}
        self._providers: dict[str, list[Provider]] = {}
        self.slugs: set[str] = set()
        for provider in providers:
            for model in provider.catalogue if provider.is_enabled else ():
                self._providers.setdefault(model, []).append(provider)
                self.slugs.add(_catalogue_slug(provider.slug, model))

    @property
    def names(self) -> Iterable[str]:
        return self._providers.keys()

    def route(self, model: str) -> LiveRoute | None:
        providers = self._providers.get(model)
        if providers is None:
            return None
        route = self._routes.get(model)
        if route is None:
            route = self._routes[model] = self._make(model, providers)
        return route

    def _make(self, model: str, providers: Iterable[Provider]) -> LiveRoute:
        targets = []
        for provider in providers:
            facts = Deployment(slug=_catalogue_slug(provider.slug, model), provider=provider.slug, model=model)
            deployment = LiveDeployment(facts, provider, self._secrets.get(provider.slug, NO_SECRETS))
            self._equip(deployment)
            targets.append(LiveTarget(Target(deployment=facts.slug), deployment))
        return LiveRoute(Route(name=model, targets=tuple(target.facts for target in targets)), targets)


def _catalogue_slug(provider: str, model: str) -> str:
    """Return the name of a deployment that nobody configured: no other has it, and it fits the ledger's column.

    No deployment of an operator's has a slash. What is cut or rewritten has a tilde and a hash, and nothing else has one.
    """
    name = f"{provider}/{model}"
    if len(name) <= LONGEST_SLUG and name.isascii() and "~" not in name:
        return name
    digest = f"~{name_hash(name):016x}"
    return name.encode("ascii", "replace").decode()[: LONGEST_SLUG - len(digest)] + digest


class LiveSnapshot:
    """A configuration that is being served."""

    def __init__(self, snapshot: Snapshot, secrets: Mapping[str, Secrets], equip: Equip = _leave_as_it_is) -> None:
        """`secrets` are the providers' own, by slug; `equip` gives deployments what a worker knows."""
        self.number = snapshot.number
        self.revision_header = (b"x-tollgate-revision", b"%d" % snapshot.number)
        providers = {provider.slug: provider for provider in snapshot.providers}
        self.deployments = {
            deployment.slug: LiveDeployment(
                deployment, providers[deployment.provider], secrets.get(deployment.provider, NO_SECRETS)
            )
            for deployment in snapshot.deployments
        }
        for live in self.deployments.values():
            equip(live)
        self.routes = {
            route.name: LiveRoute(
                route, [LiveTarget(target, self.deployments[target.deployment]) for target in route.targets]
            )
            for route in snapshot.routes
        }
        self._global = _Names()
        self._tenants: dict[int, _Names] = {}
        for alias in snapshot.aliases:
            names = self._global if alias.tenant_id is None else self._tenants.setdefault(alias.tenant_id, _Names())
            names.add(alias.name, self.routes[alias.route])
        self._catalogue = _Catalogue(snapshot.providers, secrets, equip)
        self.pools = {pool_of(provider, secrets.get(provider.slug, NO_SECRETS)) for provider in snapshot.providers}

    def resolve(self, alias: str, tenant_id: int) -> LiveRoute | None:
        """Return where an alias leads for a tenant: its own names before the global ones, exact before patterns."""
        own = self._tenants.get(tenant_id)
        route = own.find(alias) if own is not None else None
        return route if route is not None else self._global.find(alias)

    def catalogue_route(self, model: str) -> LiveRoute | None:
        """Return a route to the providers whose catalogue lists a model that has no alias; None when none does."""
        return self._catalogue.route(model)

    @property
    def slugs(self) -> Iterable[str]:
        """The deployments that are configured, and those that follow from catalogues."""
        return (*self.deployments, *self._catalogue.slugs)

    @property
    def catalogue_names(self) -> Iterable[str]:
        """The models that catalogues list."""
        return self._catalogue.names

    def names_for(self, tenant_id: int) -> list[str]:
        """Return the names that a tenant can send, without patterns, sorted."""
        own = self._tenants.get(tenant_id)
        return sorted({*self._global.exact, *(own.exact if own is not None else ())})
