import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from gateway_site.env import envstr
from gateway_site.infra.valkey import StoreUnavailable
from routing.declaration.apply import Outcome, Refused, apply
from routing.declaration.schema import read_declaration
from routing.services import publish


class Command(BaseCommand):
    help = "Bring the configuration to what a YAML file declares; gateway.example.yaml shows the format."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="the YAML file, or - for the standard input")
        parser.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
        parser.add_argument(
            "--prune",
            action="store_true",
            help="delete everything that the file does not name, in every section",
        )
        parser.add_argument("--no-publish", action="store_true", help="do not publish what was changed")

    def handle(self, *args: Any, **options: Any) -> None:
        file, is_dry = options["file"], options["dry_run"]
        declaration = read_declaration(read_text(file), lookup=envstr)
        try:
            outcome = apply(declaration, prune_unnamed=options["prune"], dry_run=is_dry)
        except Refused as error:
            for problem in error.problems:
                self.stderr.write(problem.render("stdin" if file == "-" else file))
            raise CommandError("The file was refused; nothing was changed.") from None
        self.report(outcome, is_dry=is_dry)
        if not is_dry and not options["no_publish"]:
            self.publish(Path(file).name, outcome)

    def report(self, outcome: Outcome, *, is_dry: bool) -> None:
        for change in outcome.changes:
            self.stdout.write(str(change))
        for note in outcome.notes:
            self.stdout.write(note)
        if not outcome.changes:
            self.stdout.write("Nothing to change.")
        elif is_dry:
            self.stdout.write("This was a dry run: nothing was changed.")
        else:
            for key in outcome.new_keys:
                self.stdout.write(str(key))

    def publish(self, name: str, outcome: Outcome) -> None:
        """Publish even when nothing changed: an earlier apply may have been unable to."""
        try:
            published = publish(note=f"apply {name}"[:200])
        except StoreUnavailable as error:
            raise CommandError(f"The configuration is stored and not published: {error}") from None
        if published.errors:
            for sentence in published.errors:
                self.stderr.write(sentence)
            raise CommandError("The configuration is stored and not published: it cannot be served like this.")
        if outcome.changes or published.is_new:
            self.stdout.write(f"Published revision {published.number}.")


def read_text(file: str) -> str:
    """Return the file's text; CommandError when it cannot be read."""
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise CommandError(f"{file} is not UTF-8 text: byte {error.start} cannot be read.") from None
