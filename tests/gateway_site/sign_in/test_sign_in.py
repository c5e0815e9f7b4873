"""Signing in with a password, and what a session is good for. Alice operates, bob is Acme's, charlie is nobody here."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.cache import cache, caches
from django.test import Client

from gateway_site.infra.cache import ForgivingCache
from gateway_site.sign_in.rules import SEEN_AT, SIGNED_IN_AT, is_over
from tenants.models import User
from tests.environment import STATE_DIR
from tests.gateway_site.people import PASSWORD

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_attempts_yet")]

LOGIN = "/admin/login/"


@pytest.fixture
def alice(db: None) -> User:
    return User.objects.create_superuser("alice", "alice@example.com", PASSWORD)


def sign_in(client: Client, name: str, password: str = PASSWORD, **more: str) -> Any:
    return client.post(LOGIN, {"username": name, "password": password, **more})


# --- The way in --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["alice", "alice@example.com", "Alice@Example.com"])
def test_a_name_and_an_address_both_sign_in(client, alice, name):
    assert sign_in(client, name).url == "/admin/"
    assert client.get("/admin/").status_code == 200


def test_the_console_leads_to_the_login_and_back(client, alice):
    url = client.get("/admin/tenants/tenant/?q=x").url
    assert url == "/admin/login/?next=/admin/tenants/tenant/%3Fq%3Dx"
    page = client.get(url).content.decode()
    assert 'name="next" value="/admin/tenants/tenant/?q=x"' in page
    assert sign_in(client, "alice", next="/admin/tenants/tenant/?q=x").url == "/admin/tenants/tenant/?q=x"


def test_the_login_leads_to_no_other_site(client, alice):
    assert sign_in(client, "alice", next="https://evil.example/").url == "/admin/"


@pytest.mark.parametrize("name", ["alice", "nobody-has-this-name", "alice@example.com", "nobody@example.com"])
def test_a_refusal_tells_nothing_of_accounts(client, alice, name):
    page = sign_in(client, name, "not the password").content.decode()
    assert "The name or the password is not right." in page
    assert client.get("/admin/").status_code == 302


def test_who_was_switched_off_is_told_so_and_stays_outside(client, bob):
    User.objects.update(is_active=False)
    assert sign_in(client, "bob").url == "/admin/login/inactive/"
    assert "switched off" in client.get("/admin/login/inactive/").content.decode()
    assert client.get("/admin/").status_code == 302


def test_charlie_signs_in_and_finds_nothing(client, bob):
    User.objects.create_user("charlie", "charlie@example.com", PASSWORD)
    assert sign_in(client, "charlie").url == "/admin/"
    page = client.get("/admin/", follow=True)
    assert page.status_code == 403
    assert "neither an operator nor a member" in page.content.decode()


@pytest.mark.parametrize("path", ["/accounts/signup/", "/admin/signup/", "/admin/login/signup/", "/signup/"])
def test_nobody_signs_up(client, alice, path):
    assert client.get(path, follow=True).status_code in {200, 404}
    client.post(path, {"username": "eve", "email": "eve@example.com", "password1": PASSWORD})
    assert not User.objects.filter(username="eve").exists()


def test_signing_out_ends_the_session(client, alice):
    sign_in(client, "alice")
    assert client.get("/admin/logout/").status_code == 405  # a link on another site signs nobody out
    assert client.post("/admin/logout/").url == LOGIN
    assert client.get("/admin/").status_code == 302


def test_the_login_wants_a_form_of_ours(alice):
    client = Client(enforce_csrf_checks=True)
    assert sign_in(client, "alice").status_code == 403
    client.get(LOGIN)
    token = client.cookies["csrftoken"].value
    assert sign_in(client, "alice", csrfmiddlewaretoken=token).status_code == 302


# --- Guessing ----------------------------------------------------------------------------------------------


def test_guessing_is_slowed_down_for_the_right_password_too(client, alice):
    for _ in range(5):
        assert "not right" in sign_in(client, "alice", "a guess").content.decode()
    assert "Too many attempts" in sign_in(client, "alice").content.decode()


def test_guessing_at_one_account_does_not_lock_another(client, alice, bob):
    for _ in range(5):
        sign_in(client, "alice", "a guess")
    assert sign_in(client, "bob").status_code == 302


def test_attempts_are_counted_in_valkey(client, alice):
    sign_in(client, "alice", "a guess")
    keys = list(caches["default"]._cache.get_client().scan_iter(match="tollgate:cache:*login_failed*"))
    assert keys


@pytest.fixture
def without_valkey(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    away = {**settings.CACHES["default"], "LOCATION": f"unix://{STATE_DIR}/nobody-listens-here.sock?db=0"}
    settings.CACHES = {"default": away}
    yield
    ForgivingCache._rests_until = 0.0


def test_people_sign_in_while_valkey_is_away(client, alice, without_valkey):
    assert sign_in(client, "alice").url == "/admin/"


def test_guessing_is_slowed_down_while_valkey_is_away(client, alice, without_valkey):
    cache._alone.clear()
    for _ in range(5):
        sign_in(client, "alice", "a guess")
    assert "Too many attempts" in sign_in(client, "alice").content.decode()
    cache._alone.clear()


def test_the_cache_keeps_data_and_no_objects(stores):
    cache.set("an-object", object())
    assert cache.get("an-object") is None
    assert cache.add("a-list", [1.5, "x"])
    assert not cache.add("a-list", [2])
    assert cache.get("a-list") == [1.5, "x"]


def test_clearing_the_cache_leaves_the_rest_of_valkey(stores):
    client = caches["default"]._cache.get_client()
    client.set("tollgate:not-the-cache", "1")
    cache.set("x", 1)
    cache.clear()
    assert client.get("tollgate:not-the-cache") == b"1"
    assert cache.get("x") is None
    client.delete("tollgate:not-the-cache")


# --- Sessions ----------------------------------------------------------------------------------------------


def test_signing_in_gives_another_session(client, alice):
    client.get(LOGIN)
    client.session["before"] = 1
    session = client.session
    session["before"] = 1
    session.save()
    client.cookies["tollgate_session"] = session.session_key
    sign_in(client, "alice")
    assert client.cookies["tollgate_session"].value != session.session_key


def test_the_session_s_cookie_is_for_the_browser_alone(client, alice):
    sign_in(client, "alice")
    cookie = client.cookies["tollgate_session"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["path"] == "/"


def test_a_session_that_was_left_alone_ends(client, alice, settings):
    sign_in(client, "alice")
    age(client, seen=settings.SESSION_IDLE_SECONDS + 1)
    assert client.get("/admin/tenants/tenant/").url == "/admin/login/?next=%2Fadmin%2Ftenants%2Ftenant%2F&ended=1"
    assert client.get("/admin/").status_code == 302
    assert "Your session has ended" in client.get("/admin/login/?ended=1").content.decode()


def test_a_session_in_use_ends_too_one_day(client, alice, settings):
    sign_in(client, "alice")
    age(client, began=settings.SESSION_COOKIE_AGE + 1)
    assert "ended=1" in client.get("/admin/").url


def test_using_a_session_keeps_it(client, alice):
    sign_in(client, "alice")
    age(client, seen=90)
    assert client.get("/admin/").status_code == 200
    assert time.time() - client.session[SEEN_AT] < 60


def test_when_a_session_is_over():
    times = {"longest": 100, "idle": 10, "now": 1000.0}
    assert not is_over(signed_in_at=950, seen_at=995, **times)
    assert is_over(signed_in_at=950, seen_at=980, **times)
    assert is_over(signed_in_at=890, seen_at=999, **times)


def test_a_new_password_ends_all_other_sessions(alice):
    here, elsewhere = Client(), Client()
    sign_in(here, "alice")
    sign_in(elsewhere, "alice")
    words = {"oldpassword": PASSWORD, "password1": "quite another password", "password2": "quite another password"}
    assert here.post("/admin/security/password/", words).status_code == 302
    assert here.get("/admin/").status_code == 200
    assert elsewhere.get("/admin/").status_code == 302


@pytest.mark.parametrize("password", ["short", "password1234", "alice@example.com"])
def test_a_poor_password_is_refused(client, alice, password):
    sign_in(client, "alice")
    words = {"oldpassword": PASSWORD, "password1": password, "password2": password}
    assert client.post("/admin/security/password/", words).status_code == 200
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def age(client: Client, *, seen: int = 0, began: int = 0) -> None:
    session = client.session
    now = int(time.time())
    session[SEEN_AT], session[SIGNED_IN_AT] = now - seen, now - began
    session.save()


# --- A forgotten password ----------------------------------------------------------------------------------


def test_a_forgotten_password_is_replaced_by_mail(client, bob, settings, mailoutbox):
    settings.EMAIL_HOST = "mail.example"
    client.post("/admin/login/forgotten/", {"email": "bob@example.com"})
    link = next(word for word in mailoutbox[0].body.split() if "/admin/login/forgotten/" in word)
    form = client.get(link.partition("testserver")[2], follow=True)
    url = form.redirect_chain[-1][0]
    words = {"password1": "quite another password", "password2": "quite another password"}
    assert client.post(url, words).status_code == 302
    assert sign_in(client, "bob", "quite another password").url == "/admin/"


def test_a_forgotten_password_tells_nothing_of_accounts(client, bob, settings, mailoutbox):
    settings.EMAIL_HOST = "mail.example"
    known = client.post("/admin/login/forgotten/", {"email": "bob@example.com"})
    unknown = client.post("/admin/login/forgotten/", {"email": "nobody@example.com"})
    assert known.url == unknown.url
    assert [mail.to for mail in mailoutbox] == [["bob@example.com"]]


def test_without_a_mail_server_an_operator_is_to_be_asked(client, bob):
    assert "Ask an operator" in client.get("/admin/login/forgotten/").content.decode()


# --- Weight ------------------------------------------------------------------------------------------------


def test_a_worker_starts_without_what_only_signing_in_needs():
    heavy = (
        "redis",
        "requests",
        "fido2",
        "qrcode",
        "jwt",
        "oauthlib",
        "allauth.account.views",
        "gateway_site.sign_in.adapters",
    )
    code = f"import sys, gateway_site.asgi; print([name for name in {heavy!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
