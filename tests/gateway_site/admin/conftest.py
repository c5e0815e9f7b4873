"""Alice operates the gateway in the console, through its forms, as a browser would."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client

from providers.models import Deployment, Provider
from tenants.models import Member, Tenant, User
from tests.gateway_site.admin.upstreams import CREDENTIAL


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


@pytest.fixture
def alice(db: None) -> User:
    return User.objects.create_superuser("alice", "alice@example.com", "alice's long password")


@pytest.fixture
def console(alice: User) -> Console:
    client = Client()
    client.force_login(alice)
    return Console(client)


@pytest.fixture
def tenant(db: None) -> Tenant:
    return Tenant.objects.create(slug="acme", name="Acme")


@pytest.fixture
def errors() -> Callable[[HttpResponse], dict[str, list[str]]]:
    """The errors of a refused form, by field; rows of inlines by prefix."""

    def read(response: Any) -> dict[str, list[str]]:
        assert response.status_code == 200, "the form was accepted"
        found = {name: list(texts) for name, texts in response.context["adminform"].form.errors.items()}
        for inline in response.context["inline_admin_formsets"]:
            for row in inline.formset.forms:
                found |= {f"{row.prefix}-{name}": list(texts) for name, texts in row.errors.items()}
            if inline.formset.non_form_errors():
                found[inline.formset.prefix] = list(inline.formset.non_form_errors())
        return found

    return read


@pytest.fixture
def provider(db) -> Provider:
    provider = Provider(slug="openai", name="OpenAI", adapter="openai")
    provider.set_credential(CREDENTIAL)
    provider.save()
    return provider


@pytest.fixture
def deployment(provider) -> Deployment:
    return Deployment.objects.create(slug="gpt", provider=provider, model="gpt-5-mini")


@pytest.fixture
def charlie(db) -> Client:
    """An owner of another tenant."""
    user = User.objects.create_user("charlie", password="charlie's long password")
    Member.objects.create(tenant=Tenant.objects.create(slug="other", name="Other"), user=user, role="owner")
    client = Client()
    client.force_login(user)
    return client
