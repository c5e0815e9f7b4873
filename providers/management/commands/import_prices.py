from argparse import ArgumentParser, ArgumentTypeError
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from gateway_site.infra.actor import acting_as
from providers import price_updates
from providers.price_import import MOST_BYTES, SEED, Malformed, Offer, read_offers

COMMAND = "manage.py import_prices"
MOST_PROBLEMS = 50
MOST_PER_CENT = 10_000


class Command(BaseCommand):
    help = (
        "Compare the prices of deployments with a file in the format of LiteLLM's model_prices_and_context_window.json;"
        " --apply takes the differences over, in force from now on."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("file", nargs="?", type=Path, help="the JSON file")
        source.add_argument(
            "--seed", action="store_true", help="the prices of well known models that come with Tollgate"
        )
        parser.add_argument("--apply", action="store_true", help="write the new prices; without it nothing is changed")
        parser.add_argument(
            "--model",
            action="append",
            default=[],
            metavar="NAME",
            help="only this model, by its name in the file or upstream, or by its deployment's slug; may be repeated",
        )
        parser.add_argument(
            "--margin",
            type=_percent,
            metavar="PERCENT",
            help="also set what tenants pay: the file's prices and so much on top;"
            " without it only where a deployment has no price",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        offers = self.read(SEED if options["seed"] else options["file"])
        plan = price_updates.plan_updates(offers, margin=options["margin"], names=options["model"], now=timezone.now())
        for update in plan.updates:
            self.stdout.write(f"{'+' if update.is_first else '~'} {update.subject}: {', '.join(update.lines)}")
        for note in plan.notes:
            self.stdout.write(note)
        self.stdout.write(f"{len(plan.updates)} new prices; {plan.same} deployments have the file's prices already.")
        if options["apply"]:
            self.apply(plan)
        elif plan.updates:
            self.stdout.write("Nothing was changed; --apply does it.")

    def read(self, file: Path) -> dict[str, Offer]:
        try:
            if file.stat().st_size > MOST_BYTES:
                raise CommandError(f"{file} is larger than {MOST_BYTES // 2**20} MiB.")
            return read_offers(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}.") from None
        except UnicodeDecodeError as error:
            raise CommandError(f"{file} is not UTF-8 text: byte {error.start} cannot be read.") from None
        except Malformed as error:
            raise self.refusal(str(file), error) from None

    def apply(self, plan: price_updates.Plan) -> None:
        try:
            with acting_as(COMMAND):
                written = price_updates.apply_updates(plan.updates)
        except Malformed as error:
            raise self.refusal("prices", error) from None
        self.stdout.write(f"{len(written)} prices were written, in force from now on.")

    def refusal(self, what: str, error: Malformed) -> CommandError:
        """Tell all that is wrong, and return what to raise."""
        for problem in error.problems[:MOST_PROBLEMS]:
            self.stderr.write(f"{what}: {problem}")
        if len(error.problems) > MOST_PROBLEMS:
            self.stderr.write(f"{what}: and {len(error.problems) - MOST_PROBLEMS} more.")
        return CommandError("The file was refused; nothing was changed.")


def _percent(text: str) -> Decimal:
    try:
        margin = Decimal(text)
    except InvalidOperation:
        margin = None
    if margin is None or not margin.is_finite() or not 0 <= margin <= MOST_PER_CENT:
        raise ArgumentTypeError(f"{text!r} is not a number from 0 to {MOST_PER_CENT}")
    return margin
