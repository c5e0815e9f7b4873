from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from gateway_site.env import envint, envstr
from gateway_site.serving.server import serve


class Command(BaseCommand):
    help = "Run one web process in the foreground."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--fd", type=int, help="an inherited listening socket; host and port are not used then")
        parser.add_argument("--host", default=envstr("HOST", "127.0.0.1"))
        parser.add_argument("--port", type=int, default=envint("PORT", 8080))

    def handle(self, *args: Any, **options: Any) -> None:
        serve(fd=options["fd"], host=options["host"], port=options["port"])
