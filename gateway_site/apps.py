from django.apps import AppConfig
from django.contrib.admin.apps import SimpleAdminConfig


class GatewaySiteConfig(AppConfig):
    """Wiring only: the commands that start, check and configure the whole."""

    name = "gateway_site"


class ConsoleConfig(SimpleAdminConfig):
    """Django's admin with our site. The simple one: admin modules load with the first page, not in every process."""

    default = False
    default_site = "gateway_site.console.ConsoleSite"
