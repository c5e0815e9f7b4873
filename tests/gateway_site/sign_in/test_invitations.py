"""Invitations. Olive owns Acme, dave is invited, charlie owns another tenant and must see nothing of it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tenants.invitations import InvitationRefused, Issued, accept, find, invite, renew, withdraw
from tenants.models import Invitation, Member, Tenant, User
from tests.gateway_site.people import PASSWORD, browser, make_member

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("no_attempts_yet")]

ACCOUNT = {"name": "Dave Doe", "password1": PASSWORD, "password2": PASSWORD}


@pytest.fixture
def olive(acme: Tenant) -> User:
    return make_member(acme, "olive")


@pytest.fixture
def issued(acme: Tenant, olive: User) -> Issued:
    return invite(tenant=acme, email="Dave@Example.com", role="developer", by=olive)


def opened(token: str, client: Client) -> Any:
    return client.get(f"/invitation/{token}/", follow=True)


# --- Inviting ----------------------------------------------------------------------------------------------


def test_only_a_hash_of_the_token_is_kept(issued):
    stored = str(Invitation.objects.values().get())
    assert issued.token not in stored
    assert len(issued.token) >= 43
    assert find(issued.token) == issued.invitation
    assert find("another") is None


def test_an_owner_invites_and_is_shown_the_link_where_no_e_mails_are_sent(olive, acme, mailoutbox):
    client = browser(olive)
    page = client.post("/admin/tenants/invitation/add/", {"email": "dave@example.com", "role": "viewer"})
    text = page.content.decode()
    link = re.search(r"http://testserver/invitation/([\w-]{43})/", text)
    assert link is not None, text[:3000]
    assert "until an operator sets EMAIL_HOST" in text
    assert "no-store" in page["Cache-Control"]
    assert mailoutbox == []
    assert find(link[1]).tenant == acme
    for url in ("/admin/tenants/invitation/", f"/admin/tenants/invitation/{find(link[1]).pk}/change/"):
        later = client.get(url).content.decode()
        assert link[1] not in later
        assert find(link[1]).token_hash not in later


def test_an_invitation_is_mailed(olive, settings, mailoutbox):
    settings.EMAIL_HOST = "mail.example"
    reply = browser(olive).post("/admin/tenants/invitation/add/", {"email": "dave@example.com", "role": "viewer"})
    assert reply.url == "/admin/tenants/invitation/"
    letter = mailoutbox[0]
    assert letter.to == ["dave@example.com"]
    assert "olive invites you to Acme as viewer" in letter.body
    assert re.search(r"http://testserver/invitation/[\w-]{43}/", letter.body)
    assert Invitation.objects.get().mailed_at is not None


def test_a_member_is_not_invited(olive, acme):
    page = browser(olive).post("/admin/tenants/invitation/add/", {"email": "OLIVE@example.com", "role": "viewer"})
    assert "olive@example.com is a member already" in page.content.decode()
    with pytest.raises(InvitationRefused, match="member already"):
        invite(tenant=acme, email="olive@example.com", role="viewer", by=None)
    assert not Invitation.objects.exists()


def test_inviting_tells_nothing_of_other_accounts(olive, charlie):
    """Whether an address has an account here, an owner does not learn."""
    client = browser(olive)
    for email in ("charlie@example.com", "nobody@example.com"):
        page = client.post("/admin/tenants/invitation/add/", {"email": email, "role": "viewer"}).content.decode()
        assert "Copy this link now" in page


def test_an_address_has_one_open_invitation(olive, acme, issued):
    page = browser(olive).post("/admin/tenants/invitation/add/", {"email": "dave@example.com", "role": "owner"})
    assert "has an invitation already" in page.content.decode()
    with pytest.raises(InvitationRefused, match="already"):
        invite(tenant=acme, email="DAVE@example.com", role="viewer", by=None)
    withdraw(issued.invitation)
    invite(tenant=acme, email="dave@example.com", role="viewer", by=None)


@pytest.mark.parametrize("role", ["developer", "viewer"])
def test_only_owners_invite(acme, role):
    client = browser(make_member(acme, "eve", role))
    assert client.get("/admin/tenants/invitation/").status_code == 403
    assert client.post("/admin/tenants/invitation/add/", {"email": "x@example.com", "role": "owner"}).status_code == 403


def test_sending_again_makes_another_link(olive, issued):
    client = browser(olive)
    assert client.get(send_again(issued)).status_code == 200
    assert find(issued.token) is not None  # asking changes nothing
    text = client.post(send_again(issued)).content.decode()
    assert find(issued.token) is None
    assert find(re.search(r"/invitation/([\w-]{43})/", text)[1]) == issued.invitation


def test_withdrawing_voids_the_link(olive, issued):
    url = reverse("admin:tenants_invitation_withdraw", args=[issued.invitation.pk])
    browser(olive).post(url, {"_form_submitted": "True"})
    page = opened(issued.token, browser())
    assert page.status_code == 410
    assert "has been withdrawn" in page.content.decode()


def send_again(issued: Issued) -> str:
    return reverse("admin:tenants_invitation_send_again", args=[issued.invitation.pk])


def test_charlie_sees_sends_and_withdraws_none_of_acme_s(charlie, issued, acme):
    client = browser(charlie)
    assert "dave@example.com" not in client.get("/admin/tenants/invitation/?q=dave").content.decode()
    key = issued.invitation.pk
    assert client.get(reverse("admin:tenants_invitation_change", args=[key])).status_code in {302, 403, 404}
    for verb in ("send_again", "withdraw"):
        url = reverse(f"admin:tenants_invitation_{verb}", args=[key])
        assert client.post(url, {"_form_submitted": "True"}).status_code in {403, 404}, verb
    client.post("/admin/tenants/invitation/add/", {"tenant": acme.pk, "email": "x@example.com", "role": "owner"})
    assert list(acme.invitations.all()) == [issued.invitation]
    issued.invitation.refresh_from_db()
    assert issued.invitation.state == "waiting"
    assert find(issued.token) is not None


# --- Accepting ---------------------------------------------------------------------------------------------


def test_a_new_account_joins(issued, acme):
    client = browser()
    page = opened(issued.token, client)
    assert page.redirect_chain == [("/invitation/", 302)]  # the token is out of the address
    assert issued.token not in page.content.decode()
    assert client.post("/invitation/", ACCOUNT).url == "/admin/"
    dave = User.objects.get(username="dave@example.com")
    assert dave.get_full_name() == "Dave Doe"
    assert not dave.email_is_proven  # the link was handed over, not mailed
    assert dave.memberships.get().role == "developer"
    assert client.get("/admin/").status_code == 200
    assert not dave.is_staff


def test_who_was_mailed_the_link_has_proven_their_address(issued):
    Invitation.objects.update(mailed_at=timezone.now())
    client = browser()
    opened(issued.token, client)
    client.post("/invitation/", ACCOUNT)
    assert User.objects.get(username="dave@example.com").email_is_proven


def test_opening_a_link_does_not_use_it(issued):
    """Mail scanners open links."""
    for _ in range(3):
        assert opened(issued.token, browser()).status_code == 200
    assert find(issued.token).state == "waiting"


def test_a_link_works_once(issued):
    first = browser()
    opened(issued.token, first)
    late = browser()
    opened(issued.token, late)
    first.post("/invitation/", ACCOUNT)
    assert "has been used already" in opened(issued.token, browser()).content.decode()
    assert late.post("/invitation/", {**ACCOUNT, "name": "Eve"}).status_code == 410
    assert Member.objects.filter(tenant__slug="acme", role="developer").count() == 1


def test_an_expired_link_says_so(issued):
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    page = opened(issued.token, browser())
    assert page.status_code == 410
    assert "has expired" in page.content.decode()
    with pytest.raises(InvitationRefused, match="expired"):
        accept(issued.invitation, User.objects.create_user("dave"))
    fresh = renew(issued.invitation)
    assert opened(fresh.token, browser()).status_code == 200


def test_a_link_that_nobody_sent_is_none(db):
    page = opened("x" * 43, browser())
    assert page.status_code == 404
    assert "no such invitation" in page.content.decode()


def test_without_a_link_there_is_nothing_to_accept(issued, charlie):
    assert browser().post("/invitation/", ACCOUNT).status_code == 404
    assert browser(charlie).post("/invitation/", {"verb": "join"}).status_code == 404
    assert not charlie.memberships.filter(tenant__slug="acme").exists()


def test_a_browser_that_opened_an_older_link_accepts_nothing(issued):
    client = browser()
    opened(issued.token, client)
    renew(issued.invitation)
    assert client.post("/invitation/", ACCOUNT).status_code == 404


def test_who_is_signed_in_with_the_address_joins(issued):
    dave = User.objects.create_user("dave", "dave@example.com", PASSWORD)
    client = browser(dave)
    page = opened(issued.token, client).content.decode()
    assert "Join as dave" in page
    assert "which is another address" not in page
    client.post("/invitation/", {"verb": "join"})
    assert dave.memberships.get().tenant.slug == "acme"


def test_who_is_signed_in_as_somebody_else_chooses(issued, charlie):
    client = browser(charlie)
    page = opened(issued.token, client).content.decode()
    assert "You are signed in as <strong>charlie</strong>" in page
    assert "Sign out, and use another account" in page
    assert client.post("/invitation/", ACCOUNT).status_code == 200  # no verb, nothing happens
    assert not charlie.memberships.filter(tenant__slug="acme").exists()
    client.post("/invitation/", {"verb": "leave"})
    assert client.get("/admin/").status_code == 302
    assert client.post("/invitation/", ACCOUNT).url == "/admin/"
    assert User.objects.get(username="dave@example.com").memberships.get().tenant.slug == "acme"


def test_an_existing_account_signs_in_to_accept(issued):
    User.objects.create_user("dave", "dave@example.com", PASSWORD)
    client = browser()
    opened(issued.token, client)
    reply = client.post("/admin/login/", {"username": "dave", "password": PASSWORD, "next": "/invitation/"})
    assert reply.url == "/invitation/"
    assert "Join as dave" in client.get("/invitation/").content.decode()


def test_an_account_is_not_made_twice(issued):
    User.objects.create_user("dave", "Dave@example.com", PASSWORD)
    client = browser()
    opened(issued.token, client)
    assert "If you have an account already" in client.post("/invitation/", ACCOUNT).content.decode()
    assert User.objects.filter(email__iexact="dave@example.com").count() == 1


@pytest.mark.parametrize("changes", [{"password1": "short", "password2": "short"}, {"password2": "another password"}])
def test_a_poor_password_makes_no_account(issued, changes):
    client = browser()
    opened(issued.token, client)
    assert client.post("/invitation/", ACCOUNT | changes).status_code == 200
    assert not User.objects.filter(username="dave@example.com").exists()
