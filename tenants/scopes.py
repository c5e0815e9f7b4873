"""What an API token's scopes let it do, as Django's permissions. Pure: a table.

A scope only ever narrows: a tenant's token has what an owner's role has (`tenants/roles.py`), an operator's what its
maker has, and of that, what its scopes name.
"""

from collections.abc import Iterable

EVERYTHING = "*"

AREAS: dict[str, tuple[str, ...]] = {
    "tenants": ("tenants.tenant", "tenants.project", "tenants.member"),
    "keys": ("tenants.apikey",),
    "invitations": ("tenants.invitation",),  # of its own: who may invite makes owners
    "limits": ("tenants.ratelimit", "tenants.budget", "tenants.credittopup"),
    "providers": ("providers.provider", "providers.deployment"),
    "routes": ("routing.route", "routing.routetarget", "routing.modelalias"),
    "prices": ("providers.modelprice",),
    "revisions": ("routing.configrevision",),
    "alerts": ("tenants.alertrule", "tenants.alertchannel", "tenants.alertsilence", "tenants.alertincident"),
    "tokens": ("tenants.apitoken",),
    "usage": ("tenants.usagerecord", "tenants.usagehour", "tenants.usageday", "tenants.usageenduserday"),
    "audit": ("tenants.auditevent",),
}
READ_ONLY = frozenset({"usage", "audit"})
VERBS = {"read": ("view",), "write": ("view", "add", "change", "delete")}


def _permissions(models: Iterable[str], verbs: Iterable[str]) -> frozenset[str]:
    return frozenset(
        f"{app}.{verb}_{name}" for app, _, name in (model.partition(".") for model in models) for verb in verbs
    )


_BY_AREA = {
    f"{area}:{word}": _permissions(models, verbs)
    for area, models in AREAS.items()
    for word, verbs in VERBS.items()
    if word == "read" or area not in READ_ONLY
}
SCOPES: dict[str, frozenset[str]] = {EVERYTHING: frozenset().union(*_BY_AREA.values()), **_BY_AREA}


def permissions_of(scopes: Iterable[str]) -> frozenset[str]:
    """Return what some scopes allow together; those that nobody knows any more allow nothing."""
    return frozenset().union(*(SCOPES.get(scope, frozenset()) for scope in scopes))
