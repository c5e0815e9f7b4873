"""A target's conditions as fields that people fill in; they are kept as one mapping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe

NEEDS = ("tools", "thinking", "images", "audio", "documents")
PARTS = ("region", "tag", "header", "end_user_percent")


class ConditionsWidget(forms.Widget):
    """One cell of a table: what the conditions are, and fields for them."""

    template_name = "admin/routing/conditions.html"

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(name, value, attrs)
        given: Mapping[str, Any] = value if isinstance(value, Mapping) else {}
        needs = given.get("needs")
        needed = needs if isinstance(needs, list) else []
        context["widget"] |= {
            "needs": [(need, need in needed) for need in dict.fromkeys((*NEEDS, *map(str, needed)))],
            "parts": {part: _as_text(given.get(part)) for part in PARTS},
            "summary": summary_of(given),
        }
        return context

    def _render(self, template_name: str, context: Any, renderer: Any = None) -> SafeString:
        """By the project's templates, which forms do not look at by themselves."""
        return mark_safe(render_to_string(template_name, context))

    def value_from_datadict(self, data: Any, files: Any, name: str) -> dict[str, Any]:
        read = data.getlist if hasattr(data, "getlist") else lambda key: data.get(key, [])
        needs = read(f"{name}-needs")
        return {
            "needs": [needs] if isinstance(needs, str) else list(needs),
            **{part: data.get(f"{name}-{part}", "") for part in PARTS},
        }

    def value_omitted_from_data(self, data: Any, files: Any, name: str) -> bool:
        return False  # boxes that are not ticked are left out


class ConditionsField(forms.Field):
    """Conditions; every complaint names the part that it is about."""

    widget = ConditionsWidget

    def prepare_value(self, value: Any) -> Any:
        return value

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return read_conditions(data or {}) != (initial or {})
        except ValidationError:
            return True

    def clean(self, value: Any) -> dict[str, Any]:
        return read_conditions(value or {})


def read_conditions(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be kept; raises ValidationError."""
    found: dict[str, Any] = {}
    problems: list[str] = []
    if given.get("needs"):
        found["needs"] = list(given["needs"])
    for part in ("region", "tag"):
        if text := str(given.get(part) or "").strip():
            found[part] = text
    for part, read in (("header", _read_headers), ("end_user_percent", _read_percent)):
        try:
            value = read(given.get(part))
        except ValueError as error:
            problems.append(str(error))
        else:
            if value is not None:
                found[part] = value
    if problems:
        raise ValidationError(problems)
    return found


def _read_headers(given: Any) -> dict[str, str] | None:
    if isinstance(given, Mapping):
        return dict(given) or None
    headers: dict[str, str] = {}
    for line in str(given or "").splitlines():
        name, colon, value = line.partition(":")
        if not line.strip():
            continue
        if not colon or not name.strip() or not name.isascii() or " " in name.strip():
            raise ValueError(f"Header: {line.strip()!r} is none; write name: value.")
        headers[name.strip().lower()] = value.strip()
    return headers or None


def _read_percent(given: Any) -> float | None:
    text = str(given if given is not None else "").strip().removesuffix("%").strip()
    if not text:
        return None
    try:
        percent = float(text.replace(",", "."))
    except ValueError:
        percent = -1.0
    if not 0 <= percent <= 100:
        raise ValueError("Per cent of callers: give a number from 0 to 100.")
    return int(percent) if percent.is_integer() else percent


def _as_text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {text}" for name, text in value.items())
    return "" if value is None else str(value)


def summary_of(given: Mapping[str, Any]) -> str:
    """Conditions in a few words."""
    parts = [f"needs {', '.join(map(str, given['needs']))}"] if given.get("needs") else []
    parts += [f"{part} {given[part]}" for part in ("region", "tag") if given.get(part)]
    headers = given.get("header")
    if isinstance(headers, Mapping):
        parts += [f"{name}: {value}" for name, value in headers.items()]
    elif headers:
        parts.append("header")
    if given.get("end_user_percent") not in (None, ""):
        parts.append(f"{given['end_user_percent']}% of callers")
    return "; ".join(parts) or "none"
