"""Brings the database to what a file declares, in one transaction.

Everything is written for real, so that the models validate it and the database answers for it. When anything
is wrong, or when it was a dry run, the transaction is rolled back: the list of changes is what an apply does,
never a guess at it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection, transaction
from django.utils import timezone

from providers.models import Deployment, Provider
from routing.declaration.catalogue import write_deployments, write_providers, write_routes
from routing.declaration.changes import Change, NewKey
from routing.declaration.document import Problem
from routing.declaration.pruning import prune
from routing.declaration.references import dangling, duplicates
from routing.declaration.run import Run
from routing.declaration.schema import Declaration, Names
from routing.declaration.tenancy import write_tenants
from tenants.audit import written_together
from tenants.models import Project, Tenant

APPLY_LOCK = "SELECT pg_advisory_xact_lock(hashtext('tollgate.apply'))"


class Refused(Exception):
    """The file has problems; nothing was written."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(set(problems), key=lambda problem: (problem.line, problem.path))
        super().__init__("\n".join(problem.render("file") for problem in self.problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an apply did."""

    changes: tuple[Change, ...]
    new_keys: tuple[NewKey, ...]  # to be shown once
    notes: tuple[str, ...]


def apply(declaration: Declaration, *, prune_unnamed: bool = False, dry_run: bool = False) -> Outcome:
    """Create and update what is named, delete what is not if asked to.

    Raises Refused, with everything that is wrong, and has changed nothing then.
    """
    with transaction.atomic():
        with written_together():
            wait_for_other_applies()
            run = Run(declaration=declaration, now=timezone.now(), problems=list(declaration.problems))
            run.problems += dangling(declaration, Names() if prune_unnamed else stored_names())
            run.problems += duplicates(declaration)
            write_providers(run)
            write_deployments(run)
            write_tenants(run)
            write_routes(run)
            if prune_unnamed and not run.problems:
                prune(run)
            if run.problems:
                raise Refused(run.problems)
        if dry_run:
            transaction.set_rollback(True)  # nothing can be written from here on, not even the trail
    return Outcome(changes=tuple(run.changes), new_keys=tuple(run.new_keys), notes=tuple(run.notes))


def stored_names() -> Names:
    """What the database has to refer to."""
    return Names(
        providers=frozenset(Provider.objects.values_list("slug", flat=True)),
        deployments=frozenset(Deployment.objects.values_list("slug", flat=True)),
        tenants=frozenset(Tenant.objects.values_list("slug", flat=True)),
        projects=frozenset(Project.objects.values_list("tenant__slug", "slug")),
    )


def wait_for_other_applies() -> None:
    """Two at once would create everything twice."""
    with connection.cursor() as cursor:
        cursor.execute(APPLY_LOCK)
