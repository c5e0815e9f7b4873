"""Probes and metrics."""

from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse
from ninja import Router

from gateway_site import __version__
from gateway_site.infra import telemetry

router = Router(tags=["health"])


def _json(status: int, content: dict[str, Any]) -> HttpResponse:
    return HttpResponse(orjson.dumps(content), status=status, content_type="application/json")


@router.get("/healthz")
async def healthz(request: HttpRequest) -> HttpResponse:
    """Liveness: the event loop turns."""
    return HttpResponse(b"ok", content_type="text/plain")


@router.get("/health")
async def health(request: HttpRequest) -> HttpResponse:
    """Status and version, for people and dashboards."""
    runtime = request.runtime  # type: ignore[attr-defined]
    components = {
        "valkey": "up" if runtime.valkey.is_connected else "down",
        "configuration": f"revision {runtime.snapshot.number}",
    }
    status = "ok" if runtime.valkey.is_connected else "degraded"
    return _json(200, {"status": status, "version": __version__, "components": components})


@router.get("/ready")
async def ready(request: HttpRequest) -> HttpResponse:
    """Readiness: this worker takes requests; it says so when it does without Valkey."""
    runtime = request.runtime  # type: ignore[attr-defined]
    if not runtime.is_configured:
        return _json(503, {"status": "no configuration: neither store can be reached, and there is no copy on disk"})
    status = "ready" if runtime.valkey.is_connected else "degraded"
    return _json(200, {"status": status, "revision": runtime.snapshot.number})


@router.get("/metrics")
async def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text format, of all workers."""
    return HttpResponse(telemetry.exposition(), content_type="text/plain; version=0.0.4; charset=utf-8")


@router.api_operation(["HEAD"], "/")
async def root(request: HttpRequest) -> HttpResponse:
    """What clients ask first, to see whether anybody is there."""
    return HttpResponse(b"", content_type="text/plain")
