"""Publishing: compile, validate, store as a revision, announce."""

import json
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import redis
from django.conf import settings
from django.db import connections, models, transaction
from django.utils import timezone

from gateway_site.infra import secrets
from gateway_site.infra.valkey import StoreUnavailable
from providers.models import Deployment, ModelPrice, Provider
from routing import services
from routing.compiler import compile_snapshot, differences, find_errors
from routing.models import ConfigRevision, ModelAlias, Route, RouteTarget
from routing.services import Published, publish, roll_back
from routing.snapshot import EMPTY, Alias, Snapshot, Target, decode, encode
from routing.snapshot import Deployment as CompiledDeployment
from routing.snapshot import Provider as CompiledProvider
from routing.snapshot import Route as CompiledRoute
from routing.snapshot_store import CHANNEL, NUMBER_KEY, SNAPSHOT_KEY
from routing.tasks import publish_changes
from tenants.models import Tenant, User
from tests.gateway_site.infra.own_valkey import OwnValkey
from tests.providers.pem import identity
from tests.routing.catalogue import CREDENTIAL, Catalogue, make_catalogue

pytestmark = pytest.mark.django_db
commits = pytest.mark.django_db(transaction=True)  # what happens after a commit, or in other connections


@pytest.fixture
def catalogue() -> Catalogue:
    return make_catalogue()


def newest() -> ConfigRevision:
    return ConfigRevision.objects.order_by("-number")[0]


def served(client: redis.Redis) -> Snapshot:
    """What a worker would find in Valkey."""
    blob = client.get(SNAPSHOT_KEY)
    assert isinstance(blob, bytes)
    snapshot = decode(blob)
    assert client.get(NUMBER_KEY) == b"%d" % snapshot.number
    return snapshot


# --- Publishing ----------------------------------------------------------------------------------------------


def test_it_stores_and_announces_what_the_database_says(client, catalogue):
    alice = User.objects.create_user("alice")
    with client.pubsub(ignore_subscribe_messages=True) as messages:
        messages.subscribe(CHANNEL)
        assert messages.get_message(timeout=2) is None  # the confirmation
        assert publish(author=alice, note="The first") == Published(number=1, is_new=True)
        announcement = messages.get_message(timeout=2)
    assert announcement is not None
    assert announcement["data"] == b"1"
    revision = ConfigRevision.objects.get()
    assert (revision.status, revision.author, revision.note) == ("published", alice, "The first")
    assert served(client) == decode(bytes(revision.blob))
    snapshot = served(client)
    assert snapshot.number == 1
    assert snapshot.providers[0].base_url == "https://api.openai.com/v1"
    assert snapshot.deployments[0].prices[0].input == ModelPrice.objects.get().input
    assert snapshot.routes[0].targets == (Target(deployment="openai-large"),)
    assert snapshot.aliases == (Alias(name="smart", route="openai-smart"),)


def test_an_unchanged_database_publishes_nothing(client, catalogue):
    publish()
    Route.objects.get().save()
    assert publish() == Published(number=1)
    publish_changes()
    assert ConfigRevision.objects.count() == 1


def test_the_same_configuration_has_the_same_bytes_whatever_the_order_of_its_rows(catalogue):
    make_catalogue(slug="another", tenant=Tenant.objects.create(slug="alice"))
    before = encode(compile_snapshot())
    for model in (Provider, Deployment, Route, ModelAlias):
        for row in model.objects.order_by("-pk"):
            model.objects.filter(pk=row.pk).update(created_at=timezone.now())  # moves the row in the table
    assert encode(compile_snapshot()) == before
    assert decode(before) == compile_snapshot()


def test_numbers_go_up_by_one(client, catalogue):
    for number in (1, 2, 3):
        Route.objects.update(retries=number)
        assert publish() == Published(number=number, is_new=True)
        assert served(client).routes[0].retries == number


def test_an_empty_configuration_can_be_published(client):
    assert publish() == Published(number=1, is_new=True)
    assert served(client) == Snapshot(number=1)


def test_a_valkey_that_lost_everything_is_told_again(client, catalogue):
    publish()
    client.flushall()
    assert publish() == Published(number=1)
    assert served(client).number == 1


def test_an_older_revision_is_never_announced_over_a_newer_one(client, catalogue):
    publish()
    Route.objects.update(retries=5)
    publish()
    services.announce(ConfigRevision.objects.get(number=1))
    assert served(client).number == 2


def test_what_cannot_be_announced_is_stored_and_announced_later(client, catalogue, tmp_path, settings):
    url, settings.VALKEY_URL = settings.VALKEY_URL, OwnValkey(tmp_path).url
    with pytest.raises(StoreUnavailable, match="Revision 1 is stored but could not be announced"):
        publish()
    publish_changes()  # the beat's task is no louder than a line in the log
    settings.VALKEY_URL = url
    assert client.get(NUMBER_KEY) is None
    assert publish() == Published(number=1)
    assert served(client).number == 1


@commits
def test_publishers_at_once_agree(client, catalogue):
    outcomes: list[Published] = []

    def change_and_publish(number: int) -> None:
        try:
            for step in range(5):
                Provider.objects.create(slug=f"p-{number}-{step}", adapter="openai")
                outcomes.append(publish())
        finally:
            connections.close_all()

    threads = [threading.Thread(target=change_and_publish, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 20
    numbers = list(ConfigRevision.objects.order_by("number").values_list("number", flat=True))
    assert numbers == list(range(1, len(numbers) + 1))
    assert sum(outcome.is_new for outcome in outcomes) == len(numbers)
    assert served(client).number == numbers[-1]
    assert len(served(client).providers) == 21


# --- Rejecting -----------------------------------------------------------------------------------------------


def test_a_broken_configuration_is_stored_with_its_errors_and_not_served(client, catalogue):
    publish()
    Provider.objects.create(slug="broken", adapter="nonesuch")
    outcome = publish()
    assert outcome.number == 1
    assert not outcome.is_new
    assert outcome.errors[0] == "Provider 'broken' has the unknown adapter 'nonesuch'."
    assert (newest().status, newest().errors, bytes(newest().blob)) == ("rejected", outcome.errors, b"")
    assert served(client).number == 1


def test_the_same_mistake_is_rejected_once(client, catalogue):
    Provider.objects.create(slug="broken", adapter="nonesuch")
    assert publish().number == 0
    assert publish().errors == newest().errors
    assert ConfigRevision.objects.count() == 1
    assert client.get(SNAPSHOT_KEY) is None


def test_what_was_mended_is_published(client, catalogue):
    publish()
    Provider.objects.create(slug="broken", adapter="nonesuch")
    publish()
    Provider.objects.filter(slug="broken").update(adapter="groq")
    assert publish() == Published(number=3, is_new=True)
    assert newest().diff == [
        "+ provider broken: adapter groq, base_url https://api.groq.com/openai/v1, "
        'dialects ["openai_chat", "openai_responses"]'
    ]
    assert served(client).number == 3


def test_a_rejection_does_not_keep_the_sound_revision_from_being_announced(client, catalogue):
    publish()
    client.flushall()
    Provider.objects.create(slug="broken", adapter="nonesuch")
    assert publish().errors
    assert served(client).number == 1


@pytest.mark.parametrize(
    ("snapshot", "sentence"),
    [
        (
            Snapshot(deployments=(CompiledDeployment(slug="d", provider="p", model="m"),)),
            "Deployment 'd' has no provider 'p'.",
        ),
        (
            Snapshot(routes=(CompiledRoute(name="r", targets=(Target(deployment="d"),)),)),
            "Route 'r' has no deployment 'd'.",
        ),
        (Snapshot(aliases=(Alias(name="a", route="r"),)), "Alias 'a' has no route 'r'."),
        (
            Snapshot(providers=(CompiledProvider(slug="p", adapter="openai", base_url="", dialects=("openai_chat",)),)),
            "Provider 'p' has no address.",
        ),
        (
            Snapshot(providers=(CompiledProvider(slug="p", adapter="openai", base_url="https://x", dialects=()),)),
            "Provider 'p' speaks no dialect.",
        ),
    ],
)
def test_what_no_worker_could_serve_is_an_error(snapshot, sentence):
    assert find_errors(snapshot) == [sentence]


# --- Differences ---------------------------------------------------------------------------------------------


def changes_after(change: Callable[[], object]) -> list[str]:
    """Return the diff of the revision that a change leads to."""
    publish()
    change()
    publish()
    return newest().diff


def from_when(catalogue: Catalogue) -> str:
    return f"{catalogue.price.effective_from:%Y-%m-%d %H:%M}"


def test_the_first_revision_lists_all_there_is(catalogue):
    publish()
    assert newest().diff == [
        "+ provider openai: adapter openai, base_url https://api.openai.com/v1, "
        'dialects ["openai_chat", "openai_responses"], credential (set), header x-team',
        "+ deployment openai-large: provider openai, model gpt-5",
        f"+ deployment openai-large: + price sell from {from_when(catalogue)}: input 1.25, output 10",
        "+ route openai-smart",
        "+ route openai-smart: + target openai-large: priority 0",
        "+ alias smart: route openai-smart",
    ]


def test_a_changed_value_is_shown_with_the_one_before(catalogue):
    def change() -> None:
        Route.objects.update(retries=3, first_token_timeout=2.5)
        Provider.objects.update(connect_timeout=1.5, breaker_failures=9, is_enabled=False)
        Deployment.objects.update(tags=["eu"])

    assert changes_after(change) == [
        "~ provider openai: is_enabled True → False",
        "~ provider openai: timeouts.connect 5.0 → 1.5",
        "~ provider openai: breaker.failures 5 → 9",
        '~ deployment openai-large: tags none → ["eu"]',
        "~ route openai-smart: first_token_timeout none → 2.5",
        "~ route openai-smart: retries 1 → 3",
    ]


def test_prices_and_targets_are_shown_one_by_one_and_what_may_be_secret_is_only_named(catalogue):
    def change() -> None:
        ModelPrice.objects.update(input="2.5")
        RouteTarget.objects.update(weight=1)
        catalogue.provider.set_credential("sk-another-secret")
        catalogue.provider.headers = {"x-team": "another-header"}
        catalogue.provider.save()

    assert changes_after(change) == [
        "~ provider openai: credential (changed)",
        "~ provider openai: ~ header x-team (changed)",
        f"~ deployment openai-large: ~ price sell from {from_when(catalogue)}: input 1.25 → 2.5",
        "~ route openai-smart: ~ target openai-large: weight 100 → 1",
    ]


def test_how_a_provider_is_reached_is_published_and_its_secrets_are_only_named(catalogue):
    certificate, key = identity()

    def change() -> None:
        provider = catalogue.provider
        provider.set_proxy("http://us:hush@proxy.test")
        provider.set_client_key(key)
        provider.client_certificate = provider.ca_certificate = certificate
        provider.http2, provider.queue_size, provider.queue_wait = True, 7, 0.5
        provider.catalogue = ["gpt-5", "gpt-6"]
        provider.save()
        Route.objects.update(hedge=True)

    assert changes_after(change) == [
        "~ provider openai: http2 False → True",
        "~ provider openai: proxy (set)",
        "~ provider openai: ca_certificate (set)",
        "~ provider openai: client_certificate (set)",
        "~ provider openai: client_key (set)",
        "~ provider openai: queue_size 100 → 7",
        "~ provider openai: queue_wait 5.0 → 0.5",
        "~ provider openai: catalogue (set)",
        "~ route openai-smart: hedge False → True",
    ]
    [published] = compile_snapshot().providers
    assert secrets.decrypt(published.proxy) == "http://us:hush@proxy.test"
    assert secrets.decrypt(published.client_key) == key
    assert published.catalogue == ("gpt-5", "gpt-6")


def test_what_an_upstream_says_of_its_model_is_told_as_far_as_it_matters(catalogue):
    before = compile_snapshot()
    said = {"max_tokens": 64_000, "capabilities": None}
    Deployment.objects.update(capabilities=said | {"display_name": "Five"}, capabilities_of="gpt-5")
    after = compile_snapshot()
    assert after.deployments[0].capabilities == {"max_tokens": 64_000, "capabilities": None}
    assert differences(before, after) == ["~ deployment openai-large: upstream tells max_output_tokens none → 64000"]
    assert decode(encode(after)) == after

    said["capabilities"] = {"thinking": {"types": {"enabled": True, "adaptive": {"supported": False}}}}
    Deployment.objects.update(capabilities=said)
    assert differences(after, compile_snapshot()) == [
        '~ deployment openai-large: upstream tells thinking ["adaptive", "disabled", "enabled"] → ["enabled"]'
    ]


def test_what_says_no_more_than_the_models_name_is_no_change(catalogue):
    before = compile_snapshot()
    Deployment.objects.update(capabilities={"capabilities": None, "display_name": "Five"}, capabilities_of="gpt-5")
    assert compile_snapshot() == before


def test_what_an_upstream_said_of_another_model_is_not_published(catalogue):
    Deployment.objects.update(capabilities={"capabilities": {}}, capabilities_of="gpt-4")
    assert compile_snapshot().deployments[0].capabilities == {}


def test_a_provider_that_is_renamed_and_sent_elsewhere_shows_where(catalogue):
    def change() -> None:
        Provider.objects.update(slug="openai-new", base_url="https://elsewhere.example.com/v1")

    assert changes_after(change) == [
        "+ provider openai-new: adapter openai, base_url https://elsewhere.example.com/v1, "
        'dialects ["openai_chat", "openai_responses"], credential (set), header x-team',
        "- provider openai",
        "~ deployment openai-large: provider openai → openai-new",
    ]


def test_targets_and_prices_that_come_and_go_are_listed(catalogue):
    def change() -> None:
        spare = Deployment.objects.create(slug="spare", provider=catalogue.provider, model="gpt-5-mini", region="eu")
        RouteTarget.objects.create(
            route=catalogue.route, deployment=spare, priority=1, weight=7, conditions={"region": "eu"}
        )
        catalogue.target.delete()
        catalogue.price.delete()

    gone = from_when(catalogue)
    assert changes_after(change) == [
        "+ deployment spare: provider openai, model gpt-5-mini, region eu",
        f"~ deployment openai-large: - price sell from {gone}",
        '~ route openai-smart: + target spare: priority 1, weight 7, conditions {"region": "eu"}',
        "~ route openai-smart: - target openai-large",
    ]


def test_secrets_and_headers_that_go_are_named(catalogue):
    def change() -> None:
        catalogue.provider.set_credential("")
        catalogue.provider.headers = {"x-other": "a-header-that-may-be-secret"}
        catalogue.provider.save()

    assert changes_after(change) == [
        "~ provider openai: credential (removed)",
        "~ provider openai: + header x-other",
        "~ provider openai: - header x-team",
    ]


def test_another_order_alone_is_a_line_too(catalogue):
    before = compile_snapshot()
    targets = (Target(deployment="openai-large"), Target(deployment="other"))
    one, two = (
        msgspec.structs.replace(before, routes=(msgspec.structs.replace(before.routes[0], targets=order),))
        for order in (targets, targets[::-1])
    )
    assert differences(one, two) == ["~ route openai-smart: targets: another order"]


def test_a_value_cannot_pass_for_another_line(catalogue):
    assert changes_after(lambda: Deployment.objects.update(region="eu → us, model x")) == [
        '~ deployment openai-large: region none → "eu → us, model x"'
    ]


def test_what_went_is_listed(catalogue):
    assert changes_after(catalogue.alias.delete) == ["- alias smart"]


def test_aliases_of_tenants_are_told_apart(catalogue):
    charlie = Tenant.objects.create(slug="charlie")
    difference = changes_after(lambda: ModelAlias.objects.create(name="smart", tenant=charlie, route=catalogue.route))
    assert difference == [f"+ alias smart (tenant {charlie.pk}): route openai-smart"]


def test_nothing_that_is_kept_shows_a_secret(client, catalogue):
    publish()
    Provider.objects.get().set_credential("sk-2")
    catalogue.provider.set_credential("sk-another-secret")
    catalogue.provider.save()
    publish()
    for revision in ConfigRevision.objects.all():
        assert "secret" not in json.dumps(revision.diff)
        assert CREDENTIAL.encode() not in bytes(revision.blob)
    assert CREDENTIAL.encode() not in client.get(SNAPSHOT_KEY)


def test_no_change_is_no_line(catalogue):
    snapshot = compile_snapshot()
    assert differences(snapshot, snapshot) == []
    assert differences(EMPTY, EMPTY) == []


# --- Rolling back --------------------------------------------------------------------------------------------


def roll_back_to(number: int, **facts: Any) -> Published:
    return roll_back(revision=ConfigRevision.objects.get(number=number), **facts)


@pytest.fixture
def changed(catalogue: Catalogue) -> Catalogue:
    """Revision 1 with one retry, and 2 with seven."""
    publish()
    Route.objects.update(retries=7)
    publish()
    return catalogue


def test_an_old_revision_is_served_again_under_a_new_number(client, changed):
    bob = User.objects.create_user("bob")
    assert roll_back_to(1, author=bob) == Published(number=3, is_new=True)
    assert (newest().note, newest().author) == ("Roll back to revision 1", bob)
    assert newest().diff == ["~ route openai-smart: retries 7 → 1"]
    assert (served(client).number, served(client).routes[0].retries) == (3, 1)
    assert Route.objects.get().retries == 7  # the database stays as it is


def test_nothing_undoes_a_roll_back_by_itself(client, changed):
    roll_back_to(1)
    assert newest().is_pinned
    for _ in range(3):
        publish_changes()
    assert (newest().number, newest().status, newest().diff) == (4, "draft", ["~ route openai-smart: retries 1 → 7"])
    Provider.objects.update(max_connections=50)
    publish_changes()
    assert (newest().number, newest().status) == (5, "draft")
    assert (served(client).number, served(client).routes[0].retries) == (3, 1)


def test_a_valkey_that_lost_everything_is_told_of_the_roll_back(client, changed):
    roll_back_to(1)
    client.flushall()
    publish_changes()
    assert (served(client).number, served(client).routes[0].retries) == (3, 1)


def test_a_roll_back_can_be_rolled_back(client, changed):
    roll_back_to(1)
    assert roll_back_to(2).number == 4
    assert served(client).routes[0].retries == 7


def test_a_rejected_revision_cannot_be_rolled_back_to(client, changed):
    Provider.objects.create(slug="broken", adapter="nonesuch")
    publish()
    with pytest.raises(ValueError, match="Revision 3 was rejected"):
        roll_back_to(3)
    assert roll_back_to(1).number == 4
    assert served(client).number == 4


# --- Who asks for it -----------------------------------------------------------------------------------------


class Queue:
    """The tasks that wait for a Celery worker, read from Valkey."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def __eq__(self, other: object) -> bool:
        waiting = self._client.lrange(settings.CELERY_TASK_DEFAULT_QUEUE, 0, -1)
        return [json.loads(message)["headers"]["task"] for message in waiting] == other

    __hash__ = None  # type: ignore[assignment]

    def clear(self) -> None:
        self._client.delete(settings.CELERY_TASK_DEFAULT_QUEUE)


@pytest.fixture
def asked(client: redis.Redis) -> Queue:
    """The tasks asked for from now on."""
    queue = Queue(client)
    queue.clear()
    return queue


PUBLISH = "routing.publish_changes"


@commits
@pytest.mark.parametrize("part", Catalogue.__slots__)
def test_saving_or_deleting_any_part_asks_for_one_publication(catalogue, asked, part):
    row: models.Model = getattr(catalogue, part)
    row.save()
    assert asked == [PUBLISH]
    asked.clear()
    if isinstance(row, Provider | Deployment):  # protected by what refers to them
        row = type(row).objects.create(**{**fields(row), "slug": "lonely"})
        asked.clear()
    row.delete()
    assert asked == [PUBLISH]


def fields(row: Provider | Deployment) -> dict[str, Any]:
    return {"adapter": "openai"} if isinstance(row, Provider) else {"provider": row.provider, "model": "gpt-5"}


@commits
def test_a_transaction_asks_once_however_much_it_touches(asked):
    with transaction.atomic():
        make_catalogue()
        make_catalogue(slug="second", tenant=Tenant.objects.create(slug="alice"))
        assert asked == []
    assert asked == [PUBLISH]
    publish_changes()
    assert len(decode(bytes(newest().blob)).routes) == 2


@commits
def test_a_transaction_that_is_rolled_back_asks_for_nothing(asked):
    with transaction.atomic():
        make_catalogue()
        transaction.set_rollback(True)
    assert asked == []


@commits
def test_a_savepoint_that_is_rolled_back_does_not_silence_the_rest(asked):
    with transaction.atomic():
        with transaction.atomic():
            Provider.objects.create(slug="never", adapter="openai")
            transaction.set_rollback(True)
        Provider.objects.create(slug="kept", adapter="openai")
    assert asked == [PUBLISH]
    publish_changes()
    assert [provider.slug for provider in decode(bytes(newest().blob)).providers] == ["kept"]


@commits
def test_tenants_are_no_part_of_the_configuration(asked):
    Tenant.objects.create(slug="charlie")
    assert asked == []


@commits
def test_it_is_asked_for_in_the_workers_queue(client):
    Provider.objects.create(slug="openai", adapter="openai")
    (message,) = client.lrange(settings.CELERY_TASK_DEFAULT_QUEUE, 0, -1)
    assert json.loads(message)["headers"]["task"] == PUBLISH
    assert client.get(NUMBER_KEY) is None  # it is the worker who publishes
