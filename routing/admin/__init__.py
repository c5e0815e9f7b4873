from routing.admin import (
    alias,
    api_key,
    deployment,
    health_event,
    provider,
    revision,
    route,
    stored_response,
    usage_record,
)

__all__ = [
    "alias",
    "api_key",
    "deployment",
    "health_event",
    "provider",
    "revision",
    "route",
    "stored_response",
    "usage_record",
]
