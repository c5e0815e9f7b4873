from django.apps import AppConfig


class RoutingConfig(AppConfig):
    """Which upstream, in what order, and what it cost."""

    name = "routing"

    def ready(self) -> None:
        from routing import signals, switches

        signals.connect()
        switches.connect()
