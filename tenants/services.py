"""What is done to tenants in more than one step."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from tenants import keys
from tenants.announcements import principals_changed
from tenants.models import ApiKey, Project, Tenant, User

MIN_SECRET_LENGTH = 20
ROTATED = (
    *("digest", "pepper_id", "prefix", "last_four"),
    *("previous_digest", "previous_pepper_id", "previous_prefix", "previous_last_four", "previous_until"),
)
PRINTABLE = frozenset(map(chr, range(0x21, 0x7F)))  # what fits into a header: ASCII without blanks


@transaction.atomic
def create_key(
    *,
    tenant: Tenant,
    name: str,
    project: Project | None = None,
    allowed_models: Sequence[str] | None = None,
    expires_at: datetime | None = None,
    priority: str = ApiKey.Priority.NORMAL,
    may_trace: bool = False,
    secret: str | None = None,
    created_by: User | None = None,
    purpose: str = ApiKey.Purpose.PROGRAM,
) -> tuple[ApiKey, str]:
    """Create a key and return it with its secret, which is not kept; raises ValidationError.

    `secret` brings a key that exists elsewhere; without it one is made.
    """
    if ApiKey.objects.for_tenant(tenant).filter(name=name).exists():
        raise ValidationError({"name": f"{tenant.slug} has a key {name!r} already."})
    key = ApiKey(
        tenant=tenant,
        name=name,
        project=project,
        allowed_models=None if allowed_models is None else list(allowed_models),
        expires_at=expires_at,
        priority=priority,
        may_trace=may_trace,
        created_by=created_by,
        purpose=purpose,
    )
    secret = secret or keys.generate()
    give_secret(key, secret)
    key.full_clean()
    key.save()
    return key, secret


def give_secret(key: ApiKey, secret: str) -> None:
    """Set a key's secret, without saving; raises ValidationError when it is malformed or another key has it.

    Workers forget the secret that it had when the transaction is committed.
    """
    check_secret(secret)
    possible = digests(secret)
    if ApiKey.objects.with_secret(possible).exclude(pk=key.pk).exists():
        raise ValidationError({"secret": "Another key has this secret."})
    if key.digest:
        transaction.on_commit(partial(principals_changed, key.tenant_id, gone=key.digests))
    if key.previous_digest in possible:  # taken back
        key.forget_previous()
    key.set_secret(secret)


@transaction.atomic
def rotate_key(*, key: ApiKey, until: datetime | None = None, secret: str | None = None) -> tuple[ApiKey, str]:
    """Give a key a new secret and return both; the one it had works on up to a moment (None: not any more).

    It stays the same key: limits, budgets and usage go on. A secret from before the last rotation stops working.
    Raises ValidationError.
    """
    stored = ApiKey.objects.select_for_update(of=("self",)).with_owner().get(pk=key.pk)
    if stored.revoked_at is not None:
        raise ValidationError("A revoked key stays revoked; make a new one.")
    now = timezone.now()
    secret = secret or keys.generate()
    check_secret(secret)
    possible = digests(secret)
    if ApiKey.objects.with_secret(possible).exists():
        raise ValidationError({"secret": "This secret is or was in use; take another one."})
    gone = stored.digests  # also the secret that nobody knows any more
    stored.put_secret_aside(max(until, now) if until is not None else now)
    stored.set_secret(secret)
    stored.save(update_fields=ROTATED)
    transaction.on_commit(partial(principals_changed, stored.tenant_id, gone=gone))
    return stored, secret


def has_secret(key: ApiKey, secret: str) -> bool:
    """Whether this is the key's secret, whichever of the peppers it was hashed with."""
    return key.digest in digests(secret)


def digests(secret: str) -> list[str]:
    """What may be stored of a secret, one for each pepper."""
    return [keys.digest(secret, pepper.value) for pepper in keys.peppers(settings.TOLLGATE_KEY_PEPPERS)]


def check_secret(secret: str) -> None:
    """Raise ValidationError unless a secret is long enough and fits into a header."""
    if not MIN_SECRET_LENGTH <= len(secret) <= keys.MAX_KEY_LENGTH or not PRINTABLE.issuperset(secret):
        raise ValidationError(
            {
                "secret": f"A secret has {MIN_SECRET_LENGTH} to {keys.MAX_KEY_LENGTH} characters: "
                "ASCII letters, digits and punctuation, no blanks."
            }
        )
