"""Publishing the configuration: compile, validate, store as a revision, announce.

Where publishing takes a person (CONFIG_PUBLISHING, or a roll back that is pinned), what the database says becomes a draft.
At most one draft waits. Its number is higher than that of any revision that was served before it was made, and whatever is
served after that supersedes it: workers never go back to a lower number.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max, Q, QuerySet
from django.utils import timezone

from gateway_site.infra import valkey
from gateway_site.infra.actor import actor
from gateway_site.infra.valkey import StoreUnavailable
from routing.compiler import compile_snapshot, differences, find_errors
from routing.models import ConfigChange, ConfigRevision
from routing.snapshot import EMPTY, Snapshot, decode, encode
from routing.snapshot_store import CHANNEL, NUMBER_KEY, SNAPSHOT_KEY
from tenants.audit import audit

log = structlog.get_logger("tollgate.configuration")

PUBLISH_LOCK = 0x70110001  # of Postgres' advisory locks: one publisher at a time
Status = ConfigRevision.Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What came of publishing."""

    number: int  # the revision that is served now
    errors: list[str] = field(default_factory=list)  # not published when there are any
    is_new: bool = False
    draft: int | None = None  # the revision that waits for somebody to publish it
    is_unpinned: bool = False  # the database says what a roll back serves, and changes are published again


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """What the database says, and who asks for it to be published."""

    snapshot: Snapshot
    checksum: str
    author: Any = None
    note: str = ""
    covers: tuple[int, ...] = ()  # the noted changes that are surely in it


def publish(*, author: Any = None, note: str = "") -> Published:
    """Publish what the database says, or let it wait as a draft where that takes a person; raises StoreUnavailable.

    Does nothing when it is served already, or waits.
    """
    with transaction.atomic():
        _lock()
        served = served_revision()
        candidate = _compile(author=author, note=note)
        if takes_a_person(served):
            outcome = _let_wait(candidate, served)
        else:
            served, outcome = _publish(candidate, served)
            if actor().name and served is not None and outcome.is_new:
                audit("published", served, note=note)  # somebody asked; otherwise the changes themselves are noted
    if outcome.errors and outcome.draft is None:
        log.error("configuration_rejected", errors=outcome.errors)
    if served is not None:
        announce(served)  # even an old one: Valkey may have been away when it was published, or have lost it since
    return outcome


def publish_draft(*, revision: ConfigRevision, approver: Any = None) -> Published:
    """Serve a draft exactly as it was shown; refused, with the reason in `errors`, when it is not what it was.

    Raises StoreUnavailable when it is stored and could not be announced.
    """
    with transaction.atomic():
        _lock()
        served = served_revision()
        number = served.number if served is not None else 0
        draft = ConfigRevision.objects.select_related("author").get(pk=revision.pk)
        refusal = find_refusal(draft, approver)
        if refusal:
            return Published(number=number, errors=[refusal], draft=_number_of(waiting_draft()))
        candidate = _compile(author=draft.author, note=draft.note)
        if candidate.checksum != draft.checksum:
            after = _let_wait(candidate, served)
            sentence = f"The configuration has changed since {draft} was made."
            if after.draft is not None:
                sentence += f" Revision {after.draft} shows what it is now."
            return Published(number=number, errors=[sentence], draft=after.draft)
        draft.changed_by = _people(served)
        draft.status, draft.approved_by, draft.published_at = Status.PUBLISHED, approver, timezone.now()
        draft.save(update_fields=["changed_by", "status", "approved_by", "published_at"])
        audit("published", draft)
        _consume(candidate, draft)
    announce(draft)
    return Published(number=draft.number, is_new=True)


def roll_back(*, revision: ConfigRevision, author: Any = None) -> Published:
    """Serve an older revision again, under a new number, and pin it; raises ValueError for one that never was served.

    The objects in the database stay as they are, and nothing of them is published until somebody publishes it by hand.
    """
    if revision.status != Status.PUBLISHED:
        raise ValueError(never_served(revision))
    with transaction.atomic():
        _lock()
        served = served_revision()
        assert served is not None
        try:
            snapshot = decode(bytes(revision.blob))
        except msgspec.DecodeError:
            sentence = f"Revision {revision.number} was written by another version of Tollgate and cannot be read."
            return Published(number=served.number, errors=[sentence])
        errors = find_errors(snapshot)
        if errors:
            return Published(number=served.number, errors=errors)
        _supersede()
        again = _create(
            _Candidate(
                snapshot=snapshot,
                checksum=revision.checksum,
                author=author,
                note=f"Roll back to revision {revision.number}",
            ),
            Status.PUBLISHED,
            before=_readable(served),
            is_pinned=True,
        )
        audit("rolled_back", again, to=revision.number)
    announce(again)
    return Published(number=again.number, is_new=True)


# --- What is there -------------------------------------------------------------------------------------------


def served_revision() -> ConfigRevision | None:
    """Return the revision that workers serve, or are about to."""
    return ConfigRevision.objects.filter(status=Status.PUBLISHED).order_by("-number").defer("blob").first()


def waiting_draft() -> ConfigRevision | None:
    """Return the draft that waits for somebody to publish it."""
    return ConfigRevision.objects.filter(status=Status.DRAFT).order_by("-number").defer("blob").first()


def takes_a_person(served: ConfigRevision | None) -> bool:
    """Whether changes wait for somebody instead of being published by themselves."""
    return settings.CONFIG_PUBLISHING != "automatic" or (served is not None and served.is_pinned)


def find_refusal(draft: ConfigRevision, approver: Any) -> str:
    """Return why somebody may not publish a revision as it stands, in a sentence; "" when they may."""
    if draft.status != Status.DRAFT:
        return f"{draft} is no draft: {draft.get_status_display().lower()}."
    if draft.errors:
        return f"{draft} cannot be served: {' '.join(draft.errors)}"
    if settings.CONFIG_PUBLISHING != "four_eyes":
        return ""
    if approver is None:
        return f"{draft} waits for a second person, who publishes it in the console."
    # By number too: a user may have been renamed since the draft was made.
    changes = _changes(served_revision())
    if approver.get_username() in draft.changed_by or changes.filter(user_id=approver.pk).exists():
        return f"{draft} has changes of yours: somebody else has to publish it."
    return ""


def never_served(revision: ConfigRevision) -> str:
    """Say why a revision cannot be served again."""
    if revision.status == Status.REJECTED:
        return f"{revision} was rejected and cannot be served."
    return f"{revision} was never published and cannot be rolled back to."


# --- Telling the workers -------------------------------------------------------------------------------------


def announce(revision: ConfigRevision) -> None:
    """Put a revision into Valkey, unless a newer one is there, and tell every worker; raises StoreUnavailable."""
    try:
        with valkey.connect(settings.VALKEY_URL) as client:
            put = partial(_put, revision)
            is_news = client.transaction(put, NUMBER_KEY, value_from_callable=True)  # type: ignore[arg-type]
    except StoreUnavailable as error:
        raise StoreUnavailable(f"Revision {revision.number} is stored but could not be announced: {error}") from error
    if is_news:
        log.info("configuration_published", revision=revision.number, changes=len(revision.diff))


def _put(revision: ConfigRevision, pipeline: Any) -> bool:
    # Done again by redis-py when the number changes meanwhile: of two publishers at once the newer revision stays.
    stored = pipeline.get(NUMBER_KEY)
    is_news = stored is None or int(stored) < revision.number
    pipeline.multi()
    if is_news:
        pipeline.set(SNAPSHOT_KEY, bytes(revision.blob))
        pipeline.set(NUMBER_KEY, revision.number)
        pipeline.publish(CHANNEL, str(revision.number))
    return is_news


def _lock() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PUBLISH_LOCK])


# --- Making revisions ----------------------------------------------------------------------------------------


def _compile(**facts: Any) -> _Candidate:
    # Before the tables are read: a change that is committed meanwhile may be in the snapshot or not, so its note stays.
    covers = tuple(ConfigChange.objects.filter(revision=None).values_list("pk", flat=True))
    snapshot = compile_snapshot()
    checksum = hashlib.sha256(encode(snapshot)).hexdigest()
    return _Candidate(snapshot=snapshot, checksum=checksum, covers=covers, **facts)


def _publish(candidate: _Candidate, served: ConfigRevision | None) -> tuple[ConfigRevision | None, Published]:
    """Publish at once, or reject; returns what is served then, too."""
    number = _number_of(served) or 0
    newest = (
        ConfigRevision.objects.filter(status__in=(Status.PUBLISHED, Status.REJECTED))
        .order_by("-number")
        .defer("blob")
        .first()
    )
    _supersede()  # what waited when publishing still took a person
    if newest is not None and newest.checksum == candidate.checksum:
        return served, Published(number=number, errors=newest.errors)
    errors = find_errors(candidate.snapshot)
    if errors:
        _create(candidate, Status.REJECTED, served=served, errors=errors)
        return served, Published(number=number, errors=errors)
    revision = _create(candidate, Status.PUBLISHED, before=_readable(served), served=served)
    _consume(candidate, revision)
    return revision, Published(number=revision.number, is_new=True)


def _let_wait(candidate: _Candidate, served: ConfigRevision | None) -> Published:
    """Make what the database says the draft that waits, unless it is served, or waits already."""
    number = _number_of(served) or 0
    draft = waiting_draft()
    if draft is not None and draft.checksum == candidate.checksum:
        _refresh(draft, served)
        return Published(number=number, errors=draft.errors, draft=draft.number)
    _supersede()
    before = _readable(served)
    if not differences(before, candidate.snapshot):
        return Published(number=number, is_unpinned=_unpin(served, candidate.author))
    errors = find_errors(candidate.snapshot)
    draft = _create(candidate, Status.DRAFT, before=before, served=served, errors=errors)
    log.info("configuration_drafted", revision=draft.number, changes=len(draft.diff), errors=len(errors))
    return Published(number=number, errors=errors, draft=draft.number)


def _refresh(draft: ConfigRevision, served: ConfigRevision | None) -> None:
    """Name those who have changed something since the draft was made, if only to take it back."""
    people = _people(served)
    if draft.changed_by != people:
        draft.changed_by = people
        draft.save(update_fields=["changed_by"])


def _supersede() -> None:
    ConfigRevision.objects.filter(status=Status.DRAFT).update(status=Status.SUPERSEDED)


def _unpin(served: ConfigRevision | None, author: Any) -> bool:
    """Let changes be published by themselves again, when a person asks and nothing would change by it."""
    if author is None or served is None or not served.is_pinned:
        return False
    served.is_pinned = False
    served.save(update_fields=["is_pinned"])
    return True


def _create(
    candidate: _Candidate,
    status: str,
    *,
    before: Snapshot | None = None,
    served: ConfigRevision | None = None,
    errors: Iterable[str] = (),
    is_pinned: bool = False,
) -> ConfigRevision:
    """Store a revision; `before` is what it is compared with, `served` what changes are counted from."""
    number = (ConfigRevision.objects.aggregate(newest=Max("number"))["newest"] or 0) + 1
    numbered = msgspec.structs.replace(candidate.snapshot, number=number)
    return ConfigRevision.objects.create(
        number=number,
        status=status,
        author=candidate.author,
        note=candidate.note,
        changed_by=[] if is_pinned else _people(served),
        published_at=timezone.now() if status == Status.PUBLISHED else None,
        is_pinned=is_pinned,
        diff=differences(before, numbered) if before is not None else [],
        errors=list(errors),
        blob=b"" if errors else encode(numbered),
        checksum=candidate.checksum,
    )


def _readable(revision: ConfigRevision | None) -> Snapshot:
    """Return a revision's snapshot; an empty one if another version of Tollgate wrote it in a form of its own."""
    if revision is None:
        return EMPTY
    try:
        return decode(bytes(revision.blob))
    except msgspec.DecodeError:
        log.warning("revision_unreadable", revision=revision.number)
        return EMPTY


def _number_of(revision: ConfigRevision | None) -> int | None:
    return revision.number if revision is not None else None


# --- Who has changed it --------------------------------------------------------------------------------------


def _people(served: ConfigRevision | None) -> list[str]:
    """Return who has changed something that is not served, by user name.

    Also those of revisions that came since and were never published, or were rolled back.
    """
    later = ConfigRevision.objects.order_by("number")
    origin = _origin(served)
    if origin is not None:
        later = later.filter(number__gt=origin.number)
    names = {name for names in later.values_list("changed_by", flat=True) for name in names}
    return sorted(names | set(_changes(served).values_list("username", flat=True)))


def _changes(served: ConfigRevision | None) -> QuerySet[ConfigChange]:
    """Return the noted changes that what is served does not have; after a roll back, those it took back, too."""
    is_open = Q(revision=None)
    origin = _origin(served)
    if origin is not None:
        is_open |= Q(revision__gt=origin.number)
    return ConfigChange.objects.filter(is_open).order_by()


def _consume(candidate: _Candidate, revision: ConfigRevision) -> None:
    """Note which publication covers the changes that it was made of."""
    ConfigChange.objects.filter(pk__in=candidate.covers).update(revision=revision.number)


def _origin(served: ConfigRevision | None) -> ConfigRevision | None:
    """Return the revision that was served when the database last said so: for a roll back, what it went back to."""
    if served is None or not served.is_pinned:
        return served
    same = ConfigRevision.objects.filter(status=Status.PUBLISHED, is_pinned=False, checksum=served.checksum)
    return same.filter(number__lt=served.number).order_by("-number").defer("blob").first() or served
