"""People of tenants, and the browsers in which they are signed in."""

from __future__ import annotations

from typing import Any

from django.test import Client

from tenants.models import Member, Tenant, User

PASSWORD = "a rather long password"


def make_member(tenant: Tenant, name: str, role: str = "owner") -> User:
    """Somebody of a tenant, with an e-mail address and this password."""
    user = User.objects.create_user(name, f"{name}@example.com", PASSWORD)
    Member.objects.create(tenant=tenant, user=user, role=role)
    return user


def browser(user: User | None = None, **session: Any) -> Client:
    """Nobody's, or one in which somebody is signed in and whose session says more."""
    client = Client()
    if user is not None:
        client.force_login(user)
    if session:
        stored = client.session
        stored.update(session)
        stored.save()
    return client


def member_browser(tenant: Tenant, name: str, role: str = "owner") -> Client:
    return browser(make_member(tenant, name, role))
