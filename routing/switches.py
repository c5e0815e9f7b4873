"""The manual switch of providers and deployments: whoever turns it, by whatever way, it is an event."""

from typing import Any

from django.db import transaction
from django.db.models.signals import post_save, pre_save

from gateway_site.infra.actor import actor
from gateway_site.infra.telemetry import health_events
from providers.models import Deployment, Provider
from routing.models import HealthEvent

WORDS = {True: "on", False: "off"}


def connect() -> None:
    """Connect the receivers; called once when Django is ready."""
    for model in (Provider, Deployment):
        pre_save.connect(_remember, sender=model, dispatch_uid=f"switch-before-{model.__name__}")
        post_save.connect(_compare, sender=model, dispatch_uid=f"switch-after-{model.__name__}")


def _remember(sender: type, instance: Any, raw: bool, update_fields: frozenset[str] | None, **_: Any) -> None:
    is_asked = instance.pk is not None and not raw and (update_fields is None or "is_enabled" in update_fields)
    rows: Any = sender
    found = rows.objects.filter(pk=instance.pk).values_list("is_enabled", flat=True).first() if is_asked else None
    instance._was_enabled = found  # None = not known, or new


def _compare(sender: type, instance: Any, **_: Any) -> None:
    before, after = instance.__dict__.pop("_was_enabled", None), instance.is_enabled
    if before is None or before == after:
        return
    is_deployment = isinstance(instance, Deployment)
    event = HealthEvent.objects.create(
        deployment=instance.slug if is_deployment else "",
        provider=instance.provider.slug if is_deployment else instance.slug,
        kind=HealthEvent.Kind.SWITCHED_ON if after else HealthEvent.Kind.SWITCHED_OFF,
        old=WORDS[before],
        new=WORDS[after],
        reason=actor().name,
    )
    if is_deployment:
        counter = health_events.labels(event.deployment, event.kind)
        transaction.on_commit(counter.inc)  # what is rolled back has not happened
