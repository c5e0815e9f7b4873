"""What belongs to a tenant: offered for that tenant only, never moved to another, and shown to nobody else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.db.models import ForeignKey, QuerySet
from django.http import HttpRequest

from tenants.standing import Standing, standing_of


def standing_in(request: HttpRequest) -> Standing:
    """What whoever asks is."""
    return standing_of(request.user)


class TenantOwnedForm(forms.ModelForm):
    """Fixes the tenant once it is chosen; the field stays, for names are unique within a tenant."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None and "tenant" in self.fields:
            self.fields["tenant"].disabled = True


class ScopedMixin:
    """Pages that show members what their own tenant has, whatever the address asks for.

    Lists, single objects, autocompletes, actions and exports all start at `get_queryset`; what is chosen in forms is
    restricted to what the other pages would show.
    """

    tenant_path = "tenant"  # from the model to its tenant
    operator_fields: Sequence[str] = ("tenant",)  # which only operators see
    operator_filters: Sequence[str] = ("tenant",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        found: QuerySet[Any] = super().get_queryset(request)  # type: ignore[misc]
        standing = standing_in(request)
        if standing.is_operator:
            return found
        return found.none() if standing.tenant is None else found.filter(**{self.tenant_path: standing.tenant_id})

    def formfield_for_foreignkey(self, db_field: ForeignKey, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer what the related object's own page would show; what has none is for operators."""
        if not standing_in(request).is_operator:
            kwargs["queryset"] = self._offered(db_field, request)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)  # type: ignore[misc]

    def _offered(self, db_field: ForeignKey, request: HttpRequest) -> QuerySet[Any]:
        related: Any = db_field.related_model
        page: Any = self.admin_site._registry.get(related)  # type: ignore[attr-defined]
        return page.get_queryset(request) if isinstance(page, ScopedMixin) else related._default_manager.none()


class TenantOwnedMixin(ScopedMixin):
    """Pages of what a tenant owns; their autocompletes take the tenant along (see scoped_autocomplete.js)."""

    form = TenantOwnedForm

    class Media:
        js = ("admin/js/jquery.init.js", "js/scoped_autocomplete.js")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        found, may_have_duplicates = super().get_search_results(request, queryset, search_term)  # type: ignore[misc]
        tenant = request.GET.get("tenant", "")
        return (found.filter(tenant=tenant) if tenant.isdecimal() else found), may_have_duplicates


def without_shortcuts(field: forms.Field) -> None:
    """Take away the pop-ups for the related object: a new key's secret would be lost in one."""
    widget: Any = field.widget
    widget.can_add_related = widget.can_change_related = False
    widget.can_delete_related = widget.can_view_related = False
