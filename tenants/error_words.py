"""Errors in words: whose they are, what they mean, and what to do. Pure: tables; docs/tenants.md says the same of codes."""

from collections.abc import Mapping

CLIENT, GATEWAY, UPSTREAM = "client", "gateway", "upstream"
OWNERS: Mapping[str, str] = {CLIENT: "The client", GATEWAY: "The gateway", UPSTREAM: "The upstream"}

NO_ERROR = frozenset({"served", "client_gone", "correction"})  # outcomes
OWNER_BY_OUTCOME: Mapping[str, str] = {
    "rejected": CLIENT,
    "upstream_failed": UPSTREAM,
    "cut": UPSTREAM,
    "shutdown": GATEWAY,
    "gateway_failed": GATEWAY,
    "lost": GATEWAY,
}
# Codes that say more than the outcome does: our credential, our account, our limits, or the client's own deadline.
OWNER_BY_CODE: Mapping[str, str] = {
    "upstream_auth_failed": GATEWAY,
    "upstream_account_exhausted": GATEWAY,
    "upstream_saturated": GATEWAY,
    "no_target_available": GATEWAY,
    "response_out_of_reach": GATEWAY,
    "limits_unavailable": GATEWAY,
    "store_unavailable": GATEWAY,
    "internal_error": GATEWAY,
    "worker_lost": GATEWAY,
    "request_stopped": GATEWAY,
    "deadline_exceeded": CLIENT,
}


def error_owner(outcome: str, error_code: str, status: int) -> str:
    """Return whose error a request ended with; empty when it ended with none."""
    if outcome in NO_ERROR:
        return ""
    owner = OWNER_BY_CODE.get(error_code) or OWNER_BY_OUTCOME.get(outcome)
    return owner or (CLIENT if 400 <= status < 500 else GATEWAY)


# What it means, and what to do.
EXPLANATIONS: Mapping[str, tuple[str, str]] = {
    "invalid_json": ("The body is not a JSON object.", "Check how the client builds its body."),
    "missing_field": ("A required field is missing.", "Send it; the error's message names it."),
    "invalid_request": ("A field has the wrong type or value.", "Correct it; the error's message names it."),
    "invalid_encoding": ("The body is not what content-encoding says.", "Send it as it is, or compressed as it says."),
    "dialect_not_served": (
        "The model speaks another format, and the request could not be translated.",
        "Call the endpoint of the model's format, or let the tenant's translation policy allow it.",
    ),
    "not_translatable": (
        "The model speaks another format, which has no place for a field of the request.",
        "Leave the field out, or use a model that speaks the client's format.",
    ),
    "context_length_exceeded": (
        "The prompt is longer than the model's window.",
        "Shorten it, or add a target with a larger window to the route.",
    ),
    "not_kept": ("/v1/responses keeps answers, not this.", "Send the whole conversation instead."),
    "previous_response_not_found": ("There is no such stored response.", "Send the whole conversation."),
    "storing_forbidden": ("The tenant stores no responses.", "Send store: false and the whole conversation."),
    "no_target_fits": ("No deployment has the region or tag that was asked for.", "Ask for another, or add one."),
    "wrong_kind_of_model": ("The model cannot do this kind of request.", "Use a model of the right kind."),
    "missing_api_key": ("No key was sent.", "Send the API key."),
    "invalid_api_key": ("The key is unknown.", "Check that it was copied whole."),
    "revoked_api_key": ("The key was revoked.", "Make a new one."),
    "expired_api_key": ("The key has expired.", "Make a new one."),
    "metrics_token_required": ("Metrics are for whoever runs the gateway.", "Use the token of the metrics."),
    "budget_exhausted": (
        "A budget had no room for what the request might cost.",
        "Top the budget up, raise it for a while, or wait for its reset.",
    ),
    "budget_currency": ("The model is sold in another currency than a budget's.", "Give it a price in that currency."),
    "model_unpriced": ("The model has no price, and the tenant is not served without.", "Price the model."),
    "model_not_allowed": ("The key or the tenant may not use this model.", "Allow it, or use another one."),
    "tenant_suspended": ("The tenant is suspended.", "Resume it when the reason is gone."),
    "response_not_found": ("The tenant has no such stored response.", "It may have expired."),
    "model_not_found": ("There is no such model.", "Map an alias to a route, or correct the name."),
    "endpoint_not_found": ("There is nothing at this path.", "Check the base URL: with or without /v1."),
    "method_not_allowed": ("Right path, wrong method.", "Use the method that the answer names."),
    "body_timeout": ("The request's body came too slowly.", "Try again; look at the client's network."),
    "body_too_large": ("The body is larger than it may be.", "Send less, or raise MAX_BODY_BYTES."),
    "unsupported_media_type": ("The body is not sent as JSON.", "Send Content-Type: application/json."),
    "rate_limited": ("A rate limit was reached.", "Wait for retry-after, or raise the limit."),
    "request_exceeds_limit": ("One request needs more tokens than a limit's window has.", "Send a shorter one."),
    "too_many_requests_at_once": ("Too many requests ran at once.", "Wait for one to end, or raise the limit."),
    "upstream_saturated": (
        "The gateway's own capacity at the provider was used up.",
        "Raise the provider's limits, or add a target to the route.",
    ),
    "internal_error": ("A defect of the gateway.", "Look for the request id in the gateway's log."),
    "upstream_unreachable": (
        "No provider could be reached.",
        "Check the provider's address and state; a second target in the route would have been asked.",
    ),
    "upstream_failed": (
        "The provider failed, and no other one answered.",
        "Try again; a second target in the route would have been asked.",
    ),
    "upstream_rejected": (
        "The provider refused the request as the client sent it.",
        "Look at the answer: it says what the provider did not like.",
    ),
    "upstream_cut": ("The provider broke off in mid-answer.", "Try again; what was delivered was billed."),
    "upstream_auth_failed": ("The provider refused the gateway's credential.", "Renew the provider's credential."),
    "upstream_account_exhausted": (
        "The gateway's account at the provider is used up.",
        "Add credit to the account at the provider.",
    ),
    "response_out_of_reach": ("The deployment that keeps the response cannot be asked.", "Send the conversation."),
    "no_target_available": (
        "All that serves this model is switched off, or rests after failures.",
        "Look at the deployments' health: breakers and cooldowns.",
    ),
    "limits_unavailable": ("Limits could not be counted, and the tenant is refused then.", "Look after Valkey."),
    "store_unavailable": ("Keys could not be checked.", "Look after Valkey and PostgreSQL."),
    "deadline_exceeded": (
        "The client's own deadline was over before anybody could be asked.",
        "Give it more time with x-tollgate-timeout.",
    ),
    "upstream_timeout": (
        "The provider gave no answer, or no further one, in time.",
        "Try again; look at the provider's latency and the route's timeouts.",
    ),
    "request_stopped": ("An operator stopped it.", "Ask whoever runs the gateway why; then try again."),
    "worker_lost": ("The worker that served it was killed.", "Try again; nothing was billed."),
}
OF_OUTCOMES: Mapping[str, tuple[str, str]] = {  # where there is no code, or one that nobody knows
    "client_gone": ("The client closed its connection before the end.", "Look at the client's own timeout."),
    "cut": EXPLANATIONS["upstream_cut"],
    "rejected": EXPLANATIONS["upstream_rejected"],
    "upstream_failed": EXPLANATIONS["upstream_failed"],
    "gateway_failed": EXPLANATIONS["internal_error"],
    "shutdown": ("The gateway was stopped while the request ran.", "Try again; a longer SHUTDOWN_TIMEOUT helps."),
    "lost": EXPLANATIONS["worker_lost"],
    "correction": ("Not a request: it corrects what an earlier one cost.", "Nothing is to be done."),
}


def explain(outcome: str, error_code: str) -> tuple[str, str] | None:
    """Return what went wrong and what to do about it; None where nothing did."""
    return EXPLANATIONS.get(error_code) or OF_OUTCOMES.get(outcome)
