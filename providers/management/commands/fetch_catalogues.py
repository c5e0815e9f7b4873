from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand

from providers.catalogues import Fetched, fetch


class Command(BaseCommand):
    help = "Ask every enabled provider now which models it has, as Celery does every hour."

    def handle(self, *args: Any, **options: Any) -> None:
        fetched = fetch()
        if not fetched.is_needed:
            self.stdout.write("Nobody was asked: no tenant may use models without a route (unmapped_models).")
            return
        self.stdout.write(f"Changed: {_listed(fetched.changed)}. As before: {_listed(_unchanged(fetched))}.")
        if fetched.failed:
            self.stderr.write(f"Not to be had: {_listed(fetched.failed)}; what was known stays.")


def _unchanged(fetched: Fetched) -> list[str]:
    return [slug for slug in fetched.answered if slug not in fetched.changed]


def _listed(slugs: Sequence[str]) -> str:
    return ", ".join(slugs) or "none"
