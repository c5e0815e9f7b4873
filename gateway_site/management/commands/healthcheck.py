import os
import socket
import time
from argparse import ArgumentParser
from typing import Any

import httpx
import redis
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from gateway_site.env import envint

TIMEOUT_SECONDS = 5.0
BEAT_KEY = "tollgate:beat"  # the Unix time of the last periodic task
BEAT_SECONDS = 60.0
NODES = {"worker": "celery", "upstreams": "upstreams"}  # Celery workers, as they are named in their commands
PARTS = ("web", *NODES, "beat")


class Command(BaseCommand):
    help = "Exit with 0 when a part of this node works, else with 1 and the reason."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("part", nargs="?", choices=PARTS, default="web")

    def handle(self, *args: Any, **options: Any) -> None:
        match options["part"]:
            case "web":
                said = check_web()
            case "beat":
                said = check_beat()
            case part:
                said = check_worker(NODES[part])
        self.stdout.write(said)


def check_web() -> str:
    """Ask the web processes whether they can serve."""
    host = os.environ.get("HOST", "127.0.0.1")
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    bracketed = f"[{address}]" if ":" in address else address
    url = f"http://{bracketed}:{envint('PORT', 8080)}/ready"
    try:
        response = httpx.get(url, headers={"Host": "localhost"}, timeout=TIMEOUT_SECONDS, trust_env=False)
    except httpx.HTTPError as error:
        raise CommandError(f"{url} does not answer: {error}") from None
    if response.status_code != 200:
        raise CommandError(f"{url} answers {response.status_code}: {response.text[:500]}")
    return f"{url} answers 200"


def check_worker(node: str) -> str:
    """Ping a Celery worker of this host."""
    from gateway_site.celery import app

    name = f"{node}@{socket.gethostname()}"
    try:
        replies = app.control.inspect(destination=[name], timeout=TIMEOUT_SECONDS).ping()
    except (OSError, app.connection_for_read().connection_errors) as error:
        raise CommandError(f"the broker cannot be reached: {error}") from None
    if not replies:
        raise CommandError(f"{name} does not answer")
    return f"{name} answers"


def check_beat() -> str:
    """Look at when the schedule last ran something."""
    try:
        with redis.Redis.from_url(settings.VALKEY_URL, socket_timeout=TIMEOUT_SECONDS) as client:
            stamp = client.get(BEAT_KEY)
    except redis.RedisError as error:
        raise CommandError(f"Valkey cannot be reached: {error}") from None
    age = time.time() - float(stamp) if isinstance(stamp, bytes) else None
    if age is None or age > BEAT_SECONDS:
        raise CommandError(
            "the schedule has not run anything yet" if age is None else f"the schedule last ran {age:.0f} s ago"
        )
    return f"the schedule ran {age:.0f} s ago"
