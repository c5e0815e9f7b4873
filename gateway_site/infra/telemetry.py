"""The metrics. Prometheus client in its multi-process mode when PROMETHEUS_MULTIPROC_DIR is set.

What the hot path counts goes through tallies (`tallies.py`): a metric's own `inc()` takes a lock and writes to a file.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest, multiprocess
from prometheus_client.registry import REGISTRY

from gateway_site.env import envstr

SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
OVERHEAD_SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.05, 0.25, 1)

http_requests = Counter("http_requests_total", "Requests answered.", ["path", "status"])
http_duration = Histogram("http_request_duration_seconds", "Time to the last byte.", ["path"], buckets=SECONDS)
llm_requests = Counter("llm_requests_total", "Requests for a model.", ["alias", "deployment", "outcome"])
llm_duration = Histogram(
    "llm_request_duration_seconds",
    "Time to the last byte of requests for a model.",
    ["deployment"],
    buckets=SECONDS,
)
llm_first_token = Histogram(
    "llm_time_to_first_token_seconds",
    "Time to the first content of a stream.",
    ["deployment"],
    buckets=SECONDS,
)
llm_tokens = Counter("llm_tokens_used_total", "Tokens.", ["deployment", "kind"])
llm_attempts = Counter("llm_attempts_total", "Calls of upstreams.", ["deployment", "result"])
gateway_overhead = Histogram(
    "gateway_overhead_seconds", "Time not spent waiting for an upstream.", [], buckets=OVERHEAD_SECONDS
)
rate_limit_exceeded = Counter("rate_limit_exceeded_total", "Requests refused by a limit.", ["code"])
auth_failures = Counter("auth_failures_total", "Requests refused for their key.", ["code"])
active_requests = Gauge("active_requests", "Requests in flight.", multiprocess_mode="livesum")
active_connections = Gauge("active_connections", "Open connections of clients.", multiprocess_mode="livesum")
active_streams = Gauge("active_streams", "Streams in flight.", multiprocess_mode="livesum")
upstream_queue_depth = Gauge(
    "upstream_queue_depth", "Requests that wait for a saturated provider.", ["provider"], multiprocess_mode="livesum"
)
upstream_queue_wait = Histogram(
    "upstream_queue_wait_seconds", "How long requests waited for a saturated provider.", ["provider"], buckets=SECONDS
)
upstream_saturated = Counter(
    "upstream_saturated_total", "Requests refused in front of a saturated provider.", ["provider", "reason"]
)
health_events = Counter("health_events_total", "Changes of deployments' health.", ["deployment", "kind"])
breaker_state = Gauge(
    "deployment_breaker_state",
    "The breaker: 0 closed, 1 half-open, 2 open.",
    ["deployment"],
    multiprocess_mode="livemax",
)
probe_failing = Gauge(
    "deployment_probe_failing",
    "1: the last probe found the deployment unreachable, or was rejected.",
    ["deployment"],
    multiprocess_mode="livemax",
)
config_revision = Gauge("config_revision", "The revision that is served.", multiprocess_mode="livemin")
usage_spooled = Counter("usage_spooled_total", "Usage events kept on disk because Valkey was away.")
bodies_dropped = Counter(
    "bodies_dropped_total", "Bodies that an audit policy asked for and that were not kept.", ["reason"]
)
ledger_records = Counter("ledger_records_total", "Usage events written to the ledger.")
ledger_lag = Gauge("ledger_lag_seconds", "Age of the oldest event at the last drain.", multiprocess_mode="mostrecent")
queue_depth = Gauge("usage_stream_length", "Usage events not yet in the ledger.", multiprocess_mode="mostrecent")


def exposition() -> bytes:
    """Return all metrics in Prometheus' text format, of all processes, as they were last flushed; takes a while."""
    return generate_latest(_registry())


def families() -> list[Metric]:
    """Return the same as values."""
    return list(_registry().collect())


def _registry() -> CollectorRegistry:
    if envstr("PROMETHEUS_MULTIPROC_DIR") is None:
        return REGISTRY
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return registry
