"""Whatever way a tenant, key or limit is saved or deleted, its cached principals are dropped after the commit."""

from functools import partial
from typing import Any

from django.db import transaction
from django.db.models.signals import post_delete, post_save

from tenants.announcements import principals_changed
from tenants.models import ApiKey, Budget, Project, RateLimit, Tenant

OWNED = (ApiKey, Budget, Project, RateLimit)


def connect() -> None:
    """Connect the receivers; called once when Django is ready."""
    for model in (Tenant, *OWNED):
        post_save.connect(_saved, sender=model, dispatch_uid=f"principals-saved-{model.__name__}")
        post_delete.connect(_deleted, sender=model, dispatch_uid=f"principals-deleted-{model.__name__}")


def _saved(sender: type, instance: Any, **_: Any) -> None:
    _announce(_tenant_id(instance))


def _deleted(sender: type, instance: Any, **_: Any) -> None:
    _announce(_tenant_id(instance), (instance.digest,) if isinstance(instance, ApiKey) else ())


def _announce(tenant_id: int, gone: tuple[str, ...] = ()) -> None:
    """Announce after the commit, once per transaction for a tenant whose rows change one by one."""
    announcement = partial(principals_changed, tenant_id, gone=gone)
    waiting = (callback for _, callback, *_ in transaction.get_connection().run_on_commit)
    if not gone and any(isinstance(other, partial) and _is_same(announcement, other) for other in waiting):
        return
    transaction.on_commit(announcement)


def _is_same(one: partial[None], other: partial[None]) -> bool:
    return (one.func, one.args) == (other.func, other.args)


def _tenant_id(instance: Any) -> int:
    return instance.pk if isinstance(instance, Tenant) else instance.tenant_id
