"""Keys that the playground makes for people, so that what they try goes through the gateway as any program's request does.

Nobody can read a stored key's secret again, so a person gets a key of their own for each tenant and project: bound by the
limits and budgets of both, hidden among the keys of programs, over within the hour. It is one row whose secret is made
anew; the secret before works on for as long as it would have, for another tab.
"""

from datetime import timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from tenants.models import ApiKey, Project, Tenant, User
from tenants.services import create_key, rotate_key

LIFETIME = timedelta(hours=1)
LONGEST_NAME = 60
REVOKED = "Your playground key was revoked. Ask whoever runs this gateway."


@transaction.atomic
def playground_key(*, tenant: Tenant, user: User, project: Project | None = None) -> tuple[ApiKey, str]:
    """Return a person's key for the playground with a new secret, valid for an hour; raises ValidationError."""
    User.objects.select_for_update().get(pk=user.pk)  # two tabs at once make one key
    found = ApiKey.objects.for_tenant(tenant).filter(
        purpose=ApiKey.Purpose.PLAYGROUND, created_by=user, project=project
    )
    key, ends = found.first(), timezone.now() + LIFETIME
    if key is None:
        return create_key(
            tenant=tenant,
            name=_name(tenant, user, project),
            project=project,
            expires_at=ends,
            created_by=user,
            purpose=ApiKey.Purpose.PLAYGROUND,
        )
    if key.revoked_at is not None:
        raise ValidationError(REVOKED)
    key, secret = rotate_key(key=key, until=key.expires_at)
    key.expires_at = ends
    key.save(update_fields=["expires_at"])
    return key, secret


def _name(tenant: Tenant, user: User, project: Project | None) -> str:
    """Such as `playground of alice`; names are unique within a tenant."""
    where = f" in {project.slug[:20]}" if project is not None else ""
    name = f"playground of {user.get_username()[:LONGEST_NAME]}{where}"
    is_taken = ApiKey.objects.for_tenant(tenant).filter(name=name).exists()
    number = f"{user.pk}" if project is None else f"{user.pk}, {project.pk}"
    return f"{name[:75]} ({number})" if is_taken else name


def end_playground_keys(*, tenant_id: int, user_id: int) -> None:
    """Refuse a person's playground keys from now on, for they have left the tenant."""
    now = timezone.now()
    for key in ApiKey.objects.for_tenant(tenant_id).filter(
        purpose=ApiKey.Purpose.PLAYGROUND, created_by=user_id, expires_at__gt=now
    ):
        key.expires_at = now
        key.save(update_fields=["expires_at"])
