import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from gateway_site.env import envstr
from gateway_site.infra.actor import acting_as
from gateway_site.infra.valkey import StoreUnavailable
from routing.declaration.apply import Outcome, Refused, apply
from routing.declaration.schema import read_declaration
from routing.models import ConfigRevision
from routing.services import Published, publish, publish_draft

APPLY = "manage.py apply"  # how revisions name it among those who changed something


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
        publishing = parser.add_mutually_exclusive_group()
        publishing.add_argument("--no-publish", action="store_true", help="do not publish what was changed")
        publishing.add_argument(
            "--publish",
            action="store_true",
            help="publish at once what would wait as a draft; refused where a second person has to approve",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        file, is_dry = options["file"], options["dry_run"]
        if options["publish"] and settings.CONFIG_PUBLISHING == "four_eyes":
            raise CommandError("--publish is refused: CONFIG_PUBLISHING is four_eyes, somebody else has to publish.")
        declaration = read_declaration(read_text(file), lookup=envstr)
        try:
            with acting_as(APPLY):
                outcome = apply(declaration, prune_unnamed=options["prune"], dry_run=is_dry)
        except Refused as error:
            for problem in error.problems:
                self.stderr.write(problem.render("stdin" if file == "-" else file))
            raise CommandError("The file was refused; nothing was changed.") from None
        self.report(outcome, is_dry=is_dry)
        if not is_dry and not options["no_publish"]:
            self.publish(Path(file).name, outcome, at_once=options["publish"])

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

    def publish(self, name: str, outcome: Outcome, *, at_once: bool) -> None:
        """Publish even when nothing changed: an earlier apply may have been unable to."""
        try:
            published = publish(note=f"apply {name}"[:200])
            if at_once and published.draft is not None and not published.errors:
                published = publish_draft(revision=ConfigRevision.objects.get(number=published.draft))
        except StoreUnavailable as error:
            raise CommandError(f"The configuration is stored and not published: {error}") from None
        if published.errors:
            for sentence in published.errors:
                self.stderr.write(sentence)
            raise CommandError("The configuration is stored and not published: it cannot be served like this.")
        self.tell(published, outcome)

    def tell(self, published: Published, outcome: Outcome) -> None:
        if published.draft is not None:
            is_pinned = settings.CONFIG_PUBLISHING == "automatic"
            pin = f"Revision {published.number} is pinned by a roll back. " if is_pinned else ""
            self.stdout.write(f"{pin}Revision {published.draft} is a draft and waits for approval.")
        elif outcome.changes or published.is_new:
            self.stdout.write(f"Published revision {published.number}.")


def read_text(file: str) -> str:
    """Return the file's text; CommandError when it cannot be read."""
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise CommandError(f"{file} is not UTF-8 text: byte {error.start} cannot be read.") from None
