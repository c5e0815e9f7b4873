"""What a role lets a member do in the console, as Django's permissions. Pure: a table.

Whatever stands here is shown through a page that shows a tenant's own only (`tenants/admin/scope.py`); a test insists.
"""

from collections.abc import Iterable


def _may(verbs: str, models: Iterable[str]) -> frozenset[str]:
    return frozenset(f"tenants.{verb}_{model}" for verb in verbs.split() for model in models)


USAGE = ("usagerecord", "usagehour", "usageday", "usageenduserday")
RULES = ("ratelimit", "budget", "budgetalert", "credittopup")
ALERTS = ("alertrule", "alertchannel", "alertsilence")

VIEWER = _may("view", ("tenant", "project", "apikey", *RULES, *ALERTS, "alertincident", *USAGE))
DEVELOPER = VIEWER | _may("add change", ("apikey",)) | {"routing.view_storedresponse", "tenants.view_requestbody"}
OWNER = (
    DEVELOPER
    | _may("change", ("tenant",))
    | _may("add change delete", ("project",))
    | _may("add change delete", ALERTS)
    | _may("change", ("alertincident",))  # to acknowledge
    | _may("view change delete", ("member",))  # they join by invitation: whom else there is, owners do not learn
    | _may("view add", ("invitation",))
    | _may("view add change", ("apitoken",))
    | _may("view", ("auditevent",))
)

PERMISSIONS = {"viewer": VIEWER, "developer": DEVELOPER, "owner": OWNER}
