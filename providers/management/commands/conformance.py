from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from providers.conformance.matrix import Pair, compare
from providers.conformance.page import render, summary
from providers.conformance.recorded import Recorded, load
from providers.registry import DIALECTS


class Command(BaseCommand):
    help = "Send every recorded exchange between every two dialects and write down what gets across."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--check", action="store_true", help="write nothing; fail if docs/conformance.md is not current"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        root = Path(settings.BASE_DIR)
        page = root / "docs" / "conformance.md"
        pairs = [*compare(_exchanges(root), DIALECTS)]
        self._report(pairs)
        text = render(pairs, {name: dialect.label for name, dialect in DIALECTS.items()})
        if not options["check"]:
            page.write_text(text, encoding="utf-8")
        elif not page.exists() or page.read_text(encoding="utf-8") != text:
            raise CommandError("docs/conformance.md is not current: run manage.py conformance.")

    def _report(self, pairs: Sequence[Pair]) -> None:
        for pair in pairs:
            self.stdout.write(f"{pair.client} → {pair.upstream}: {summary(pair)}")


def _exchanges(root: Path) -> list[Recorded]:
    folder = root / "tests" / "exchanges"
    if not folder.is_dir():
        raise CommandError(f"There are no recorded exchanges: {folder} is not there.")
    return [*load(folder)]
