"""Fields of allauth's forms in the console's clothes."""

from typing import Any

from django import template
from django.forms import BoundField, CheckboxInput, HiddenInput
from unfold.widgets import CHECKBOX_CLASSES, INPUT_CLASSES

register = template.Library()


@register.inclusion_tag("unfold/helpers/field.html")
def sign_in_field(field: BoundField, **attributes: Any) -> dict[str, Any]:
    """A field with its label and what is wrong with it."""
    widget = field.field.widget
    if not isinstance(widget, HiddenInput):
        classes = CHECKBOX_CLASSES if isinstance(widget, CheckboxInput) else INPUT_CLASSES
        widget.attrs |= {"class": " ".join(classes), **attributes}
        widget.attrs.pop("placeholder", None)
    if field.name in {"password", "oldpassword"}:
        field.help_text = ""  # allauth's is a link to a new password, which the pages offer themselves
    field.label = str(field.label).replace(" Password", " password")  # allauth writes "Current Password"
    return {"field": field}
