"""The page of one request: what happened in a sentence, where the time went, who was asked, what it cost, and its bodies."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, path, reverse

from gateway_site.infra.words import dialect_name, plain
from tenants.admin.scope import standing_in
from tenants.admin.trace import attempt_table, candidate_table, words
from tenants.audit import audit
from tenants.bodies import BodyUnreadable, read
from tenants.budgets import read_counter
from tenants.error_words import OWNERS, UPSTREAM, error_owner, explain
from tenants.models import ApiKey, Budget, RequestBody, Tenant, UsageRecord

BODY = "tenants.view_requestbody"
LIST = "admin:tenants_usagerecord_changelist"
TOKENS = (
    ("Input", "input_tokens"),
    ("Read from a cache", "cache_read_tokens"),
    ("Written to a cache, 5 minutes", "cache_write_5m_tokens"),
    ("Written to a cache, 1 hour", "cache_write_1h_tokens"),
    ("Output", "output_tokens"),
    ("of it reasoning", "reasoning_tokens"),
)
PROMPT = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")
ANSWERED = frozenset({"served", "client_gone", "cut", "shutdown"})  # at least in part
REDACTED = {"secret": "secret", "email": "e-mail address", "card": "card number", "media": "file"}


class Phase(NamedTuple):
    """A part of a request's time."""

    name: str  # of its colour, too
    label: str
    milliseconds: float
    percent: float

    @property
    def text(self) -> str:
        """How long it took."""
        return seconds(self.milliseconds)


class RecordPageMixin:
    """A page instead of a form."""

    change_form_template = "admin/tenants/usagerecord/change_form.html"

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.body_view)  # type: ignore[attr-defined]
        return [path("<path:object_id>/body/", view, name="tenants_usagerecord_body"), *super().get_urls()]  # type: ignore[misc]

    def changeform_view(
        self, request: HttpRequest, object_id: Any = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        response: Any = super().changeform_view(request, object_id, form_url, extra_context)  # type: ignore[misc]
        record = getattr(response, "context_data", None) and response.context_data.get("original")
        if record is not None:
            response.context_data["page"] = self.page(request, record)
        return response

    def body_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Open what is kept of a request, and note who did."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not (self.has_view_permission(request) and request.user.has_perm(BODY)):  # type: ignore[attr-defined]
            raise PermissionDenied
        record = self.load(request, object_id)  # type: ignore[attr-defined]
        kept = kept_body(record)
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),  # type: ignore[attr-defined]
            "opts": self.opts,  # type: ignore[attr-defined]
            "original": record,
            "title": f"Bodies of {record}",
            "page": {"body": self.body_state(request, record, kept), "id": record.pk},
        }
        if kept is not None:
            audit("body_opened", kept, correlation_id=record.correlation_id)
            try:
                context["content"] = read(kept)
            except BodyUnreadable:
                context["unreadable"] = True
        response = TemplateResponse(request, "admin/tenants/usagerecord/body.html", context)
        response["Cache-Control"] = "no-store"
        return response

    # --- What the page shows -----------------------------------------------------------------------------------

    def page(self, request: HttpRequest, record: UsageRecord) -> dict[str, Any]:
        """All that the page shows; operators see more of the upstreams."""
        is_operator = standing_in(request).is_operator
        trace = record.trace or {}
        attempts = trace.get("attempts") or record.attempts
        return {
            "id": record.pk,
            "headline": headline(record),
            "phases": phases(record, attempts),
            "total": seconds(record.latency_ms),
            "error": error_of(record),
            "facts": [(label, value) for label, value in self.facts(request, record) if value not in ("", None)],
            "tokens": [(label, f"{count:,}") for label, name in TOKENS if (count := getattr(record, name))],
            "units": [(words(name).capitalize(), amount) for name, amount in record.units.items()],
            "money": money_of(record, is_operator),
            "breakdown": self.breakdown(request, record),
            "corrections": corrections_of(record),
            "budgets": budgets_of(record),
            "losses": record.losses,
            "dialects": dialects(record),
            "attempts": attempt_table(attempts) if attempts and is_operator else None,
            "candidates": candidate_table(trace["candidates"]) if trace.get("candidates") and is_operator else None,
            "strategy": words(trace.get("strategy")).capitalize() if is_operator else "",
            "session": bool(trace.get("session")),
            "ids": self.ids(request, record),
            "similar": similar(record),
            "body": self.body_state(request, record, kept_body(record)),
            "playground": playground(request, record),
        }

    def facts(self, request: HttpRequest, record: Any) -> Iterator[tuple[str, Any]]:
        """Who asked for what."""
        is_operator = standing_in(request).is_operator
        if is_operator:
            yield "Tenant", self.tenant_name(record)  # type: ignore[attr-defined]
        yield "API key", self.api_key_name(record)  # type: ignore[attr-defined]
        yield "Project", record.project
        yield "End user", record.end_user
        yield "Model", record.alias
        yield "Route", record.route if record.route != record.alias else ""
        yield "Deployment", record.deployment
        yield "Provider", record.provider
        yield "Upstream's model", record.model if record.model != record.deployment else ""
        yield "Format", dialects(record)
        if record.outcome in ANSWERED:
            yield "Answer", "Streamed" if record.is_streamed else "Whole"
        yield "Service tier", record.service_tier
        yield "Started (UTC)", f"{record.started_at:%Y-%m-%d %H:%M:%S.%f}"[:-3]

    def ids(self, request: HttpRequest, record: UsageRecord) -> list[tuple[str, str]]:
        """What to look for in logs."""
        found = [("Request id", record.request_id.hex), ("Correlation id", record.correlation_id)]
        if standing_in(request).is_operator:
            found += [("Revision", str(record.revision or "")), ("Worker", record.worker)]
        if record.corrects:
            found.append(("Corrects", str(record.corrects)))
        return [(label, text) for label, text in found if text]

    def breakdown(self, request: HttpRequest, record: UsageRecord) -> Any:
        """What each kind of token cost; prices are known further up (`routing/admin/usage_record.py`)."""
        return None

    def body_state(self, request: HttpRequest, record: UsageRecord, kept: RequestBody | None) -> dict[str, Any]:
        """What is said of a request's bodies."""
        tenant = Tenant.objects.filter(pk=record.tenant_id).first()
        state: dict[str, Any] = {"may_open": request.user.has_perm(BODY), "kept": kept, "tenant": tenant}
        state["may_change"] = tenant is not None and request.user.has_perm("tenants.change_tenant")
        if kept is not None and tenant is not None:
            state["until"] = kept.started_at + timedelta(days=tenant.audit_retention_days)
            state["redactions"] = ", ".join(
                f"{count} {REDACTED.get(kind, kind)}{'' if count == 1 else 'es' if kind == 'email' else 's'}"
                for kind, count in kept.redactions.items()
            )
        return state


# --- In words ------------------------------------------------------------------------------------------------


def headline(record: UsageRecord) -> str:
    """What happened, in a sentence."""
    parts = [f"{_ending(record)}{_detours(record)} in {seconds(record.latency_ms)}"]
    tokens = prompt_tokens(record)
    if tokens is not None:
        cached = f" ({record.cache_read_tokens:,} cached)" if record.cache_read_tokens else ""
        out = f", {record.output_tokens:,} out" if record.output_tokens is not None else ""
        parts.append(f"{tokens:,} token{'' if tokens == 1 else 's'} in{cached}{out}")
    parts.append(_bill(record))
    return "; ".join(parts) + "."


def _ending(record: UsageRecord) -> str:
    who = record.deployment
    match record.outcome:
        case "served":
            return f"Served by {who}" if who else "Served"
        case "client_gone":
            return f"The client left while {who} answered" if who else "The client left"
        case "correction":
            return "A correction of an earlier request"
        case "lost":
            return "Lost with the worker that served it"
        case "shutdown":
            return "Ended by a shutdown"
        case "cut":
            return f"Cut off by {who} in mid-answer"
        case "rejected":
            return f"Rejected with {record.status}" + (f" by {who}" if who else "")
    return f"Failed with {record.status} {record.error_code}".rstrip()


def _detours(record: UsageRecord) -> str:
    """How many targets were asked before, and how many were asked again."""
    asked = [attempt.get("deployment") for attempt in record.attempts if isinstance(attempt, dict)]
    fallbacks = sum(one != other for one, other in pairwise(asked))
    retries = len(asked) - 1 - fallbacks
    found = [
        f"{count} {word}{ending if count > 1 else one}"
        for count, word, one, ending in ((fallbacks, "fallback", "", "s"), (retries, "retr", "y", "ies"))
        if count > 0
    ]
    return f" after {' and '.join(found)}" if found else ""


def _bill(record: UsageRecord) -> str:
    if record.cost_status == "unpriced" and not record.cost:
        return "the model has no price"
    if not record.cost:
        return "nothing was billed"
    about = "about " if record.cost_status == "estimated" else ""
    return f"{about}{plain(record.cost)} {record.currency}"


def error_of(record: UsageRecord) -> dict[str, str] | None:
    """Whose error it was, what it means and what to do; None where there was none."""
    words_of_it = explain(record.outcome, record.error_code)
    if record.outcome in {"served", "correction"} or words_of_it is None:
        return None
    owner = error_owner(record.outcome, record.error_code, record.status)
    if (record.outcome, owner) == ("upstream_failed", UPSTREAM):
        owner = ""  # the outcome says so
    return {"owner": OWNERS.get(owner, "").lower(), "meaning": words_of_it[0], "advice": words_of_it[1]}


def dialects(record: UsageRecord) -> str:
    """What the client spoke, and what the upstream was asked in if that is another."""
    if record.dialect_upstream and record.dialect_upstream != record.dialect:
        return f"{dialect_name(record.dialect)} → {dialect_name(record.dialect_upstream)}"
    return dialect_name(record.dialect)


def seconds(milliseconds: float) -> str:
    """A time as people say it."""
    if milliseconds < 0.95:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 999.5:
        return f"{milliseconds:,.0f} ms"
    return f"{milliseconds / 1000:,.1f} s"


# --- Time and tokens -----------------------------------------------------------------------------------------


def phases(record: UsageRecord, attempts: list[dict[str, Any]]) -> list[Phase]:
    """Where the time went, as parts of the whole; nothing is known of it where nobody was asked."""
    total = record.latency_ms
    if not total or not attempts:
        return []
    gateway = min((record.overhead_us or 0) / 1000, total)
    pauses = min(sum(_milliseconds(each, "paused_ms") for each in attempts), total - gateway)
    earlier = min(sum(_milliseconds(each, "ms", "milliseconds") for each in attempts[:-1]), total - gateway - pauses)
    rest = total - gateway - pauses - earlier
    first = record.first_token_ms
    streaming = min(max(total - first, 0), rest) if first is not None else 0.0
    waiting = "Until the first token" if first is not None else "The upstream"
    parts = (
        ("gateway", "The gateway", gateway),
        ("earlier", "Earlier attempts", earlier),
        ("pause", "Pauses between", pauses),
        ("waiting", waiting, rest - streaming),
        ("streaming", "Streaming", streaming),
    )
    return [Phase(name, label, ms, round(100 * ms / total, 2)) for name, label, ms in parts if ms > 0]


def _milliseconds(attempt: dict[str, Any], *names: str) -> float:
    found = next((attempt[name] for name in names if isinstance(attempt.get(name), int | float)), 0)
    return max(0.0, float(found))


def prompt_tokens(record: UsageRecord) -> int | None:
    """All tokens of the prompt, cached or not; None: nobody said."""
    counts = [getattr(record, name) for name in PROMPT]
    return None if all(count is None for count in counts) else sum(count or 0 for count in counts)


# --- Money ---------------------------------------------------------------------------------------------------


def money_of(record: UsageRecord, is_operator: bool) -> list[tuple[str, str]]:
    """What it came to."""
    currency = record.currency
    status = {"estimated": ", estimated", "unpriced": ", unpriced"}.get(record.cost_status, "")
    found = [("Cost", f"{plain(record.cost)} {currency}{status}")]
    if record.written_off:
        found.append(("Written off", f"{plain(record.written_off)} {currency}"))
    if is_operator:
        if record.cost_price is not None:
            found.append(("What we pay", f"{plain(record.cost_price)} {currency}"))
            found.append(("Margin", f"{plain(record.cost - record.cost_price)} {currency}"))
        if record.reported_cost is not None:
            found.append(("What the provider says", f"{plain(record.reported_cost)} {currency}"))
    return found


def corrections_of(record: UsageRecord) -> list[tuple[str, str, str]]:
    """The records that correct this one (they have its moment): id, difference, link."""
    found = UsageRecord.objects.for_tenant(record.tenant_id).filter(started_at=record.started_at, corrects=record.pk)[
        :20
    ]
    return [(row.pk.hex, f"{plain(row.cost)} {row.currency}", _page_of(row.pk)) for row in found]


def budgets_of(record: UsageRecord) -> list[tuple[str, str]]:
    """The budgets that it was charged to, with their links."""
    counters = [counter for name in record.budgets if (counter := read_counter(name)) is not None]
    ids = {counter.budget_id for counter in counters}
    budgets = Budget.objects.for_tenant(record.tenant_id).in_bulk(ids)
    return [
        (str(budgets[pk]), reverse("admin:tenants_budget_change", args=[pk]))
        if pk in budgets
        else (f"deleted ({pk})", "")
        for pk in sorted(ids)
    ]


# --- Elsewhere -----------------------------------------------------------------------------------------------


def similar(record: UsageRecord) -> list[tuple[str, str]]:
    """Lists of requests like this one."""
    found: list[tuple[str, dict[str, Any]]] = []
    if ApiKey.objects.filter(pk=record.api_key_id).exists():
        found.append(("Of this key", {"api_key__id__exact": record.api_key_id}))
    found.append((f"Of {record.alias}", {"alias": record.alias}))
    if record.error_code:
        found.append((f"With {record.error_code}", {"error_code": record.error_code}))
    if record.deployment:
        found.append((f"Through {record.deployment}", {"deployment": record.deployment}))
    if record.end_user:
        found.append((f"Of {record.end_user}", {"end_user": record.end_user}))
    return [(label, f"{reverse(LIST)}?{urlencode(query)}") for label, query in found]


def playground(request: HttpRequest, record: UsageRecord) -> str:
    """Where the same model can be tried; empty: nowhere, or not by whoever looks."""
    if not request.user.has_perm("tenants.add_apikey"):
        return ""
    try:
        return f"{reverse('playground')}?{urlencode({'model': record.alias})}"
    except NoReverseMatch:
        return ""


def kept_body(record: UsageRecord) -> RequestBody | None:
    """What is kept of a request, unless its days are over."""
    found = RequestBody.objects.for_tenant(record.tenant_id).kept().filter(pk=record.pk)
    return found.first()


def _page_of(request_id: Any) -> str:
    return reverse("admin:tenants_usagerecord_change", args=[request_id])
