"""All that Django serves: the public pages, and behind them the console, which is loaded with the first page of its own."""

from django.urls import URLPattern, URLResolver, path
from django.urls.resolvers import RegexPattern

from gateway_site.public import pages as public

urlpatterns: list[URLPattern | URLResolver] = [
    path("", public.home, name="home"),
    path("status", public.status, name="status"),
    path("terms", public.legal, {"kind": "terms"}, name="terms"),
    path("terms/<int:number>", public.legal, {"kind": "terms"}),
    path("privacy", public.legal, {"kind": "privacy"}, name="privacy"),
    path("privacy/<int:number>", public.legal, {"kind": "privacy"}),
    path("install.sh", public.install_script, name="install_script"),
    URLResolver(RegexPattern(r""), "gateway_site.urls"),  # by its name: `include` would import it now
]
