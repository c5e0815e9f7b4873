"""Which revision every web worker runs, and how far behind it is: for the console."""

from dataclasses import dataclass
from datetime import UTC, datetime

from django.conf import settings
from django.utils import timezone

from gateway_site.infra import valkey
from gateway_site.infra.valkey import StoreUnavailable
from routing.models import ConfigRevision
from routing.report import WorkerReport, read_reports

LATE_SECONDS = 5.0  # workers load a revision within a second, or within two when its announcement was lost


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningWorker:
    """A worker as an operator sees it."""

    report: WorkerReport
    lag: float | None  # seconds since the first revision that it has not loaded was published; None: it is current

    @property
    def is_late(self) -> bool:
        """Whether it should have loaded a newer revision by now."""
        return self.lag is not None and self.lag >= LATE_SECONDS

    @property
    def lag_text(self) -> str:
        return f"{self.lag or 0:,.0f} s behind"

    @property
    def started_at(self) -> datetime:
        return datetime.fromtimestamp(self.report.started_at, UTC)

    @property
    def revision_since(self) -> datetime | None:
        since = self.report.revision_since
        return datetime.fromtimestamp(since, UTC) if since and self.report.revision else None


def running_workers() -> list[RunningWorker] | None:
    """Return all web workers that live, by name; None when Valkey, which knows them, cannot be asked."""
    try:
        with valkey.connect(settings.VALKEY_URL) as client:
            reports = read_reports(client)
    except StoreUnavailable:
        return None
    lowest = min((report.revision for report in reports), default=0)
    newer = list(
        ConfigRevision.objects.filter(status=ConfigRevision.Status.PUBLISHED, number__gt=lowest)
        .order_by("number")
        .values_list("number", "published_at")
    )
    return [RunningWorker(report=report, lag=_lag(report.revision, newer)) for report in reports]


def _lag(revision: int, published: list[tuple[int, datetime | None]]) -> float | None:
    missed = next((moment for number, moment in published if number > revision and moment is not None), None)
    return None if missed is None else max(0.0, (timezone.now() - missed).total_seconds())
