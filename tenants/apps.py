from django.apps import AppConfig
from django.db.models.signals import post_migrate


class TenantsConfig(AppConfig):
    """Who may call, and how much."""

    name = "tenants"

    def ready(self) -> None:
        from tenants import signals
        from tenants.auditors import keep_auditors

        signals.connect()
        post_migrate.connect(keep_auditors, dispatch_uid="auditors")
