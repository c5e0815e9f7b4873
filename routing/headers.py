"""Which headers go up to an upstream and which come down to the client."""

import math
import re
from collections.abc import Sequence
from urllib.parse import parse_qs, unquote_plus

from providers.canonical.inbound import Inbound, Operation
from providers.canonical.losses import Loss
from providers.dialects.base import Dialect
from providers.transport import Upstream
from routing.policy.retry_after import LONGEST_WAIT
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
LIMIT_PREFIX = b"anthropic-ratelimit-"  # the one vendor's whose own limits pass
RETRY_HEADERS = frozenset({b"retry-after", b"retry-after-ms", b"x-should-retry"})
# Gemini's clients may send their key in the query; how we ask, and that the usage comes back, is our own choice.
# https://cloud.google.com/apis/docs/system-parameters
OWN_PARAMETERS = frozenset({"key", "alt", "fields", "access_token", "oauth_token", "callback"})
MAX_LOSSES, MAX_PATH = 20, 100
_PLAIN = re.compile(r"[^A-Za-z0-9_.:\[\]@$/-]")
CONTENT_TYPE = b"content-type"
USER_AGENT = ("User-Agent", "tollgate")
JSON = ("Content-Type", "application/json")
ACCEPT = {True: ("Accept", "text/event-stream"), False: ("Accept", "application/json")}
IDENTITY = ("Accept-Encoding", "identity")


def forwardable(headers: HeaderPairs) -> tuple[tuple[bytes, bytes], ...]:
    """Return the client's headers that its upstream should see."""
    return tuple(
        [
            pair
            for pair in headers
            if pair[0].startswith(OPEN_PREFIXES) and pair[0] not in ACCOUNT_HEADERS and _is_clean(pair[1])
        ]
    )


def upstream_headers(
    inbound: Inbound, deployment: LiveDeployment, dialect: Dialect, *, is_translated: bool = False
) -> list[tuple[str, str]]:
    """Return the headers of an upstream request: the operator's, then the client's, then the dialect's and the adapter's.

    A client's own headers speak of its own dialect: they do not go up with a translation.
    """
    client = () if is_translated else inbound.headers
    forwarded = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in client]
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
    if deployment.default_headers or dialect.headers:
        sent = {name for name, _ in forwarded} | deployment.own_header_names
        headers += [pair for pair in (*dialect.headers, *deployment.default_headers) if pair[0] not in sent]
    return headers


def with_query_key(headers: HeaderPairs, query: bytes) -> HeaderPairs:
    """Return the headers with the key that Gemini's clients may send as `?key=`; a header's comes first."""
    values = parse_qs(query.decode("latin-1")).get("key")
    return [*headers, (b"x-goog-api-key", values[0].encode("latin-1", "replace"))] if values else headers


def upstream_query(operation: Operation, sent: bytes) -> str:
    """Return the query of an upstream request: the operation's own, and the client's without its key."""
    if not sent:
        return operation.query
    kept = [pair for pair in sent.decode("latin-1").split("&") if pair and _parameter(pair) not in OWN_PARAMETERS]
    return "&".join([*kept, operation.query] if operation.query else kept)


def answer_headers(upstream: Upstream, fixed: HeaderPairs, content_type: bytes | None = None) -> HeaderPairs:
    """Return the headers that come with a passed-through answer: the upstream's open ones, and ours.

    `content_type` says what the answer has become where that is not what the upstream sent.
    """
    headers, sent = list(fixed), dict(upstream.headers).get(CONTENT_TYPE)
    if sent is not None:
        headers.append((CONTENT_TYPE, content_type or (sent if _is_clean(sent) else b"application/json")))
    kept = [pair for pair in upstream.headers if pair[0] not in _stopped]
    if not kept:
        return headers
    if not _passing.issuperset(dict(kept)):
        kept = [pair for pair in kept if _passes(pair[0])]
    if fixed and fixed[0][0].startswith(LIMIT_PREFIX):  # ours come first, and are the caller's
        ours = {name for name, _ in fixed}  # the upstream's are our account's
        kept = [pair for pair in kept if pair[0] not in ours]
    if not _is_clean(b"".join([value for _, value in kept])):
        kept = [pair for pair in kept if _is_clean(pair[1])]
    return headers + kept


# Names of upstreams' headers, as far as some came: they come with every answer.
_passing: set[bytes] = set()
_stopped: set[bytes] = set()
MOST_NAMES = 2000  # of each: upstreams could make up names for ever


def _passes(name: bytes) -> bool:
    """Whether an upstream's header goes on."""
    passes = name.startswith(OPEN_PREFIXES) and name not in ACCOUNT_HEADERS
    names = _passing if passes else _stopped
    if len(names) < MOST_NAMES:
        names.add(name)
    return passes


def translated_headers(fixed: HeaderPairs, content_type: bytes) -> HeaderPairs:
    """Return the headers that come with a translated answer: none of the upstream's."""
    return [*fixed, (b"content-type", content_type)]


def losses_header(losses: Sequence[Loss]) -> HeaderPairs:
    """Return the header that names what did not get across, the heaviest first; nothing when all did."""
    if not losses:
        return ()
    ordered = sorted(losses, key=lambda loss: -loss.weight)
    shown = [f"{_PLAIN.sub('?', loss.path)[:MAX_PATH]};{loss.weight.word}" for loss in ordered[:MAX_LOSSES]]
    if len(ordered) > MAX_LOSSES:
        shown.append(f"and {len(ordered) - MAX_LOSSES} more")
    return ((b"x-tollgate-losses", ", ".join(shown).encode("ascii")),)


def retry_headers(upstream: Upstream, seconds: float | None = None) -> HeaderPairs:
    """Return what an upstream's error says of trying again; `seconds` is what its body says."""
    said = [pair for pair in upstream.headers if pair[0] in RETRY_HEADERS and _is_clean(pair[1])]
    if seconds is not None and seconds <= LONGEST_WAIT and not any(name.startswith(b"retry-after") for name, _ in said):
        said.append((b"retry-after", b"%d" % math.ceil(seconds)))
    return said


def _parameter(pair: str) -> str:
    """Return a parameter's name as whoever reads the query will: escapes undone, and without the `$` that Google takes."""
    return unquote_plus(pair.partition("=")[0]).removeprefix("$").lower()


def _is_clean(value: bytes) -> bool:
    """Whether a value can be sent on: printable ASCII."""
    return value.isascii() and value.decode("ascii").isprintable()
