"""Which field of a model stands where in the file: for writing, for placing errors and for exporting.

The paths are those of the entry classes in `schema.py`, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from django.db.models import Model

from routing.declaration.readers import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """The fields of one kind of object."""

    paths: dict[str, str]  # model field → path in the entry
    kept: frozenset[str] = field(default_factory=frozenset)  # left as they are when the file says nothing

    def values(self, entry: Entry) -> dict[str, Any]:
        """What the file says, by model field."""
        said = {name: plain(attrgetter(path)(entry)) for name, path in self.paths.items()}
        return {name: value for name, value in said.items() if value is not None or name not in self.kept}

    def changed(self, instance: Model) -> dict[str, Any]:
        """What is not a field's default, by path."""
        stored = {name: getattr(instance, name) for name in self.paths}
        return {
            self.paths[name]: value
            for name, value in stored.items()
            if value != instance._meta.get_field(name).get_default()  # type: ignore[union-attr]
        }


def plain(value: Any) -> Any:
    """A value as models keep it: lists and dictionaries."""
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


PROVIDER = Fields(
    paths={
        "name": "name",
        "adapter": "adapter",
        "dialects": "dialects",
        "base_url": "base_url",
        "allow_private_address": "allow_private_address",
        "headers": "headers",
        "is_enabled": "enabled",
        "max_connections": "max_connections",
        "connect_timeout": "timeouts.connect",
        "first_token_timeout": "timeouts.first_token",
        "between_tokens_timeout": "timeouts.between_tokens",
        "total_timeout": "timeouts.total",
        "requests_per_second": "limits.requests_per_second",
        "tokens_per_minute": "limits.tokens_per_minute",
        "max_concurrency": "limits.max_concurrency",
        "breaker_enabled": "breaker.enabled",
        "breaker_failures": "breaker.failures",
        "breaker_window": "breaker.window",
        "breaker_open_for": "breaker.open_for",
        "breaker_half_open_successes": "breaker.half_open_successes",
        "cooldown_enabled": "cooldown.enabled",
        "cooldown_max": "cooldown.max",
        "http2": "http2",
        "ca_certificate": "tls.ca",
        "client_certificate": "tls.certificate",
        "queue_size": "queue.size",
        "queue_wait": "queue.wait",
    },
    kept=frozenset({"is_enabled"}),
)

DEPLOYMENT = Fields(
    paths={
        "model": "model",
        "kind": "kind",
        "dialect": "dialect",
        "context_window": "context_window",
        "max_output_tokens": "max_output_tokens",
        "region": "region",
        "tags": "tags",
        "probe_every": "probe_every",
        "is_enabled": "enabled",
    },
    kept=frozenset({"is_enabled"}),
)

ROUTE = Fields(
    paths={
        "strategy": "strategy",
        "first_token_timeout": "first_token_timeout",
        "between_tokens_timeout": "between_tokens_timeout",
        "total_timeout": "total_timeout",
        "retries": "retries",
        "on_disconnect": "on_disconnect",
        "fallback_on_content_policy": "fallback_on_content_policy",
        "hedge": "hedge",
        "collapse_identical": "collapse_identical",
        "cache_exact": "cache.exact",
        "cache_semantic": "cache.semantic",
        "cache_ttl": "cache.ttl",
    }
)

# Of a route: kept for the cache of answers, which is not built yet.
WITHOUT_EFFECT = ("cache_exact", "cache_semantic", "collapse_identical")


def without_effect(route: Model) -> list[str]:
    """What is switched on and does nothing so far, a sentence each."""
    names = (ROUTE.paths[name] for name in WITHOUT_EFFECT if getattr(route, name))
    return [f"{name} is stored and has no effect yet: this version keeps no answers." for name in names]


TARGET = Fields(paths={"priority": "priority", "weight": "weight"})

TENANT = Fields(
    paths={
        "timezone": "timezone",
        "allowed_models": "models",
        "translation_policy": "translation_policy",
        "unpriced_policy": "unpriced_policy",
        "floor_input": "floor.input",
        "floor_output": "floor.output",
        "floor_currency": "floor.currency",
        "stores_responses": "stores_responses",
        "response_retention_days": "response_retention_days",
        "audit_policy": "bodies.policy",
        "audit_retention_days": "bodies.retention_days",
        "audit_redacts_personal": "bodies.redact_personal",
        "audit_redacts_media": "bodies.redact_media",
        "without_valkey": "without_valkey",
        "allows_catalogue": "unmapped_models",
        "alert_emails": "alerts.emails",
        "alert_webhook": "alerts.webhook",
    }
)

PROJECT = Fields(paths={"name": "name"})

API_KEY = Fields(
    paths={"allowed_models": "models", "expires_at": "expires_at", "priority": "priority", "may_trace": "trace"}
)

LIMIT = Fields(
    paths={
        "kind": "kind",
        "amount": "amount",
        "per": "per",
        "burst": "burst",
        "model": "model",
        "per_end_user": "per_end_user",
    }
)

BUDGET = Fields(
    paths={
        "amount": "amount",
        "currency": "currency",
        "period": "per",
        "rolling_days": "days",
        "is_hard": "hard",
        "alert_at": "alert_at",
        "increase": "increase.amount",
        "increase_until": "increase.until",
        "model": "model",
        "per_end_user": "per_end_user",
    },
    kept=frozenset({"increase", "increase_until"}),
)
