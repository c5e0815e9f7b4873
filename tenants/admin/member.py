from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter
from unfold.decorators import display

from gateway_site.infra.admin import Admin, TableRows
from tenants.admin.scope import ScopedMixin, TenantOwnedForm, standing_in
from tenants.models import ApiKey, ApiToken, Member, Tenant

LAST_OWNER = "A tenant has an owner: make somebody else one first."


class MemberForm(TenantOwnedForm):
    """Owners keep their tenant in somebody's hands; operators may leave it without an owner."""

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean()  # type: ignore[assignment]
        if self.only_tenant is not None and cleaned.get("role") != Member.Role.OWNER:
            lock(self.only_tenant)
            if not has_other_owner(self.only_tenant, [self.instance]):
                raise ValidationError({"role": LAST_OWNER})
        return cleaned


def has_other_owner(tenant: Tenant, without: Iterable[Member]) -> bool:
    """Whether a tenant has an owner besides some."""
    owners = tenant.members.filter(role=Member.Role.OWNER)
    return owners.exclude(pk__in=[member.pk for member in without]).exists()


def lock(tenant: Tenant) -> None:
    """Let two owners that leave at once do it one after the other, until the end of the transaction."""
    Tenant.objects.select_for_update().get(pk=tenant.pk)


def what_they_know(member: Member) -> str:
    """Which secrets somebody has seen that go on working without them; empty: none."""
    theirs = {"tenant": member.tenant_id, "created_by": member.user_id}
    tokens = [token.name for token in ApiToken.objects.active().filter(**theirs).order_by("name")]
    keys = [key.name for key in ApiKey.objects.of_programs().active().filter(**theirs).order_by("name")]
    found = [f"{noun} {', '.join(names)}" for noun, names in (("API tokens:", tokens), ("API keys:", keys)) if names]
    if not found:
        return ""
    return f"{member.user} has seen secrets that go on working. {'; '.join(found)}. Revoke or rotate what must not."


@admin.register(Member)
class MemberAdmin(ScopedMixin, Admin):
    operator_decides = ("user",)
    form = MemberForm
    list_display = ("user", "tenant", "role_label", "created_at")
    list_select_related = ("user", "tenant")
    list_filter = (("tenant", AutocompleteSelectFilter), ("role", ChoicesDropdownFilter))
    search_fields = ("user__username", "user__email", "tenant__slug", "tenant__name")
    search_help_text = "User or tenant"
    autocomplete_fields = ("tenant", "user")
    fields = ("tenant", "user", "role")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody who is signed in as an owner takes the last one away, be it themselves."""
        if not super().has_delete_permission(request, obj):
            return False
        return not isinstance(obj, Member) or self._may_leave(request, [obj])

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        self._delete(request, [obj], lambda: super(MemberAdmin, self).delete_model(request, obj))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self._delete(request, list(queryset), lambda: super(MemberAdmin, self).delete_queryset(request, queryset))

    def _delete(self, request: HttpRequest, members: list[Member], delete: Any) -> None:
        with transaction.atomic():
            for member in members[:1]:
                lock(member.tenant)
            if not self._may_leave(request, members):
                raise PermissionDenied(LAST_OWNER)
            delete()
        for sentence in map(what_they_know, members):
            if sentence:
                self.message_user(request, sentence, messages.WARNING)

    def _may_leave(self, request: HttpRequest, members: list[Member]) -> bool:
        tenant = standing_in(request).tenant
        if tenant is None or all(member.role != Member.Role.OWNER for member in members):
            return True
        return has_other_owner(tenant, members)

    @display(description="Role", ordering="role", label={"owner": "primary", "developer": "info"})
    def role_label(self, member: Member) -> tuple[str, str]:
        return member.role, member.get_role_display()


class MemberRows(TableRows):
    """The people of a tenant: owners have a page of their own for them, which watches over the last one."""

    model = Member
    fields = ("user", "role")
    autocomplete_fields = ("user",)
    tab = True
    per_page = 10

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_add_permission(request, obj) and standing_in(request).is_operator

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and standing_in(request).is_operator

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and standing_in(request).is_operator
