"""API tokens: making them, and whom a request with one is made by."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from tenants import keys
from tenants.models import ApiToken, Tenant, User
from tenants.roles import PERMISSIONS
from tenants.scopes import EVERYTHING, SCOPES, permissions_of
from tenants.standing import OPERATOR, Standing

PREFIX = "tgat_"


class TokenUser:
    """Who asks with a token, as far as pages, permissions and the audit trail are concerned."""

    is_authenticated = is_active = True
    is_anonymous = is_superuser = False
    pk = id = None
    via = "api_token"

    def __init__(self, token: ApiToken) -> None:
        self.token = token
        self.maker_id = token.created_by_id
        self.is_staff = token.tenant is None
        self.standing = OPERATOR if token.tenant is None else Standing(tenant=token.tenant, role="owner")
        self._permissions = permissions_of(token.scopes)

    def get_username(self) -> str:
        return self.token.name

    __str__ = get_username

    def has_perm(self, permission: str, obj: Any = None) -> bool:
        """Scopes narrow what an owner's role has, or what the operator has who made the token."""
        if permission not in self._permissions:
            return False
        if self.standing.role is not None:
            return self.standing.may(permission)
        return self.token.created_by is not None and self.token.created_by.has_perm(permission)

    def has_perms(self, permissions: Iterable[str], obj: Any = None) -> bool:
        return all(self.has_perm(permission) for permission in permissions)

    def has_module_perms(self, app_label: str) -> bool:
        return any(self.has_perm(each) for each in self._permissions if each.startswith(f"{app_label}."))


def user_of(secret: str) -> TokenUser | None:
    """Return who asks with a token; None for one that is unknown, revoked or expired, or whose maker is gone."""
    if not secret.startswith(PREFIX) or len(secret) > keys.MAX_KEY_LENGTH:
        return None
    digests = [keys.digest(secret, pepper.value) for pepper in keys.peppers(settings.TOLLGATE_KEY_PEPPERS)]
    found = ApiToken.objects.active().select_related("tenant", "created_by").filter(digest__in=digests).first()
    if found is None or (found.tenant is None and not is_operator(found.created_by)):
        return None
    found.note_use()
    return TokenUser(found)


def is_operator(user: User | None) -> bool:
    """Whether a user is of the staff still: an operator's token ends with its maker's place there."""
    return user is not None and user.is_active and user.is_staff


def offered_scopes(user: Any, standing: Standing, *, for_tenant: bool) -> list[str]:
    """Return the scopes that somebody may give to a token: those of which they have something themselves."""
    most = PERMISSIONS["owner"] if for_tenant else permissions_of([EVERYTHING])
    return [
        scope
        for scope, permissions in SCOPES.items()
        if scope == EVERYTHING or any(each in most and user.has_perm(each) for each in _own(scope, permissions))
    ]


def _own(scope: str, permissions: frozenset[str]) -> frozenset[str]:
    """What a scope is about: of writing, not what reading has, too."""
    area, _, word = scope.partition(":")
    return permissions - SCOPES[f"{area}:read"] if word == "write" else permissions


@transaction.atomic
def create_token(
    *,
    name: str,
    scopes: Sequence[str],
    tenant: Tenant | None = None,
    expires_at: datetime | None = None,
    created_by: User | None = None,
) -> tuple[ApiToken, str]:
    """Create a token and return it with its secret, which is not kept; raises ValidationError."""
    if expires_at is not None and expires_at <= timezone.now():
        raise ValidationError({"expires_at": "This is in the past."})
    secret = PREFIX + "".join(secrets.choice(keys.ALPHABET) for _ in range(keys.SECRET_LENGTH))
    token = ApiToken(tenant=tenant, name=name, scopes=list(scopes), expires_at=expires_at, created_by=created_by)
    token.set_secret(secret)
    token.full_clean()
    token.save()
    return token, secret
