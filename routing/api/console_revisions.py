"""The REST API's revisions of the configuration, for operators: list, look at, publish, roll back."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Schema
from pydantic import Field

from gateway_site.infra.valkey import StoreUnavailable
from routing.models import ConfigRevision
from routing.services import Published, publish, publish_draft, roll_back, served_revision
from tenants.api.access import name_of, permit, person_in, visible
from tenants.api.errors import PROBLEMS, Refused, conflict, not_found
from tenants.api.paging import Page, check_parameters, page_of
from tenants.api.schema import Strict, Text

router = Router(tags=["revisions"])
VIEW, PUBLISH = "routing.view_configrevision", "routing.add_configrevision"
SHOWN = ("number", "status", "is_pinned", "changed_by", "note", "created_at", "published_at")


class RevisionQuery(Page):
    """Which revisions."""

    status: Text = Field("", description="draft, published, rejected or superseded.")


class Revision(Schema):
    """A compiled configuration, as it was published or waits to be."""

    number: int
    status: str
    is_served: bool
    is_pinned: bool
    author: str | None
    changed_by: list[str]
    approved_by: str | None
    note: str
    created_at: datetime
    published_at: datetime | None
    diff: list[str] = Field([], description="What changed against the revision before, a line each; of one revision.")
    errors: list[str] = Field([], description="Why it cannot be served; of one revision.")


class RevisionPage(Schema):
    """A page of revisions."""

    items: list[Revision]
    next: str | None = Field(description="For `after`; null: that was the last page.")


class Outcome(Schema):
    """What came of publishing."""

    number: int = Field(description="The revision that is served now.")
    is_new: bool = Field(description="Whether it is another one than before.")
    draft: int | None = Field(description="The revision that waits for somebody to publish it.")


class Publication(Strict):
    """For those who read the history."""

    note: Text = Field("", max_length=200)


def _rows(request: HttpRequest) -> Any:
    return visible(request, ConfigRevision.objects.defer("blob").select_related("author", "approved_by"), None)


def _shown(revision: ConfigRevision, served: int | None, *, is_whole: bool) -> dict[str, Any]:
    return {
        **{name: getattr(revision, name) for name in SHOWN},
        "author": name_of(revision.author),
        "approved_by": name_of(revision.approved_by),
        "is_served": revision.number == served,
        **({"diff": revision.diff, "errors": revision.errors} if is_whole else {}),
    }


def _served() -> int | None:
    served = served_revision()
    return None if served is None else served.number


@router.get(
    "/revisions",
    response={200: RevisionPage, **PROBLEMS},
    summary="Revisions of the configuration, newest first",
    operation_id="list_revisions",
    exclude_unset=True,
)
def list_revisions(request: HttpRequest, response: HttpResponse, asked: Query[RevisionQuery]) -> Any:
    permit(request, VIEW)
    check_parameters(request, {"limit", "after", "status"})
    rows = _rows(request).defer("blob", "diff", "errors")
    rows = rows.filter(status=asked.status) if asked.status else rows
    found, following = page_of(request, response, rows, asked, ("-number",))
    served = _served()
    return {"items": [_shown(each, served, is_whole=False) for each in found], "next": following}


@router.get(
    "/revisions/{int:number}",
    response={200: Revision, **PROBLEMS},
    summary="One revision, with what it changed",
    operation_id="get_revision",
    exclude_unset=True,
)
def get_revision(request: HttpRequest, number: int) -> Any:
    permit(request, VIEW)
    check_parameters(request, set())
    return _shown(_find(request, number), _served(), is_whole=True)


@router.post(
    "/revisions",
    response={200: Outcome, **PROBLEMS},
    summary="Publish what the database says",
    operation_id="publish_configuration",
)
def publish_now(request: HttpRequest, body: Publication) -> Any:
    """Where publishing takes a person, or a roll back is pinned, it becomes a draft, which `draft` names."""
    permit(request, PUBLISH)
    return _tell(lambda: publish(author=person_in(request), note=body.note))


@router.post(
    "/revisions/{int:number}/publish",
    response={200: Outcome, **PROBLEMS},
    summary="Publish a draft exactly as it is shown",
    operation_id="publish_revision",
)
def publish_revision(request: HttpRequest, number: int) -> Any:
    """Where a second person has to approve, that person's own session is needed: a token is nobody."""
    permit(request, PUBLISH)
    revision = _find(request, number)
    return _tell(lambda: publish_draft(revision=revision, approver=person_in(request)))


@router.post(
    "/revisions/{int:number}/roll-back",
    response={200: Outcome, **PROBLEMS},
    summary="Serve an older revision again, pinned",
    operation_id="roll_back_revision",
)
def roll_back_to(request: HttpRequest, number: int) -> Any:
    """It gets a new number, and stays until somebody publishes a draft. The objects are not changed."""
    permit(request, PUBLISH)
    revision = _find(request, number)
    try:
        return _tell(lambda: roll_back(revision=revision, author=person_in(request)))
    except ValueError as error:
        raise conflict(str(error)) from None


def _find(request: HttpRequest, number: int) -> ConfigRevision:
    found = _rows(request).filter(number=number).first()
    if found is None:
        raise not_found("revision", number)
    revision: ConfigRevision = found
    return revision


def _tell(change: Callable[[], Published]) -> dict[str, Any]:
    try:
        published = change()
    except StoreUnavailable as error:
        raise Refused(503, "store_unavailable", str(error)) from None
    if published.errors:
        raise conflict(f"Nothing was published: {' '.join(published.errors)}")
    return {"number": published.number, "is_new": published.is_new, "draft": published.draft}
