"""`manage.py expire_usage`: drop usage records that are older than they are kept."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from django.utils import timezone

from tenants.retention import expire


class Command(BaseCommand):
    """Does at once what beat has done every night."""

    help = "Drop the usage records that are older than they are kept; sums, reports and budgets stay as they are."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--days",
            type=int,
            default=settings.USAGE_RETENTION_DAYS,
            help="keep the records of so many days; USAGE_RETENTION_DAYS when not given, 0 keeps all",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["days"] < 0:
            raise CommandError("--days has to be 0 at least.")
        try:
            for day in expire(options["days"], today=timezone.now().date()):
                self.stdout.write(f"{day}: dropped")
        except OperationalError as error:
            raise CommandError(str(error).strip()) from error
