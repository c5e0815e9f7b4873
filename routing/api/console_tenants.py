"""The REST API's tenants, projects, members and API keys. Fields are called as in the configuration's YAML."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Router
from pydantic import Field

from routing.declaration import fields
from tenants.admin.member import LAST_OWNER, has_other_owner, lock
from tenants.api.access import name_of, permit, person_in, standing_in
from tenants.api.errors import Refused, conflict, from_model, invalid
from tenants.api.resource import Extra, Reference, Resource
from tenants.api.routes import add_routes, verb_options
from tenants.api.schema import Instant, Leaf, Strict, Text
from tenants.models import ApiKey, Member, Project, Tenant, User
from tenants.services import create_key, rotate_key
from tenants.single_sign_on import why_not_required

router = Router()

SETTINGS = (  # of a tenant, that the YAML has under the same name or not at all
    "audit_policy",
    "audit_retention_days",
    "audit_redacts_personal",
    "audit_redacts_media",
    "requires_two_factor",
    "requires_sso",
)
TENANT_PATHS = {"slug": "slug", "name": "name"} | {name: name for name in SETTINGS} | fields.TENANT.paths

OF_TENANT = Reference(
    field="tenant",
    model=Tenant,
    noun="tenant",
    tenant_path="pk",
    is_fixed=True,
    description="Whose it is: its slug or its id. Whoever belongs to a tenant may leave it out.",
)


def of_some_tenant(description: str) -> Reference:
    """A tenant that need not be: what it means that there is none, the description says."""
    return replace(OF_TENANT, is_required=False, description=description)


# --- Tenants -------------------------------------------------------------------------------------------------


def _check_tenant(request: HttpRequest, tenant: Tenant, body: Mapping[str, Any] | None) -> None:
    """Nobody locks a tenant's members out by requiring a way to sign in that lets nobody in."""
    is_new = body is not None and bool(body.get("requires_sso")) and not tenant.requires_sso
    if is_new and (reason := why_not_required(request)):
        raise invalid([("requires_sso", reason)])


TENANTS = Resource(
    path="tenants",
    noun="tenant",
    model=Tenant,
    rows=Tenant.objects.all,
    paths=TENANT_PATHS,
    lookup="slug",
    tenant_path="pk",
    verbs=("list", "create", "get", "put", "change", "delete"),
    filters={"slug": "slug"},
    extras={
        "suspended": Extra(
            annotation=bool, description="Whether all its keys are refused.", show=lambda tenant: tenant.is_suspended
        ),
        "suspended_at": Extra(annotation=datetime | None, description="", show=lambda tenant: tenant.suspended_at),
        "suspended_reason": Extra(annotation=str, description="", show=lambda tenant: tenant.suspended_reason),
        "created_at": Extra(annotation=datetime, description="", show=lambda tenant: tenant.created_at),
    },
    check=_check_tenant,
    example={"slug": "acme", "name": "Acme", "timezone": "Europe/Berlin", "alerts": {"emails": ["ops@acme.example"]}},
)
add_routes(router, TENANTS)
TenantAnswer: Any = TENANTS.answer()


class Suspension(Strict):
    """Why a tenant is suspended."""

    reason: Text = Field("", max_length=200, examples=["Invoice 1234 is unpaid."])


@router.post(**verb_options(TENANTS, "suspend", "Suspend a tenant: all its keys are refused from now on", TenantAnswer))
def suspend(request: HttpRequest, ref: str, body: Suspension) -> Any:
    return _switch(request, ref, lambda tenant: tenant.suspend(body.reason))


@router.post(**verb_options(TENANTS, "resume", "Accept a tenant's keys again", TenantAnswer))
def resume(request: HttpRequest, ref: str) -> Any:
    return _switch(request, ref, Tenant.resume)


def _switch(request: HttpRequest, ref: str, verb: Any) -> dict[str, Any]:
    TENANTS.permit(request, "change")
    if not standing_in(request).is_operator:
        raise Refused(403, "forbidden", "Only operators suspend and resume tenants.")
    with transaction.atomic():
        tenant = TENANTS.find(request, ref, locked=True)
        verb(tenant)
    return TENANTS.show(request, [tenant])[0]


# --- Projects and members ------------------------------------------------------------------------------------

add_routes(
    router,
    Resource(
        path="projects",
        noun="project",
        model=Project,
        rows=lambda: Project.objects.select_related("tenant"),
        paths={"slug": "slug"} | fields.PROJECT.paths,
        refs={"tenant": OF_TENANT},
        filters={"tenant": "tenant__slug", "slug": "slug"},
        extras={"created_at": Extra(annotation=datetime, description="", show=lambda project: project.created_at)},
        example={"tenant": "acme", "slug": "search", "name": "Search"},
    ),
)


def _check_member(request: HttpRequest, member: Member, body: Mapping[str, Any] | None) -> None:
    """No owner takes the last one away, as in the console."""
    role = Member.Role.OWNER.value
    stays = body is not None and body.get("role", member.role) == role
    if standing_in(request).is_operator or member.role != role or stays:
        return
    lock(member.tenant)
    if not has_other_owner(member.tenant, [member]):
        raise conflict(LAST_OWNER)


add_routes(
    router,
    Resource(
        path="members",
        noun="member",
        model=Member,
        rows=lambda: Member.objects.select_related("tenant", "user"),
        paths={"role": "role"},
        refs={
            "tenant": OF_TENANT,
            "user": Reference(
                field="user",
                model=User,
                by="username",
                noun="user",
                tenant_path="memberships__tenant",
                is_fixed=True,
            ),
        },
        filters={"tenant": "tenant__slug", "user": "user__username", "role": "role"},
        extras={"created_at": Extra(annotation=datetime, description="", show=lambda member: member.created_at)},
        check=_check_member,
        example={"tenant": "acme", "user": "dora", "role": "developer"},
    ),
)


# --- API keys ------------------------------------------------------------------------------------------------


def _make_key(request: HttpRequest, key: ApiKey) -> dict[str, Any]:
    """Save a new key; its secret is in this answer and nowhere else, ever."""
    if key.expires_at is not None and key.expires_at <= timezone.now():
        raise invalid([("expires_at", "This is in the past.")])
    key.full_clean(exclude=["digest", "pepper_id", "prefix", "last_four"])
    made, secret = create_key(
        tenant=key.tenant,
        name=key.name,
        project=key.project,
        allowed_models=key.allowed_models,
        expires_at=key.expires_at,
        priority=key.priority,
        may_trace=key.may_trace,
        created_by=person_in(request),
    )
    key.pk = made.pk
    return {"secret": secret}


def _check_key(request: HttpRequest, key: ApiKey, body: object) -> None:
    if key.revoked_at is not None:
        raise conflict("A revoked key stays as it is.")


SECRET = Leaf(annotation=str, description="The key itself, shown this once.", examples=("tg_…",))

KEYS = Resource(
    path="api-keys",
    noun="API key",
    model=ApiKey,
    rows=lambda: ApiKey.objects.of_programs().select_related("tenant", "project", "created_by"),
    paths={"name": "name"} | fields.API_KEY.paths,
    refs={
        "tenant": OF_TENANT,
        "project": Reference(field="project", model=Project, noun="project", within="tenant", is_required=False),
    },
    verbs=("list", "create", "get", "change"),
    filters={"tenant": "tenant__slug", "project": "project__slug", "name": "name"},
    extras={
        "hint": Extra(annotation=str, description="How it begins and ends.", show=lambda key: key.hint),
        "status": Extra(annotation=str, description="active, revoked or expired.", show=lambda key: key.status),
        "revoked_at": Extra(annotation=datetime | None, description="", show=lambda key: key.revoked_at),
        "previous_until": Extra(
            annotation=datetime | None,
            description="Until when the secret works that a rotation replaced.",
            show=lambda key: key.previous_until,
        ),
        "created_at": Extra(annotation=datetime, description="", show=lambda key: key.created_at),
        "created_by": Extra(
            annotation=str | None,
            description="The user who made it.",
            show=lambda key: name_of(key.created_by),
        ),
    },
    make=_make_key,
    made={"secret": SECRET},
    check=_check_key,
    example={"tenant": "acme", "name": "ci", "models": ["smart", "claude-*"]},
)
add_routes(router, KEYS)
KeyAnswer: Any = KEYS.answer()
RotatedAnswer: Any = KEYS.answer("Rotated", KEYS.made)


@router.post(**verb_options(KEYS, "revoke", "Refuse an API key from now on", KeyAnswer))
def revoke(request: HttpRequest, ref: str) -> Any:
    """Doing it again changes nothing. A revoked key stays revoked."""
    KEYS.permit(request, "change")
    with transaction.atomic():
        key = KEYS.find(request, ref, locked=True)
        key.revoke()
    return KEYS.show(request, [key])[0]


class Rotation(Strict):
    """How long the secret that there is goes on working."""

    until: Instant | None = Field(None, description="The old secret works until then; null: not any more.")


@router.post(**verb_options(KEYS, "rotate", "Give an API key a new secret", RotatedAnswer))
def rotate(request: HttpRequest, response: HttpResponse, ref: str, body: Rotation) -> Any:
    """It stays the same key: limits, budgets and usage go on. The secret is in this answer and nowhere else."""
    KEYS.permit(request, "change")
    permit(request, "tenants.add_apikey")
    until = body.until
    if until is not None and until.tzinfo is None:
        raise invalid([("until", "Say the time zone, such as 2027-12-31T18:00:00Z.")])
    with transaction.atomic():
        key = KEYS.find(request, ref, locked=True)
        _check_key(request, key, None)
        try:
            _, secret = rotate_key(key=key, until=until)
        except ValidationError as error:
            raise from_model(error, {}) from None
        [shown] = KEYS.show(request, [KEYS.find(request, str(key.pk))], secret=secret)
    response["Cache-Control"] = "no-store"
    return shown
