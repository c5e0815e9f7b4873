"""Does a provider work as it is set up? What an operator asks before and after saving it.

    works         it has told its models, or a model has answered
    cannot_probe  there is nothing to ask that would tell
    unreachable   no connection, no answer in time, or a failure of its own
    rejected      it is there and refuses: the credential, the path, the rate

The list of models costs nothing and is asked first; a model is asked only where the operator names one, for that is billed.
Both go through the same transport as everything else. Reasons are our own words and the upstream's cleaned ones.
"""

import asyncio
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from yarl import URL

from gateway_site.infra import secrets
from providers import catalogues, probes
from providers.dialects.base import Dialect
from providers.inquiry import Inquiry, NoAnswer
from providers.models import Deployment, Provider
from providers.probe_requests import CannotProbe
from providers.registry import ADAPTERS, DIALECTS
from providers.transport import Transport, TransportError, Upstream, UpstreamUnreachable
from providers.transport.reasons import reason_of

SECONDS = 10.0  # somebody waits at a page
MOST_BYTES = 4 * 1024 * 1024
WORKS, CANNOT_PROBE, UNREACHABLE, REJECTED = "works", "cannot_probe", "unreachable", "rejected"
NO_LIST = frozenset({404, 405, 501})

UNREACHED = {
    "private": (
        "Its address is in a private network, and this provider does not allow that.",
        "Allow private addresses if the server is one of your own.",
    ),
    "name": ("Its name cannot be resolved (DNS).", "Look for a slip in the base URL's host."),
    "refused": ("Nothing listens at its address and port: the connection was refused.", "Is the server running?"),
    "certificate": (
        "No secure connection could be made (TLS).",
        "Give its CA certificate if it has one of your own, or use http:// if it speaks no TLS.",
    ),
    "time": ("No connection could be made in time.", "A firewall may drop packets, or the connect time-out is short."),
    "other": ("No connection could be made.", "Look at the base URL, the proxy and the certificates."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What came of asking a provider."""

    verdict: str
    reason: str
    advice: str = ""
    milliseconds: int | None = None  # of the last answer; None: there was none
    models: int | None = None  # that it lists; None: it was not told


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    status: int
    body: bytes
    milliseconds: int


def check(provider: Provider, *, model: str = "", seconds: float = SECONDS) -> Check:
    """Ask a provider, saved or not, and say what came of it; blocks, with an event loop of its own."""
    try:
        question = catalogues.question_for(provider)
    except secrets.SecretUnreadable:
        return Check(
            verdict=CANNOT_PROBE,
            reason="No key in TOLLGATE_SECRETS_KEY opens its stored secrets.",
            advice="Enter the credential anew.",
        )
    except ValueError:
        return _unreached("private")
    except LookupError:
        return Check(verdict=CANNOT_PROBE, reason="Its adapter or its format is not one that can be asked.")
    return asyncio.run(_check(provider, question, model, seconds))


async def _check(provider: Provider, question: catalogues.Question, model: str, seconds: float) -> Check:
    transport = Transport()
    try:
        async with asyncio.timeout(seconds):
            listed = await _ask_for_models(transport, provider, question)
            if not model or listed.verdict == UNREACHABLE:
                return listed
            return await _ask_model(transport, provider, model, listed)
    except TimeoutError:
        return Check(verdict=UNREACHABLE, reason=f"No answer within {seconds:g} seconds.")
    finally:
        await transport.aclose()


# --- Its models ----------------------------------------------------------------------------------------------


async def _ask_for_models(transport: Transport, provider: Provider, question: catalogues.Question) -> Check:
    try:
        reply = await _get(transport, question.inquiry)
    except UpstreamUnreachable as error:
        return _unreached(reason_of(error))
    except TransportError:
        return Check(verdict=UNREACHABLE, reason="The connection broke off.", advice="Is it http:// or https://?")
    return judge(provider, question, reply.status, reply.body, reply.milliseconds)


async def _get(transport: Transport, asked: Inquiry) -> _Reply:
    begun = perf_counter()
    upstream = await transport.open(
        asked.pool, URL(asked.url, encoded=True), headers=asked.headers, body=b"", method="GET"
    )
    try:
        body = await _read(upstream)
    finally:
        upstream.finish(is_answered=False)
    return _Reply(status=upstream.status, body=body, milliseconds=round((perf_counter() - begun) * 1000))


async def _read(upstream: Upstream) -> bytes:
    body = bytearray()
    while len(body) <= MOST_BYTES and (chunk := await upstream.read_chunk()):
        body += chunk
    return bytes(body)


def judge(provider: Provider, question: catalogues.Question, status: int, body: bytes, milliseconds: int) -> Check:
    """Say what an answer to the question for its models means."""
    dialect = DIALECTS[provider.effective_dialects[0]]
    if status == 200:
        return _judge_list(provider, question, body, milliseconds)
    failure = dialect.read_failure(status, body)
    told: dict[str, Any] = {"milliseconds": milliseconds}
    if status in (401, 403) or failure.is_credential_refused:
        return _refused_credential(provider, status, milliseconds)
    if status in NO_LIST:
        return _no_list(provider, status, milliseconds)
    if status == 429:
        reason = "It refuses for its rate limit (429): it is there, and too much was asked of it."
        return Check(verdict=REJECTED, reason=reason, advice="Try again in a minute.", **told)
    if 300 <= status < 400:
        reason = f"It sends to another address ({status}), which is never followed."
        return Check(verdict=REJECTED, reason=reason, advice="Give the final address, mostly https://.", **told)
    said = _said(dialect, provider, status, body)
    if status >= 500:
        return Check(verdict=UNREACHABLE, reason=f"It failed with status {status}{said}.", **told)
    return Check(verdict=REJECTED, reason=f"It refuses ({status}){said}.", **told)


def _judge_list(provider: Provider, question: catalogues.Question, body: bytes, milliseconds: int) -> Check:
    try:
        names = catalogues.read_names(question.shape, body)
    except NoAnswer:
        return Check(
            verdict=REJECTED,
            reason="It answered 200 with something that is no list of models.",
            advice="The path of the base URL may lead to a web page; most end in /v1.",
            milliseconds=milliseconds,
        )
    adapter = ADAPTERS[provider.adapter]
    is_open = adapter.lists_openly or not provider.has_credential
    return Check(
        verdict=WORKS,
        reason=f"It lists {len(names):,} model{'' if len(names) == 1 else 's'}.",
        advice="It tells that without a credential: name a model to try that too." if is_open else "",
        milliseconds=milliseconds,
        models=len(names),
    )


def _refused_credential(provider: Provider, status: int, milliseconds: int) -> Check:
    is_stored = provider.has_credential
    return Check(
        verdict=REJECTED,
        reason=f"It refuses our credential ({status})." if is_stored else f"It wants a credential ({status}).",
        advice="Enter a valid one: this one may have been revoked, or belong to another vendor."
        if is_stored
        else "Enter one.",
        milliseconds=milliseconds,
    )


def _no_list(provider: Provider, status: int, milliseconds: int) -> Check:
    """Vendors have a list, so the path is wrong; a server of one's own may have none."""
    if ADAPTERS[provider.adapter].base_url:
        return Check(
            verdict=REJECTED,
            reason=f"There is nothing at this path ({status}).",
            advice="Look at the path of the base URL, or leave it empty for the vendor's own.",
            milliseconds=milliseconds,
        )
    return Check(
        verdict=CANNOT_PROBE,
        reason=f"It is there, and has no list of models at this path ({status}).",
        advice="The path of the base URL may be wrong (most end in /v1). Name a model to find out.",
        milliseconds=milliseconds,
    )


def _said(dialect: Dialect, provider: Provider, status: int, body: bytes) -> str:
    hidden = [text for text in provider.headers.values() if text]
    if provider.has_credential:
        hidden.append(secrets.decrypt(provider.credential_encrypted))
    said = probes.clean(dialect.read_failure(status, body).message, hidden)
    return f": {said.rstrip('.')}" if said else ""


def _unreached(reason: str) -> Check:
    sentence, advice = UNREACHED[reason]
    return Check(verdict=UNREACHABLE, reason=sentence, advice=advice)


# --- One model -----------------------------------------------------------------------------------------------

VERDICTS = {
    probes.OK.value: WORKS,
    probes.CANNOT_PROBE.value: CANNOT_PROBE,
    probes.UNREACHABLE.value: UNREACHABLE,
    probes.REJECTED.value: REJECTED,
}


async def _ask_model(transport: Transport, provider: Provider, model: str, listed: Check) -> Check:
    """Send the smallest request to a model, as a probe does."""
    try:
        probe = probes.prepare(Deployment(slug="check", provider=provider, model=model))
    except CannotProbe as error:
        return Check(verdict=CANNOT_PROBE, reason=str(error), models=listed.models)
    begun = perf_counter()
    finding = await probes.ask(transport, probe)
    verdict = VERDICTS[finding.result]
    known = f" It lists {listed.models:,} models." if listed.models is not None else ""
    return Check(
        verdict=verdict,
        reason=f"{model} answered.{known}" if verdict == WORKS else finding.reason,
        advice="" if verdict == WORKS or listed.verdict != REJECTED else listed.advice,
        milliseconds=round((perf_counter() - begun) * 1000),
        models=listed.models,
    )
