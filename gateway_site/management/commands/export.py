from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from routing.declaration.export import export
from tenants.models import Tenant


class Command(BaseCommand):
    help = "Write the configuration as YAML that `apply` reads. Secrets are left out."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tenant", metavar="SLUG", help="only this tenant and its own aliases")

    def handle(self, *args: Any, **options: Any) -> None:
        slug = options["tenant"]
        tenant = Tenant.objects.filter(slug=slug).first() if slug else None
        if slug and tenant is None:
            raise CommandError(f"There is no tenant {slug!r}.")
        self.stdout.write(export(tenant), ending="")
