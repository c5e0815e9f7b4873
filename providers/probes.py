"""Probes: does a deployment answer? Celery asks those that have `probe_every`, each with a request of its own kind.

    ok             an answer of its format
    unreachable    no connection, no answer in time, 5xx, or something that is no answer
    rejected       the upstream is there and refuses: credential, account, model, rate, request
    cannot_probe   there is no request that could be sent (see `probe_requests.py`)

A probe never switches anything, on or off, and touches no breaker: it stands beside them. One provider's deployments are
asked one after the other, through the same transport as everything else. Reasons are our own words and the upstream's
cleaned ones: never a credential, never an address. What goes wrong with one deployment is no other one's trouble.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import time
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import structlog
from django.conf import settings
from django.db.models import F
from django.utils import timezone
from yarl import URL

from gateway_site.infra import secrets, valkey
from gateway_site.infra.telemetry import health_events
from gateway_site.infra.valkey import StoreUnavailable
from providers.addresses import refuse_private_address
from providers.dialects.base import Destination, Dialect
from providers.health_feed import CHANNEL, EVENTS_KEPT, EVENTS_STREAM, PROBES_KEY, Note, ProbesFound, encode
from providers.models import Deployment, Provider
from providers.pool import Pool
from providers.probe_requests import CannotProbe, ProbeRequest, probe_request
from providers.profiles import profile_of
from providers.registry import ADAPTERS
from providers.transport import Transport, TransportError, Upstream, UpstreamUnreachable

log = structlog.get_logger("tollgate.probes")

TOTAL_SECONDS = 65.0  # for all of a run: a Celery process waits
LOCK_KEY = "tollgate:probes:run"  # one run at a time
LOCK_SECONDS = 90
# Deletes the lock if it is still ours: a run that took too long must not end the next one's.
UNLOCK = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
PROVIDERS_AT_ONCE = 8
MAX_ANSWER_BYTES = 16 * 1024 * 1024  # a picture in base64
REASON_CHARACTERS = 300
READ_CHARACTERS = 2000  # of what an upstream says: searching it takes the square of its longest word
EARLY = timedelta(seconds=1)  # a run that begins a moment early must not leave a probe to the next one
WORKER = "probes"

OK, UNREACHABLE, REJECTED, CANNOT_PROBE = (
    Deployment.ProbeResult.OK,
    Deployment.ProbeResult.UNREACHABLE,
    Deployment.ProbeResult.REJECTED,
    Deployment.ProbeResult.CANNOT_PROBE,
)
FAILED = frozenset({UNREACHABLE.value, REJECTED.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a probe found, and why."""

    result: str
    reason: str = ""


OUR_FAULT = Finding(result=CANNOT_PROBE, reason="Probing it failed for a reason of ours; the log says which.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One deployment's request, ready to be sent."""

    deployment: Deployment
    request: ProbeRequest = field(repr=False)
    pool: Pool
    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)  # what must not stand in a reason


def run() -> int:
    """Ask every deployment whose time has come, and keep what is found; returns how many were asked.

    While another run is under way nothing is asked.
    """
    token = uuid4().hex
    try:
        with valkey.connect(settings.VALKEY_URL) as client:
            if not client.set(LOCK_KEY, token, nx=True, ex=LOCK_SECONDS):
                return 0
            try:
                return _run()
            finally:
                client.eval(UNLOCK, 1, LOCK_KEY, token)
    except StoreUnavailable as error:
        log.error("probes_not_shared", reason=str(error))
        return 0


def _run() -> int:
    now = timezone.now()
    findings: list[tuple[Deployment, Finding]] = []
    probes: list[Probe] = []
    for deployment in due(now):
        try:
            probes.append(prepare(deployment))
        except CannotProbe as error:
            findings.append((deployment, Finding(result=CANNOT_PROBE, reason=str(error))))
        except Exception:
            findings.append((deployment, _our_fault(deployment)))
    findings += asyncio.run(ask_all(probes))
    notes = [note for deployment, finding in findings if (note := _try_to_keep(deployment, finding)) is not None]
    tell(notes, is_news=bool(findings))
    return len(findings)


def _our_fault(deployment: Deployment) -> Finding:
    log.exception("probe_broken", deployment=deployment.slug)
    return OUR_FAULT


def _try_to_keep(deployment: Deployment, finding: Finding) -> Note | None:
    """Keep a finding, or at least that there was one: what is never kept is due, asked and paid for every time."""
    try:
        return keep(deployment, finding)
    except Exception:
        fault = _our_fault(deployment)
    try:
        return keep(deployment, fault)
    except Exception:
        log.error("probe_not_kept", deployment=deployment.slug)
        return None


def due(now: datetime) -> list[Deployment]:
    """Return the enabled deployments whose next probe is due, those that wait longest first."""
    asked_for = Deployment.objects.filter(is_enabled=True, provider__is_enabled=True, probe_every__isnull=False)
    rows = asked_for.select_related("provider").order_by(F("probed_at").asc(nulls_first=True), "slug")
    return [row for row in rows if row.probed_at is None or row.probed_at + _pause(row) <= now + EARLY]


def _pause(deployment: Deployment) -> timedelta:
    return timedelta(seconds=deployment.probe_every or 0)


def prepare(deployment: Deployment) -> Probe:
    """Return a deployment's probe; raises CannotProbe."""
    provider = deployment.provider
    adapter = ADAPTERS.get(provider.adapter)
    if adapter is None:
        raise CannotProbe(f"There is no adapter {provider.adapter!r}.")
    if not provider.allow_private_address:
        try:
            refuse_private_address(provider.effective_base_url)
        except ValueError:
            raise CannotProbe("Its provider's address is private, and the provider does not allow that.") from None
    destination = Destination(
        model=deployment.model,
        origin=f"{provider.slug}/{deployment.model}",
        profile=profile_of(deployment.model, deployment.told_capabilities),
        quirks=adapter.quirks,
        max_output_tokens=deployment.max_output_tokens,
    )
    request = probe_request(deployment.kind, deployment.effective_dialects, destination)
    pool, credential = _decrypted(provider)
    path = request.operation.path.replace("{model}", quote(deployment.model, safe=""))
    return Probe(
        deployment=deployment,
        request=request,
        pool=pool,
        url=adapter.url(provider.effective_base_url, request.operation.name, path),
        headers=_headers(provider, request.dialect, credential),
        secrets=tuple(text for text in (credential, pool.proxy, *provider.headers.values()) if text),
    )


def _decrypted(provider: Provider) -> tuple[Pool, str]:
    try:
        return provider.pool(), secrets.decrypt(provider.credential_encrypted) if provider.has_credential else ""
    except secrets.SecretUnreadable:
        raise CannotProbe("No key in TOLLGATE_SECRETS_KEY opens its provider's secrets.") from None


def _headers(provider: Provider, dialect: Dialect, credential: str) -> tuple[tuple[str, str], ...]:
    """The operator's own come before the adapter's, these before the dialect's."""
    adapter = ADAPTERS[provider.adapter]
    ours = {"accept": "*/*", "content-type": "application/json", "user-agent": "tollgate"}
    own = {name.lower(): value for name, value in provider.headers.items()}
    return tuple((ours | dict(dialect.headers) | dict(adapter.headers) | own).items()) + adapter.authorize(credential)


# --- Asking ------------------------------------------------------------------------------------------------


async def ask_all(probes: Sequence[Probe], *, seconds: float = TOTAL_SECONDS) -> list[tuple[Deployment, Finding]]:
    """Ask, several providers at once; what is not asked when the time is over waits for the next run."""
    if not probes:
        return []
    transport = Transport()
    findings: list[tuple[Deployment, Finding]] = []
    places = asyncio.Semaphore(PROVIDERS_AT_ONCE)
    by_provider: dict[str, list[Probe]] = {}  # in the order of who waits longest
    for probe in probes:
        by_provider.setdefault(probe.pool.provider, []).append(probe)
    try:
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            for asked in by_provider.values():
                group.create_task(_ask_provider(transport, asked, places, findings))
    except TimeoutError:
        log.warning("probes_unfinished", answered=len(findings), asked=len(probes))
    finally:
        await transport.aclose()
    return findings


async def _ask_provider(
    transport: Transport, probes: list[Probe], places: asyncio.Semaphore, findings: list[tuple[Deployment, Finding]]
) -> None:
    async with places:
        for probe in probes:
            try:
                finding = await ask(transport, probe)
            except Exception:
                finding = _our_fault(probe.deployment)
            findings.append((probe.deployment, finding))


async def ask(transport: Transport, probe: Probe) -> Finding:
    """Send one probe, and say what came of it."""
    patience = probe.request.patience
    try:
        async with asyncio.timeout(patience):
            return await _ask(transport, probe)
    except TimeoutError:
        return Finding(result=UNREACHABLE, reason=f"No answer within {patience:g} seconds.")
    except UpstreamUnreachable:
        return Finding(result=UNREACHABLE, reason="No connection could be made.")
    except TransportError:
        return Finding(result=UNREACHABLE, reason="The connection broke off.")


async def _ask(transport: Transport, probe: Probe) -> Finding:
    url = URL(probe.url, encoded=True)
    upstream = await transport.open(probe.pool, url, headers=probe.headers, body=probe.request.body)
    try:
        body = await _read(upstream)
    finally:
        upstream.finish(is_answered=False)
    if body is None:
        return Finding(result=UNREACHABLE, reason="Its answer has no end.")
    return judge(probe, upstream.status, upstream.content_type, body)


async def _read(upstream: Upstream) -> bytes | None:
    body = bytearray()
    while chunk := await upstream.read_chunk():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            return None
    return bytes(body)


# --- Judging -----------------------------------------------------------------------------------------------

# OpenAI's models that reason may spend all of so few tokens on thinking and then answer 400: the model has answered.
_SPENT_ON_THINKING = re.compile(r"max_tokens or model output limit was reached|output limit was reached", re.IGNORECASE)
_REFUSALS: Mapping[int, str] = {
    404: "It does not know the model or the path (404).",
    429: "It refuses for its rate limit (429).",
}


def judge(probe: Probe, status: int, content_type: str, body: bytes) -> Finding:
    """Say what an answer means."""
    dialect = probe.request.dialect
    if 200 <= status < 300 and not dialect.is_error_body(body):
        if probe.request.is_answer(body, content_type):
            return Finding(result=OK)
        return Finding(
            result=UNREACHABLE, reason=f"It answered {status} with something that is no answer of its format."
        )
    failure = dialect.read_failure(status, body)
    if status in (401, 403) or failure.is_credential_refused:
        return Finding(result=REJECTED, reason=f"It refuses our credential ({status}).")
    if failure.is_account_empty:
        return Finding(result=REJECTED, reason=f"Our account there is used up ({status}).")
    if status == 400 and _SPENT_ON_THINKING.search(failure.message):
        return Finding(result=OK)
    said = clean(failure.message, probe.secrets)
    if status < 400 or status == 408 or status >= 500:
        return Finding(result=UNREACHABLE, reason=_sentence(f"It failed with status {status}", said))
    if status in (400, 422) and _blames_a_guess(probe.request, failure.param, failure.message):
        return Finding(result=CANNOT_PROBE, reason=_sentence("It does not take what a probe has to guess", said))
    return Finding(result=REJECTED, reason=_sentence(_REFUSALS.get(status) or f"It refuses ({status})", said))


def _blames_a_guess(request: ProbeRequest, param: str | None, message: str) -> bool:
    return any(name == param or re.search(rf"\b{name}\b", message, re.IGNORECASE) for name in request.guesses)


_TELLING = re.compile(
    r"\S*://\S*"  # addresses
    r"|\S*\d{1,3}(?:\.\d{1,3}){3}\S*|\[[0-9a-fA-F:]{3,}\]\S*"
    r"|\b[\w.-]+:\d{2,5}\b"
    r"|\b(?:[\w-]+\.)+[a-zA-Z]{2,}(?::\d+)?(?:/\S*)?"
    r"|\S+@\S+"
    r"|\S*\*{3,}\S*"  # masked keys
    r"|\S*(?:sk|pk|key|tg|gsk|xai|AIza)[-_][\w-]{6,}\S*"
    r"|[\w+/=-]{24,}",  # and whatever else is too long for a word
)


def clean(text: str, hidden: Iterable[str] = ()) -> str:
    """Return an upstream's words without what may be a secret or an address, on one line."""
    text = _printable(text)  # first: nothing invisible is to hide a secret from what looks for it
    for secret in map(_printable, hidden):
        if len(secret) > 3:
            text = text.replace(secret, "…")
    text = " ".join(_TELLING.sub("…", text[:READ_CHARACTERS]).split())
    return text if len(text) <= REASON_CHARACTERS else text[: REASON_CHARACTERS - 1] + "…"


def _printable(text: str) -> str:
    """Return it on one line, without what PostgreSQL, a log or a page cannot take: NUL, half characters, controls."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())


def _sentence(what: str, said: str) -> str:
    return f"{what.rstrip('.')}: {said}" if said else f"{what.rstrip('.')}."


# --- Keeping -----------------------------------------------------------------------------------------------


def keep(deployment: Deployment, finding: Finding) -> Note | None:
    """Write a finding beside the configuration; returns the event that it is, if it is one."""
    before, now = deployment.probe_result, timezone.now()
    rows = Deployment.objects.filter(pk=deployment.pk, model=deployment.model)  # or it serves another model by now
    if not rows.update(probe_result=finding.result, probe_reason=finding.reason, probed_at=now):
        return None
    kind = _kind_of_change(before, finding.result)
    if kind is None:
        return None
    note = Note(
        deployment=deployment.slug,
        provider=deployment.provider.slug,
        kind=kind,
        old=before,
        new=finding.result,
        at=time(),
        reason=finding.reason,
        worker=WORKER,
    )
    _log(note)
    health_events.labels(note.deployment, note.kind).inc()
    return note


def _kind_of_change(before: str, after: str) -> str | None:
    if after in FAILED and after != before:
        return "probe_failed"
    return "probe_recovered" if after == OK and before in FAILED else None


def _log(note: Note) -> None:
    told = {"deployment": note.deployment, "provider": note.provider, "old": note.old, "new": note.new}
    if note.kind == "probe_failed":
        log.warning("probe_failed", **told, reason=note.reason)
    else:
        log.info("probe_recovered", **told)


def tell(notes: Sequence[Note], *, is_news: bool) -> None:
    """Put all results where workers find them, and the events on their way; without Valkey the database has them."""
    probed = Deployment.objects.filter(probe_every__isnull=False).exclude(probe_result="")
    found: dict[Any, Any] = dict(probed.values_list("slug", "probe_result"))
    with suppress(StoreUnavailable), valkey.connect(settings.VALKEY_URL) as client:
        pipeline = client.pipeline()
        pipeline.delete(PROBES_KEY)
        if found:
            pipeline.hset(PROBES_KEY, mapping=found)
        for note in notes:
            pipeline.xadd(EVENTS_STREAM, {"event": encode(note)}, maxlen=EVENTS_KEPT, approximate=True)
        if is_news:
            pipeline.publish(CHANNEL, encode(ProbesFound(probes=found, worker=WORKER)))
        pipeline.execute()
