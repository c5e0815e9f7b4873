"""Two people do the same thing at once: whoever is slower is told so by the form, as if they had come a minute later."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest
from django.db import connection
from django.db.models.signals import pre_save
from django.test import Client

from tenants.api_tokens import create_token
from tenants.invitations import InvitationRefused, accept, invite
from tenants.models import Invitation, Member, Project, Tenant, User

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def somebody_faster(model: type, act: Callable[[], object]) -> Iterator[None]:
    """Let somebody else do something in the moment before an object of this kind is saved, once."""
    waiting = [act]

    def run() -> None:
        try:
            waiting.pop()()
        finally:
            connection.close()

    def receive(**_: Any) -> None:
        if waiting:
            pre_save.disconnect(receive, sender=model)
            thread = Thread(target=run)
            thread.start()
            thread.join()

    pre_save.connect(receive, sender=model)
    try:
        yield
        assert not waiting, "nothing was saved"
    finally:
        pre_save.disconnect(receive, sender=model)


def test_two_owners_invite_one_address_at_once(acme: Tenant, bob: Client):
    fields = {"email": "dave@example.com", "role": "developer"}
    with somebody_faster(Invitation, lambda: invite(tenant=acme, email="dave@example.com", role="viewer", by=None)):
        page = bob.post("/admin/tenants/invitation/add/", fields)
    assert page.status_code == 200
    assert "dave@example.com has an invitation already" in page.content.decode()
    assert Invitation.objects.get().role == "viewer"


def test_somebody_is_made_a_member_while_they_are_invited(acme: Tenant, bob: Client):
    dave = User.objects.create_user("dave", "dave@example.com")
    with somebody_faster(
        Invitation,
        lambda: (
            invite(tenant=acme, email=dave.email, role="viewer", by=None),
            Member.objects.create(tenant=acme, user=dave),
        ),
    ):
        page = bob.post("/admin/tenants/invitation/add/", {"email": "dave@example.com", "role": "developer"})
    assert "dave@example.com is a member already" in page.content.decode()


def test_two_owners_make_one_project_at_once(acme: Tenant, bob: Client):
    empty = {f"{prefix}-{name}_FORMS": "0" for prefix in ("ratelimits", "budgets") for name in ("TOTAL", "INITIAL")}
    with somebody_faster(Project, lambda: Project.objects.create(tenant=acme, slug="web", name="Theirs")):
        page = bob.post("/admin/tenants/project/add/", {"slug": "web", "name": "Ours", **empty})
    assert page.status_code == 200
    assert "already exists" in page.content.decode()
    assert Project.objects.get().name == "Theirs"


def test_two_programs_make_one_project_at_once(acme: Tenant):
    _, secret = create_token(name="ci", scopes=["*"], tenant=acme)
    client = Client(headers={"authorization": f"Bearer {secret}"})
    with somebody_faster(Project, lambda: Project.objects.create(tenant=acme, slug="web")):
        answer = client.post("/api/v1/projects", json.dumps({"slug": "web"}), content_type="application/json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict")


def test_somebody_accepts_two_invitations_at_once(acme: Tenant):
    dave = User.objects.create_user("dave", "dave@example.com")
    invitation = invite(tenant=acme, email="d@example.com", role="developer", by=None).invitation
    with (
        somebody_faster(Member, lambda: Member.objects.create(tenant=acme, user=dave, role="viewer")),
        pytest.raises(InvitationRefused, match="a member of Acme already"),
    ):
        accept(invitation, dave)
    invitation.refresh_from_db()
    assert (Member.objects.get().role, invitation.accepted_at) == ("viewer", None)


def test_charlie_is_told_nothing_of_acme_s_invitation_at_the_same_address(acme: Tenant, charlie: Client):
    with somebody_faster(Invitation, lambda: invite(tenant=acme, email="dave@example.com", role="viewer", by=None)):
        page = charlie.post("/admin/tenants/invitation/add/", {"email": "dave@example.com", "role": "developer"})
    assert "already" not in page.content.decode()
    assert Invitation.objects.count() == 2
