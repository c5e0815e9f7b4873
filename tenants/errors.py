"""The gateway's own errors: each has a status, a stable code and a sentence that the reader can act on.

    GatewayError
    ├── InvalidRequest          400  invalid_request (param names the field), invalid_json, ...
    ├── Unauthenticated         401  missing_api_key, invalid_api_key, revoked_api_key, expired_api_key
    ├── BudgetExhausted         402  budget_exhausted (429 in the dialects whose clients know no 402)
    ├── Forbidden               403  model_not_allowed, tenant_suspended, budget_currency
    ├── NotFound                404  model_not_found, endpoint_not_found
    ├── MethodNotAllowed        405
    ├── BodyTimeout             408
    ├── BodyTooLarge            413
    ├── UnsupportedMediaType    415
    ├── RateLimited             429  rate_limited, too_many_requests_at_once, request_exceeds_limit
    ├── ProviderSaturated       429  upstream_saturated
    ├── UpstreamFailed          502  upstream_unreachable, upstream_failed, upstream_auth_failed, upstream_cut
    ├── RequestStopped          503
    ├── Unavailable             503  no_target_available, store_unavailable, limits_unavailable
    └── UpstreamTimeout         504

A dialect's `errors.py` writes them in the caller's format; `kind` is what it looks at.
"""

from collections.abc import Mapping


class GatewayError(Exception):
    """An answer that the gateway itself gives."""

    status = 500
    kind = "server_error"
    code = "internal_error"
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        retryable: bool | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.param = param
        self.headers = dict(headers or {})
        self.retry_after_seconds = retry_after_seconds
        if retryable is not None:
            self.retryable = retryable


class InvalidRequest(GatewayError):
    status, kind, code = 400, "invalid_request", "invalid_request"


class Unauthenticated(GatewayError):
    status, kind, code = 401, "authentication", "invalid_api_key"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message, code=code, headers={"www-authenticate": 'Bearer realm="tollgate"'})


class BudgetExhausted(GatewayError):
    """A hard budget has no room. To try again does not help, and clients are told so: some would try ten times."""

    status, kind, code = 402, "billing", "budget_exhausted"


class Forbidden(GatewayError):
    status, kind, code = 403, "permission", "forbidden"


class NotFound(GatewayError):
    status, kind, code = 404, "not_found", "not_found"


class MethodNotAllowed(GatewayError):
    status, kind, code = 405, "invalid_request", "method_not_allowed"


class BodyTimeout(GatewayError):
    status, kind, code, retryable = 408, "timeout", "body_timeout", True


class BodyTooLarge(GatewayError):
    status, kind, code = 413, "too_large", "body_too_large"


class UnsupportedMediaType(GatewayError):
    status, kind, code = 415, "invalid_request", "unsupported_media_type"


class RateLimited(GatewayError):
    status, kind, code, retryable = 429, "rate_limit", "rate_limited", True


class ProviderSaturated(GatewayError):
    """The gateway's own limits in front of a provider leave no room, and waiting was no use."""

    status, kind, code, retryable = 429, "rate_limit", "upstream_saturated", True


class UpstreamFailed(GatewayError):
    status, kind, code, retryable = 502, "upstream", "upstream_failed", True


class RequestStopped(GatewayError):
    """Somebody has stopped this request at the console; clients are told not to send it again by themselves."""

    status, kind, code = 503, "server_error", "request_stopped"

    def __init__(self) -> None:
        super().__init__(
            "This request was stopped at the gateway's console, by an operator or by a member of your tenant.",
            headers={"x-should-retry": "false"},
        )


class Unavailable(GatewayError):
    status, kind, code, retryable = 503, "overloaded", "unavailable", True


class UpstreamTimeout(GatewayError):
    status, kind, code, retryable = 504, "upstream_timeout", "upstream_timeout", True
