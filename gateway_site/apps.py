from django.apps import AppConfig


class GatewaySiteConfig(AppConfig):
    """Wiring only: the commands that start, check and configure the whole."""

    name = "gateway_site"
