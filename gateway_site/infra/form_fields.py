"""Fields of the console's forms: lists, JSON, prices without zeros, objects, files; model fields get theirs by a mixin."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from django import forms
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.forms import SimpleArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.forms.utils import flatatt
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join, strip_tags
from django.utils.safestring import SafeString
from unfold.widgets import UnfoldAdminExpandableTextareaWidget, UnfoldAdminSelect2Widget

from gateway_site.infra.words import plain

SHORT_JSON = 40


class ListField(SimpleArrayField):
    """A list as text, separated by commas or line breaks."""

    empty: Any = None

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(str(item) for item in value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        if isinstance(value, str):
            value = [item.strip() for item in re.split(r"[,\n]", value) if item.strip()]
        return super().to_python(value)

    def clean(self, value: Any) -> Any:
        return super().clean(value) or self.empty


class JsonField(forms.JSONField):
    """JSON, indented when it is long; nothing stands for the model's own empty value."""

    empty: Any = None

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, forms.fields.InvalidJSONInput):
            return value
        if not value:
            return ""
        line = json.dumps(value, ensure_ascii=False, cls=self.encoder)
        return line if len(line) <= SHORT_JSON else json.dumps(value, indent=2, ensure_ascii=False, cls=self.encoder)

    def clean(self, value: Any) -> Any:
        cleaned = super().clean(value)
        return self.empty if cleaned is None else cleaned


class PlainDecimalField(forms.DecimalField):
    """A decimal that shows the digits it needs."""

    def prepare_value(self, value: Any) -> Any:
        return plain(value) if isinstance(value, Decimal) else value


class PlainFloatField(forms.FloatField):
    """The same for floats."""

    def prepare_value(self, value: Any) -> Any:
        return plain(value) if isinstance(value, float) else value


class _ChosenMixin:
    """What cannot be the key of any object is not looked for when a refused form is shown again."""

    def prepare_value(self: Any, value: Any) -> Any:
        prepared = super().prepare_value(value)  # type: ignore[misc]
        if isinstance(prepared, list):
            return [key for key in prepared if self._may_be_key(key)]
        return prepared if self._may_be_key(prepared) else None

    def _may_be_key(self: Any, key: Any) -> bool:
        meta = self.queryset.model._meta
        try:
            meta.get_field(self.to_field_name or meta.pk.name).to_python(key)
        except ValidationError:
            return False
        return True


class ChosenField(_ChosenMixin, forms.ModelChoiceField):
    """An object of a model."""


class ChosenManyField(_ChosenMixin, forms.ModelMultipleChoiceField):
    """Some of them."""

    def clean(self, value: Any) -> Any:
        for key in value or ():
            if isinstance(key, str) and not self._may_be_key(key):  # Django's own would not see what is left out above
                raise ValidationError(self.error_messages["invalid_pk_value"], "invalid_pk_value", {"pk": key})
        return super().clean(value)


class UploadField(forms.FileField):
    """A file that is read as a whole: one that is too large is refused before."""

    def __init__(self, *, most_bytes: int, **options: Any) -> None:
        super().__init__(**options)
        self.most_bytes = most_bytes

    def clean(self, data: Any, initial: Any = None) -> Any:
        file = super().clean(data, initial)
        if file is not None and file.size > self.most_bytes:
            raise ValidationError(f"The file is larger than {self.most_bytes // 2**20} MiB.")
        return file


class LongSelect(UnfoldAdminSelect2Widget):
    """A select of hundreds: its options are written at once, and not each with templates of its own."""

    def render(self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None) -> SafeString:
        chosen = self.format_value(value)
        rows = ((key, " selected" if str(key) in chosen else "", label) for key, label in self.choices)
        return format_html(
            "<select{}>\n{}\n</select>",
            flatatt({"name": name, **self.build_attrs(self.attrs, attrs)}),
            format_html_join("\n", '<option value="{}"{}>{}</option>', rows),
        )


def _readable(contents: str) -> str:
    """A number that is only shown: with the digits it needs, and with thousands apart; JSON with nothing in it: nothing."""
    if set(strip_tags(contents).split()) in ({"{}"}, {"[]"}):
        return ""  # Unfold shows JSON twice: for light and for dark
    try:
        number = Decimal(contents)
    except InvalidOperation:
        return contents  # there is none
    return plain(number) if "." in contents else f"{number:,}"


class FormFieldsMixin:
    """Gives model fields the form fields above, and makes numbers readable where they are only shown."""

    formfield_overrides: Mapping[type[models.Field], Mapping[str, Any]] = {
        ArrayField: {"form_class": ListField, "widget": UnfoldAdminExpandableTextareaWidget({"rows": 1})},
        models.JSONField: {
            "form_class": JsonField,
            "widget": UnfoldAdminExpandableTextareaWidget({"class": "font-mono", "spellcheck": "false"}),
        },
        models.DecimalField: {"form_class": PlainDecimalField},
        models.FloatField: {"form_class": PlainFloatField},
        models.ForeignKey: {"form_class": ChosenField},
        models.OneToOneField: {"form_class": ChosenField},
        models.ManyToManyField: {"form_class": ChosenManyField},
    }

    @cached_property
    def readonly_preprocess_fields(self: Any) -> dict[str, Any]:
        """For unfold: what becomes of the texts of read-only fields."""
        kinds = (models.DecimalField, models.FloatField, models.IntegerField, models.JSONField)
        return {field.name: _readable for field in self.model._meta.fields if isinstance(field, kinds)}

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[misc]
        if isinstance(field, ListField | JsonField):
            field.empty = None if db_field.null else db_field.get_default()
        return field
