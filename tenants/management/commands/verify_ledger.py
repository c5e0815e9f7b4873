"""`manage.py verify_ledger`: prove that counters, ledger and rollups say the same."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from gateway_site.infra import valkey
from gateway_site.infra.valkey import StoreUnavailable
from tenants import counters, ledger_proof


class Command(BaseCommand):
    """Prints one line for each number that is not what it ought to be; exit status 1 if there was one and it stays so."""

    help = "Prove that the counters in Valkey, the ledger and its rollups say the same; mend what does not with --fix."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--fix", action="store_true", help="make what was summed up again from the records")
        parser.add_argument(
            "--days", type=int, help="look at the records of so many days; all that are kept if not given"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        fixes, since = options["fix"], None
        if options["days"] is not None:
            since = timezone.now().date() - timedelta(days=options["days"])
        count = 0
        try:
            with valkey.connect(settings.VALKEY_URL) as client:
                counters.rebuild(client)
                for difference in _differences(client, fixes=fixes, since=since):
                    self.stdout.write(str(difference))
                    count += 1
        except StoreUnavailable as error:
            raise CommandError(str(error)) from error
        except counters.NeverQuiet:
            raise CommandError("Too much is settled at the moment to compare the counters; try again later.") from None
        if not count:
            self.stdout.write("Counters, ledger and rollups say the same.")
        elif fixes:
            self.stdout.write(f"{count} numbers were mended.")
        else:
            raise CommandError(f"{count} numbers differ; --fix sums them up again from the records.")


def _differences(client: Any, *, fixes: bool, since: date | None) -> Iterator[counters.Difference]:
    """Yield what differs, the ledger first: the counters are compared with what it says."""
    yield from ledger_proof.verify(fixes=fixes, since=since)
    yield from counters.verify(client, fixes=fixes)
