"""`manage.py generate_usage`: fill the ledger with usage that never was, to see how it does when it is large."""

from datetime import UTC, datetime
from itertools import batched
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from tenants.ledger import ensure_partition, write_new_records
from tenants.models import Tenant, UsageDay, UsageRecord
from tenants.sample_usage import DAY_SECONDS, Caller, sample_events
from tenants.services import create_key

CHUNK = 20_000
KEYS_PER_TENANT = 5
CURRENCIES = ("USD", "USD", "USD", "EUR")


class Command(BaseCommand):
    """Writes records of sample tenants, with rollups and what budgets have spent."""

    help = (
        "Fill the ledger with made-up usage of sample tenants, rollups included, for measuring. "
        "Not for an installation that bills somebody: it refuses where the ledger has anything already."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--records", type=int, default=10_000_000, help="how many; ten million when not given")
        parser.add_argument("--days", type=int, default=30, help="over how many days, today the last")
        parser.add_argument("--tenants", type=int, default=20, help="of how many tenants, with five API keys each")
        parser.add_argument("--end-users", type=int, default=100, help="how many of each key")
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--force", action="store_true", help="even where the ledger has records or rollups")

    def handle(self, *args: Any, **options: Any) -> None:
        for name in ("records", "days", "tenants"):
            if options[name] < 1:
                raise CommandError(f"--{name} has to be 1 at least.")
        if not options["force"] and (UsageRecord.objects.exists() or UsageDay.objects.exists()):
            raise CommandError("The ledger has records already. What is made up would stand among them: use --force.")
        callers = sample_callers(options["tenants"], options["end_users"])
        today = int(datetime.now(UTC).timestamp()) // DAY_SECONDS
        written = 0
        for number in range(options["days"]):
            share = _share(options["records"], options["days"], number)
            written += _write_day(callers, today - number, share, options["seed"])
            if options["verbosity"]:
                self.stdout.write(f"{written:,} of {options['records']:,} records")


def sample_callers(tenants: int, end_users: int) -> list[Caller]:
    """Return keys of the tenants sample-1, sample-2 ..., which are made where they are missing."""
    return [caller for number in range(tenants) for caller in _callers_of(number, end_users)]


def _callers_of(number: int, end_users: int) -> list[Caller]:
    tenant, _ = Tenant.objects.get_or_create(slug=f"sample-{number + 1}", defaults={"name": f"Sample {number + 1}"})
    known = {key.name: key for key in tenant.api_keys.all()}
    names = [f"sample-{index + 1}" for index in range(KEYS_PER_TENANT)]
    keys = [known.get(name) or create_key(tenant=tenant, name=name)[0] for name in names]
    return [
        Caller(
            tenant_id=tenant.pk,
            api_key_id=key.pk,
            project="" if index % 2 else f"project-{index + 1}",
            end_users=end_users,
            currency=CURRENCIES[number % len(CURRENCIES)],
        )
        for index, key in enumerate(keys)
    ]


def _share(records: int, days: int, number: int) -> int:
    return records // days + (number < records % days)


def _write_day(callers: list[Caller], day: int, count: int, seed: int) -> int:
    ensure_partition(datetime.fromtimestamp(day * DAY_SECONDS, UTC).date())
    written = 0
    for events in batched(sample_events(callers, day=day, count=count, seed=seed), CHUNK):
        with transaction.atomic():
            written += write_new_records(events)
    return written
