from django.apps import AppConfig


class GatewaySiteConfig(AppConfig):
    """Wiring only: the commands that start, check and configure the whole."""

    name = "gateway_site"

    def ready(self) -> None:
        from gateway_site import celery  # noqa: F401  # tasks find their app, and with it the broker
