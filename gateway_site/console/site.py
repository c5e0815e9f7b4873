"""The console: Django's admin for operators and, with what their role lets them see, for members of a tenant."""

from time import perf_counter
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path
from django.utils.module_loading import import_string
from unfold.dataclasses import SearchResult
from unfold.sites import UnfoldAdminSite

from tenants.standing import standing_of

RESULTS_PER_PAGE = 100


class FieldAutocomplete(AutocompleteJsonView):
    """Offers objects for fields; Django's own fails where somebody asks for a relation that is no field."""

    def process_request(self, request: HttpRequest) -> Any:
        found = super().process_request(request)
        if not found[2].concrete:
            raise PermissionDenied
        return found


class ConsoleSite(UnfoldAdminSite):
    """Lets in whoever has something to do here; what that is, their permissions say."""

    def has_permission(self, request: HttpRequest) -> bool:
        user: Any = request.user
        return bool(user.is_active and standing_of(user).is_somebody)

    def extra_urls(self) -> list[URLResolver | URLPattern]:
        """For unfold: changes of one's standing. Loaded with the admin's pages."""
        return [
            path("acting/stop/", self.admin_view(_later("stop_acting")), name="stop_acting"),
            path("tenant/", self.admin_view(_later("switch_tenant")), name="switch_tenant"),
        ]

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """With the tenants that a member may switch to, in the place of unfold's links to other sites."""
        choices = standing_of(request.user).choices
        return {**super().each_context(request), "site_dropdown": choices if len(choices) > 1 else ()}

    def autocomplete_view(self, request: HttpRequest) -> HttpResponse:
        view: Any = FieldAutocomplete.as_view(admin_site=self)
        answer: HttpResponse = view(request)
        return answer

    def search(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Search pages and objects. Unfold's own remembers answers per user, also those of another standing."""
        term = request.GET.get("s", "").lower()
        if not term:
            return HttpResponse()
        began = perf_counter()
        pages = Paginator(self._found(request, term), RESULTS_PER_PAGE)
        page = pages.get_page(request.GET.get("page"))
        context = {
            "search_term": term,
            "page_obj": pages,
            "results": page,
            "page_counter": (page.number - 1) * RESULTS_PER_PAGE,
            "execution_time": perf_counter() - began,
            "command_show_history": self._get_config("COMMAND", request).get("show_history"),
        }
        template = "unfold/helpers/command_results.html"
        return TemplateResponse(request, template, context, headers={"HX-Trigger": "search"})

    def _found(self, request: HttpRequest, term: str) -> list[SearchResult]:
        """What the palette finds, and then what else is registered under that name."""
        callback = self._get_config("COMMAND", request)["search_callback"]
        found: list[SearchResult] = list(self._get_value(callback, request, term))
        known = {str(result.link) for result in found}
        found += [each for each in self._search_apps(self.get_app_list(request), term) if str(each.link) not in known]
        return found


def drop_foreign_pages(site: AdminSite) -> None:
    """Take away the pages that libraries have registered: they know nothing of standing, and some show secrets."""
    from unfold.admin import ModelAdmin

    for model in [model for model, page in site._registry.items() if not isinstance(page, ModelAdmin)]:
        site.unregister(model)


def _later(name: str) -> Any:
    """A page of `tenants.admin.acting`, which is imported when it is first asked for: models are not there yet."""

    def view(request: HttpRequest) -> HttpResponse:
        found: HttpResponse = import_string(f"tenants.admin.acting.{name}")(request)
        return found

    return view
