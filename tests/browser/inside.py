"""What runs inside a gateway's own Django (`manage.py shell`), for what people could not do or would take too long for."""

import json
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

PASSWORD = "four rather ordinary words"
DAYS, A_DAY = 16, 300  # of usage, and how many requests


def make_people() -> None:
    """Those of the journeys; prints their session keys."""
    _say(
        operator=person("olga", is_staff=True, is_superuser=True),
        owner=person("alice", "alice", "owner"),
        developer=person("bob", "alice", "developer"),
        charlie=person("charlie", "charlie", "owner"),
    )


def make_operator() -> None:
    """Only the operator, of a gateway that nobody has used yet."""
    _say(operator=person("olga", is_staff=True, is_superuser=True))


def make_scenery() -> None:
    """Everything that is seen on pictures of a gateway in use; prints session keys and numbers of pages."""
    from tenants.models import Tenant
    from tenants.standing import ACTS_AS

    acme, suspended = Tenant.objects.get(slug="acme"), Tenant.objects.get(slug="suspended")
    suspended.suspended_at, suspended.suspended_reason = _now(), "Three invoices are open."
    suspended.save()
    people = {
        "operator": person("olga", is_staff=True, is_superuser=True, first_name="Olga", last_name="Ortiz"),
        "acting": person("oscar", is_staff=True, is_superuser=True, session={ACTS_AS: acme.pk}),
        "auditor": person("augusta", permissions="view", is_staff=True),
        "owner": person("alice", "acme", "owner", first_name="Alice", last_name="Adams"),
        "developer": person("bob", "acme", "developer", has_app=True),
        "viewer": person("victor", "acme", "viewer"),
        "suspended": person("sam", "suspended", "owner"),
        "newcomer": person("nora", "newcomer", "owner"),
        "long": person("bartholomew.featherstonehaugh", "a-very-long-name", "owner"),
        "stranger": person("stranger"),
    }
    _use()
    _alert(acme)
    invitation = _invite(acme)
    _spend(acme)
    _write_terms()
    _fall_ill()
    _give_tokens(acme)
    _say(**people, numbers={**_numbers(), "token_of_invitation": invitation})


def person(
    name: str,
    tenant: str = "",
    role: str = "",
    *,
    permissions: str = "",
    has_app: bool = False,
    session: dict[str, Any] | None = None,
    **fields: Any,
) -> str:
    """Make somebody, and return the key of a session of theirs."""
    from django.contrib.auth.models import Permission

    from tenants.models import Member, Tenant, User

    user, is_new = User.objects.get_or_create(username=name, defaults={"email": f"{name}@example.com", **fields})
    if is_new:
        user.set_password(PASSWORD)
        user.save()
        user.user_permissions.set(Permission.objects.filter(codename__startswith=permissions) if permissions else ())
    if tenant:
        Member.objects.get_or_create(user=user, tenant=Tenant.objects.get(slug=tenant), defaults={"role": role})
    if has_app:
        _give_app(user)
    return _session_of(user, session or {})


def _session_of(user: Any, more: dict[str, Any]) -> str:
    from allauth.account.internal.flows import login
    from django.conf import settings
    from django.contrib import auth
    from django.contrib.sessions.backends.db import SessionStore

    session = SessionStore()
    session[auth.SESSION_KEY] = str(user.pk)
    session[auth.BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[auth.HASH_SESSION_KEY] = user.get_session_auth_hash()
    # As allauth notes it: whoever has just given a password may change how they sign in. This one stays fresh.
    proof = {"method": "password", "at": time.time() + 86_400, "username": user.username, "reauthenticated": True}
    session[login.AUTHENTICATION_METHODS_SESSION_KEY] = [proof]
    session[login._AUTHENTICATION_METHODS_USER_SESSION_KEY] = str(user.pk)
    session.update(more)
    session.save()
    return str(session.session_key)


def _give_app(user: Any) -> None:
    from allauth.mfa.models import Authenticator
    from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
    from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret

    if not Authenticator.objects.filter(user=user).exists():
        TOTP.activate(user, generate_totp_secret())
        RecoveryCodes.activate(user)


# --- What a gateway in use has -----------------------------------------------------------------------------


def _use() -> None:
    from tenants.ledger import ensure_partition, write_new_records
    from tenants.models import ApiKey
    from tenants.sample_usage import Caller, sample_events

    models = (
        ("smart", "anthropic", "claude", Decimal("0.000003")),
        ("fast", "openai", "mini", Decimal("0.0000006")),
        ("cheap", "groq", "llama", Decimal("0.0000001")),
        ("smart", "openai", "mini", Decimal("0.0000006")),
        ("embed", "openai", "embedding", Decimal("0.00000002")),
    )
    weights = {"chatbot-production": 6.0, "search-indexer": 2.0, "laptops": 1.0}
    callers = [
        Caller(
            tenant_id=key.tenant_id,
            api_key_id=key.pk,
            project=key.project.slug if key.project else "",
            end_users=20,
            weight=weights.get(key.name, 0.5),
            models=models,
        )
        for key in ApiKey.objects.select_related("project").exclude(tenant__slug__in=("newcomer", "suspended"))
    ]
    today = int(time.time()) // 86_400
    for day in range(today - DAYS, today):
        ensure_partition(datetime.fromtimestamp(day * 86_400, UTC).date())
        write_new_records(sample_events(callers, day=day, count=A_DAY + 40 * (day % 7), seed=6))


def _alert(acme: Any) -> None:
    from tenants.models import AlertChannel, AlertIncident, AlertMessage, AlertRule, AlertSilence

    now = _now()
    ops = AlertChannel.objects.create(name="On call", emails=["on-call@example.com", "second@example.com"])
    hook = AlertChannel(name="Pager with a long name that does not end soon", kind="webhook")
    hook.address_hint = "https://events.pager.example.com/…"
    hook.save()
    own = AlertChannel.objects.create(tenant=acme, name="Acme's own", emails=["team@example.com"])
    errors = AlertRule.objects.create(name="Errors of smart", model="smart", severity="critical")
    errors.channels.set([ops, hook])
    slow = AlertRule.objects.create(name="Slow first tokens", metric="first_token_p95", threshold=4000, sustained=10)
    slow.channels.set([ops])
    AlertRule.objects.create(name="Quiet", metric="requests_per_minute", comparison="below", is_enabled=False)
    of_acme = AlertRule.objects.create(tenant=acme, name="Money", metric="error_rate", threshold=2)
    of_acme.channels.set([own])
    firing = AlertIncident.objects.create(rule=errors, title=errors.name, **_incident("critical", hours=1))
    for kind, channel, error in (("firing", ops, ""), ("firing", hook, "It answered 503."), ("repeated", ops, "")):
        AlertMessage.objects.create(
            incident=firing,
            channel=channel,
            channel_name=channel.name,
            kind=kind,
            value=Decimal("12.5"),
            delivered_at=None if error else now,
            tries=3 if error else 1,
            error=error,
        )
    AlertIncident.objects.create(
        rule=slow, title=slow.name, resolved_at=now - timedelta(hours=20), **_incident("warning", hours=21)
    )
    AlertIncident.objects.create(tenant=acme, rule=of_acme, title=of_acme.name, **_incident("warning", hours=2))
    AlertSilence.objects.create(rule=slow, ends_at=now + timedelta(hours=3), reason="The provider works on it.")
    AlertSilence.objects.create(
        starts_at=now - timedelta(days=3), ends_at=now - timedelta(days=2), reason="We moved to another cluster."
    )


def _incident(severity: str, *, hours: int) -> dict[str, Any]:
    words = "More than 5% of the requests for smart fail, counted over 10 minutes, for 5 minutes at least."
    numbers = {"value": Decimal("7.5"), "worst": Decimal("12.5"), "last": Decimal("9.25")}
    began_at = _now() - timedelta(hours=hours)
    return {"severity": severity, "metric": "error_rate", "words": words, "began_at": began_at, **numbers}


def _invite(acme: Any) -> str:
    from tenants.invitations import invite
    from tenants.models import Invitation, User

    olga = User.objects.get(username="olga")
    for name in ("erin", "frank", "gina"):
        invite(tenant=acme, email=f"{name}@example.com", role="developer", by=olga)
    Invitation.objects.filter(email="erin@example.com").update(expires_at=_now() - timedelta(days=1))
    Invitation.objects.filter(email="frank@example.com").update(withdrawn_at=_now())
    Invitation.objects.filter(email="gina@example.com").update(accepted_at=_now(), accepted_by=olga)
    return invite(tenant=acme, email="dave@example.com", role="developer", by=olga).token


def _spend(acme: Any) -> None:
    from tenants.models import ApiKey, Budget, BudgetAlert

    budget = Budget.objects.filter(tenant=acme).order_by("pk")[0]
    for threshold, spent, error in ((50, "20.1234", ""), (80, "32.000001", "The mail server refused the connection.")):
        BudgetAlert.objects.create(
            tenant=acme,
            budget=budget,
            counter=f"{budget.pk}.0:0",
            threshold=threshold,
            spent=Decimal(spent),
            limit=Decimal(40),
            emailed_at=None if error else _now(),
            delivered_at=None if error else _now(),
            tries=4 if error else 1,
            error=error,
        )
    ApiKey.objects.filter(name="laptops").update(expires_at=_now() + timedelta(days=5))


def _write_terms() -> None:
    from tenants.models import LegalAcceptance, LegalDocument, User

    text = "# Terms\n\nBe **kind**.\n\n- Pay in time.\n- Keep your keys to yourself.\n\nSee [the privacy notice](/privacy)."
    terms = LegalDocument.objects.create(kind="terms", text=text)
    LegalDocument.objects.create(kind="terms", text=text, effective_from=(_now() + timedelta(days=30)).date())
    LegalAcceptance.objects.create(user=User.objects.get(username="alice"), document=terms)


def _fall_ill() -> None:
    from routing.models import HealthEvent

    words = "Five calls failed within 60 seconds; the last: 503 Service Unavailable, overloaded_error: Overloaded."
    for kind, old, new in (
        ("probe_failed", "", ""),
        ("breaker_opened", "closed", "open"),
        ("breaker_closed", "open", "closed"),
    ):
        HealthEvent.objects.create(
            deployment="claude-that-fails",
            provider="anthropic",
            kind=kind,
            old=old,
            new=new,
            reason=words,
            worker="web-1",
        )


def _give_tokens(acme: Any) -> None:
    from tenants.api_tokens import create_token
    from tenants.models import User

    olga = User.objects.get(username="olga")
    create_token(name="Terraform", scopes=["*"], created_by=olga)
    create_token(name="Nightly export", scopes=["usage:read"], tenant=acme, created_by=olga)


def _numbers() -> dict[str, Any]:
    from providers.models import Deployment, ModelPrice, Provider
    from routing.models import ConfigRevision, HealthEvent, Route
    from tenants import models as own

    def first(model: Any, **which: Any) -> Any:
        return model.objects.filter(**which).order_by("pk").values_list("pk", flat=True).first()

    acme = {"tenant__slug": "acme"}
    return {
        "tenant": first(own.Tenant, slug="acme"),
        "long_tenant": first(own.Tenant, slug="a-very-long-name"),
        "suspended_tenant": first(own.Tenant, slug="suspended"),
        "key": first(own.ApiKey, name="chatbot-production"),
        "long_key": first(own.ApiKey, tenant__slug="a-very-long-name"),
        "limit": first(own.RateLimit, **acme),
        "budget": first(own.Budget, **acme),
        "budget_alert": first(own.BudgetAlert, threshold=80),
        "project": first(own.Project, **acme),
        "member": first(own.Member, **acme),
        "invitation": first(own.Invitation, email="dave@example.com"),
        "rule": first(own.AlertRule, name="Errors of smart"),
        "own_rule": first(own.AlertRule, **acme),
        "channel": first(own.AlertChannel, kind="webhook"),
        "own_channel": first(own.AlertChannel, **acme),
        "incident": first(own.AlertIncident, title="Errors of smart"),
        "own_incident": first(own.AlertIncident, **acme),
        "silence": first(own.AlertSilence),
        "token": first(own.ApiToken),
        "user": first(own.User, username="alice"),
        "auditor": first(own.User, username="augusta"),
        "event": first(own.AuditEvent, object_type="tenants.apikey"),
        "legal": first(own.LegalDocument),
        "provider": first(Provider, slug="openai"),
        "deployment": first(Deployment, slug="mini"),
        "long_deployment": first(Deployment, slug="llama-in-the-cellar"),
        "price": first(ModelPrice),
        "route": first(Route, name="smart"),
        "long_route": first(Route, name="the-cellar"),
        "health": first(HealthEvent),
        "revision": first(ConfigRevision, status="published"),
    }


def _now() -> datetime:
    return datetime.now(UTC)


def _say(**found: Any) -> None:
    print("FOUND", json.dumps(found))
