from django.apps import AppConfig


class ProvidersConfig(AppConfig):
    """What the world outside speaks."""

    name = "providers"

    def ready(self) -> None:
        from providers import signals

        signals.connect()
