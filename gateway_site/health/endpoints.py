"""Probes, metrics, and the gateway's state for machines and people. None needs a key; none names a tenant.

With METRICS_TOKEN, what tells more than that the gateway works is for who has it.
"""

from hmac import compare_digest
from weakref import WeakKeyDictionary

import orjson
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from ninja import Router

from gateway_site.health.collector import HealthCollector, Name, readiness_of
from routing.runtime import Runtime
from tenants.errors import Unauthenticated

router = Router(tags=["health"])
collectors: WeakKeyDictionary[Runtime, HealthCollector] = WeakKeyDictionary()


def _json(status: int, content: bytes) -> HttpResponse:
    return HttpResponse(content, status=status, content_type="application/json")


async def _document(request: HttpRequest, name: Name) -> HttpResponse:
    return _json(*await _collector(request).document(name))


def _is_trusted(request: HttpRequest) -> bool:
    """Whether a request may see everything: it brings the token, or none is set."""
    token: str | None = settings.METRICS_TOKEN
    if token is None:
        return True
    pairs = request.header_pairs  # type: ignore[attr-defined]
    sent: bytes = next((value for name, value in pairs if name == b"authorization"), b"")
    scheme, _, given = sent.partition(b" ")
    return scheme.lower() == b"bearer" and compare_digest(given.strip(), token.encode())


def _need_token(request: HttpRequest) -> None:
    if not _is_trusted(request):
        raise Unauthenticated("Send 'Authorization: Bearer …' with METRICS_TOKEN.", code="metrics_token_required")


def _collector(request: HttpRequest) -> HealthCollector:
    return collector_of(request.runtime)  # type: ignore[attr-defined]


def collector_of(runtime: Runtime) -> HealthCollector:
    """Return the one collector of a worker, whichever plane asks."""
    collector = collectors.get(runtime)
    if collector is None:
        collector = collectors[runtime] = HealthCollector(runtime)
    return collector


@router.get("/healthz")
async def healthz(request: HttpRequest) -> HttpResponse:
    """Liveness: the event loop turns."""
    return HttpResponse(b"ok", content_type="text/plain")


@router.get("/health")
async def health(request: HttpRequest) -> HttpResponse:
    """Status, components, numbers, issues and recommendations; 503 only when this worker can serve nobody."""
    return await _document(request, "health" if _is_trusted(request) else "brief")


@router.get("/metrics/health")
async def metrics_health(request: HttpRequest) -> HttpResponse:
    """The same."""
    _need_token(request)
    return await _document(request, "health")


@router.get("/ready")
async def ready(request: HttpRequest) -> HttpResponse:
    """Readiness: whether this worker takes requests, and what does not work meanwhile."""
    runtime: Runtime = request.runtime  # type: ignore[attr-defined]
    said = readiness_of(runtime)
    content = {"status": said.state, "revision": runtime.snapshot.number, "away": said.away, "missing": said.missing}
    return _json(said.status, orjson.dumps(content))


@router.get("/metrics")
async def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text format, of all workers."""
    _need_token(request)
    exposition = await _collector(request).exposition()
    return HttpResponse(exposition, content_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/metrics/summary")
async def metrics_summary(request: HttpRequest) -> HttpResponse:
    """The numbers of the first glance, of all workers."""
    _need_token(request)
    return await _document(request, "summary")


@router.get("/metrics/export")
async def metrics_export(request: HttpRequest) -> HttpResponse:
    """Everything as JSON: state, breakers, workers, and the metrics of this node."""
    _need_token(request)
    return await _document(request, "export")


@router.api_operation(["HEAD"], "/")
async def root(request: HttpRequest) -> HttpResponse:
    """What clients ask first, to see whether anybody is there."""
    return HttpResponse(b"", content_type="text/plain")
