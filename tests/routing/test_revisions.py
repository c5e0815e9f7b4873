"""Drafts, approval by a second person, and roll backs that are pinned: alice changes, bob approves, charlie looks on."""

import threading
from datetime import timedelta
from io import StringIO
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command
from django.db import connection, models, transaction
from django.utils import timezone

from gateway_site.infra.actor import acting_as
from gateway_site.infra.valkey import StoreUnavailable
from providers.models import Provider
from routing.models import ConfigChange, ConfigRevision, ModelAlias, Route
from routing.services import (
    Published,
    find_refusal,
    publish,
    publish_draft,
    roll_back,
    served_revision,
    waiting_draft,
)
from routing.snapshot import Snapshot, decode
from routing.snapshot_store import SNAPSHOT_KEY
from routing.tasks import publish_changes
from routing.workers import _lag
from tenants.models import Tenant, User
from tests.gateway_site.infra.own_valkey import OwnValkey
from tests.routing.catalogue import Catalogue, make_catalogue

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> User:
    return User.objects.create_user("alice")


@pytest.fixture
def bob() -> User:
    return User.objects.create_user("bob")


@pytest.fixture
def charlie() -> User:
    return User.objects.create_user("charlie")


@pytest.fixture
def catalogue() -> Catalogue:
    """Published as revision 1, as everything was when publishing was automatic."""
    catalogue = make_catalogue()
    publish()
    return catalogue


@pytest.fixture
def manual(catalogue: Catalogue, settings: Any) -> Catalogue:
    settings.CONFIG_PUBLISHING = "manual"
    return catalogue


@pytest.fixture
def four_eyes(catalogue: Catalogue, settings: Any) -> Catalogue:
    settings.CONFIG_PUBLISHING = "four_eyes"
    return catalogue


def change(retries: int, user: User | None = None) -> None:
    """Change something of the configuration, in the name of a user when one is given."""
    Route.objects.update(retries=retries)
    if user is not None:
        save(user, Route.objects.get())


def save(user: User, row: models.Model) -> None:
    with acting_as(user.get_username(), user.pk):
        row.save()


def revision(number: int) -> ConfigRevision:
    return ConfigRevision.objects.get(number=number)


def served(client: redis.Redis) -> Snapshot:
    blob = client.get(SNAPSHOT_KEY)
    assert isinstance(blob, bytes)
    return decode(blob)


def statuses() -> list[str]:
    return list(ConfigRevision.objects.order_by("number").values_list("status", flat=True))


# --- Drafts --------------------------------------------------------------------------------------------------


def test_a_change_waits_as_a_draft_that_says_what_and_by_whom(client, manual, alice, bob):
    change(5, alice)
    save(bob, Tenant(slug="acme"))  # no part of the configuration
    publish_changes()
    draft = revision(2)
    assert (draft.status, draft.changed_by, draft.published_at) == ("draft", ["alice"], None)
    assert draft.diff == ["~ route openai-smart: retries 1 → 5"]
    assert served(client).number == 1


def test_the_same_change_waits_once(client, manual):
    change(5)
    assert [publish().draft for _ in range(3)] == [2, 2, 2]
    assert statuses() == ["published", "draft"]


def test_a_newer_draft_supersedes_the_older_one(client, manual, alice, bob):
    change(5, alice)
    publish_changes()
    change(6, bob)
    publish_changes()
    assert statuses() == ["published", "superseded", "draft"]
    assert revision(3).changed_by == ["alice", "bob"]
    assert revision(3).diff == ["~ route openai-smart: retries 1 → 6"]
    outcome = publish_draft(revision=revision(2), approver=bob)
    assert outcome == Published(number=1, errors=["Revision 2 is no draft: superseded."], draft=3)
    assert served(client).number == 1


def test_a_draft_goes_when_its_change_is_taken_back(client, manual):
    change(5)
    publish_changes()
    change(1)
    assert publish() == Published(number=1)
    assert statuses() == ["published", "superseded"]
    assert waiting_draft() is None


def test_a_draft_is_served_exactly_as_it_was_shown(client, manual, alice, bob):
    change(5, alice)
    publish(author=alice, note="More patience")
    shown = bytes(revision(2).blob)
    assert publish_draft(revision=revision(2), approver=bob) == Published(number=2, is_new=True)
    assert client.get(SNAPSHOT_KEY) == shown
    published = revision(2)
    assert (published.status, published.author, published.approved_by) == ("published", alice, bob)
    assert published.published_at is not None
    assert publish() == Published(number=2)


def test_a_draft_that_is_not_what_the_database_says_any_more_is_refused_and_made_anew(client, manual, alice):
    change(5)
    publish_changes()
    change(6)
    outcome = publish_draft(revision=revision(2), approver=alice)
    assert outcome.errors == [
        "The configuration has changed since Revision 2 was made. Revision 3 shows what it is now."
    ]
    assert (outcome.number, outcome.draft, statuses()) == (1, 3, ["published", "superseded", "draft"])
    assert served(client).number == 1


def test_a_draft_with_errors_waits_and_cannot_be_published(client, manual, alice):
    Provider.objects.create(slug="broken", adapter="nonesuch")
    outcome = publish()
    assert outcome.draft == 2
    assert revision(2).errors == outcome.errors
    refused = publish_draft(revision=revision(2), approver=alice)
    assert "cannot be served: Provider 'broken' has the unknown adapter" in refused.errors[0]
    assert served(client).number == 1
    Provider.objects.filter(slug="broken").update(adapter="groq")
    assert publish_draft(revision=revision(publish().draft or 0), approver=alice).number == 3


def test_the_first_revision_waits_too(client, settings):
    settings.CONFIG_PUBLISHING = "manual"
    assert publish() == Published(number=0)  # nothing to serve, nothing to approve
    make_catalogue()
    assert publish() == Published(number=0, draft=1)
    assert client.get(SNAPSHOT_KEY) is None
    publish_draft(revision=revision(1))
    assert served(client).number == 1


def test_a_valkey_that_lost_everything_is_told_what_is_served_and_not_what_waits(client, manual):
    change(5)
    publish()
    client.flushall()
    publish_changes()
    assert served(client).number == 1


def test_a_published_draft_that_could_not_be_announced_is_announced_later(client, manual, tmp_path, settings):
    change(5)
    publish()
    url, settings.VALKEY_URL = settings.VALKEY_URL, OwnValkey(tmp_path).url
    with pytest.raises(StoreUnavailable, match="Revision 2 is stored"):
        publish_draft(revision=revision(2))
    settings.VALKEY_URL = url
    publish_changes()
    assert served(client).number == 2


def test_what_waits_is_published_when_publishing_becomes_automatic(client, manual, settings):
    change(5)
    publish_changes()
    settings.CONFIG_PUBLISHING = "automatic"
    publish_changes()
    assert statuses() == ["published", "superseded", "published"]
    assert served(client).number == 3


def test_published_revisions_name_those_who_changed_something(catalogue, alice):
    change(5, alice)
    publish_changes()
    change(6)
    publish_changes()
    assert [revision(number).changed_by for number in (2, 3)] == [["alice"], []]
    assert revision(2).published_at is not None


# --- Four eyes -----------------------------------------------------------------------------------------------


def test_whoever_changed_something_may_not_publish_it(client, four_eyes, alice, bob):
    change(5, alice)
    publish(author=bob)
    outcome = publish_draft(revision=revision(2), approver=alice)
    assert outcome.errors == ["Revision 2 has changes of yours: somebody else has to publish it."]
    assert served(client).number == 1
    assert publish_draft(revision=revision(2), approver=bob).number == 2
    assert (revision(2).changed_by, revision(2).approved_by) == (["alice"], bob)


def test_publishing_without_a_person_is_refused(client, four_eyes):
    change(5)
    publish()
    assert "waits for a second person" in publish_draft(revision=revision(2)).errors[0]
    assert served(client).number == 1


def test_a_change_after_the_draft_was_made_counts(four_eyes, alice, bob):
    change(5, alice)
    publish()
    save(bob, Route.objects.get())  # and nothing of it differs
    assert find_refusal(revision(2), bob)
    publish_changes()
    assert revision(2).changed_by == ["alice", "bob"]


def test_another_name_is_no_second_person(four_eyes, alice):
    change(5, alice)
    publish()
    alice.username = "alicia"
    alice.save()
    assert find_refusal(revision(2), alice)


def test_changes_that_were_published_count_no_more(four_eyes, alice, bob):
    change(5, alice)
    publish()
    publish_draft(revision=revision(2), approver=bob)
    change(6, bob)
    publish()
    assert revision(3).changed_by == ["bob"]
    assert publish_draft(revision=revision(3), approver=alice).number == 3


def test_a_roll_back_does_not_wash_a_change(client, four_eyes, alice, bob, charlie):
    """What alice changed was never approved: that somebody rolls back in between makes it nobody's."""
    change(5, alice)
    publish()
    roll_back(revision=revision(1), author=charlie)
    assert statuses() == ["published", "superseded", "published"]
    publish_changes()
    draft = revision(4)
    assert (draft.status, draft.changed_by) == ("draft", ["alice"])
    assert publish_draft(revision=draft, approver=alice).errors
    assert publish_draft(revision=draft, approver=bob).number == 4


def test_what_was_approved_and_rolled_back_is_still_its_makers(four_eyes, alice, bob, charlie):
    change(5, alice)
    publish()
    publish_draft(revision=revision(2), approver=bob)
    roll_back(revision=revision(1), author=charlie)
    publish_changes()
    assert revision(4).changed_by == ["alice"]


def test_whoever_was_renamed_since_is_known_after_a_roll_back_too(four_eyes, alice, bob, charlie):
    change(5, alice)
    publish()
    publish_draft(revision=revision(2), approver=bob)
    roll_back(revision=revision(1), author=charlie)
    publish_changes()
    alice.username = "alicia"
    alice.save()
    assert find_refusal(revision(4), alice)
    assert not find_refusal(revision(4), bob)


def test_what_goes_with_something_else_was_changed_by_whoever_deleted_that(four_eyes, alice, bob):
    tenant = Tenant.objects.create(slug="acme")
    ModelAlias.objects.create(name="own", tenant=tenant, route=four_eyes.route)
    publish()
    publish_draft(revision=revision(2), approver=bob)
    with acting_as("alice", alice.pk):
        tenant.delete()
    publish()
    assert (revision(3).diff, revision(3).changed_by) == ([f"- alias own (tenant {tenant_of(2)})"], ["alice"])
    assert publish_draft(revision=revision(3), approver=alice).errors
    assert publish_draft(revision=revision(3), approver=bob).is_new


def tenant_of(number: int) -> int | None:
    return next(alias.tenant_id for alias in decode(bytes(revision(number).blob)).aliases if alias.name == "own")


@pytest.mark.django_db(transaction=True)
def test_a_change_that_is_under_way_while_somebody_publishes_stays_its_makers(four_eyes, alice, bob, charlie):
    change(5, charlie)
    publish()
    saved, published = threading.Event(), threading.Event()

    def edit() -> None:
        try:
            with transaction.atomic():
                edit_provider(alice)
                saved.set()
                assert published.wait(10)
        finally:
            connection.close()

    thread = threading.Thread(target=edit)
    thread.start()
    assert saved.wait(10)
    assert publish_draft(revision=revision(2), approver=bob).is_new
    published.set()
    thread.join()
    publish()
    assert (revision(2).changed_by, revision(3).changed_by) == (["charlie"], ["alice"])
    assert revision(3).diff == ["~ provider openai: max_connections 200 → 50"]
    assert publish_draft(revision=revision(3), approver=alice).errors


@pytest.mark.django_db(transaction=True)
def test_a_change_after_the_draft_is_named_by_the_publication_that_covers_it(four_eyes, alice, bob, charlie):
    change(5, charlie)
    with transaction.atomic():
        publish()
        thread = threading.Thread(target=lambda: (save(alice, Provider.objects.get()), connection.close()))
        thread.start()
        thread.join()
    assert revision(2).changed_by == ["charlie"]
    assert publish_draft(revision=revision(2), approver=alice).errors
    assert publish_draft(revision=revision(2), approver=bob).is_new
    assert revision(2).changed_by == ["alice", "charlie"]
    assert not ConfigChange.objects.filter(revision=None).exists()


@pytest.mark.django_db(transaction=True)
def test_a_change_that_a_publication_read_past_stays_its_makers(catalogue, alice, charlie):
    """Providers are read before routes; a change of a provider that is committed in between is in the next revision."""
    save(charlie, Route.objects.get())
    Route.objects.update(retries=5)
    publishing = threading.Thread(target=lambda: (publish(), connection.close()))
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE routing_route IN ACCESS EXCLUSIVE MODE")
        publishing.start()
        wait_until_blocked("routing_route")
        editing = threading.Thread(target=lambda: (edit_provider(alice), connection.close()))
        editing.start()
        editing.join()
    publishing.join()
    publish()
    assert revision(2).diff == ["~ route openai-smart: retries 1 → 5"]
    assert revision(3).diff == ["~ provider openai: max_connections 200 → 50"]
    assert revision(3).changed_by == ["alice"]


def edit_provider(user: User) -> None:
    provider = Provider.objects.get()
    provider.max_connections = 50
    save(user, provider)


def wait_until_blocked(table: str) -> None:
    """Wait until somebody waits for a lock of a table."""
    end = monotonic() + 10
    with connection.cursor() as cursor:
        while monotonic() < end:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = %s::regclass", [table])
            if cursor.fetchone()[0]:
                return
            sleep(0.01)
    raise AssertionError(f"nobody waits for {table}")


@pytest.mark.django_db(transaction=True)
def test_what_is_not_committed_is_nobodys_change(four_eyes, alice):
    with transaction.atomic():
        save(alice, Route.objects.get())
        transaction.set_rollback(True)
    with acting_as("alice", alice.pk), transaction.atomic():
        with transaction.atomic():
            Route.objects.get().save()
            transaction.set_rollback(True)
        assert not ConfigChange.objects.exists()
        for row in (*Route.objects.all(), *Provider.objects.all()):
            row.save()
    assert [noted.username for noted in ConfigChange.objects.all()] == ["alice"]  # once, however many rows


# --- Roll backs that are pinned ------------------------------------------------------------------------------


@pytest.fixture
def pinned(catalogue: Catalogue) -> Catalogue:
    """Revision 1 with one retry, 2 with seven, 3 a roll back to 1."""
    change(7)
    publish()
    roll_back(revision=revision(1))
    return catalogue


def test_while_a_roll_back_is_pinned_changes_wait(client, pinned):
    Provider.objects.update(max_connections=50)
    publish_changes()
    assert (served(client).number, waiting_draft().number) == (3, 4)
    assert revision(4).diff == [
        "~ provider openai: max_connections 200 → 50",
        "~ route openai-smart: retries 1 → 7",
    ]


def test_publishing_a_draft_by_hand_unpins(client, pinned, alice):
    change(2)
    publish_changes()
    assert publish_draft(revision=revision(4), approver=alice).number == 4
    assert not served_revision().is_pinned
    change(3)
    publish_changes()
    assert (served(client).number, served(client).routes[0].retries) == (5, 3)


def test_mended_objects_leave_nothing_waiting_and_a_person_can_unpin(client, pinned, alice):
    publish_changes()
    change(1)
    publish_changes()
    assert waiting_draft() is None
    assert served_revision().is_pinned
    assert publish(author=alice) == Published(number=3, is_unpinned=True)
    change(2)
    publish_changes()
    assert served(client).number == 5


def test_a_pinned_roll_back_can_be_rolled_back(client, pinned):
    publish_changes()
    assert roll_back(revision=revision(2)).number == 5
    assert statuses() == ["published", "published", "published", "superseded", "published"]
    publish_changes()
    assert waiting_draft() is None  # the database says just that
    assert served(client).routes[0].retries == 7


@pytest.mark.parametrize("status", ["draft", "superseded"])
def test_what_was_never_published_cannot_be_rolled_back_to(client, manual, status):
    change(5)
    publish()
    ConfigRevision.objects.filter(number=2).update(status=status)
    with pytest.raises(ValueError, match="Revision 2 was never published"):
        roll_back(revision=revision(2))


# --- manage.py apply -----------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text("providers:\n  - {slug: openai, adapter: openai, max_connections: 50}\n")
    return path


def apply(file: Path, *options: str) -> str:
    out = StringIO()
    call_command("apply", str(file), *options, stdout=out)
    return out.getvalue()


def test_apply_ends_with_a_draft(client, manual, file):
    assert apply(file).endswith("Revision 2 is a draft and waits for approval.\n")
    assert revision(2).changed_by == ["manage.py apply"]
    assert apply(file) == "Nothing to change.\nRevision 2 is a draft and waits for approval.\n"
    assert served(client).number == 1


def test_apply_is_named_though_the_task_was_faster(client, manual, file):
    apply(file, "--no-publish")
    publish_changes()
    Provider.objects.update(max_connections=40)
    apply(file)
    assert waiting_draft().changed_by == ["manage.py apply"]


def test_apply_publishes_at_once_when_asked_to(client, manual, file):
    assert apply(file, "--publish").endswith("Published revision 2.\n")
    assert served(client).number == 2


def test_four_eyes_refuse_to_publish_at_once_and_change_nothing(client, four_eyes, file):
    with pytest.raises(CommandError, match="somebody else has to publish"):
        apply(file, "--publish")
    assert Provider.objects.get().max_connections == 200
    assert "waits for approval" in apply(file)


def test_apply_says_that_a_roll_back_is_pinned(client, pinned, file):
    printed = apply(file)
    assert printed.endswith("Revision 3 is pinned by a roll back. Revision 4 is a draft and waits for approval.\n")
    assert apply(file, "--publish").endswith("Published revision 4.\n")


# --- Workers -------------------------------------------------------------------------------------------------


def test_lag_counts_from_the_first_revision_that_was_missed():
    now = timezone.now()
    published = [(5, now - timedelta(seconds=60)), (6, now - timedelta(seconds=3))]
    assert _lag(6, published) is None
    assert _lag(5, published) == pytest.approx(3, abs=1)
    assert _lag(0, published) == pytest.approx(60, abs=1)
