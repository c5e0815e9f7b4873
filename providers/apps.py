from django.apps import AppConfig


class ProvidersConfig(AppConfig):
    """What the world outside speaks."""

    name = "providers"
