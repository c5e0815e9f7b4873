"""Unfold's templates with our changes: each still finds its place, and what an empty list says for one of them."""

import re
from pathlib import Path
from typing import Any

import pytest
import unfold
from django.contrib import admin
from django.template.loader import get_template
from django.test import Client

from gateway_site.console.unfold_edits import EDITS, INDENTATION
from tenants.models import Tenant, User
from tenants.services import create_key
from tests.gateway_site.people import browser


@pytest.fixture
def alice(db: None) -> Client:
    return browser(User.objects.create_superuser("alice"))


def words(client: Client, url: str) -> str:
    return " ".join(client.get(url).content.decode().split())


@pytest.mark.parametrize("name", sorted(EDITS))
def test_every_change_finds_its_place(name: str) -> None:
    template: Any = get_template(name)
    assert Path(template.origin.name).is_relative_to(Path(unfold.__file__).parent), "a copy of ours hides it"
    source = template.template.source
    assert all(INDENTATION.sub("\n", new) in source for _, new in EDITS[name])


# --- Empty lists -----------------------------------------------------------------------------------------------


def test_an_empty_list_says_what_would_stand_there_and_offers_it(alice: Client) -> None:
    page = words(alice, "/admin/tenants/budget/")
    assert "No budgets yet" in page
    assert "A budget is how much may be spent in a period." in page
    assert "Add budget" in page
    assert "Show all" not in page


def test_a_list_of_which_nothing_is_left_says_so_and_offers_the_rest(alice: Client, acme: Tenant) -> None:
    page = words(alice, "/admin/tenants/tenant/?q=globex")
    assert "Nothing matches" in page
    assert "There may be tenants that this search and these filters leave out." in page
    assert "Show all" in page


def test_charlie_s_empty_list_tells_nothing_of_acme_s(acme: Tenant, charlie: User) -> None:
    key, _ = create_key(tenant=acme, name="very-own-key")
    page = words(browser(charlie), "/admin/tenants/apikey/")
    assert "No API keys yet" in page
    assert "very-own-key" not in page
    assert key.hint not in page


def test_the_words_are_those_of_lists_that_there_are(alice: Client) -> None:
    words(alice, "/admin/")  # the console's models are registered with its first page
    template: Any = get_template("admin/includes/empty_words.html")
    named = set(re.findall(r'what == "(\w+)"', template.template.source))
    assert named
    assert named <= {model._meta.model_name for model in admin.site._registry}
