"""The fault matrix as values: what goes wrong upstream, and what the caller and the ledger are to see of it.

Each case is asked in both dialects, streamed and whole, and each of these four has a route with two targets of its own:
`primary`, which has the fault, and `backup`, which has none unless the case says so.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from tests.gateway.calls import BOTH, CHAT, Dialect

CONNECT, FIRST_TOKEN, BETWEEN_TOKENS, TOTAL = 1.0, 1.0, 1.0, 4.0  # seconds, of every case's providers
PIECES = ["The", " simulator", " answers", " with", " a"]
PACE = f"[[chunks={len(PIECES)} interval=0.01]]"


class Address(Enum):
    """Where the primary is said to be; the value is its base URL without the path."""

    SIMULATOR = "${SIMULATOR_URL}"
    REFUSING = "http://127.0.0.1:9"  # nobody listens there
    WITHOUT_NAME = "http://nowhere.invalid"
    WITHOUT_TLS = "${SIMULATOR_TLS_URL}"  # https, and the server does not speak it
    SELF_SIGNED = "${SELF_SIGNED_URL}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What is to come of a case."""

    attempts: tuple[str, ...]  # target and result of each, as the ledger has them
    by: str = ""  # the target that answers in full; empty: none does
    status: int = 200  # an error's, when it is no 200; a stream that breaks has begun with one
    error: str = ""  # our word for it in the ledger
    says: str = ""  # stands in the error's message
    seconds: float = 0.0  # what it may take by its configuration, beside the time of the answer itself
    at_least: float = 0.0
    retry_after: str = ""  # the header, where there is one

    @property
    def is_broken(self) -> bool:
        """Whether a stream begins and does not end well."""
        return not self.by and self.status == 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A fault; `whole` is what comes of it where no stream was asked for, when that differs."""

    name: str
    streamed: Expected
    whole: Expected | None = None
    primary: str = ""  # the markers of its requests; `$id` is a name of the request's own
    backup: str = ""
    address: Address = Address.SIMULATOR
    has_backup: bool = True
    is_translated: bool = False  # the targets speak the other dialect
    windows: tuple[int, int] | None = None  # the targets' context windows
    route: Mapping[str, Any] = field(default_factory=dict)
    provider: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A case in one dialect, streamed or whole."""

    case: Case
    dialect: Dialect
    is_stream: bool

    @property
    def name(self) -> str:
        """Its name, which is its alias and begins the slugs of its deployments, too."""
        return (
            f"{self.case.name}-{'chat' if self.dialect is CHAT else 'msgs'}-{'streamed' if self.is_stream else 'whole'}"
        )

    @property
    def expected(self) -> Expected:
        """What is to come of it."""
        return self.case.streamed if self.is_stream else self.case.whole or self.case.streamed

    def text(self, request: str) -> str:
        """Return what the user says, with the markers for each target."""
        marks = [f"[[model=primary {self.case.primary}]]", f"[[model=backup {self.case.backup}]]", PACE]
        return f"[[id={request}]] {' '.join(marks)} {request}".replace("$id", request)


def runs_of(cases: Iterable[Case]) -> Iterator[Run]:
    """Yield every case in both dialects, streamed and whole."""
    for case in cases:
        for dialect in BOTH:
            for is_stream in (True, False):
                yield Run(case=case, dialect=dialect, is_stream=is_stream)


def answered(by: str, *attempts: str, seconds: float = 0.0, at_least: float = 0.0) -> Expected:
    """A complete answer of one target, after the attempts that failed."""
    return Expected(attempts=(*attempts, f"{by} answered"), by=by, seconds=seconds, at_least=at_least)


def refused(
    status: int, *attempts: str, error: str = "upstream_rejected", says: str = "", seconds: float = 0.0
) -> Expected:
    """A typed error in the caller's dialect."""
    return Expected(attempts=attempts, status=status, error=error, says=says, seconds=seconds)


def broken(error: str, *, seconds: float = 0.0) -> Expected:
    """A stream that begins, breaks off after three words, and says so."""
    return Expected(attempts=(f"primary {error}",), error=error, seconds=seconds)


def twice(result: str) -> tuple[str, str]:
    """The primary asked and asked again, to no avail."""
    return (f"primary {result}", f"primary {result}")


RETRIED_BROKEN = answered("backup", *twice("broken"))
RETRIED_UNREACHABLE = answered("backup", *twice("unreachable"), seconds=2 * CONNECT)
NO_ANSWER = answered("backup", "primary not_an_answer")
SILENT = answered("backup", "primary timeout", seconds=FIRST_TOKEN)
SILENT_WHOLE = refused(504, "primary timeout", error="upstream_timeout", seconds=TOTAL)
SAYS_IT_FAILED = answered("backup", *twice("not_an_answer"))
ONCE = "fail=1 fail_id=$id"

UPSTREAM_CASES = (
    Case(name="nothing-wrong", streamed=answered("primary")),
    # Statuses.
    Case(
        name="429-with-retry-after",
        primary=f"status=429 retry_after=1 {ONCE}",
        streamed=answered("primary", "primary status_429", seconds=1.0, at_least=1.0),
    ),
    Case(
        name="429-with-retry-after-ms",
        primary=f"status=429 retry_after_ms=700 {ONCE}",
        streamed=answered("primary", "primary status_429", seconds=0.7, at_least=0.7),
    ),
    Case(
        name="429-with-long-retry-after",
        primary="status=429 retry_after=30",
        streamed=answered("backup", "primary status_429"),
    ),
    # Without a word of its own: what the headers of the vendor's limits say, which is 2 s at most.
    Case(
        name="429-without",
        primary=f"status=429 {ONCE}",
        streamed=answered("primary", "primary status_429", seconds=2.0),
    ),
    Case(name="429-for-good", primary="status=429", streamed=answered("backup", *twice("status_429"), seconds=2.0)),
    Case(name="408", primary=f"status=408 {ONCE}", streamed=answered("primary", "primary status_408")),
    Case(name="409", primary=f"status=409 {ONCE}", streamed=answered("primary", "primary status_409")),
    Case(
        name="500-twice",
        primary="status=500 fail=2 fail_id=$id",
        route={"retries": 2},
        streamed=answered("primary", *twice("status_500")),
    ),
    Case(name="500-for-good", primary="status=500", streamed=answered("backup", *twice("status_500"))),
    Case(name="503", primary="status=503", streamed=answered("backup", *twice("status_503"))),
    Case(name="529", primary="status=529", streamed=answered("backup", *twice("status_529"))),
    Case(name="html-502", primary="html=1", streamed=answered("backup", *twice("status_502"))),
    Case(name="401-of-ours", primary="status=401", streamed=answered("backup", "primary status_401")),
    Case(name="403-of-ours", primary="status=403", streamed=answered("backup", "primary status_403")),
    Case(
        name="401-and-no-other",
        primary="status=401",
        has_backup=False,
        streamed=refused(502, "primary status_401", error="upstream_auth_failed", says="credential"),
    ),
    Case(
        name="400-of-the-client",
        primary="status=400",
        streamed=refused(400, "primary status_400", says="The request is invalid."),
    ),
    Case(
        name="429-and-no-other",
        primary="status=429 retry_after=30",
        has_backup=False,
        streamed=replace(refused(429, "primary status_429", error="upstream_failed"), retry_after="30"),
    ),
    Case(
        name="all-down",
        primary="status=500",
        backup="status=500",
        streamed=refused(500, *twice("status_500"), "backup status_500", "backup status_500", error="upstream_failed"),
    ),
    Case(
        name="fallback-refuses",
        primary="status=500",
        backup="status=400",
        streamed=refused(400, *twice("status_500"), "backup status_400", says="The request is invalid."),
    ),
    # What is said of the request.
    Case(
        name="too-long-and-a-larger",
        primary="status=400 code=context_length_exceeded",
        windows=(8_000, 200_000),
        streamed=answered("backup", "primary status_400"),
    ),
    Case(
        name="too-long-and-no-larger",
        primary="status=400 code=context_length_exceeded",
        windows=(8_000, 8_000),
        streamed=refused(400, "primary status_400", says="200001 tokens"),
    ),
    Case(
        name="content-policy",
        primary="status=400 code=content_filter",
        streamed=refused(400, "primary status_400", says="filter"),
    ),
    Case(
        name="content-policy-falls-back",
        primary="status=400 code=content_filter",
        route={"fallback_on_content_policy": True},
        streamed=answered("backup", "primary status_400"),
    ),
    # Connections.
    Case(name="connection-refused", address=Address.REFUSING, streamed=RETRIED_UNREACHABLE),
    Case(name="no-such-name", address=Address.WITHOUT_NAME, streamed=RETRIED_UNREACHABLE),
    Case(name="no-tls", address=Address.WITHOUT_TLS, streamed=RETRIED_UNREACHABLE),
    Case(name="self-signed", address=Address.SELF_SIGNED, streamed=RETRIED_UNREACHABLE),
    Case(
        name="refused-and-no-other",
        address=Address.REFUSING,
        has_backup=False,
        streamed=refused(502, *twice("unreachable"), error="upstream_unreachable", seconds=2 * CONNECT),
    ),
    Case(name="dropped", primary="drop=1", streamed=RETRIED_BROKEN),
    # Silence.
    Case(name="hang", primary="hang=1", streamed=SILENT, whole=SILENT_WHOLE),
    Case(name="late-head", primary="head=20", streamed=SILENT, whole=SILENT_WHOLE),
    Case(name="late-first-token", primary="first=20", streamed=SILENT, whole=SILENT_WHOLE),
    Case(name="pings-only", primary="first=20 pings=60", streamed=SILENT, whole=SILENT_WHOLE),
    Case(
        name="hang-and-no-other",
        primary="hang=1",
        has_backup=False,
        streamed=refused(504, "primary timeout", error="upstream_timeout", seconds=FIRST_TOKEN),
        whole=SILENT_WHOLE,
    ),
    # Before the first content.
    Case(name="cut-at-once", primary="cut=0", streamed=RETRIED_BROKEN),
    Case(name="reset-at-once", primary="reset=0", streamed=RETRIED_BROKEN),
    Case(name="empty-body", primary="empty=1", streamed=NO_ANSWER),
    Case(name="empty-stream", primary="truncate=0", streamed=RETRIED_BROKEN, whole=NO_ANSWER),
    Case(name="stall-at-once", primary="stall=0", streamed=SILENT, whole=SILENT_WHOLE),
    Case(
        name="error-event-first",
        primary="error_event=0",
        streamed=answered("backup", *twice("upstream_failed")),
        whole=SAYS_IT_FAILED,
    ),
    Case(name="200-with-an-error", primary="error_event=0 json_for_stream=1", streamed=SAYS_IT_FAILED),
    # After some content: no other target may go on with what this one has begun.
    Case(name="cut", primary="cut=3", streamed=broken("upstream_cut"), whole=RETRIED_BROKEN),
    Case(name="reset", primary="reset=3", streamed=broken("upstream_cut"), whole=RETRIED_BROKEN),
    Case(
        name="stall",
        primary="stall=3",
        streamed=broken("upstream_timeout", seconds=BETWEEN_TOKENS),
        whole=SILENT_WHOLE,
    ),
    Case(name="truncated", primary="truncate=3", streamed=broken("upstream_failed"), whole=NO_ANSWER),
    Case(name="malformed", primary="malformed=3", streamed=broken("upstream_failed"), whole=NO_ANSWER),
    Case(
        name="error-event",
        primary="error_event=3",
        streamed=broken("upstream_failed"),
        whole=SAYS_IT_FAILED,
    ),
)

TRANSLATED = (
    "nothing-wrong", "429-with-retry-after", "500-for-good", "400-of-the-client", "fallback-refuses",
    "too-long-and-a-larger", "too-long-and-no-larger", "hang", "cut-at-once", "empty-stream", "error-event-first",
    "cut", "reset", "stall", "truncated", "malformed", "error-event",
)  # fmt: skip
CASES = (
    *UPSTREAM_CASES,
    *(
        replace(case, name=f"{case.name}-translated", is_translated=True)
        for case in UPSTREAM_CASES
        if case.name in TRANSLATED
    ),
)

RESTING = Case(
    name="resting",
    primary="status=500",
    has_backup=False,
    route={"retries": 0},
    provider={"breaker": {"failures": 1, "window": 60, "open_for": 60}},
    streamed=refused(503, error="no_target_available"),
)
OUTAGE = Case(
    name="outage",
    primary="outage=$outage status=503",
    provider={"breaker": {"failures": 3, "window": 6, "open_for": 1, "half_open_successes": 2}},
    streamed=answered("backup"),
)
SILENT_OUTAGE = Case(
    name="silent-outage",
    primary="outage=$outage hang=1",
    provider=OUTAGE.provider,
    route={"first_token_timeout": 0.5},
    streamed=answered("backup"),
)


def configuration(runs: Iterable[Run]) -> dict[str, list[dict[str, Any]]]:
    """Return what `manage.py apply` is to be given for them."""
    runs = list(runs)
    return {
        "providers": [provider for run in runs for provider in _providers(run)],
        "deployments": [deployment for run in runs for deployment in _deployments(run)],
        "routes": [_route(run) for run in runs],
    }


def _targets(run: Run) -> list[str]:
    return ["primary", "backup"] if run.case.has_backup else ["primary"]


def _providers(run: Run) -> Iterator[dict[str, Any]]:
    is_chat = (run.dialect is CHAT) is not run.case.is_translated
    for target in _targets(run):
        address = run.case.address if target == "primary" else Address.SIMULATOR
        yield {
            "slug": f"{run.name}-{target}",
            "adapter": "openai_compatible" if is_chat else "anthropic",
            "base_url": address.value + ("/v1" if is_chat else ""),
            "credential": "sim-credential",
            "allow_private_address": address is not Address.WITHOUT_NAME,
            "timeouts": {
                "connect": CONNECT,
                "first_token": FIRST_TOKEN,
                "between_tokens": BETWEEN_TOKENS,
                "total": TOTAL,
            },
            **run.case.provider,
        }


def _deployments(run: Run) -> Iterator[dict[str, Any]]:
    windows = dict(zip(("primary", "backup"), run.case.windows or (None, None), strict=True))
    for target in _targets(run):
        yield {
            "slug": f"{run.name}-{target}",
            "provider": f"{run.name}-{target}",
            "model": target,
            "context_window": windows[target],
            "prices": {"input": "1", "output": "2"},
        }


def _route(run: Run) -> dict[str, Any]:
    targets = [{"deployment": f"{run.name}-{target}", "priority": n} for n, target in enumerate(_targets(run))]
    return {"alias": run.name, "tenant": "faults", "retries": 1, "targets": targets, **run.case.route}
