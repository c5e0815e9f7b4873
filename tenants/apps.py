from django.apps import AppConfig


class TenantsConfig(AppConfig):
    """Who may call, and how much."""

    name = "tenants"

    def ready(self) -> None:
        from tenants import signals

        signals.connect()
