"""Whatever way a tenant, key or limit is saved or deleted, its cached principals are dropped after the commit."""

from functools import partial
from typing import Any

from django.contrib.auth.models import Group
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db import transaction
from django.db.models.signals import post_delete, post_save

from tenants.announcements import principals_changed
from tenants.audit import note_failed_sign_in, note_sign_in, note_sign_out, watch
from tenants.models import (
    AlertChannel,
    AlertRule,
    AlertSilence,
    ApiKey,
    ApiToken,
    Budget,
    CreditTopUp,
    Invitation,
    LegalDocument,
    Member,
    Project,
    RateLimit,
    Tenant,
    User,
)
from tenants.playground_keys import end_playground_keys
from tenants.sessions import end_all

OWNED = (ApiKey, Budget, Project, RateLimit)
AUDITED = (Project, Member, RateLimit, Budget, CreditTopUp, LegalDocument, Group)  # and below, with more to say


def connect() -> None:
    """Connect the receivers; called once when Django is ready."""
    for model in (Tenant, *OWNED):
        post_save.connect(_saved, sender=model, dispatch_uid=f"principals-saved-{model.__name__}")
        post_delete.connect(_deleted, sender=model, dispatch_uid=f"principals-deleted-{model.__name__}")
    post_save.connect(_membership_changed, sender=Member, dispatch_uid="playground-keys-role")
    post_delete.connect(_membership_changed, sender=Member, dispatch_uid="playground-keys-left")
    post_delete.connect(_member_left, sender=Member, dispatch_uid="sessions-left")
    post_save.connect(_user_saved, sender=User, dispatch_uid="sessions-switched-off")
    _keep_trail()


def _membership_changed(sender: type, instance: Any, **_: Any) -> None:
    """Who leaves a tenant, or may only look at it from now on, does not go on in the playground."""
    if not Member.objects.filter(pk=instance.pk).exclude(role=Member.Role.VIEWER).exists():
        end_playground_keys(tenant_id=instance.tenant_id, user_id=instance.user_id)


def _member_left(sender: type, instance: Any, **_: Any) -> None:
    """Who has nothing to see any more is signed out, everywhere."""
    user = User.objects.filter(pk=instance.user_id, is_staff=False, memberships=None).first()
    if user is not None:
        transaction.on_commit(partial(end_all, user.pk))


def _user_saved(sender: type, instance: Any, created: bool, **_: Any) -> None:
    """Whose account is switched off is signed out: switched on again, it begins with a sign-in."""
    if not created and not instance.is_active:
        transaction.on_commit(partial(end_all, instance.pk))


def _keep_trail() -> None:
    """Note who changes what; usage, spending and what else the gateway writes by itself has ledgers of its own."""
    for model in AUDITED:
        watch(model)
    # The webhook's address may be a secret, as those of chat services are.
    watch(Tenant, secret=("alert_webhook",), verbs={"suspended_at": ("suspended", "resumed")})
    watch(ApiKey, verbs={"revoked_at": "revoked", "digest": "rotated"})
    watch(ApiToken, ignored=("last_used_at",), verbs={"revoked_at": "revoked"})
    watch(AlertRule)
    watch(AlertSilence)
    watch(AlertChannel, secret=("address_hint",))
    watch(Invitation, ignored=("mailed_at",), verbs={"accepted_at": "accepted", "withdrawn_at": "withdrawn"})
    watch(User, ignored=("last_login",))
    user_logged_in.connect(note_sign_in, dispatch_uid="audit-signed-in")
    user_logged_out.connect(note_sign_out, dispatch_uid="audit-signed-out")
    user_login_failed.connect(note_failed_sign_in, dispatch_uid="audit-sign-in-failed")


def _saved(sender: type, instance: Any, **_: Any) -> None:
    _announce(_tenant_id(instance))


def _deleted(sender: type, instance: Any, **_: Any) -> None:
    _announce(_tenant_id(instance), instance.digests if isinstance(instance, ApiKey) else ())


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
