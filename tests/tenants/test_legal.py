"""Terms and privacy notices: published version by version, never changed, true where nobody has written their own."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.utils import timezone

from tenants.legal import accept, in_force, pending, read_page
from tenants.legal_defaults import default_text
from tenants.legal_text import render
from tenants.models import LegalAcceptance, LegalDocument, Member, Tenant, UsageEndUserDay, UsageRecord, User


def day(distance: int) -> date:
    return timezone.now().date() + timedelta(days=distance)


def publish(kind: str = "terms", text: str = "Ours.", **values: Any) -> LegalDocument:
    return LegalDocument.objects.create(kind=kind, text=text, **values)


def shown(kind: str = "terms", number: int | None = None) -> Any:
    page = read_page(kind, number)
    assert page is not None
    return page


# Versions.


@pytest.mark.django_db
def test_versions_count_up_for_each_kind() -> None:
    assert [publish(kind).version for kind in ("terms", "privacy", "terms", "terms")] == [1, 1, 2, 3]


@pytest.mark.django_db
def test_what_ships_holds_until_something_is_published_and_in_force() -> None:
    assert (shown().number, shown().effective_from) == (0, None)
    publish(effective_from=day(1))
    assert shown().number == 0
    assert [each.number for each in shown().upcoming] == [1]
    publish(effective_from=day(0))
    assert shown().number == 2
    assert shown("privacy").number == 0


@pytest.mark.django_db
def test_the_latest_version_whose_day_has_come_is_in_force() -> None:
    for distance in (-30, -10, 0, 10, 20):
        publish(effective_from=day(distance))
    page = shown()
    assert (page.number, page.effective_from, page.is_current) == (3, day(0), True)
    assert [each.number for each in page.upcoming] == [4, 5]
    assert [each.number for each in page.earlier] == [2, 1]
    assert (shown("terms", 1).number, shown("terms", 1).is_current) == (1, False)
    assert read_page("terms", 9) is None


@pytest.mark.django_db
def test_a_later_version_replaces_one_that_was_to_come() -> None:
    publish(effective_from=day(-1))
    publish(effective_from=day(20))
    publish(effective_from=day(10))
    assert [each.number for each in shown().upcoming] == [3]
    publish(effective_from=day(0))
    assert (shown().number, shown().upcoming) == (4, ())


@pytest.mark.django_db
def test_nothing_is_put_in_force_before_what_is_in_force() -> None:
    publish(effective_from=day(-5))
    with pytest.raises(ValidationError, match="not before that"):
        LegalDocument(kind="terms", text="Back then.", effective_from=day(-6)).full_clean()
    LegalDocument(kind="terms", text="From then on.", effective_from=day(-5)).full_clean()


# Nothing that was published changes.


@pytest.mark.django_db
def test_a_published_document_cannot_be_changed_or_deleted() -> None:
    document = publish()
    document.text = "Other."
    with pytest.raises(ValidationError, match="stays as it is"):
        document.save()
    with pytest.raises(ValidationError, match="stays as it is"):
        document.delete()
    with pytest.raises(ValidationError, match="stays as it is"):
        LegalDocument.objects.update(text="Other.")
    with pytest.raises(ValidationError, match="stays as it is"):
        LegalDocument.objects.all().delete()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change", ["UPDATE tenants_legaldocument SET text = 'Other.'", "DELETE FROM tenants_legaldocument"]
)
def test_the_database_refuses_it_too(change: str) -> None:
    publish()
    with pytest.raises(DatabaseError, match="stays as it is"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(change)
    assert LegalDocument.objects.get().text == "Ours."


@pytest.mark.django_db
def test_it_outlives_whoever_published_it() -> None:
    alice = User.objects.create_user("alice")
    document = publish(published_by=alice)
    alice.delete()
    document.refresh_from_db()
    assert (document.published_by, document.text) == (None, "Ours.")


# Acceptance.


@pytest.fixture
def bob(db: None) -> User:
    bob = User.objects.create_user("bob")
    for slug in ("acme", "globex"):
        Member.objects.create(tenant=Tenant.objects.create(slug=slug), user=bob)
    return bob


def test_a_member_has_to_accept_what_is_in_force(bob: User) -> None:
    assert pending(bob) == []
    old, privacy = publish(effective_from=day(-1)), publish("privacy")
    assert pending(bob) == [old, privacy]
    first = accept(user=bob, document=old)
    assert accept(user=bob, document=old) == first
    new = publish()
    assert pending(bob) == [new, privacy]
    with pytest.raises(ValueError, match="Another version"):
        accept(user=bob, document=old)
    accept(user=bob, document=new)
    accept(user=bob, document=privacy)
    assert pending(bob) == []
    assert LegalAcceptance.objects.count() == 3
    assert in_force() == [new, privacy]


def test_charlie_is_in_no_tenant_and_accepts_nothing(bob: User) -> None:
    charlie = User.objects.create_user("charlie")
    document = publish()
    assert pending(charlie) == []
    with pytest.raises(ValueError, match="Only members"):
        accept(user=charlie, document=document)
    accept(user=bob, document=document)
    assert not charlie.legal_acceptances.exists()


def test_acceptances_go_with_their_user(bob: User) -> None:
    accept(user=bob, document=publish())
    bob.delete()
    assert not LegalAcceptance.objects.exists()
    assert LegalDocument.objects.exists()


# The texts that ship.


@pytest.mark.parametrize(
    ("days", "words"), [(90, "after 90 days"), (1, "after 1 day."), (0, "until the operator deletes them")]
)
def test_the_privacy_notice_says_how_long_records_are_kept_here(settings: Any, days: int, words: str) -> None:
    settings.USAGE_RETENTION_DAYS = days
    assert words in default_text("privacy")


def test_the_privacy_notice_knows_how_long_responses_are_kept() -> None:
    assert Tenant._meta.get_field("response_retention_days").default == 30
    assert "after 30 days" in default_text("privacy")


def test_the_privacy_notice_mentions_all_that_records_say_of_people() -> None:
    """Who adds a field to the ledger reads the notice again, and adds the field here."""
    fields = {field.name for field in UsageRecord._meta.get_fields()}
    when_and_whether = {"started_at", "request_id", "correlation_id", "latency_ms", "first_token_ms", "overhead_us"}
    when_and_whether |= {"status", "outcome", "error_code", "is_streamed", "worker", "revision", "corrects"}
    whose = {"tenant", "project", "api_key", "end_user"}
    what = {
        "alias",
        "route",
        "provider",
        "deployment",
        "model",
        "dialect",
        "dialect_upstream",
        "attempts",
        "trace",
        "losses",
    }
    how_much = {
        "units",
        "service_tier",
        "cost",
        "cost_price",
        "reported_cost",
        "currency",
        "cost_status",
        "written_off",
    }
    how_much |= {"budgets", *(name for name in fields if name.endswith("_tokens"))}
    assert fields == when_and_whether | whose | what | how_much
    assert "end_user" in {field.name for field in UsageEndUserDay._meta.get_fields()}
    assert "sums per day for each end user's id" in default_text("privacy")


@pytest.mark.parametrize("kind", ["terms", "privacy"])
def test_the_texts_that_ship_are_rendered_whole(kind: str) -> None:
    html = render(default_text(kind))
    assert "<h2>" in html
    assert "<li>" in html
    for sign in ("**", "##", "](", "{", "`"):
        assert sign not in html


# Their Markdown.


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("# One\ntext\nof two lines\n\nmore", "<h2>One</h2>\n<p>text of two lines</p>\n<p>more</p>"),
        ("## Two\n### Three\n#### four", "<h2>Two</h2>\n<h3>Three</h3>\n<p>#### four</p>"),
        ("To do:\n- one\n  goes on\n- two", "<p>To do:</p>\n<ul><li>one goes on</li><li>two</li></ul>"),
        ("1. one\n2) two", "<ol><li>one</li><li>two</li></ol>"),
        ("**bold** *em* `a*b*`", "<p><strong>bold</strong> <em>em</em> <code>a*b*</code></p>"),
        ("2 * 3 * 4, snake_case_name, a*b*c", "<p>2 * 3 * 4, snake_case_name, a*b*c</p>"),
        (
            "[us](https://a.example/?x=1&y=2)",
            '<p><a href="https://a.example/?x=1&amp;y=2" rel="nofollow noopener">us</a></p>',
        ),
        ("[**privacy**](/privacy)!", '<p><a href="/privacy" rel="nofollow noopener"><strong>privacy</strong></a>!</p>'),
        ("a\r\nb\rc", "<p>a b c</p>"),
        ("", ""),
    ],
)
def test_what_it_understands(text: str, html: str) -> None:
    assert render(text) == html


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "# <img src=x onerror=alert(1)>",
        "- `<b>`",
        "[x](javascript:alert(1))",
        "[x](//evil.example)",
        "[x](data:text/html,hi)",
        '[x](https://a"onmouseover="alert(1))',
        "[<b>](https://a.example)",
        "**<i>**",
        "[x](https://a.example 'title')",
    ],
)
def test_nothing_but_its_own_tags_comes_out(text: str) -> None:
    html = render(text)
    for tag in ("<script", "<img", "<b>", "<i>", 'javascript:alert(1)"', 'href="//', 'href="data', '"onmouseover'):
        assert tag not in html


# The console.


@pytest.fixture
def console(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("alice", password="alice's long password"))
    return client


ADD = "/admin/tenants/legaldocument/add/"


def test_an_operator_publishes_from_the_text_that_holds(console: Client) -> None:
    assert "You need an API key from the operator." in console.get(ADD).content.decode()
    assert "What happens to prompts" in console.get(ADD, {"kind": "privacy"}).content.decode()
    assert console.post(ADD, {"kind": "terms", "effective_from": day(0), "text": "Be *kind*."}).status_code == 302
    document = LegalDocument.objects.get()
    assert (document.version, document.published_by.username) == (1, "alice")
    assert "Be *kind*." in console.get(ADD).content.decode()
    page = console.get(f"/admin/tenants/legaldocument/{document.pk}/change/").content.decode()
    assert "Be <em>kind</em>." in page
    assert 'name="_save"' not in page
    assert "Be <em>kind</em>." in Client().get("/terms").content.decode()


def test_the_list_says_what_is_in_force_in_a_few_queries(console: Client, django_assert_max_num_queries: Any) -> None:
    for distance in (-9, -5, 0, 9):
        publish(effective_from=day(distance))
    with django_assert_max_num_queries(12):
        text = console.get("/admin/tenants/legaldocument/").content.decode()
    assert [text.count(word) for word in ("In force", "Upcoming", "Replaced")] == [1, 1, 2]


def test_nobody_changes_or_deletes_them_in_the_console(console: Client, bob: User) -> None:
    acceptance = accept(user=bob, document=publish())
    for name, pk in (("legaldocument", acceptance.document_id), ("legalacceptance", acceptance.pk)):
        assert console.post(f"/admin/tenants/{name}/{pk}/change/", {"text": "Other."}).status_code == 403
        assert console.post(f"/admin/tenants/{name}/{pk}/delete/", {"post": "yes"}).status_code == 403
    assert console.get("/admin/tenants/legalacceptance/").status_code == 200
    assert "bob" in console.get("/admin/tenants/legalacceptance/").content.decode()
    assert console.post(f"/admin/tenants/user/{bob.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not LegalAcceptance.objects.exists()
