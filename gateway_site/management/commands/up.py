import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from gateway_site.node import up


class Command(BaseCommand):
    """For `manage.py help`: `manage.py up` goes to `gateway_site.node.up` before Django is loaded."""

    help = "Run everything one node needs: stores, workers, web processes."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        up.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        arguments = [f"--{name}={options[name]}" for name in ("host", "port", "workers")]
        flags = [f"--{name.replace('_', '-')}" for name in ("no_embedded", "web_only") if options[name]]
        os.execv(sys.executable, [sys.executable, "-m", "gateway_site.node.up", *arguments, *flags])
