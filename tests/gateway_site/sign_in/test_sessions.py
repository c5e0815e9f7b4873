"""Where somebody is signed in: a list of one's own, a way out of all others, and who is signed out by what others do."""

from __future__ import annotations

from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.test import Client

from gateway_site.sign_in.pages import browser_name
from gateway_site.sign_in.rules import SEEN_AT
from tenants.models import Member, Tenant, User
from tests.gateway_site.people import PASSWORD

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_attempts_yet")]

SESSIONS = "/admin/security/sessions/"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Safari/604.1"


def signed_in(user: User, agent: str = FIREFOX) -> Client:
    client = Client(headers={"user-agent": agent})
    answer = client.post("/admin/login/", {"username": user.username, "password": PASSWORD})
    assert answer.status_code == 302
    return client


def is_inside(client: Client) -> bool:
    return client.get("/admin/").status_code == 200


def words(client: Client) -> str:
    return client.get(SESSIONS).content.decode()


def test_somebody_sees_where_they_are_signed_in(bob: User, charlie: User):
    here = signed_in(bob)
    signed_in(bob, IPHONE)
    signed_in(charlie, "curl/8.0")
    page = words(here)
    assert "Firefox on Linux" in page
    assert "Safari on iPhone" in page
    assert "127.0.0.1" in page
    assert page.count("This one") == 1
    assert "curl" not in page
    assert SESSIONS in here.get("/admin/security/").content.decode()


def test_they_sign_out_everywhere_else_and_nobody_but_them(bob: User, charlie: User):
    here, there, his = signed_in(bob), signed_in(bob, IPHONE), signed_in(charlie)
    assert here.post(SESSIONS).status_code == 302
    assert [is_inside(each) for each in (here, there, his)] == [True, False, True]
    assert "You are signed in nowhere else." in words(here)


def test_a_session_that_was_never_noted_is_noted_with_what_is_done_next(bob: User):
    here, there = signed_in(bob), signed_in(bob)
    UserSession.objects.all().delete()
    session = there.session
    session[SEEN_AT] -= 600
    session.save()
    assert is_inside(there)
    assert UserSession.objects.get().session_key == there.session.session_key
    here.post(SESSIONS)
    assert not is_inside(there)


def test_another_password_ends_the_other_sessions(bob: User):
    here, there = signed_in(bob), signed_in(bob)
    new = "another rather long password"
    changed = here.post("/admin/security/password/", {"oldpassword": PASSWORD, "password1": new, "password2": new})
    assert changed.status_code == 302
    assert [is_inside(each) for each in (here, there)] == [True, False]
    assert words(here).count("This one") == 1


def test_who_is_removed_from_their_last_tenant_is_signed_out(
    bob: User, charlie: User, acme: Tenant, django_capture_on_commit_callbacks: Any
):
    Member.objects.create(tenant=acme, user=charlie)
    client = signed_in(charlie)
    with django_capture_on_commit_callbacks(execute=True):
        Member.objects.get(tenant=acme, user=charlie).delete()
    assert is_inside(client)
    with django_capture_on_commit_callbacks(execute=True):
        Member.objects.get(user=charlie).delete()
    assert not UserSession.objects.filter(user=charlie).exists()
    Member.objects.create(tenant=acme, user=charlie)
    assert not is_inside(client)


def test_whose_account_is_switched_off_has_to_sign_in_again(bob: User, django_capture_on_commit_callbacks: Any):
    client = signed_in(bob)
    for is_active in (False, True):
        with django_capture_on_commit_callbacks(execute=True):
            bob.is_active = is_active
            bob.save()
    assert not is_inside(client)


def test_an_operator_who_was_a_member_stays_signed_in(acme: Tenant, django_capture_on_commit_callbacks: Any):
    olga = User.objects.create_superuser("olga", "olga@example.com", PASSWORD)
    member = Member.objects.create(tenant=acme, user=olga)
    client = signed_in(olga)
    with django_capture_on_commit_callbacks(execute=True):
        member.delete()
    assert is_inside(client)


def test_strangers_are_sent_to_the_login(client: Client, db: None):
    answers: list[Any] = [client.get(SESSIONS), client.post(SESSIONS)]
    for answer in answers:
        assert answer.url.startswith("/admin/login/")


def test_browsers_are_called_by_their_names():
    edge = "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0"
    assert browser_name(edge) == "Edge on Windows"
    assert browser_name("curl/8.5.0") == "curl"
    assert browser_name("") == "An unknown browser"
    assert browser_name("<script>alert(1)</script>/x" * 5)[:9] == "<script>a"  # the page escapes it
