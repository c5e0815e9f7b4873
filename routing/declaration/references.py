"""Names in the file that lead to nothing, and names that stand there twice."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches

from routing.declaration.document import Problem
from routing.declaration.readers import Entry
from routing.declaration.schema import (
    ApiKeyEntry,
    BudgetEntry,
    Declaration,
    DeploymentEntry,
    Names,
    ProjectEntry,
    ProviderEntry,
    RouteEntry,
    TargetEntry,
    TenantEntry,
)


def dangling(declaration: Declaration, stored: Names) -> Iterator[Problem]:
    """References to what is neither in the file nor stored."""
    names = declaration.names | stored
    for path, noun, name, known in _references(declaration, names):
        if name is not None and name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else ""
            yield declaration.problem(path, f'there is no {noun} "{name}"{hint}')


def _references(declaration: Declaration, names: Names) -> Iterator[tuple[str, str, str | None, Collection[str]]]:
    """Where each reference stands, what it is to, its name, and the names that there are."""
    for deployment in declaration.every(DeploymentEntry):
        yield f"{deployment.path}.provider", "provider", deployment.provider, names.providers
    for target in declaration.every(TargetEntry):
        yield f"{target.path}.deployment", "deployment", target.deployment, names.deployments
    for route in declaration.every(RouteEntry):
        for path, tenant in (
            (route.path, route.tenant),
            *((each.path, each.tenant) for each in route.aliases),
        ):
            yield f"{path}.tenant", "tenant", tenant, names.tenants
    owners = {tenant.path: tenant.slug for tenant in declaration.every(TenantEntry)}
    projects: dict[str, set[str]] = defaultdict(set)
    for tenant, project in names.projects:
        projects[tenant].add(project)
    for key in declaration.every(ApiKeyEntry):
        owner = owners.get(key.path.partition(".")[0], "")
        yield f"{key.path}.project", "project", key.project, projects[owner]


# What must be different in each list of these.
NAMED_BY: tuple[tuple[type[Entry], str], ...] = (
    (ProviderEntry, "slug"),
    (DeploymentEntry, "slug"),
    (TargetEntry, "deployment"),
    (TenantEntry, "slug"),
    (ProjectEntry, "slug"),
    (ApiKeyEntry, "name"),
)


def duplicates(declaration: Declaration) -> Iterator[Problem]:
    """Names that are given to two things of a kind."""
    for kind, field in NAMED_BY:
        entries = declaration.every(kind)
        places = [(f"{each.path}.{field}", each.path.rpartition("[")[0], getattr(each, field)) for each in entries]
        yield from _twice(declaration, places)
    routes = declaration.every(RouteEntry)
    aliases = [alias for route in routes for alias in route.all_aliases]
    yield from _twice(declaration, [(_name_path(route), "", route.route_name) for route in routes])
    yield from _twice(declaration, [(alias.path, alias.tenant or "", alias.alias) for alias in aliases])
    yield from _overlapping(declaration)


def _name_path(route: RouteEntry) -> str:
    return f"{route.path}.{'alias' if route.name is None else 'name'}"


def _twice(declaration: Declaration, places: Iterable[tuple[str, str, str]]) -> Iterator[Problem]:
    """Names that stand twice in one space; a place is a path, the space and the name."""
    first: dict[tuple[str, str], str] = {}
    for path, space, name in places:
        if name and (space, name) in first:
            line = declaration.problem(first[space, name], "").line
            yield declaration.problem(path, f'"{name}" is already in line {line}')
        first.setdefault((space, name), path)


def _overlapping(declaration: Declaration) -> Iterator[Problem]:
    """Budgets of one list that would count the same money twice."""
    first: dict[tuple[str, tuple[object, ...]], str] = {}
    for budget in declaration.every(BudgetEntry):
        identity = (budget.path.rpartition("[")[0], budget.identity)
        if identity in first:
            line = declaration.problem(first[identity], "").line
            yield declaration.problem(
                f"{budget.path}.per", f"a budget with this period, model and currency is already in line {line}"
            )
        first.setdefault(identity, budget.path)
