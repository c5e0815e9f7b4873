"""`manage.py generate_usage`: fill the ledger with usage that never was, to see how it does when it is large."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection, connections, transaction

from tenants.ledger import ensure_partition, write_new_records
from tenants.models import Tenant, UsageDay, UsageRecord
from tenants.sample_usage import DAY_SECONDS, MODELS, Caller, Model, sample_events, sample_models
from tenants.services import create_key

# A day's records are sorted for their sums: in memory, and however long it takes.
FOR_A_DAY = "SET LOCAL work_mem = '256MB'; SET LOCAL statement_timeout = 0"
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
        parser.add_argument("--tenants", type=int, default=20, help="of how many tenants; the first has the most of it")
        parser.add_argument("--keys", type=int, default=5, help="how many API keys of each tenant; the first likewise")
        parser.add_argument("--end-users", type=int, default=100, help="how many of each key")
        parser.add_argument(
            "--models", type=int, default=len(MODELS), help="how many models, of which a tenant has five"
        )
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--processes", type=int, default=1, help="how many days are made at once")
        parser.add_argument("--force", action="store_true", help="even where the ledger has records or rollups")

    def handle(self, *args: Any, **options: Any) -> None:
        for name in ("records", "days", "tenants", "keys", "models", "processes"):
            if options[name] < 1:
                raise CommandError(f"--{name} has to be 1 at least.")
        if not options["force"] and (UsageRecord.objects.exists() or UsageDay.objects.exists()):
            raise CommandError("The ledger has records already. What is made up would stand among them: use --force.")
        models = sample_models(options["models"])
        callers = sample_callers(options["tenants"], options["keys"], options["end_users"], models)
        today = int(datetime.now(UTC).timestamp()) // DAY_SECONDS
        numbers = range(options["days"])
        for number in numbers:  # first of all: each locks the ledger for a moment
            ensure_partition(datetime.fromtimestamp((today - number) * DAY_SECONDS, UTC).date())
        days = [
            (callers, today - number, _share(options["records"], options["days"], number), options["seed"])
            for number in numbers
        ]
        written = 0
        for count in _write_days(days, options["processes"]):
            written += count
            if options["verbosity"]:
                self.stdout.write(f"{written:,} of {options['records']:,} records")


def sample_callers(tenants: int, keys: int, end_users: int, models: list[Model]) -> list[Caller]:
    """Return keys of the tenants sample-1, sample-2 ..., which are made where they are missing."""
    return [caller for number in range(tenants) for caller in _callers_of(number, keys, end_users, models)]


def _callers_of(number: int, keys: int, end_users: int, models: list[Model]) -> list[Caller]:
    tenant, _ = Tenant.objects.get_or_create(slug=f"sample-{number + 1}", defaults={"name": f"Sample {number + 1}"})
    known = {key.name: key for key in tenant.api_keys.all()}
    names = [f"sample-{index + 1}" for index in range(keys)]
    own = [known.get(name) or create_key(tenant=tenant, name=name)[0] for name in names]
    return [
        Caller(
            tenant_id=tenant.pk,
            api_key_id=key.pk,
            project="" if index % 2 else f"project-{index + 1}",
            end_users=end_users,
            currency=CURRENCIES[number % len(CURRENCIES)],
            weight=1 / (number + 1) / (index + 1),
            models=_models_of(number, models),
        )
        for index, key in enumerate(own)
    ]


def _models_of(number: int, models: list[Model]) -> tuple[Model, ...]:
    """Return what a tenant uses: of the first models all do, of the others each has its own."""
    usual, others = models[: len(MODELS)], models[len(MODELS) :]
    if not others:
        return tuple(usual)
    own = [others[(2 * number + index) % len(others)] for index in range(2)]
    return tuple([*usual[number % 2 :][:3], *own])


def _write_days(days: list[tuple[list[Caller], int, int, int]], processes: int) -> Iterator[int]:
    if processes == 1:
        yield from (_write_day(*day) for day in days)
        return
    with _others(processes) as executor:
        for done in as_completed([executor.submit(_write_day, *day) for day in days]):
            yield done.result()


@contextmanager
def _others(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Have processes with connections of their own."""
    connections.close_all()
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("fork")) as executor:
        yield executor


def _share(records: int, days: int, number: int) -> int:
    return records // days + (number < records % days)


def _write_day(callers: list[Caller], day: int, count: int, seed: int) -> int:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(FOR_A_DAY)
        return write_new_records(sample_events(callers, day=day, count=count, seed=seed))
