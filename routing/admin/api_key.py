"""API keys again, with a first request that works: routing knows the aliases and who speaks what."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.db.models import F, Q

from routing.models import ModelAlias
from tenants.admin.api_key import ApiKeyAdmin, ExampleCall
from tenants.models import ApiKey

ALIASES_READ = 200
ANTHROPIC: dict[str, Any] = {
    "path": "/v1/messages",
    "headers": ("anthropic-version: 2023-06-01",),
    "extra": {"max_tokens": 100},
}

admin.site.unregister(ApiKey)


@admin.register(ApiKey)
class RoutedApiKeyAdmin(ApiKeyAdmin):
    def example_call(self, key: ApiKey) -> ExampleCall:
        alias = first_usable(aliases_for(key), key)
        if alias is None:
            return ExampleCall()
        options = ANTHROPIC if dialect_of(alias) == "anthropic_messages" else {}
        return ExampleCall(model=alias.name, **options)


def aliases_for(key: ApiKey) -> Iterable[ModelAlias]:
    """Aliases without a wildcard, the tenant's own first."""
    own_or_global = Q(tenant=key.tenant_id) | Q(tenant__isnull=True)
    own_first = F("tenant").asc(nulls_last=True)
    found = ModelAlias.objects.filter(own_or_global, route__targets__isnull=False).exclude(name__endswith="*")
    return found.distinct().order_by(own_first, "name")[:ALIASES_READ]


def first_usable(aliases: Iterable[ModelAlias], key: ApiKey) -> ModelAlias | None:
    """The first alias that key and tenant may both use."""
    patterns = [allowed for allowed in (key.allowed_models, key.tenant.allowed_models) if allowed]
    return next((alias for alias in aliases if all(_matches(alias.name, allowed) for allowed in patterns)), None)


def dialect_of(alias: ModelAlias) -> str:
    """What the first target of its route speaks."""
    target = alias.route.targets.select_related("deployment__provider").first()
    if target is None:
        return ""
    deployment = target.deployment
    return deployment.dialect or next(iter(deployment.provider.effective_dialects), "")


def _matches(name: str, patterns: list[str]) -> bool:
    return any(name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1])) for pattern in patterns)
