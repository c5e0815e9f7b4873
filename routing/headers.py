"""Which headers go up to an upstream and which come down to the client."""

from collections.abc import Sequence

from providers.canonical.inbound import Inbound
from providers.transport import Upstream
from routing.snapshot import LiveDeployment

type HeaderPairs = Sequence[tuple[bytes, bytes]]

# Open lists: what a vendor adds under its own prefix passes without being known here.
OPEN_PREFIXES = (b"anthropic-", b"openai-", b"x-claude-code-", b"x-codex-")
# Under those prefixes, but about an account: the gateway's account is not the client's, and not the client's to see.
ACCOUNT_HEADERS = frozenset(
    {
        b"openai-organization",
        b"openai-project",
        b"anthropic-workspace-id",
        b"anthropic-organization-id",
    }
)
RETRY_HEADERS = frozenset({b"retry-after", b"retry-after-ms", b"x-should-retry"})
USER_AGENT = ("User-Agent", "tollgate")
JSON = ("Content-Type", "application/json")
ACCEPT = {True: ("Accept", "text/event-stream"), False: ("Accept", "application/json")}
IDENTITY = ("Accept-Encoding", "identity")


def forwardable(headers: HeaderPairs) -> tuple[tuple[bytes, bytes], ...]:
    """Return the client's headers that its upstream should see."""
    return tuple(
        pair
        for pair in headers
        if pair[0].startswith(OPEN_PREFIXES) and pair[0] not in ACCOUNT_HEADERS and _is_clean(pair[1])
    )


def upstream_headers(inbound: Inbound, deployment: LiveDeployment) -> list[tuple[str, str]]:
    """Return the headers of an upstream request: the operator's before the client's before the adapter's defaults."""
    forwarded = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in inbound.headers]
    if deployment.own_header_names:
        forwarded = [pair for pair in forwarded if pair[0] not in deployment.own_header_names]
    headers = [
        JSON,
        ACCEPT[inbound.facts.is_stream],
        IDENTITY,
        USER_AGENT,
        *deployment.fixed_headers,
        *forwarded,
    ]
    if deployment.default_headers:
        sent = {name for name, _ in forwarded}
        headers += [pair for pair in deployment.default_headers if pair[0] not in sent]
    return headers


def answer_headers(upstream: Upstream, fixed: HeaderPairs) -> list[tuple[bytes, bytes]]:
    """Return the headers that come with a passed-through answer: the upstream's open ones, and ours."""
    headers = list(fixed)
    for name, value in upstream.headers:
        name = name.lower()
        if name == b"content-type" or (name.startswith(OPEN_PREFIXES) and name not in ACCOUNT_HEADERS):
            headers.append((name, value))
    return headers


def retry_headers(upstream: Upstream) -> list[tuple[bytes, bytes]]:
    """Return what an upstream's error says of trying again."""
    return [(name.lower(), value) for name, value in upstream.headers if name.lower() in RETRY_HEADERS]


def _is_clean(value: bytes) -> bool:
    """Whether a value can be sent on: printable ASCII."""
    return value.isascii() and value.decode("ascii").isprintable()
