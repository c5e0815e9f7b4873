from django.apps import AppConfig
from django.contrib.admin.apps import SimpleAdminConfig


class GatewaySiteConfig(AppConfig):
    """Wiring only: the commands that start, check and configure the whole."""

    name = "gateway_site"

    def ready(self) -> None:
        from django.contrib.auth.signals import user_logged_in

        from gateway_site.sign_in.rules import note_sign_in

        user_logged_in.connect(note_sign_in)


class ConsoleConfig(SimpleAdminConfig):
    """Django's admin with our site. The simple one: admin modules load with the first page, not in every process."""

    default = False
    default_site = "gateway_site.console.site.ConsoleSite"
