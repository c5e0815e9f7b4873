"""The group of operators that see everything and change nothing. It is there after every migration."""

from typing import Any

from django.apps.registry import Apps
from django.apps.registry import apps as current
from django.contrib.auth.management import create_permissions

GROUP = "Auditors"
APPS = ("tenants", "providers", "routing", "auth", "admin")


def keep_auditors(app_config: Any, using: str, apps: Apps = current, **_: Any) -> None:
    """Let the group view what an app has, new models included; what somebody added to it stays."""
    try:
        group, permission = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    except LookupError:  # not migrated yet
        return
    if app_config.label not in APPS:
        return
    create_permissions(app_config, verbosity=0, using=using, apps=apps)  # Django's own turn may come later
    views = permission.objects.using(using).filter(
        content_type__app_label=app_config.label, codename__startswith="view_"
    )
    auditors, _created = group.objects.using(using).get_or_create(name=GROUP)
    auditors.permissions.add(*views)
