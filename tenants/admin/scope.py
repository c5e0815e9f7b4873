"""What belongs to a tenant: offered for that tenant only, and never moved to another."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest


class TenantOwnedForm(forms.ModelForm):
    """Fixes the tenant once it is chosen; the field stays, for names are unique within a tenant."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None and "tenant" in self.fields:
            self.fields["tenant"].disabled = True


class TenantOwnedMixin:
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
