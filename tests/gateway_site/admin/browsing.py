"""The console as somebody sees it in a browser: forms are opened, filled in and sent."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

from django.test import Client
from django.urls import reverse

from tenants.models import Tenant
from tests.gateway_site.people import member_browser


class FormReader(HTMLParser):
    """Collects what a browser would send of a page's main form."""

    def __init__(self) -> None:
        super().__init__()
        self.data: dict[str, Any] = {}
        self._inside = False
        self._field: str | None = None
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form" and (given.get("id") or "").endswith("_form"):
            self._inside = True
        name = given.get("name")
        if not self._inside or "disabled" in given:
            return
        if tag == "input" and name:
            self._read_input(name, given)
        elif tag in {"textarea", "select"} and name:
            self._field, self._text = name, ""
            if tag == "select":
                self.data.setdefault(name, "")
        elif tag == "option" and self._field and "selected" in given:
            self.data[self._field] = given.get("value") or ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._field:
            self.data[self._field] = self._text.strip()
        if tag in {"textarea", "select"}:
            self._field = None
        elif tag == "form":
            self._inside = False

    def _read_input(self, name: str, given: dict[str, str | None]) -> None:
        kind = given.get("type", "text")
        if kind in {"submit", "button", "file"} or (kind in {"checkbox", "radio"} and "checked" not in given):
            return
        self.data[name] = given.get("value") or ("on" if kind == "checkbox" else "")


MAIN_FORM = re.compile(r'<form\b(?:[^>"]|"[^"]*")*\bid="[^"]*_form".*?</form>', re.DOTALL)


def form_of(page: str) -> dict[str, Any]:
    """What a browser would send of a page's main form; the rest of the page is not read, which takes long."""
    reader = FormReader()
    for form in MAIN_FORM.findall(page):
        reader.feed(form)
    return reader.data


class Console:
    """A signed-in browser."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def get(self, url: str, **query: str) -> Any:
        return self.client.get(url, query)

    def fields(self, url: str, **query: str) -> dict[str, Any]:
        """What the form on a page holds."""
        return form_of(self.get(url, **query).content.decode())

    def submit(self, url: str, /, **changes: Any) -> Any:
        """Open a form, change some of its fields, press Save."""
        return self.client.post(url, {**self.fields(url), **changes, "_save": "Save"})

    def confirm(self, url: str, **fields: Any) -> Any:
        """Open an action's dialog, which must change nothing yet, and press its button."""
        assert self.client.get(url).status_code == 200
        return self.client.post(url, {"_form_submitted": "True", **fields})

    def act(self, url: str, action: str, *objects: Any) -> Any:
        """Choose rows of a list and run an action on them."""
        chosen = [str(item.pk) for item in objects]
        return self.client.post(url, {"action": action, "_selected_action": chosen}, follow=True)


def member_console(tenant: Tenant, name: str, role: str = "owner") -> Console:
    return Console(member_browser(tenant, name, role))


def change(item: Any) -> str:
    """The page of an object."""
    return reverse(f"admin:{item._meta.app_label}_{item._meta.model_name}_change", args=[item.pk])


def rows(prefix: str, *rows: dict[str, Any]) -> dict[str, Any]:
    """The fields of a form's rows: how many there are, and those of each."""
    fields = {f"{prefix}-{number}-{name}": value for number, row in enumerate(rows) for name, value in row.items()}
    return {f"{prefix}-TOTAL_FORMS": str(len(rows)), **fields}
