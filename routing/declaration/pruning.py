"""Deletes what the file does not name, what depends on something before that.

Keys that have been used are revoked instead, and tenants with usage are suspended: the ledger goes on naming
them.
"""

from providers.models import Deployment, Provider
from routing.declaration.changes import Change
from routing.declaration.run import Run
from routing.models import ModelAlias, Route
from tenants.models import ApiKey, Project, Tenant, UsageDay, UsageRecord


def prune(run: Run) -> None:
    """Delete everything that is not named; nothing that is named refers to it, or it would be a problem."""
    _prune_aliases(run)
    _prune_routes(run)
    _prune_deployments(run)
    _prune_providers(run)
    _prune_keys(run)
    _prune_projects(run)
    _prune_tenants(run)


def _prune_aliases(run: Run) -> None:
    routes = run.declaration.sections.routes
    named = {(alias.tenant, alias.alias) for route in routes for alias in route.all_aliases}
    for alias in ModelAlias.objects.select_related("tenant"):
        owner = alias.tenant.slug if alias.tenant is not None else None
        if (owner, alias.name) not in named:
            run.delete(f"alias {alias.name if owner is None else f'{owner}/{alias.name}'}", alias)


def _prune_routes(run: Run) -> None:
    named = {entry.route_name for entry in run.declaration.sections.routes}
    for route in Route.objects.exclude(name__in=named):
        run.delete(f"route {route.name}", route)


def _prune_deployments(run: Run) -> None:
    for deployment in Deployment.objects.exclude(slug__in=run.declaration.names.deployments):
        run.delete(f"deployment {deployment.slug}", deployment)


def _prune_providers(run: Run) -> None:
    for provider in Provider.objects.exclude(slug__in=run.declaration.names.providers):
        run.delete(f"provider {provider.slug}", provider)


def _prune_keys(run: Run) -> None:
    named = {(tenant.slug, key.name) for tenant in run.declaration.sections.tenants for key in tenant.api_keys}
    for key in ApiKey.objects.of_programs().with_owner():
        if (key.tenant.slug, key.name) not in named:
            _prune_key(run, key, f"API key {key.tenant.slug}/{key.name}")


def _prune_key(run: Run, key: ApiKey, subject: str) -> None:
    if not _has_usage(api_key=key.pk):
        run.delete(subject, key)
    elif key.revoked_at is None:
        key.revoke()
        run.changes.append(Change(verb="update", subject=subject, details=("revoked; it has been used",)))


def _prune_projects(run: Run) -> None:
    for project in Project.objects.select_related("tenant"):
        is_named = (project.tenant.slug, project.slug) in run.declaration.names.projects
        if not is_named and not project.api_keys.exists():
            run.delete(f"project {project.tenant.slug}/{project.slug}", project)


def _prune_tenants(run: Run) -> None:
    for tenant in Tenant.objects.exclude(slug__in=run.declaration.names.tenants):
        subject = f"tenant {tenant.slug}"
        if not _has_usage(tenant=tenant.pk):
            run.delete(subject, tenant)
        elif not tenant.is_suspended:
            tenant.suspend("Not in the declared configuration")
            run.changes.append(Change(verb="update", subject=subject, details=("suspended; it has usage",)))


def _has_usage(**owner: int) -> bool:
    """Whether the ledger or, when its records are gone, a rollup names a key or a tenant."""
    return UsageRecord.objects.filter(**owner).exists() or UsageDay.objects.filter(**owner).exists()
