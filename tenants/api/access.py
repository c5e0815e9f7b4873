"""Who asks the REST API, and what they see. Permissions and standing are those of the console."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from ninja.security import HttpBearer, SessionAuth

from tenants.api.errors import Refused
from tenants.api_tokens import user_of
from tenants.models import User
from tenants.scopes import AREAS
from tenants.standing import Standing, standing_of


class TokenBearer(HttpBearer):
    """An API token: `Authorization: Bearer tgat_…`."""

    def authenticate(self, request: HttpRequest, token: str) -> Any:
        user = user_of(token)
        if user is None:
            raise Refused(401, "invalid_token", "This is not an API token that may be used now.")
        request.user = user  # type: ignore[assignment]  # permissions, pages and the trail ask it
        return user


class ConsoleSession(SessionAuth):
    """Operators and members that are signed in to the console, with its CSRF token."""

    def authenticate(self, request: HttpRequest, key: str | None) -> Any:
        return request.user if standing_of(request.user).is_somebody else None


def standing_in(request: HttpRequest) -> Standing:
    """What whoever asks is."""
    return standing_of(request.user)


def person_in(request: HttpRequest) -> User | None:
    """The person who asks with a session; None: a token asks, which is nobody."""
    return request.user if isinstance(request.user, User) else None


def name_of(user: User | None) -> str | None:
    """What a user is called; None: there was none, or is none any more."""
    return None if user is None else user.get_username()


def permit(request: HttpRequest, permission: str) -> None:
    """Refuse who lacks a permission, naming the scope that a token would need."""
    user: Any = request.user
    if standing_of(user).is_somebody and user.has_perm(permission):
        return
    app, _, rest = permission.partition(".")
    verb, _, model = rest.partition("_")
    area = next((area for area, models in AREAS.items() if f"{app}.{model}" in models), None)
    scope = f" For an API token: scope {area}:{'read' if verb == 'view' else 'write'}." if area else ""
    raise Refused(403, "forbidden", f"This takes the permission {permission}.{scope}")


def visible[Q: QuerySet[Any]](request: HttpRequest, rows: Q, tenant_path: str | None) -> Q:
    """Return the rows that whoever asks may see: all for operators, else what their tenant owns; no path: none."""
    standing = standing_in(request)
    if standing.is_operator:
        return rows
    if standing.tenant_id is None or tenant_path is None:
        return rows.none()
    if tenant_path == "tenant" and hasattr(rows, "for_tenant"):
        owned: Q = rows.for_tenant(standing.tenant_id)
        return owned
    return rows.filter(**{tenant_path: standing.tenant_id})
