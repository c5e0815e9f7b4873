"""Writes who may call: tenants with their projects and API keys, and the limits and budgets of each."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError

from routing.declaration import fields
from routing.declaration.changes import Change, Difference, NewKey, show
from routing.declaration.readers import Entry
from routing.declaration.run import Run
from routing.declaration.schema import ApiKeyEntry, Governed, TenantEntry
from tenants.models import ApiKey, Budget, Project, RateLimit, Tenant
from tenants.models.limits import COUNTS_THE_SAME, ScopedRule
from tenants.services import create_key, give_secret, has_secret

API_KEY_PATHS = fields.API_KEY.paths | {"digest": "secret", "secret": "secret"}
SECRET_FIELDS = ("digest", "pepper_id", "prefix", "last_four")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whose limits and budgets: a tenant's, a project's or a key's."""

    label: str
    tenant: Tenant
    project: Project | None = None
    api_key: ApiKey | None = None

    @property
    def owner(self) -> dict[str, Any]:
        """The scope as fields of a rule."""
        return {"tenant": self.tenant, "project": self.project, "api_key": self.api_key}


def write_tenants(run: Run) -> None:
    stored = {tenant.slug: tenant for tenant in Tenant.objects.all()}
    for entry in run.declaration.sections.tenants:
        tenant = stored.setdefault(entry.slug, Tenant(slug=entry.slug))
        if _write_tenant(run, entry, tenant):
            _write_rules(run, entry, Scope(label=entry.slug, tenant=tenant))
            projects = _write_projects(run, entry, tenant)
            _write_keys(run, entry, tenant, projects)


def _write_tenant(run: Run, entry: TenantEntry, tenant: Tenant) -> bool:
    values = {"name": entry.name or entry.slug, **fields.TENANT.values(entry)}
    paths = fields.TENANT.paths | {"name": "name"}
    also: list[Difference] = []
    if entry.suspended is not None and entry.suspended != tenant.is_suspended:
        text = f"suspended {show(tenant.is_suspended)} → {show(entry.suspended)}"
        tenant.suspended_at, tenant.suspended_reason = run.now if entry.suspended else None, ""
        also = [Difference(fields=("suspended_at", "suspended_reason"), text=text)]
    return run.write(f"tenant {entry.slug}", tenant, values, path=entry.path, paths=paths, also=also)


def _write_projects(run: Run, entry: TenantEntry, tenant: Tenant) -> dict[str, Project]:
    projects = {project.slug: project for project in Project.objects.for_tenant(tenant)}
    for part in entry.projects:
        project = projects.setdefault(part.slug, Project(tenant=tenant, slug=part.slug))
        label = f"{tenant.slug}/{part.slug}"
        values, paths = fields.PROJECT.values(part), fields.PROJECT.paths
        if run.write(f"project {label}", project, values, path=part.path, paths=paths):
            _write_rules(run, part, Scope(label=label, tenant=tenant, project=project))
    return {slug: project for slug, project in projects.items() if project.pk is not None}


# --- API keys ----------------------------------------------------------------------------------------------


def _write_keys(run: Run, entry: TenantEntry, tenant: Tenant, projects: dict[str, Project]) -> None:
    stored = {key.name: key for key in ApiKey.objects.for_tenant(tenant).with_owner()}
    for part in entry.api_keys:
        if part.project is not None and part.project not in projects:
            continue  # it has been noted as missing or broken
        project = projects[part.project] if part.project is not None else None
        key = stored.get(part.name)
        label = f"{tenant.slug}/{part.name}"
        if _is_expired_anew(run, part, key):
            run.problem(f"{part.path}.expires_at", "is in the past")
        elif key is None:
            key = _create_key(run, part, tenant, project, label)
            stored |= {part.name: key} if key is not None else {}
        elif not _update_key(run, part, key, project, label):
            key = None
        if key is not None:
            _write_rules(run, part, Scope(label=label, tenant=tenant, api_key=key))


def _is_expired_anew(run: Run, entry: ApiKeyEntry, key: ApiKey | None) -> bool:
    """Whether the file sets an end that is over; a key may well have reached the end that it always had."""
    if entry.expires_at is None or entry.expires_at > run.now or entry.revoked:
        return False
    return key is None or key.expires_at != entry.expires_at


def _create_key(run: Run, entry: ApiKeyEntry, tenant: Tenant, project: Project | None, label: str) -> ApiKey | None:
    try:
        key, secret = create_key(
            tenant=tenant,
            name=entry.name,
            project=project,
            allowed_models=entry.models,
            expires_at=entry.expires_at,
            priority=entry.priority,
            may_trace=entry.trace,
            secret=entry.secret,
        )
    except ValidationError as error:
        run.refuse(error, entry.path, API_KEY_PATHS)
        return None
    run.changes.append(Change(verb="create", subject=f"API key {label}"))
    if entry.revoked:
        key.revoke()
    elif entry.secret is None:
        run.new_keys.append(NewKey(label=label, secret=secret))
    return key


def _update_key(run: Run, entry: ApiKeyEntry, key: ApiKey, project: Project | None, label: str) -> bool:
    also: list[Difference] = []
    if entry.secret is not None and not has_secret(key, entry.secret):
        try:
            give_secret(key, entry.secret)
        except ValidationError as error:
            run.refuse(error, entry.path, API_KEY_PATHS)
            return False
        also.append(Difference(fields=SECRET_FIELDS, text="secret (changed)"))
    if entry.revoked and key.revoked_at is None:
        key.revoked_at = run.now
        also.append(Difference(fields=("revoked_at",), text="revoked"))
    if key.revoked_at is not None and entry.revoked is False:
        run.problem(f"{entry.path}.revoked", "a revoked key stays revoked; give the new one another name")
        return False
    if key.revoked_at is not None and entry.revoked is None:
        run.notes.append(f"API key {label} is revoked, and stays so.")
    values = {"project": project, **fields.API_KEY.values(entry)}
    return run.write(f"API key {label}", key, values, path=entry.path, paths=API_KEY_PATHS, also=also)


# --- Limits and budgets ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleKind:
    """What tells limits and budgets apart."""

    noun: str
    model: type[ScopedRule]
    fields: fields.Fields
    identity: tuple[str, ...]  # rules that agree in these are the same rule with another amount
    describe: Callable[[Any], str]
    is_unique: bool = False  # two rules of a scope that agree in these are one too many

    def subject(self, scope: Scope, rule: ScopedRule) -> str:
        """Such as `limit acme (600 requests per minute)`."""
        return f"{self.noun} {scope.label} ({self.describe(rule)})"


def describe_limit(limit: RateLimit) -> str:
    """`60 requests per minute, burst 20`."""
    burst = f", burst {limit.burst}" if limit.burst is not None else ""
    return f"{limit}{burst}{_narrowed(limit)}"


def describe_budget(budget: Budget) -> str:
    """`500 USD per month`."""
    return f"{budget}{_narrowed(budget)}"


def _narrowed(rule: ScopedRule) -> str:
    model = f", model {rule.model}" if rule.model else ""
    return f"{model}{', per end user' if rule.per_end_user else ''}"


LIMITS = RuleKind(
    noun="limit",
    model=RateLimit,
    fields=fields.LIMIT,
    identity=("kind", "per", "model", "per_end_user"),
    describe=describe_limit,
)
BUDGETS = RuleKind(
    noun="budget",
    model=Budget,
    fields=fields.BUDGET,
    identity=COUNTS_THE_SAME,
    is_unique=True,
    describe=describe_budget,
)


def _write_rules(run: Run, entry: Governed, scope: Scope) -> None:
    """Make the limits and budgets of a scope those of the file, where it lists any."""
    if entry.limits is not None:
        _replace_rules(run, LIMITS, entry.limits, scope)
    if entry.budgets is not None:
        _replace_rules(run, BUDGETS, entry.budgets, scope)


def _replace_rules(run: Run, kind: RuleKind, entries: Iterable[Entry], scope: Scope) -> None:
    """Rows stay where only an amount changes: what has been counted and spent hangs on their ids."""
    seen: set[tuple[Any, ...]] = set()
    stored: dict[tuple[Any, ...], list[ScopedRule]] = defaultdict(list)
    for rule in kind.model.objects.filter(**scope.owner).order_by("pk"):
        stored[tuple(getattr(rule, name) for name in kind.identity)].append(rule)
    for entry in entries:
        values = kind.fields.values(entry)
        identity = tuple(values[name] for name in kind.identity)
        if kind.is_unique and identity in seen:
            continue  # it has been noted as overlapping
        seen.add(identity)
        same = stored[identity]
        rule = same.pop(0) if same else kind.model(**scope.owner, **values)
        if isinstance(rule, Budget) and rule.amount != values["amount"] and _is_topped_up(rule):
            values.pop("amount")  # the file does not know what was paid in since
            run.notes.append(f"{kind.subject(scope, rule)} was topped up; the amount in the file is not applied.")
        run.write(kind.subject(scope, rule), rule, values, path=entry.path, paths=kind.fields.paths)
    for rule in (rule for rules in stored.values() for rule in rules):
        run.delete(kind.subject(scope, rule), rule)


def _is_topped_up(budget: Budget) -> bool:
    """Whether money was paid into it beside the file."""
    is_stored_credit = budget.pk is not None and budget.period == Budget.Period.CREDIT
    return is_stored_credit and budget.top_ups.exists()
