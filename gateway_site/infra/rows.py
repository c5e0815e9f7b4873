"""Rows of forms whose autocompletes know what is chosen: Django's look it up again for every row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django import forms
from django.contrib.admin.widgets import AutocompleteSelect
from django.db.models import ForeignKey, Model, QuerySet
from django.http import HttpRequest

type OptionGroups = list[tuple[str | None, list[dict[str, Any]], int | None]]


class KnownRowsMixin:
    """Inlines that read the objects of their autocompletes together with the rows."""

    autocomplete_fields: Any = ()
    model: type[Model]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        found: QuerySet[Any] = super().get_queryset(request)  # type: ignore[misc]
        fields = (self.model._meta.get_field(name) for name in self.autocomplete_fields)
        related = [field.name for field in fields if isinstance(field, ForeignKey)]
        return found.select_related(*related) if related else found

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> type[forms.BaseInlineFormSet]:
        made = super().get_formset(request, obj, **kwargs)  # type: ignore[misc]
        return type(made.__name__, (_KnownFormSet, made), {})


class _KnownFormSet:
    def add_fields(self, form: Any, index: int | None) -> None:
        super().add_fields(form, index)  # type: ignore[misc]
        for name, field in form.fields.items():
            widget = getattr(field.widget, "widget", field.widget)
            chosen = form.instance._state.fields_cache.get(name)
            if isinstance(widget, AutocompleteSelect) and isinstance(chosen, Model):
                widget.optgroups = partial(_optgroups, widget, widget.optgroups, field, chosen)  # type: ignore[method-assign]


def _optgroups(
    widget: AutocompleteSelect,
    look_up: Callable[..., OptionGroups],
    field: Any,
    chosen: Model,
    name: str,
    value: Sequence[str],
    attr: Any = None,
) -> OptionGroups:
    """Return the options of a field: what the row has, or, when something else was sent, what Django finds."""
    if [str(each) for each in value] != [str(chosen.pk)]:
        return look_up(name, value, attr)
    options = [] if widget.is_required else [widget.create_option(name, "", "", False, 0)]
    label = field.label_from_instance(chosen)
    return [(None, [*options, widget.create_option(name, chosen.pk, label, True, len(options))], 0)]
