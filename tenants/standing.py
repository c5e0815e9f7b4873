"""What somebody is at the console: an operator, a member of a tenant, or an operator who acts as one of its owners.

A request's `user` is given its standing by the middleware. Permissions and querysets ask it, and nothing else decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenants.roles import PERMISSIONS

if TYPE_CHECKING:
    from tenants.models import Tenant, User

TENANT = "tenant_id"  # in the session: which of their tenants a member looks at
ACTS_AS = "acts_as_tenant_id"  # in the session: whose owner an operator is for now


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Whose eyes somebody looks with."""

    is_operator: bool = False  # sees what all tenants have, as far as Django's permissions go
    tenant: Tenant | None = None  # the only one whose things are seen; None: those of all, or of none
    role: str | None = None  # in the tenant
    is_acting: bool = False  # an operator in an owner's place
    choices: tuple[Tenant, ...] = ()  # of a member: all their tenants

    @property
    def is_somebody(self) -> bool:
        """Whether there is anything to see."""
        return self.is_operator or self.role is not None

    @property
    def tenant_id(self) -> int | None:
        """The only tenant whose things are seen, by its id."""
        return None if self.tenant is None else self.tenant.pk

    def may(self, permission: str) -> bool:
        """Whether the role has a permission; only asked where there is a role."""
        return self.role is not None and permission in PERMISSIONS[self.role]


NOBODY = Standing()
OPERATOR = Standing(is_operator=True)


def standing_of(user: Any) -> Standing:
    """Return what somebody is in this request; outside of one staff are operators."""
    if not getattr(user, "is_active", False):
        return NOBODY
    given: Standing | None = getattr(user, "standing", None)
    if given is not None:
        return given
    return OPERATOR if user.is_staff else NOBODY


def find_standing(user: User, session: Mapping[str, Any]) -> Standing:
    """Read what somebody is: staff from their account, members from the database, with every request."""
    if not user.is_active:
        return NOBODY
    return _operator(user, session.get(ACTS_AS)) if user.is_staff else _member(user, session.get(TENANT))


def may_act(user: User) -> bool:
    """Whether somebody may take an owner's place: operators that may change tenants."""
    return standing_of(user).is_operator and user.has_perm("tenants.change_tenant")


def _operator(user: User, acts_as: int | None) -> Standing:
    from django.contrib.auth.models import PermissionsMixin

    from tenants.models import Tenant

    # Whether they may still act, by their own permissions: not by those of an owner, whose place they have perhaps.
    if acts_as is None or not PermissionsMixin.has_perm(user, "tenants.change_tenant"):
        return OPERATOR
    tenant = Tenant.objects.filter(pk=acts_as).first()
    return OPERATOR if tenant is None else Standing(tenant=tenant, role="owner", is_acting=True)


def _member(user: User, chosen: int | None) -> Standing:
    memberships = list(user.memberships.select_related("tenant").order_by("pk"))
    if not memberships:
        return NOBODY
    member = next((each for each in memberships if each.tenant_id == chosen), memberships[0])
    return Standing(tenant=member.tenant, role=member.role, choices=tuple(each.tenant for each in memberships))
