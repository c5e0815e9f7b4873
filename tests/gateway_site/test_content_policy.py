"""What browsers are told: which scripts run, what is not kept, and that Django's own checks have nothing to say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import unfold
from django.conf import settings as django_settings
from django.test import Client

from tenants.models import User

pytestmark = pytest.mark.django_db

INLINE = re.compile(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)[^>]*>", re.IGNORECASE)
HANDLER = re.compile(r"<[^>]*\son[a-z]+\s*=", re.IGNORECASE)
PAGES = (
    "/admin/",
    "/admin/tenants/tenant/",
    "/admin/tenants/tenant/add/",
    "/admin/tenants/apikey/",
    "/admin/tenants/apikey/add/",
    "/admin/tenants/usagerecord/",
    "/admin/providers/provider/add/",
    "/admin/routing/route/add/",
    "/admin/usage/",
    "/admin/dry-run/",
    "/admin/security/",
    "/admin/security/passkeys/add/",
    "/api/docs",
)


@pytest.fixture
def alice(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("alice", "alice@example.com", "a rather long password"))
    return client


def policy(response: object) -> dict[str, str]:
    text = response.headers["Content-Security-Policy"]  # type: ignore[attr-defined]
    return dict(part.strip().partition(" ")[::2] for part in text.split(";"))


@pytest.mark.parametrize("path", PAGES)
def test_no_page_has_scripts_in_it_and_none_would_run(alice, path):
    response = alice.get(path, follow=True)
    assert response.status_code == 200
    html = response.content.decode()
    assert INLINE.findall(html) == []
    assert HANDLER.findall(html) == []
    found = policy(response)
    assert found["script-src"] == "'self' 'unsafe-eval'"
    assert found["default-src"] == "'none'"
    assert found["connect-src"] == "'self'"
    assert found["form-action"] == "'self'"
    assert found["frame-ancestors"] == "'none'"


def test_the_policy_is_on_what_nobody_signed_in_sees(client, db):
    for path in ("/admin/login/", "/admin/", "/nothing-is-here", "/invitation/x/"):
        response = client.get(path)
        assert "'unsafe-inline'" not in policy(response)["script-src"], path
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert response.headers["Referrer-Policy"] == "same-origin"
        assert "camera=()" in response.headers["Permissions-Policy"]


def test_public_pages_keep_their_own_policy(client, db):
    assert "unsafe" not in client.get("/").headers["Content-Security-Policy"]


def test_the_login_s_form_may_lead_to_single_sign_on_and_no_other_page_s(alice, client, settings):
    settings.OIDC_ISSUER, settings.OIDC_CLIENT_ID, settings.OIDC_CLIENT_SECRET = "https://id.example", "x", "y"
    assert policy(client.get("/admin/login/"))["form-action"] == "'self' https: http:"
    assert policy(alice.get("/admin/"))["form-action"] == "'self'"


@pytest.mark.parametrize("path", ["/admin/login/", "/admin/security/", "/invitation/"])
def test_browsers_keep_no_page_around_signing_in(alice, path):
    assert "no-store" in alice.get(path).headers["Cache-Control"]


def test_unfold_still_has_no_scripts_in_its_pages():
    """What the policy rests on; a new release may differ."""
    templates = Path(unfold.__file__).parent / "templates"
    found = [path.name for path in templates.rglob("*.html") if INLINE.search(path.read_text(encoding="utf-8"))]
    assert found == []


def test_our_own_pages_have_no_scripts_in_them():
    templates = Path(django_settings.BASE_DIR) / "templates"
    for path in templates.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not INLINE.search(text), path
        assert not HANDLER.search(text), path


def test_django_s_checks_for_deployment_have_nothing_to_say():
    environment = {
        **os.environ,
        "SECRET_KEY": "kX2v9QwLr7TzB4nYp1JhM6sDfG8aEcUo3iRtVxWbNqZyHjKlPm5CgE0uSd",
        "HTTPS": "1",
        "HSTS_SECONDS": "31536000",
        "ALLOWED_HOSTS": "gateway.example.com",
        "CSRF_TRUSTED_ORIGINS": "https://gateway.example.com",
        "OIDC_ISSUER": "https://id.example.com",
        "OIDC_CLIENT_ID": "tollgate",
        "OIDC_CLIENT_SECRET": "secret",
    }
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    done = subprocess.run(command, cwd=django_settings.BASE_DIR, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNINGS" not in done.stderr, done.stderr
