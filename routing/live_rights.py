"""What somebody may see of the live view, and whether they may stop what they see."""

from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from django.conf import settings
from django.contrib import auth

from routing.live_audience import Seat
from tenants.models import User
from tenants.standing import find_standing, standing_of

SEES = "tenants.view_usagerecord"
SEES_UPSTREAMS = "providers.view_provider"
STOPS = "tenants.change_apikey"  # who may revoke a key may stop what it does


type TurnedAway = Callable[[Any, Any], object]  # what a user's session lacks, if anything


def find_seat(session_key: str, turned_away: TurnedAway) -> Seat | None:
    """Return what the owner of a session may see now, None: nothing; reads the database."""
    session: Any = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    user: Any = auth.get_user(SimpleNamespace(session=session))  # type: ignore[arg-type]
    if not user.is_authenticated:
        return None
    user.standing = find_standing(user, session)
    return None if turned_away(user, session) else seat_of(user)


def seat_of(user: User) -> Seat | None:
    """Return what a user may see, as they stand."""
    standing = standing_of(user)
    if not user.is_active or not standing.is_somebody or not user.has_perm(SEES):
        return None
    tenant = standing.tenant
    if tenant is None:
        return Seat(tenant_id=None, sees_upstreams=user.has_perm(SEES_UPSTREAMS)) if standing.is_operator else None
    if tenant.is_suspended and not standing.is_acting:
        return None
    models = None if tenant.allowed_models is None else tuple(tenant.allowed_models)
    return Seat(tenant_id=tenant.pk, models=models)


def may_stop(user: User) -> bool:
    """Whether a user may stop what they see."""
    return seat_of(user) is not None and user.has_perm(STOPS)
