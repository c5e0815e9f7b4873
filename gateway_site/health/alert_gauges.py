"""What alert rules may ask of the deployment itself: breakers, probes, the ledger's queue, workers."""

from time import time
from typing import Any

import structlog
from django.conf import settings

from gateway_site.health.facts import Facts, breakers, deployments
from gateway_site.infra import valkey
from gateway_site.infra.valkey import StoreUnavailable
from routing.report import WorkerReport, read_reports
from routing.snapshot_store import NUMBER_KEY
from tenants.alerting import Gauges
from tenants.limits.scripts import USAGE_STREAM

log = structlog.get_logger("tollgate.alerts")

FAILED_PROBES = frozenset({"unreachable", "rejected"})


def read_gauges() -> Gauges:
    """Ask Valkey what workers say of themselves; without it, and of what no worker says, nothing is known."""
    try:
        with valkey.connect(settings.VALKEY_URL) as client:
            reports = read_reports(client)
            published: Any = client.get(NUMBER_KEY)
            oldest: Any = client.xrange(USAGE_STREAM, count=1)
    except StoreUnavailable as error:
        log.info("alert_gauges_unknown", reason=str(error))
        return Gauges()
    now = time()
    lag = max(0.0, now - int(oldest[0][0].split(b"-")[0]) / 1000) if oldest else 0.0
    return Gauges(ledger_lag=lag) if not reports else _gauges(reports, published, lag, now)


def _gauges(reports: list[WorkerReport], published: bytes | None, lag: float, now: float) -> Gauges:
    facts = Facts(at=now, readiness="ready", own=reports[0], workers=tuple(reports))
    rows = list(deployments(facts))
    behind = None if published is None else sum(report.revision < int(published) for report in reports)
    return Gauges(
        open_breakers=[(each.provider, each.deployment) for each in breakers(facts) if each.state == "open"],
        failing_probes=[
            (row.get("provider", ""), row["deployment"]) for row in rows if row.get("probe") in FAILED_PROBES
        ],
        ledger_lag=lag,
        lagging_workers=behind,
    )
