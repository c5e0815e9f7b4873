"""POST /api/v1/dry-run, of the control plane: where would a request with this key go, and why?"""

from typing import Any, Literal

from django.http import HttpRequest
from ninja import Router, Schema
from ninja.errors import HttpError
from pydantic import ConfigDict, Field, field_validator

from providers.wire.json import write_json
from routing.dry_run import Question, dry_run, load_site
from tenants.models import ApiKey
from tenants.principals import principal_of

router = Router(tags=["routing"])

PERMISSIONS = ("routing.view_route", "tenants.view_apikey")


class DryRunRequest(Schema):
    """A request that somebody might send."""

    model_config = ConfigDict(extra="forbid")

    key: int = Field(description="The API key's id, as in the address of its page. Never its secret.")
    operation: Literal["chat", "messages", "responses", "gemini", "gemini_stream", "embeddings"] = "chat"
    model: str = Field("", max_length=200, description="The alias; takes the place of the one in the body.")
    body: dict[str, Any] | None = Field(None, description="The request in the operation's format; none: a short one.")
    headers: dict[str, str] = Field({}, description="Headers that routing looks at.")

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, headers: dict[str, str]) -> dict[str, str]:
        return checked_headers(headers)


class Loss(Schema):
    """Something that would not get across."""

    path: str
    weight: str
    why: str


class Candidate(Schema):
    """A deployment of the route."""

    deployment: str
    provider: str
    model: str
    priority: int
    weight: int
    standing: str
    position: int | None = Field(description="When it would be asked, from 1; null: never.")
    first_percent: int = Field(description="How often it comes first where lots are drawn.")
    dialect: str
    is_translated: bool
    losses: list[Loss]
    reason: str | None = Field(description="Why it is passed over; null: it is not.")
    explanation: str


class ClientError(Schema):
    """What the client would be told."""

    status: int
    code: str
    message: str
    body: Any


class DryRunAnswer(Schema):
    """Where the request would go."""

    revision: int
    key: str
    tenant: str
    operation: str
    dialect: str
    model: str
    route: str | None
    strategy: str | None
    session: bool
    candidates: list[Candidate]
    error: ClientError | None
    notes: list[str]


def may_dry_run(user: Any) -> bool:
    """Operators that may see routes and keys; the answer tells of both."""
    return bool(user.is_active and user.is_staff and user.has_perms(PERMISSIONS))


def checked_headers(headers: dict[str, str]) -> dict[str, str]:
    """Return headers that can be sent; raises ValueError naming the one that cannot."""
    for name, value in headers.items():
        if not name.isascii() or not name.strip() or any(sign in name for sign in " :\r\n"):
            raise ValueError(f"{name!r} is not the name of a header.")
        try:
            value.encode("latin-1")
        except UnicodeEncodeError:
            raise ValueError(f"Header {name!r} has a value that cannot be sent.") from None
    return headers


@router.post("/dry-run", response=DryRunAnswer, summary="Where would this request go, and why?")
def post_dry_run(request: HttpRequest, asked: DryRunRequest) -> dict[str, Any]:
    """Decide with the served configuration and the health of this moment. Nothing is called, counted or charged."""
    user = request.user
    if not may_dry_run(user):
        raise HttpError(403, "A dry run takes the right to view routes and API keys.")
    key = ApiKey.objects.with_owner().filter(pk=asked.key).first()
    if key is None:
        raise HttpError(404, f"There is no API key {asked.key}.")
    question = Question(
        principal=principal_of(key),
        operation=asked.operation,
        model=asked.model,
        body=b"" if asked.body is None else write_json(asked.body),
        headers=asked.headers,
    )
    return dry_run(question, load_site())
