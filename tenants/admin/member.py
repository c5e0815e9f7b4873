from __future__ import annotations

from django.contrib import admin
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter
from unfold.decorators import display

from gateway_site.infra.admin import Admin, TableRows
from tenants.admin.scope import ScopedMixin, TenantOwnedForm
from tenants.models import Member


@admin.register(Member)
class MemberAdmin(ScopedMixin, Admin):
    form = TenantOwnedForm
    list_display = ("user", "tenant", "role_label", "created_at")
    list_select_related = ("user", "tenant")
    list_filter = (("tenant", AutocompleteSelectFilter), ("role", ChoicesDropdownFilter))
    search_fields = ("user__username", "user__email", "tenant__slug", "tenant__name")
    search_help_text = "User or tenant"
    autocomplete_fields = ("tenant", "user")
    fields = ("tenant", "user", "role")

    @display(description="Role", ordering="role", label={"owner": "primary", "developer": "info"})
    def role_label(self, member: Member) -> tuple[str, str]:
        return member.role, member.get_role_display()


class MemberRows(TableRows):
    """The people of a tenant."""

    model = Member
    fields = ("user", "role")
    autocomplete_fields = ("user",)
    tab = True
    per_page = 10
