"""A large installation for `benchmarks.console`: ten million usage records, ten thousand keys, and plenty of all else."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import batched
from typing import NamedTuple
from uuid import UUID

from django.core.management import call_command
from django.db import connection, models, transaction

from providers.models import Deployment, ModelPrice, Provider
from routing.models import (
    ConfigChange,
    ConfigRevision,
    HealthEvent,
    ModelAlias,
    Route,
    RouteTarget,
    StoredResponse,
)
from routing.services import publish
from tenants import keys
from tenants.bodies import store
from tenants.kept_body import KeptBody
from tenants.models import (
    AlertChannel,
    AlertIncident,
    AlertMessage,
    AlertRule,
    AlertSilence,
    ApiKey,
    ApiToken,
    AuditEvent,
    Budget,
    BudgetAlert,
    CreditTopUp,
    Invitation,
    LegalAcceptance,
    LegalDocument,
    Member,
    Project,
    RateLimit,
    Tenant,
    UsageRecord,
    User,
)
from tenants.sample_usage import sample_models

BATCH = 2_000
NOW = datetime.now(UTC)
KINDS_OF_LIMIT = (("requests", "minute"), ("tokens", "minute"), ("concurrency", ""))
MODELS_USED = 40  # of the aliases, those that requests are made for


class Size(NamedTuple):
    """How much there is."""

    records: int = 10_000_000
    days: int = 60
    tenants: int = 500
    keys: int = 20  # of each tenant
    end_users: int = 100  # of each key
    members: int = 4  # of each tenant
    projects: int = 10
    providers: int = 200
    deployments: int = 600
    routes: int = 300
    revisions: int = 500
    audit_events: int = 120_000
    health_events: int = 20_000
    alert_rules: int = 600
    incidents: int = 20  # of each rule
    budget_alerts: int = 5_000
    bodies: int = 500
    responses: int = 5_000


SMALL = Size(
    records=10_000,
    days=5,
    tenants=10,
    providers=30,
    deployments=60,
    routes=60,
    revisions=10,
    audit_events=500,
    health_events=100,
    alert_rules=30,
    incidents=3,
    budget_alerts=50,
    bodies=10,
    responses=50,
)


def fill(size: Size, processes: int = 2) -> None:
    """Make all of it; twenty minutes, and most of them the records."""
    _tenants(size)
    _keys(size)
    call_command(
        "generate_usage",
        records=size.records,
        days=size.days,
        tenants=size.tenants,
        keys=size.keys,
        end_users=size.end_users,
        models=MODELS_USED,
        processes=processes,
    )
    fill_others(size)


def fill_others(size: Size) -> None:
    """Make what is not usage, of tenants and keys that are there."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        for make in (_people, _rules, _upstreams, _routes, _history, _alerts, _kept, _documents, _revisions):
            make(size)
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("RESET statement_timeout")


def _make(rows: Iterable[models.Model], batch: int = BATCH) -> None:
    """Insert without signals: nothing is announced, noted or published."""
    for some in batched(rows, batch):
        type(some[0])._base_manager.bulk_create(some)


# --- Tenants ---------------------------------------------------------------------------------------------------


def _tenants(size: Size) -> None:
    numbers = range(1, size.tenants + 1)
    _make(Tenant(slug=f"sample-{n}", name=f"Sample {n}", alert_emails=[f"alerts-{n}@example.com"]) for n in numbers)


def _keys(size: Size) -> None:
    def made() -> Iterator[ApiKey]:
        for tenant in Tenant.objects.order_by("pk"):
            for number in range(size.keys):
                key = ApiKey(tenant=tenant, name=f"sample-{number + 1}")
                key.set_secret(keys.generate())
                yield key

    _make(made())


def _people(size: Size) -> None:
    tenants = list(Tenant.objects.order_by("pk"))
    names = [(tenant, n, f"{tenant.slug}-{n}") for tenant in tenants for n in range(size.members)]
    _make([User(username=name, email=f"{name}@example.com", password="!") for _, _, name in names])
    users = {user.username: user for user in User.objects.all()}
    roles = ("owner", "developer", "developer", "viewer")
    _make(Member(tenant=tenant, user=users[name], role=roles[n % 4]) for tenant, n, name in names)
    _make(
        Project(tenant=tenant, slug=f"project-{n + 1}", name=f"Project {n + 1}")
        for tenant in tenants
        for n in range(size.projects)
    )
    _make(
        Invitation(tenant=t, email=f"new-{n}@example.com", token_hash=f"{t.pk}-{n}", expires_at=NOW + timedelta(days=7))
        for t in tenants
        for n in range(3)
    )
    _make(
        ApiToken(
            tenant=t,
            name=f"token-{n}",
            scopes=["usage:read"],
            digest=f"{t and t.pk}-{n}",
            prefix="tgat_",
            last_four="1",
        )
        for t in (None, *tenants)
        for n in range(3)
    )


def _rules(size: Size) -> None:
    tenants = list(Tenant.objects.order_by("pk"))
    own_keys = list(ApiKey.objects.order_by("pk"))
    money = {"currency": "USD", "alert_at": [80, 100]}
    # `generate_usage` counts what each tenant spends in a day under the tenant's own number.
    _make(Budget(pk=t.pk, tenant=t, amount=40_000 / (n + 1), period="day", **money) for n, t in enumerate(tenants))
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval(pg_get_serial_sequence('tenants_budget', 'id'), 1000000)")
    _make(Budget(tenant_id=k.tenant_id, api_key=k, amount=100, period="month", **money) for k in own_keys[::2])
    _make(
        RateLimit(tenant=t, kind=kind, per=per, amount=1_000 * (t.pk % 7 + 1))
        for t in tenants
        for kind, per in KINDS_OF_LIMIT
    )
    _make(RateLimit(tenant_id=k.tenant_id, api_key=k, kind="requests", per="minute", amount=60) for k in own_keys)
    budgets = list(Budget.objects.order_by("-pk")[: size.budget_alerts])
    _make(
        BudgetAlert(
            tenant_id=b.tenant_id,
            budget=b,
            counter=f"{b.pk}.0:{n}",
            threshold=80,
            spent=80,
            limit=100,
            delivered_at=NOW - timedelta(hours=n),
        )
        for n, b in enumerate(budgets)
    )
    _make(CreditTopUp(tenant_id=b.tenant_id, budget=b, amount=5, currency="USD") for b in budgets[:1_000])


# --- Upstreams -------------------------------------------------------------------------------------------------


def _upstreams(size: Size) -> None:
    used = sample_models(MODELS_USED)
    named = list(dict.fromkeys(provider for _, provider, _, _ in used))
    slugs = [*named, *(f"upstream-{n}" for n in range(size.providers - len(named)))]
    facts = {"adapter": "openai_compatible", "base_url": "http://127.0.0.1:9/v1", "allow_private_address": True}
    _make(Provider(slug=slug, name=slug.title(), is_enabled=n % 50 != 49, **facts) for n, slug in enumerate(slugs))
    providers = {provider.slug: provider for provider in Provider.objects.all()}
    _make(Deployment(slug=name, provider=providers[provider], model=name) for _, provider, name, _ in used)
    every = list(providers.values())
    more = range(size.deployments - len(used))
    _make(Deployment(slug=f"deployed-{n}", provider=every[n % len(every)], model=f"model-{n}") for n in more)
    _make(
        ModelPrice(deployment=each, side=side, effective_from=NOW - timedelta(days=days), input=3, output=15)
        for each in Deployment.objects.all()
        for side in ("sell", "cost")
        for days in (400, 100)
    )


def _routes(size: Size) -> None:
    aliases = [alias for alias, _, _, _ in sample_models(MODELS_USED)]
    names = [*dict.fromkeys(aliases), *(f"route-{n}" for n in range(size.routes - MODELS_USED))]
    _make([Route(name=name) for name in names])
    routes = list(Route.objects.order_by("pk"))
    deployments = list(Deployment.objects.order_by("pk"))
    _make(
        RouteTarget(route=route, deployment=deployments[(n + t * len(deployments) // 4) % len(deployments)], priority=t)
        for n, route in enumerate(routes)
        for t in range(4)
    )
    _make(ModelAlias(name=route.name, route=route) for route in routes)
    tenants = Tenant.objects.order_by("pk")
    _make(ModelAlias(name="own-model", tenant=t, route=routes[n % len(routes)]) for n, t in enumerate(tenants))


def _revisions(size: Size) -> None:
    """Publish what is there, and have it look as if it were the last of many."""
    publish(note="All of it")
    newest = ConfigRevision.objects.get()
    ConfigRevision.objects.update(number=size.revisions)
    facts = {"status": "published", "blob": newest.blob, "checksum": newest.checksum, "diff": ["Route smart: changed"]}
    made = (
        ConfigRevision(number=n, published_at=NOW - timedelta(hours=size.revisions - n), **facts)
        for n in range(1, size.revisions)
    )
    _make(made, batch=20)  # each holds all of it
    _make(ConfigChange(username="operator", revision=n % size.revisions + 1) for n in range(4 * size.revisions))


# --- What happened -----------------------------------------------------------------------------------------------


def _history(size: Size) -> None:
    tenants = list(Tenant.objects.order_by("pk"))
    own_keys = list(ApiKey.objects.order_by("pk"))
    step = timedelta(days=size.days) / size.audit_events
    _make(
        AuditEvent(
            at=NOW - n * step,
            actor=f"sample-{n % len(tenants) + 1}-0",
            via="console",
            tenant=None if n % 5 == 0 else tenants[n % len(tenants) // 4],
            action=("changed", "created", "revoked")[n % 3],
            object_type=("tenants.apikey", "tenants.budget", "routing.route")[n % 3],
            object_id=str(own_keys[n % len(own_keys)].pk),
            object_repr="sample",
            changes={"name": ["before", "after"]},
        )
        for n in range(size.audit_events)
    )
    slugs = list(Deployment.objects.values_list("slug", "provider__slug")[:50])
    _make(
        HealthEvent(
            at=NOW - timedelta(minutes=4 * n),
            deployment=slugs[n % len(slugs)][0],
            provider=slugs[n % len(slugs)][1],
            kind=("breaker_opened", "breaker_closed", "cooled_down")[n % 3],
            reason="status 503",
        )
        for n in range(size.health_events)
    )


def _alerts(size: Size) -> None:
    tenants = list(Tenant.objects.order_by("pk"))
    owners = [None if n < size.alert_rules // 6 else tenants[n % len(tenants)] for n in range(size.alert_rules)]
    _make(AlertChannel(tenant=t, name="Mail", emails=["alerts@example.com"]) for t in (None, *tenants))
    channels = {channel.tenant_id: channel for channel in AlertChannel.objects.all()}
    _make(
        AlertRule(
            tenant=owner,
            name=f"Rule {n}",
            metric=("error_rate", "latency_p95", "cost_per_day")[n % 3],
            threshold=5,
            window=(10, 60, 1440)[n % 3],
        )
        for n, owner in enumerate(owners)
    )
    rules = list(AlertRule.objects.order_by("pk"))
    _make(AlertRule.channels.through(alertrule=r, alertchannel=channels[r.tenant_id]) for r in rules)
    _make(
        AlertIncident(
            tenant_id=rule.tenant_id,
            rule=rule,
            title=rule.name,
            words="The error rate is above 5 %",
            severity="warning",
            metric=rule.metric,
            began_at=NOW - timedelta(hours=3 * n + 2),
            value=7,
            worst=9,
            last=6,
            resolved_at=None if n == 0 and rule.pk % 20 == 0 else NOW - timedelta(hours=3 * n + 1),
        )
        for rule in rules
        for n in range(size.incidents)
    )
    _make(
        AlertMessage(
            incident=each,
            channel=channels[each.tenant_id],
            channel_name="Mail",
            kind="firing",
            value=7,
            delivered_at=NOW,
        )
        for each in AlertIncident.objects.all()
    )
    _make(
        AlertSilence(tenant=t, ends_at=NOW + timedelta(hours=2), reason="Maintenance", severity="notice")
        for t in tenants
    )


def _kept(size: Size) -> None:
    first = Tenant.objects.order_by("pk")[0]
    Tenant.objects.filter(pk=first.pk).update(audit_policy="all")
    newest = UsageRecord.objects.filter(tenant=first).order_by("-started_at").values_list("pk", "started_at")
    text = b'{"model": "smart", "messages": [{"role": "user", "content": "' + 2_000 * b"hello " + b'"}]}'
    for some in batched(newest[: size.bodies], 50):
        store(
            [
                KeptBody(
                    request_id=key.hex,
                    tenant_id=first.pk,
                    started_at=moment.timestamp(),
                    request=text,
                    answer=text,
                    request_size=len(text),
                    answer_size=len(text),
                )
                for key, moment in some
            ]
        )
    own_keys = list(ApiKey.objects.order_by("pk")[: 20 * 50])
    _make(
        StoredResponse(
            response_id=f"resp_{UUID(int=n).hex}",
            tenant_id=own_keys[n % len(own_keys)].tenant_id,
            api_key=own_keys[n % len(own_keys)],
            deployment="mini",
            dialect="openai_responses",
            is_native=True,
            expires_at=NOW + timedelta(days=20),
        )
        for n in range(size.responses)
    )


def _documents(size: Size) -> None:
    _make(
        LegalDocument(kind=kind, version=n, text="# Terms\n\n" + 200 * "Words and more words. ", effective_from=day)
        for kind in ("terms", "privacy")
        for n, day in enumerate((NOW.date() - timedelta(days=30 * n) for n in range(5, 0, -1)), 1)
    )
    documents = list(LegalDocument.objects.filter(version=5))
    _make(LegalAcceptance(user=user, document=each) for user in User.objects.all() for each in documents)
