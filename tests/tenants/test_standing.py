"""What somebody is at the console: an operator, a member, an operator in an owner's place; and what each may."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command

from tenants.auditors import GROUP
from tenants.models import Member, Tenant, User
from tenants.roles import DEVELOPER, OWNER, PERMISSIONS, VIEWER
from tenants.standing import ACTS_AS, NOBODY, OPERATOR, TENANT, find_standing, standing_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(db: None) -> User:
    return User.objects.create_superuser("operator")


def dressed(user: User, **session: Any) -> User:
    """A user as a request has it."""
    user.standing = find_standing(user, session)
    return user


# --- Members -----------------------------------------------------------------------------------------------


def test_a_member_sees_their_tenant_with_their_role(alice: Tenant, bob: User):
    standing = find_standing(bob, {})
    assert (standing.tenant, standing.role, standing.is_operator, standing.is_acting) == (
        alice,
        "developer",
        False,
        False,
    )


def test_a_member_of_several_tenants_looks_at_the_one_they_chose(alice: Tenant, bob: User, charlie: Tenant):
    Member.objects.create(tenant=charlie, user=bob, role="owner")
    assert find_standing(bob, {}).tenant == alice
    chosen = find_standing(bob, {TENANT: charlie.pk})
    assert (chosen.tenant, chosen.role) == (charlie, "owner")
    assert chosen.choices == (alice, charlie)


def test_who_is_no_member_of_a_tenant_cannot_choose_it(alice: Tenant, bob: User, charlie: Tenant):
    assert find_standing(bob, {TENANT: charlie.pk}).tenant == alice


def test_a_member_cannot_act(alice: Tenant, bob: User, charlie: Tenant):
    assert find_standing(bob, {ACTS_AS: charlie.pk}).tenant == alice


def test_who_is_no_member_and_no_operator_is_nobody(charlie: Tenant):
    user = User.objects.create_user("dora")
    assert find_standing(user, {}) is NOBODY
    assert not NOBODY.is_somebody


def test_whose_account_is_switched_off_is_nobody(alice: Tenant, bob: User, operator: User):
    for user in (bob, operator):
        user.is_active = False
        assert find_standing(user, {}) is NOBODY
        assert standing_of(user) is NOBODY


def test_a_role_is_all_that_a_member_has(alice: Tenant, bob: User):
    """Permissions in Django's tables, left over from days as an operator, give a member nothing."""
    bob.user_permissions.add(Permission.objects.get(codename="delete_tenant"))
    bob = dressed(User.objects.get(pk=bob.pk))
    assert bob.has_perm("tenants.add_apikey")
    assert not bob.has_perm("tenants.delete_tenant")
    assert bob.has_module_perms("tenants")
    assert not bob.has_module_perms("providers")


def test_roles_grow_from_viewer_to_owner():
    assert VIEWER < DEVELOPER < OWNER
    assert all(permission.split(".")[1].startswith("view_") for permission in VIEWER)


def test_permissions_of_roles_exist():
    known = {f"{app}.{name}" for app, name in Permission.objects.values_list("content_type__app_label", "codename")}
    assert set().union(*PERMISSIONS.values()) <= known


# --- Operators ---------------------------------------------------------------------------------------------


def test_staff_is_an_operator_even_as_a_member(alice: Tenant, operator: User):
    Member.objects.create(tenant=alice, user=operator, role="viewer")
    assert find_standing(operator, {TENANT: alice.pk}) is OPERATOR


def test_an_operator_who_acts_has_an_owner_s_rights_and_no_others(alice: Tenant, operator: User):
    acting = dressed(operator, **{ACTS_AS: alice.pk})
    assert acting.standing is not None
    assert (acting.standing.tenant, acting.standing.role, acting.standing.is_acting) == (alice, "owner", True)
    assert acting.has_perm("tenants.change_tenant")
    assert not acting.has_perm("tenants.delete_tenant")
    assert not acting.has_perm("providers.view_provider")
    assert find_standing(acting, {ACTS_AS: alice.pk}) == acting.standing  # asked once more


def test_a_deleted_tenant_ends_acting(charlie: Tenant, operator: User):
    number = charlie.pk
    charlie.delete()
    assert find_standing(operator, {ACTS_AS: number}) is OPERATOR


def test_who_may_not_change_tenants_acts_for_nobody(alice: Tenant):
    """Also when the right is taken away in the middle of it."""
    eve = User.objects.create_user("eve", is_staff=True)
    eve.user_permissions.add(Permission.objects.get(codename="view_tenant"))
    assert find_standing(eve, {ACTS_AS: alice.pk}) is OPERATOR
    eve.user_permissions.add(Permission.objects.get(codename="change_tenant"))
    eve = User.objects.get(pk=eve.pk)
    assert find_standing(eve, {ACTS_AS: alice.pk}).is_acting


def test_who_is_an_operator_no_more_acts_for_nobody(alice: Tenant, operator: User):
    operator.is_staff = False
    assert find_standing(operator, {ACTS_AS: alice.pk}) is NOBODY


# --- Auditors ----------------------------------------------------------------------------------------------


def test_auditors_see_everything_and_change_nothing():
    auditor = User.objects.create_user("eve", is_staff=True)
    auditor.groups.add(Group.objects.get(name=GROUP))
    for app in ("tenants", "providers", "routing"):
        for permission in Permission.objects.filter(content_type__app_label=app):
            name = f"{app}.{permission.codename}"
            assert auditor.has_perm(name) == permission.codename.startswith("view_"), name


def test_an_update_gives_auditors_what_is_new_and_takes_nothing():
    group = Group.objects.get(name=GROUP)
    own = Permission.objects.get(codename="change_budget")
    group.permissions.set([own])
    call_command("migrate", verbosity=0)
    names = set(group.permissions.values_list("codename", flat=True))
    assert names >= {"view_tenant", "view_provider", "view_route", "change_budget"}
