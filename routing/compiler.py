"""From the database to a snapshot: compile, validate, compare."""

from collections.abc import Iterable, Iterator
from typing import Any

from providers.models import Deployment, Provider
from providers.pricing import most
from providers.profiles import decisive
from providers.registry import ADAPTERS
from routing import snapshot as values
from routing.differences import differences as compare
from routing.models import ModelAlias, Route, RouteTarget


def compile_snapshot() -> values.Snapshot:
    """Read the whole configuration; number 0 until it is published."""
    return values.Snapshot(
        providers=tuple(_provider(row) for row in Provider.objects.order_by("slug")),
        deployments=tuple(
            _deployment(row)
            for row in Deployment.objects.order_by("slug").select_related("provider").prefetch_related("prices")
        ),
        routes=tuple(
            compile_route(row, row.targets.all())
            for row in Route.objects.order_by("name").prefetch_related("targets__deployment")
        ),
        aliases=tuple(
            values.Alias(name=row.name, route=row.route.name, tenant_id=row.tenant_id)
            for row in ModelAlias.objects.order_by("name", "tenant_id").select_related("route")
        ),
    )


def find_errors(snapshot: values.Snapshot) -> list[str]:
    """Return what would break if a snapshot were served, a sentence each."""
    errors = []
    for provider in snapshot.providers:
        if provider.adapter not in ADAPTERS:
            errors.append(f"Provider {provider.slug!r} has the unknown adapter {provider.adapter!r}.")
        elif not provider.dialects:
            errors.append(f"Provider {provider.slug!r} speaks no dialect.")
        if not provider.base_url:
            errors.append(f"Provider {provider.slug!r} has no address.")
    return errors + list(_dangling(snapshot)) + list(_unreadable_prices(snapshot))


def _dangling(snapshot: values.Snapshot) -> Iterator[str]:
    """Yield what refers to something that is not there: it came or went while the tables were read one by one."""
    providers = {provider.slug for provider in snapshot.providers}
    deployments = {deployment.slug for deployment in snapshot.deployments}
    routes = {route.name for route in snapshot.routes}
    for deployment in snapshot.deployments:
        if deployment.provider not in providers:
            yield f"Deployment {deployment.slug!r} has no provider {deployment.provider!r}."
    for route in snapshot.routes:
        for target in route.targets:
            if target.deployment not in deployments:
                yield f"Route {route.name!r} has no deployment {target.deployment!r}."
    for alias in snapshot.aliases:
        if alias.route not in routes:
            yield f"Alias {alias.name!r} has no route {alias.route!r}."


def _unreadable_prices(snapshot: values.Snapshot) -> Iterator[str]:
    """Yield prices that no request could be billed by; forms and files refuse them, but not whoever writes to tables."""
    for deployment in snapshot.deployments:
        for price in deployment.prices:
            try:
                most(price, input_tokens=0, output_tokens=0)
            except (ArithmeticError, ValueError, TypeError, KeyError):
                yield f"Deployment {deployment.slug!r} has a {price.side} price that cannot be read."


def differences(before: values.Snapshot, after: values.Snapshot) -> list[str]:
    """Return what changed between two snapshots, a line each; secrets only as changed."""
    return compare(before, after, _blanks())


def _blanks() -> dict[str, Any]:
    """Return an object of each section with nothing but defaults."""
    return {
        "providers": _provider(Provider()),
        "deployments": values.Deployment(slug="", provider="", model=""),
        "routes": compile_route(Route(), ()),
    }


def _provider(row: Provider) -> values.Provider:
    return values.Provider(
        slug=row.slug,
        adapter=row.adapter,
        base_url=row.effective_base_url,
        dialects=row.effective_dialects,
        credential=row.credential_encrypted,
        headers=row.headers,
        allows_private=row.allow_private_address,
        is_enabled=row.is_enabled,
        max_connections=row.max_connections,
        timeouts=values.Timeouts(
            connect=row.connect_timeout,
            first_token=row.first_token_timeout,
            between_tokens=row.between_tokens_timeout,
            total=row.total_timeout,
        ),
        limits={
            "requests_per_second": row.requests_per_second,
            "tokens_per_minute": row.tokens_per_minute,
            "max_concurrency": row.max_concurrency,
        },
        breaker={
            "enabled": row.breaker_enabled,
            "failures": row.breaker_failures,
            "window": row.breaker_window,
            "open_for": row.breaker_open_for,
            "half_open_successes": row.breaker_half_open_successes,
        },
        cooldown={"enabled": row.cooldown_enabled, "max": row.cooldown_max},
        http2=row.http2,
        proxy=row.proxy_encrypted,
        ca_certificate=row.ca_certificate,
        client_certificate=row.client_certificate,
        client_key=row.client_key_encrypted,
        queue_size=row.queue_size,
        queue_wait=row.queue_wait,
        catalogue=tuple(row.catalogue),
    )


def _deployment(row: Deployment) -> values.Deployment:
    return values.Deployment(
        slug=row.slug,
        provider=row.provider.slug,
        model=row.model,
        kind=row.kind,
        dialect=row.dialect,
        context_window=row.context_window,
        max_output_tokens=row.max_output_tokens,
        region=row.region,
        tags=tuple(row.tags),
        is_enabled=row.is_enabled,
        capabilities=decisive(row.model, row.told_capabilities),
        prices=tuple(price.as_price() for price in row.prices.all()),
    )


def compile_route(row: Route, targets: Iterable[RouteTarget]) -> values.Route:
    """Return a route as workers get it; `targets` are in the order in which they are tried."""
    return values.Route(
        name=row.name,
        strategy=row.strategy,
        first_token_timeout=row.first_token_timeout,
        between_tokens_timeout=row.between_tokens_timeout,
        total_timeout=row.total_timeout,
        retries=row.retries,
        on_disconnect=row.on_disconnect,
        fallback_on_content_policy=row.fallback_on_content_policy,
        hedge=row.hedge,
        cache={
            "exact": row.cache_exact,
            "semantic": row.cache_semantic,
            "ttl": row.cache_ttl,
            "collapse_identical": row.collapse_identical,
        },
        targets=tuple(
            values.Target(
                deployment=target.deployment.slug,
                priority=target.priority,
                weight=target.weight,
                conditions=target.conditions,
            )
            for target in targets
        ),
    )
