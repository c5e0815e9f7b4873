from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, date, datetime, time
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from tenants.models import Project, Tenant
from tenants.services import create_key


class Command(BaseCommand):
    help = "Create an API key and print it, this once. Nothing else goes to the standard output."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("tenant", help="the tenant's slug")
        parser.add_argument("name", help="what the key is called; a tenant's keys have different names")
        parser.add_argument("--project", metavar="SLUG", help="a project of the tenant")
        parser.add_argument(
            "--models", metavar="A,B", type=split, help="aliases it may use; without it, all of the tenant's"
        )
        parser.add_argument("--expires", metavar="DATE", type=end_of_day, help="its last day (UTC), such as 2027-12-31")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = Tenant.objects.filter(slug=options["tenant"]).first()
        if tenant is None:
            raise CommandError(f"There is no tenant {options['tenant']!r}.")
        try:
            key, secret = create_key(
                tenant=tenant,
                name=options["name"],
                project=find_project(tenant, options["project"]),
                allowed_models=options["models"],
                expires_at=options["expires"],
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        self.stderr.write(f"Created the key {key.name!r} of {tenant.slug}. It is shown this once:")
        self.stdout.write(secret)


def find_project(tenant: Tenant, slug: str | None) -> Project | None:
    """Return a tenant's project; CommandError when it has none of that name."""
    if slug is None:
        return None
    project = Project.objects.for_tenant(tenant).filter(slug=slug).first()
    if project is None:
        raise CommandError(f"{tenant.slug} has no project {slug!r}.")
    return project


def split(names: str) -> list[str]:
    """Return the names of a comma-separated list."""
    found = [name.strip() for name in names.split(",") if name.strip()]
    if not found:
        raise ArgumentTypeError(f"{names!r} names no model")
    return found


def end_of_day(text: str) -> datetime:
    """Read a date as its last moment."""
    try:
        moment = datetime.combine(date.fromisoformat(text), time.max, UTC)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a date such as 2027-12-31") from None
    if moment <= timezone.now():
        raise ArgumentTypeError(f"{text} is over")
    return moment
