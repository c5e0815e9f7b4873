"""What belongs to a tenant: offered for that tenant only, never moved to another, and shown to nobody else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import ForeignKey, Model, QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from tenants.standing import Standing, standing_of

if TYPE_CHECKING:
    from tenants.models import Tenant

RANGE_ENDS = re.compile(r"_(from|to)(_[01])?$")  # what unfold's filters of ranges put behind their fields' names


def standing_in(request: HttpRequest) -> Standing:
    """What whoever asks is."""
    return standing_of(request.user)


class TenantOwnedForm(forms.ModelForm):
    """Fixes the tenant once it is chosen; the field stays, for names are unique within a tenant.

    Members have no such field: what they make is their own tenant's.
    """

    only_tenant: Tenant | None = None  # set by `ScopedMixin.get_form`, of a class that is made for one request

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is not None and "tenant" in self.fields:
            self.fields["tenant"].disabled = True
        if self.instance.pk is None and self.only_tenant is not None:
            self.instance.tenant = self.only_tenant

    def _get_validation_exclusions(self) -> set[str]:
        """Check what is unique within a tenant, whether or not the tenant is a field."""
        excluded = super()._get_validation_exclusions()  # type: ignore[misc]
        return excluded - {"tenant"} if self.only_tenant is not None else excluded


class OwnSelectFilter(AutocompleteSelectFilter):
    """Names what was chosen only where the chosen one's page would show it; unfold's own names any object."""

    def choices(self, changelist: Any) -> Iterator[Any]:
        for choice in super().choices(changelist):
            choice["form"].fields[self.lookup_kwarg].queryset = offered(self.model_admin, self.field, self.request)
            yield choice


def offered(page: Any, field: Any, request: HttpRequest) -> QuerySet[Any]:
    """What may be chosen as a related object: what its own page would show; what has none is for operators."""
    related = field.related_model
    shown_by = page.admin_site._registry.get(related)
    return shown_by.get_queryset(request) if isinstance(shown_by, ScopedMixin) else related._default_manager.none()


class ScopedMixin:
    """Pages that show members what their own tenant has, whatever the address asks for.

    Lists, single objects, autocompletes, actions and exports all start at `get_queryset`; what is chosen in forms is
    restricted to what the other pages would show. Who overrides one of the methods below calls it, too: what is hidden
    from members is left out here. An action for operators has `permissions=["operate"]`.
    """

    tenant_path = "tenant"  # from the model to its tenant
    operator_fields: Sequence[str] = ("tenant",)  # which only operators see
    operator_filters: Sequence[str] = ("tenant",)
    operator_decides: Sequence[str] = ()  # fields which members see, and cannot change

    # --- What there is -----------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        found: QuerySet[Any] = super().get_queryset(request)  # type: ignore[misc]
        standing = standing_in(request)
        if standing.is_operator:
            return found
        return found.none() if standing.tenant is None else found.filter(**{self.tenant_path: standing.tenant_id})

    def formfield_for_foreignkey(self, db_field: ForeignKey, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer members their own."""
        if not standing_in(request).is_operator:
            kwargs["queryset"] = offered(self, db_field, request)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)  # type: ignore[misc]

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """The same for several."""
        if not standing_in(request).is_operator:
            kwargs["queryset"] = offered(self, db_field, request)
        return super().formfield_for_manytomany(db_field, request, **kwargs)  # type: ignore[misc]

    # --- What may be done --------------------------------------------------------------------------------------

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) and self.is_shown(request, obj)  # type: ignore[misc]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and self.is_shown(request, obj)  # type: ignore[misc]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and self.is_shown(request, obj)  # type: ignore[misc]

    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """For actions: whether an operator asks who may change this."""
        return standing_in(request).is_operator and self.has_change_permission(request, obj)

    def is_shown(self, request: HttpRequest, item: Any) -> bool:
        """Whether an object (or its id, of which unfold's actions ask; None: any) is among what there is."""
        standing = standing_in(request)
        if standing.is_operator or item is None:
            return True
        if not isinstance(item, Model):
            return self.get_object(request, str(item)) is not None  # type: ignore[attr-defined]
        return standing.tenant_id is not None and self._tenant_id(item) == standing.tenant_id

    def _tenant_id(self, item: Any) -> int | None:
        *way, last = self.tenant_path.split("__")
        for name in way:
            item = getattr(item, name)
        found: int | None = getattr(item, last if last == "pk" else f"{last}_id")
        return found

    # --- What is hidden ----------------------------------------------------------------------------------------

    def get_list_display(self, request: HttpRequest) -> Sequence[Any]:
        return self._shown(request, super().get_list_display(request), self.operator_fields)  # type: ignore[misc]

    def get_list_filter(self, request: HttpRequest) -> Sequence[Any]:
        filters: Sequence[Any] = super().get_list_filter(request)  # type: ignore[misc]
        if standing_in(request).is_operator:
            return filters
        return [_own_filter(each) for each in filters if _name_of(each) not in self.operator_filters]

    def get_search_fields(self, request: HttpRequest) -> Sequence[str]:
        fields: Sequence[str] = super().get_search_fields(request)  # type: ignore[misc]
        if standing_in(request).is_operator:
            return fields
        return [name for name in fields if not name.startswith("tenant__")]

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Without a hint to search for tenants where there is one: it names them last."""
        changelist = super().get_changelist_instance(request)  # type: ignore[misc]
        if not standing_in(request).is_operator:
            changelist.search_help_text = re.sub(",? or tenant$", "", changelist.search_help_text or "")
        return changelist

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)  # type: ignore[misc]
        return fieldsets if standing_in(request).is_operator else without(fieldsets, self.operator_fields)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[Any]:
        found: Sequence[Any] = super().get_readonly_fields(request, obj)  # type: ignore[misc]
        return found if standing_in(request).is_operator else [*found, *self.operator_decides]

    def get_prepopulated_fields(self, request: HttpRequest, obj: Any = None) -> dict[str, Sequence[str]]:
        found: dict[str, Sequence[str]] = super().get_prepopulated_fields(request, obj)  # type: ignore[misc]
        if standing_in(request).is_operator:
            return found
        return {name: of for name, of in found.items() if name not in (*self.operator_fields, *self.operator_decides)}

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Let members' addresses narrow lists by their filters only: any other field could be found out by trying."""
        if request is not None and not standing_in(request).is_operator:
            asked = RANGE_ENDS.sub("", lookup.split("__")[0])
            if asked not in {_name_of(each) for each in self.get_list_filter(request)}:
                raise IncorrectLookupParameters
        return super().lookup_allowed(lookup, value, request)  # type: ignore[misc]

    def _shown(self, request: HttpRequest, names: Sequence[Any], hidden: Sequence[str]) -> Sequence[Any]:
        return names if standing_in(request).is_operator else [name for name in names if name not in hidden]

    # --- What is saved -----------------------------------------------------------------------------------------

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)  # type: ignore[misc]
        form.only_tenant = standing_in(request).tenant
        return form

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Whatever a form says, what members save is their tenant's."""
        tenant = standing_in(request).tenant
        if tenant is not None and self.tenant_path == "tenant":
            obj.tenant = tenant
        super().save_model(request, obj, form, change)  # type: ignore[misc]


def _name_of(list_filter: Any) -> str:
    """The field or the parameter of a list filter."""
    if isinstance(list_filter, tuple | list):
        return str(list_filter[0])
    return list_filter if isinstance(list_filter, str) else str(getattr(list_filter, "parameter_name", ""))


def _own_filter(list_filter: Any) -> Any:
    if isinstance(list_filter, tuple | list) and issubclass(list_filter[1], AutocompleteSelectFilter):
        return (list_filter[0], OwnSelectFilter)
    return list_filter


def without(fieldsets: Iterable[Any], hidden: Sequence[str]) -> list[Any]:
    """Fieldsets without some fields, and without what has none left."""
    kept = []
    for title, options in fieldsets:
        lines = [_line_without(line, hidden) for line in options["fields"]]
        if any(lines):
            kept.append((title, {**options, "fields": [line for line in lines if line]}))
    return kept


def _line_without(line: Any, hidden: Sequence[str]) -> Any:
    if isinstance(line, str):
        return "" if line in hidden else line
    return tuple(name for name in line if name not in hidden)


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
        return (found.filter(tenant=tenant) if tenant.isdecimal() and len(tenant) < 19 else found), may_have_duplicates


class NoShortcutsMixin:
    """Offers related objects without pop-ups: what is shown once, as a new key's secret, would be lost in one."""

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[misc]
        if db_field.is_relation and field is not None:
            widget = field.widget
            widget.can_add_related = widget.can_change_related = False
            widget.can_delete_related = widget.can_view_related = False
        return field
