"""What the privacy notice that ships says of people with an account, held against what the database has of them."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.conf import settings as django_settings
from django.test import Client

from tenants.legal_defaults import default_text
from tenants.models import AuditEvent, Invitation, Tenant, User


def names(model: type) -> set[str]:
    return {each.name for each in model._meta.concrete_fields}  # type: ignore[attr-defined]


def test_it_mentions_all_that_accounts_say_of_people() -> None:
    """Who adds a field reads the notice again, and adds the field here."""
    login = {"username", "password", "last_login", "is_active", "is_staff", "is_superuser", "date_joined"}
    assert names(User) - {"id"} == login | {"first_name", "last_name", "email", "email_is_proven"}
    text = default_text("privacy")
    for words in ("name, e-mail address, a hash of the password, roles, the last login", "second factor", "passkeys"):
        assert words in text, words
    assert names(Authenticator) - {"id", "user"} == {"type", "data", "created_at", "last_used_at"}
    assert {"uid", "provider"} <= names(SocialAccount)
    assert "single sign-on calls them" in text


def test_it_says_that_the_audit_trail_keeps_addresses() -> None:
    who = {"actor", "user_id", "via", "acting_for", "tenant", "remote_address", "correlation_id"}
    what = {"at", "action", "object_type", "object_id", "object_repr", "changes", "detail"}
    assert names(AuditEvent) - {"id"} == who | what
    text = default_text("privacy")
    assert "**with the IP address** that it came from" in text
    assert "Of programs the gateway itself writes no IP addresses" in text


@pytest.mark.parametrize(("days", "words"), [(400, "kept for 400 days."), (0, "kept for good.")])
def test_it_says_how_long_the_audit_trail_is_kept_here(settings: Any, days: int, words: str) -> None:
    settings.AUDIT_RETENTION_DAYS = days
    assert f"It is never changed, and {words}" in default_text("privacy")


def test_it_mentions_sessions() -> None:
    known = {"user", "created_at", "ip", "last_seen_at", "session_key", "user_agent", "data"}
    assert names(UserSession) - {"id"} == known
    assert "since when, the IP address and what the browser calls itself" in default_text("privacy")


def test_it_mentions_people_who_are_invited() -> None:
    assert "email" in names(Invitation)
    assert "Of people who are invited: the e-mail address" in default_text("privacy")


@pytest.mark.django_db
@pytest.mark.usefixtures("stores")
def test_the_console_sets_no_other_cookies_than_it_says() -> None:
    """For the session, against forged forms, and for what the next page tells."""
    User.objects.create_superuser("alice", password="alice's long password")
    client = Client()
    client.get("/admin/login/")
    client.post("/admin/login/", {"username": "alice", "password": "alice's long password"})
    client.post("/admin/tenants/tenant/add/", {"name": "Acme", "slug": "acme", "_save": "Save"})
    chosen = {"action": "suspend_selected", "_selected_action": [Tenant.objects.create(slug="globex").pk]}
    client.post("/admin/tenants/tenant/", chosen)
    assert set(client.cookies) <= {django_settings.SESSION_COOKIE_NAME, django_settings.CSRF_COOKIE_NAME, "messages"}
    assert django_settings.SESSION_COOKIE_NAME in client.cookies
    assert all(
        cookie["httponly"] for name, cookie in client.cookies.items() if name != django_settings.CSRF_COOKIE_NAME
    )
    assert not Client().get("/privacy").cookies
