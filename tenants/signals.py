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
    transaction.on_commit(partial(principals_changed, _tenant_id(instance)))


def _deleted(sender: type, instance: Any, **_: Any) -> None:
    gone = (instance.digest,) if isinstance(instance, ApiKey) else ()
    transaction.on_commit(partial(principals_changed, _tenant_id(instance), gone=gone))


def _tenant_id(instance: Any) -> int:
    return instance.pk if isinstance(instance, Tenant) else instance.tenant_id
