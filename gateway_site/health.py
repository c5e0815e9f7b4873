"""Probes, metrics, and the gateway's state for machines and people. None needs a key; none names a tenant."""

from typing import Any
from weakref import WeakKeyDictionary

import orjson
from django.http import HttpRequest, HttpResponse
from ninja import Router
from prometheus_client import Metric

from gateway_site import health_report
from gateway_site.health_collector import HealthCollector, readiness_of
from gateway_site.infra import telemetry
from routing.runtime import Runtime

router = Router(tags=["health"])
collectors: WeakKeyDictionary[Runtime, HealthCollector] = WeakKeyDictionary()


def _json(status: int, content: dict[str, Any]) -> HttpResponse:
    return HttpResponse(orjson.dumps(content), status=status, content_type="application/json")


def _collector(request: HttpRequest) -> HealthCollector:
    runtime: Runtime = request.runtime  # type: ignore[attr-defined]
    collector = collectors.get(runtime)
    if collector is None:
        collector = collectors[runtime] = HealthCollector(runtime)
    return collector


@router.get("/healthz")
async def healthz(request: HttpRequest) -> HttpResponse:
    """Liveness: the event loop turns."""
    return HttpResponse(b"ok", content_type="text/plain")


@router.get("/health")
@router.get("/metrics/health")
async def health(request: HttpRequest) -> HttpResponse:
    """Status, components, numbers, issues and recommendations; 503 only when this worker can serve nobody."""
    document = await _collector(request).health()
    return _json(503 if document["status"] == "down" else 200, document)


@router.get("/ready")
async def ready(request: HttpRequest) -> HttpResponse:
    """Readiness: whether this worker takes requests, and what does not work meanwhile."""
    runtime: Runtime = request.runtime  # type: ignore[attr-defined]
    said = readiness_of(runtime)
    content = {"status": said.state, "revision": runtime.snapshot.number, "away": said.away, "missing": said.missing}
    return _json(said.status, content)


@router.get("/metrics")
async def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text format, of all workers."""
    return HttpResponse(telemetry.exposition(), content_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/metrics/summary")
async def metrics_summary(request: HttpRequest) -> HttpResponse:
    """The numbers of the first glance, of all workers."""
    return _json(200, health_report.summary(await _collector(request).facts()))


@router.get("/metrics/export")
async def metrics_export(request: HttpRequest) -> HttpResponse:
    """Everything as JSON: state, breakers, workers, and the metrics of this node."""
    families = [_family(family) for family in telemetry.families()]
    return _json(200, health_report.export(await _collector(request).facts(), families))


@router.api_operation(["HEAD"], "/")
async def root(request: HttpRequest) -> HttpResponse:
    """What clients ask first, to see whether anybody is there."""
    return HttpResponse(b"", content_type="text/plain")


def _family(family: Metric) -> dict[str, Any]:
    samples = [{"name": each.name, "labels": each.labels, "value": each.value} for each in family.samples]
    return {"name": family.name, "type": family.type, "help": family.documentation, "samples": samples}
