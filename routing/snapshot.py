"""The configuration as the hot path sees it: an immutable value, compiled from the database and swapped by pointer.

`Snapshot` is what is stored and sent around (JSON); `LiveSnapshot` is the same with everything linked and prepared, made
once per worker and revision. Neither knows the database; `routing.compiler` does.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import msgspec
from yarl import URL

from providers.adapters.base import Adapter
from providers.canonical.inbound import Operation
from providers.dialects.base import Destination
from providers.pool import Pool
from providers.pricing import Price
from providers.profiles import profile_of
from providers.registry import ADAPTERS


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds."""

    connect: float = 5.0
    first_token: float = 60.0
    between_tokens: float = 60.0
    total: float = 600.0


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint and a credential; the credential stays encrypted here."""

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
    capabilities: dict[str, Any] = {}  # what the upstream says of the model, as it came; {} = nothing
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
LIST_HEADERS = frozenset({"anthropic-beta", "openai-beta"})  # the operator's and the client's values both count
_decode = msgspec.json.Decoder(Snapshot).decode


def encode(snapshot: Snapshot) -> bytes:
    """Return the stored form; equal snapshots have equal bytes."""
    return msgspec.json.encode(snapshot, order="deterministic")


def decode(blob: bytes) -> Snapshot:
    """Read the stored form; raises msgspec.DecodeError."""
    return _decode(blob)


class LiveDeployment:
    """A deployment with its provider, ready to be called."""

    __slots__ = (
        "adapter",
        "default_headers",
        "destination",
        "dialects",
        "facts",
        "fixed_headers",
        "origin",
        "own_header_names",
        "permissive_destination",
        "pool",
        "provider",
        "response_headers",
        "urls",
    )

    def __init__(self, facts: Deployment, provider: Provider, credential: str) -> None:
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
        self.fixed_headers = (*self.adapter.authorize(credential), *own.items())
        self.default_headers = tuple(defaults)  # sent unless the client sends its own
        self.own_header_names = frozenset(own) - LIST_HEADERS
        self.pool = Pool(
            provider=provider.slug,
            max_connections=provider.max_connections,
            connect_timeout=provider.timeouts.connect,
            allows_private=provider.allows_private,
        )
        self.urls: dict[tuple[str, str, str], URL] = {}
        self.response_headers = (
            (b"x-tollgate-provider", provider.slug.encode()),
            (b"x-tollgate-deployment", facts.slug.encode()),
            (b"x-tollgate-model", facts.model.encode("ascii", "replace")),
        )

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

    def unit_price(self, moment: float) -> Decimal | None:
        """The sell price of input and output together, for comparing; None when unpriced."""
        prices = [price for price in self.facts.prices if price.side == "sell" and price.effective_from <= moment]
        if not prices:
            return None
        newest = max(prices, key=lambda price: price.effective_from)
        return ((newest.input or 0) + (newest.output or 0)) / Decimal(newest.per)


class LiveTarget:
    """A route's target with its deployment."""

    __slots__ = ("deployment", "facts")

    def __init__(self, facts: Target, deployment: LiveDeployment) -> None:
        self.facts = facts
        self.deployment = deployment


class LiveRoute:
    """A route with its targets, in order of priority."""

    __slots__ = ("facts", "header", "targets")

    def __init__(self, facts: Route, targets: Iterable[LiveTarget]) -> None:
        self.facts = facts
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


class LiveSnapshot:
    """A configuration that is being served."""

    def __init__(self, snapshot: Snapshot, credentials: Mapping[str, str]) -> None:
        """`credentials` are the providers' own, decrypted, by slug."""
        self.number = snapshot.number
        self.revision_header = (b"x-tollgate-revision", b"%d" % snapshot.number)
        providers = {provider.slug: provider for provider in snapshot.providers}
        self.deployments = {
            deployment.slug: LiveDeployment(
                deployment, providers[deployment.provider], credentials.get(deployment.provider, "")
            )
            for deployment in snapshot.deployments
        }
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
        self.pools = {deployment.pool for deployment in self.deployments.values()}

    def resolve(self, alias: str, tenant_id: int) -> LiveRoute | None:
        """Return where an alias leads for a tenant: its own names before the global ones, exact before patterns."""
        own = self._tenants.get(tenant_id)
        route = own.find(alias) if own is not None else None
        return route if route is not None else self._global.find(alias)

    def names_for(self, tenant_id: int) -> list[str]:
        """Return the names that a tenant can send, without patterns, sorted."""
        own = self._tenants.get(tenant_id)
        return sorted({*self._global.exact, *(own.exact if own is not None else ())})
