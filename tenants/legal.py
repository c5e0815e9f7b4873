"""Which terms and privacy notice hold, which came before, and that a tenant's people have accepted them."""

from dataclasses import dataclass
from datetime import date

from django.utils.safestring import SafeString

from tenants.legal_defaults import default_text
from tenants.legal_text import render
from tenants.models import LegalAcceptance, LegalDocument, User

MOST_VERSIONS = 200  # that a page lists


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One line of a document's history."""

    number: int
    effective_from: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A document as people read it; `number` 0 is the text that ships with the product, and was never published."""

    kind: str
    title: str
    number: int
    html: SafeString
    effective_from: date | None = None
    is_current: bool = True
    upcoming: tuple[Version, ...] = ()
    earlier: tuple[Version, ...] = ()


def read_page(kind: str, number: int | None = None) -> Page | None:
    """Return the version that holds, or the one that is asked for; None: there is none such. Asks the database."""
    versions = list(LegalDocument.objects.filter(kind=kind).defer("text")[:MOST_VERSIONS])
    current = next((each for each in versions if not each.is_upcoming), None)
    shown = current if number is None else next((each for each in versions if each.version == number), None)
    if shown is None and number is not None:
        return None
    title = LegalDocument.Kind(kind).label
    upcoming = _still_to_come(versions, current)
    if shown is None:
        return Page(kind=kind, title=title, number=0, html=render(default_text(kind)), upcoming=upcoming)
    past = [each for each in versions if current and each.version < current.version and not each.is_upcoming]
    return Page(
        kind=kind,
        title=title,
        number=shown.version,
        html=render(shown.text),
        effective_from=shown.effective_from,
        is_current=shown is current,
        upcoming=upcoming,
        earlier=tuple(_line(each) for each in past),
    )


def _still_to_come(versions: list[LegalDocument], current: LegalDocument | None) -> tuple[Version, ...]:
    """Those whose day will come before a later version's; the next one first."""
    found: list[LegalDocument] = []
    for each in versions:  # the latest first
        is_replaced = (current and each.version < current.version) or (
            found and each.effective_from >= found[-1].effective_from
        )
        if each.is_upcoming and not is_replaced:
            found.append(each)
    return tuple(_line(each) for each in reversed(found))


def _line(document: LegalDocument) -> Version:
    return Version(number=document.version, effective_from=document.effective_from)


# --- Acceptance --------------------------------------------------------------------------------------------


def in_force() -> list[LegalDocument]:
    """The published documents that hold now. The texts that ship bind nobody, so there is nothing to accept of them."""
    found = (LegalDocument.objects.in_force(kind) for kind in LegalDocument.Kind.values)
    return [document for document in found if document is not None]


def pending(user: User) -> list[LegalDocument]:
    """What a member of a tenant has yet to accept; nothing for people who are in none."""
    if not user.memberships.exists():
        return []
    accepted = set(LegalAcceptance.objects.filter(user=user).values_list("document_id", flat=True))
    return [document for document in in_force() if document.pk not in accepted]


def accept(*, user: User, document: LegalDocument) -> LegalAcceptance:
    """Record that a tenant's member accepts a version, once; raises ValueError for others and for what does not hold."""
    if not user.memberships.exists():
        raise ValueError("Only members of a tenant accept its terms.")
    if document not in in_force():
        raise ValueError("Another version is in force now.")
    return LegalAcceptance.objects.get_or_create(user=user, document=document)[0]
