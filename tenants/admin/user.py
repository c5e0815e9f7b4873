from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.http import HttpRequest
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from gateway_site.infra.admin import Admin
from tenants.models import User


@admin.register(User)
class UserAdmin(DjangoUserAdmin, Admin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "full_name", "is_active", "is_staff", "is_superuser", "last_login")
    filter_horizontal = ()
    autocomplete_fields = ("groups",)
    readonly_fields = ("last_login", "date_joined")
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": (("first_name", "last_name"), ("email", "email_is_proven"))}),
        ("Access", {"fields": ("is_active", "is_staff", "is_superuser", "groups")}),
        ("Dates", {"fields": (("last_login", "date_joined"),)}),
    )
    add_fieldsets = ((None, {"fields": ("username", "email", "usable_password", "password1", "password2")}),)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Superusers say what an operator may: whoever else could would make themselves one."""
        found = super().get_readonly_fields(request, obj)
        return found if request.user.is_superuser else (*found, "is_superuser", "groups")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody sets the password of somebody who may do more than they: it would be theirs then."""
        return super().has_change_permission(request, obj) and _may_as_much(request.user, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and _may_as_much(request.user, obj)

    @admin.display(description="Name", ordering="last_name")
    def full_name(self, user: User) -> str:
        return user.get_full_name()


def _may_as_much(user: Any, other: Any) -> bool:
    """Whether an operator may all that another user may in Django's permissions; None: anybody."""
    if user.is_superuser or not isinstance(other, User):
        return True
    return not other.is_superuser and other.get_all_permissions() <= user.get_all_permissions()
