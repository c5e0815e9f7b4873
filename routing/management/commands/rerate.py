from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from routing.rerating import AlreadyRunning, Money, Period, Rerated, rerate
from tenants.models import Tenant


class Command(BaseCommand):
    help = (
        "Recompute what the requests of a period cost under the prices that are in force now for their moments;"
        " --apply writes the differences to the ledger, as corrections."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--from", dest="start", type=_beginning, required=True, metavar="DATE", help="the first day (UTC)"
        )
        parser.add_argument("--to", dest="end", type=_end, required=True, metavar="DATE", help="the last day (UTC)")
        parser.add_argument("--tenant", metavar="SLUG", help="only this tenant")
        parser.add_argument("--deployment", default="", metavar="SLUG", help="only this deployment")
        parser.add_argument("--apply", action="store_true", help="write the corrections; without it nothing is written")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["start"] >= options["end"]:
            raise CommandError("--from must not be after --to.")
        period = Period(
            start=options["start"],
            end=options["end"],
            tenant_id=self.tenant(options["tenant"]),
            deployment=options["deployment"],
        )
        try:
            self.report(rerate(period, apply=options["apply"]), is_applied=options["apply"])
        except AlreadyRunning:
            raise CommandError("Another re-rating is under way.") from None

    def tenant(self, slug: str | None) -> int | None:
        if slug is None:
            return None
        found = Tenant.objects.filter(slug=slug).first()
        if found is None:
            raise CommandError(f"There is no tenant {slug!r}.")
        return found.pk

    def report(self, done: Rerated, *, is_applied: bool) -> None:
        for (deployment, currency), money in sorted(done.sums.items()):
            self.stdout.write(f"{deployment}: {_told(money, currency)}")
        self.stdout.write(f"{done.records} records, {done.corrections} corrections, {done.unpriced} without a price.")
        if done.corrections and not is_applied:
            self.stdout.write("Nothing was written; --apply does it.")


def _told(money: Money, currency: str) -> str:
    parts = {"billed": money.cost, "written off": money.written_off, "what we pay": money.cost_price}
    return ", ".join(f"{name} {_signed(amount)} {currency}" for name, amount in parts.items() if amount)


def _signed(amount: Decimal) -> str:
    return f"{amount.normalize():+f}"


def _beginning(text: str) -> datetime:
    return datetime.combine(_day(text), time.min, UTC)


def _end(text: str) -> datetime:
    return _beginning(text) + timedelta(days=1)


def _day(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or not 2000 <= day.year <= 2999:
        raise ArgumentTypeError(f"{text!r} is not a date such as 2026-11-30")
    return day
