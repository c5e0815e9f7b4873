from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from providers.simulator.command_line import add_arguments, run


class Command(BaseCommand):
    help = "Run a local upstream that stands for a provider: for demos, tests and benchmarks."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        run(host=options["host"], port=options["port"], key=options["key"], quiet=options["quiet"])
