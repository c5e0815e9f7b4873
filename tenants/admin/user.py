from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.http import HttpRequest
from django.utils.safestring import mark_safe
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from gateway_site.infra.admin import Admin
from tenants.models import User

LABELS = {"email": "E-mail address"}
HELP = {
    "username": "What they sign in with, as with their e-mail address: letters, digits and @ . + - _, 150 at most.",
    "is_active": "Who is not active cannot sign in. Better than deleting them: what they did keeps their name.",
    "is_staff": "An operator, who sees all tenants as far as the groups below allow.",
    "is_superuser": "An operator who may do everything, without any group.",
    "groups": "What an operator may do: all that any of these allows.",
}


class UserForm(UserChangeForm):
    """What may be set of somebody, in our words."""

    class Meta(UserChangeForm.Meta):
        labels = LABELS
        help_texts = HELP

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "password" in self.fields:
            told = 'Nobody can read it. <a href="../password/" class="text-link">Set another one</a>'
            self.fields["password"].help_text = mark_safe(told)


class NewUserForm(UserCreationForm):
    class Meta(UserCreationForm.Meta):
        labels = LABELS
        help_texts = HELP


@admin.register(User)
class UserAdmin(DjangoUserAdmin, Admin):
    form = UserForm
    add_form = NewUserForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "full_name", "is_active", "is_staff", "is_superuser", "signed_in")
    search_help_text = "Name or e-mail address"
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

    @admin.display(description="Last login", ordering="last_login", empty_value="Never")
    def signed_in(self, user: User) -> datetime | None:
        return user.last_login


def _may_as_much(user: Any, other: Any) -> bool:
    """Whether an operator may all that another user may in Django's permissions; None: anybody."""
    if user.is_superuser or not isinstance(other, User):
        return True
    return not other.is_superuser and other.get_all_permissions() <= user.get_all_permissions()
