from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, F, QuerySet, Sum, Window
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from gateway_site.infra.admin import Admin, TableRows
from routing.admin.alias import AliasRows
from routing.admin.conditions import NEEDS, ConditionsField, summary_of
from routing.admin.dry_run import shown
from routing.admin.progress import PublishedMixin
from routing.admin.route_trial import SIZES, question_of, site_with
from routing.api.dry_run import checked_headers, may_dry_run
from routing.dry_run import TITLES, dry_run, load_site
from routing.models import Route, RouteTarget

STRATEGIES = {
    "weighted": "Within a tier lots are drawn: a target with twice the weight comes first twice as often.",
    "least_busy": "Within a tier the target with the fewest calls in flight for its weight comes first.",
    "lowest_latency": "Within a tier the target that has answered fastest lately comes first; weights break ties.",
    "cheapest": "Within a tier the target that costs us least for this request comes first; unpriced ones come last.",
}


class RouteForm(forms.ModelForm):
    """Says what each strategy does."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "strategy" in self.fields:
            rows = format_html_join("", '<span class="block" data-strategy="{}">{}</span>', STRATEGIES.items())
            self.fields["strategy"].help_text = format_html(
                '{}<span class="block">Sessions keep to their target; what rests after failures comes last.</span>',
                rows,
            )


class TargetForm(forms.ModelForm):
    """One deployment, with its conditions as fields."""

    conditions = ConditionsField(
        required=False, label="Conditions", help_text="It serves requests that meet all of them."
    )

    class Meta:
        model = RouteTarget
        fields = ("deployment", "priority", "weight", "conditions")
        labels = {"priority": "Tier"}
        help_texts = {
            "priority": "All of tier 0 are tried before tier 1. Drag a row: it takes the tier of the place where it lands."
        }


class TargetRows(TableRows):
    """The deployments of a route, in the order in which they are tried."""

    model = RouteTarget
    form = TargetForm
    fields = ("deployment", "priority", "weight", "share", "conditions")
    readonly_fields = ("share", "conditions_told")
    autocomplete_fields = ("deployment",)
    ordering_field = "priority"
    per_page = 20
    verbose_name_plural = "Targets: the deployments that serve it"

    def get_extra(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> int:
        return 0 if obj else 1

    def get_queryset(self, request: HttpRequest) -> QuerySet[RouteTarget]:
        """With what all targets of a tier have together, on whichever page of the table they are."""
        tier = [F("route"), F("priority")]
        found: QuerySet[RouteTarget] = super().get_queryset(request)
        return found.annotate(
            strategy=F("route__strategy"),
            in_tier=Window(Count("pk"), partition_by=tier),
            weight_of_tier=Window(Sum("weight"), partition_by=tier),
        )

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        if not self.has_change_permission(request, obj):
            self.ordering_field = ""  # this inline is of this request: who may not move rows is offered no handles
        return super().get_formset(request, obj, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Readers are told the conditions in words."""
        if self.has_change_permission(request, obj):
            return self.fields
        return [*self.fields[:-1], "conditions_told"]

    @display(description="Share of its tier")
    def share(self, target: RouteTarget) -> SafeString:
        return format_html('<span class="target-share">{}</span>', share_of(target))

    @display(description="Conditions")
    def conditions_told(self, target: RouteTarget) -> str:
        return summary_of(target.conditions)


def share_of(target: Any) -> str:
    """What a stored target gets of its tier; static/js/route_form.js says the same of what a form says."""
    if target.pk is None:
        return "\N{EN DASH}"
    if target.in_tier == 1:
        return "100%"
    if target.strategy not in {"weighted", "least_busy"}:
        return "as measured"
    if target.weight_of_tier and not target.weight:
        return "last resort"
    share = target.weight / target.weight_of_tier if target.weight_of_tier else 1 / target.in_tier
    return f"{100 * share:.{1 if share < 0.1 else 0}f}%"


@admin.register(Route)
class RouteAdmin(PublishedMixin, Admin):
    form = RouteForm
    list_display = ("name", "strategy_label", "alias_names", "target_count", "retries", "created_at")
    list_filter = (("strategy", ChoicesDropdownFilter),)
    ordering = ("name",)  # the model's own is not that of what is counted
    search_fields = ("name", "aliases__name")
    search_help_text = "Route or alias"
    inlines = (AliasRows, TargetRows)
    change_form_outer_after_template = "admin/routing/route/trial.html"
    fieldsets = (
        (None, {"fields": ("name", "strategy")}),
        (
            "Time-outs and retries",
            {
                "classes": ("collapse",),
                "fields": (
                    ("first_token_timeout", "between_tokens_timeout"),
                    ("total_timeout", "retries"),
                    ("on_disconnect", "fallback_on_content_policy"),
                    "hedge",
                ),
            },
        ),
    )

    class Media:
        js = ("js/route_form.js",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Route]:
        counted = Count("targets", distinct=True)
        return super().get_queryset(request).annotate(targets_counted=counted).prefetch_related("aliases")

    @display(description="Strategy", ordering="strategy", label=True)
    def strategy_label(self, route: Route) -> str:
        return route.get_strategy_display()

    @display(description="Aliases")
    def alias_names(self, route: Route) -> str:
        return ", ".join(alias.name for alias in route.aliases.all())

    @display(description="Targets")
    def target_count(self, route: Any) -> int:
        return route.targets_counted

    # --- Dry run of what the form says -----------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.try_route)
        own = [
            path("try/", view, name="routing_route_try_new"),
            path("<path:object_id>/try/", view, name="routing_route_try"),
        ]
        return [*own, *super().get_urls()]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        name = f"{self.admin_site.name}:routing_route_try"
        url = reverse(f"{name}_new") if object_id is None else reverse(name, args=[object_id])
        trial = {
            "url": url if may_dry_run(request.user) else "",
            "operations": TITLES.items(),
            "sizes": SIZES.items(),
            "needs": NEEDS,
        }
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), "trial": trial})

    def try_route(self, request: HttpRequest, object_id: str | None = None) -> HttpResponse:
        """Say what would be asked if this form were saved and published; nothing is."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not may_dry_run(request.user):
            raise PermissionDenied
        route = None if object_id is None else self.load(request, object_id)
        form: Any = self.get_form(request, route, change=route is not None)(request.POST, instance=route)
        formsets, _ = self._create_formsets(request, form.instance, change=route is not None)
        rows: Any = next(formset for formset in formsets if formset.model is RouteTarget)
        problems = [*_problems(form), *(problem for row in rows.forms for problem in _problems(row))]
        context: dict[str, Any] = {"problems": problems}
        if not problems:
            try:
                context |= self._tried(request, form.instance, list(_targets(rows, route)))
            except ValueError as error:
                context["problems"] = [str(error)]
        return TemplateResponse(request, "admin/routing/route/tried.html", context)

    def _tried(self, request: HttpRequest, route: Route, targets: list[RouteTarget]) -> dict[str, Any]:
        given = request.POST
        operation, size = given.get("try-operation", ""), given.get("try-size", "")
        question = question_of(
            route,
            operation if operation in TITLES else "chat",
            size=int(size) if size in SIZES and size else 0,
            needs=given.getlist("try-needs"),
            headers=checked_headers(_headers(given.get("try-headers", ""))),
        )
        answer = dry_run(question, site_with(load_site(), route, targets))
        return {"answer": answer, "is_form": True, **shown(answer)}


def _headers(text: str) -> dict[str, str]:
    headers = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if line.strip() and not colon:
            raise ValueError(f"{line!r} is not a header: write name: value.")
        if line.strip():
            headers[name.strip()] = value.strip()
    return headers


def _problems(form: Any) -> Iterator[str]:
    """Yield what is wrong with the settings, by the labels of their fields; a name may be missing still."""
    if form.prefix and not form.has_changed() and form.empty_permitted:
        return
    for name, said in form.errors.items():
        if name != "name":
            label = form.fields[name].label if name in form.fields else ""
            yield from (f"{label}: {sentence}" if label else sentence for sentence in said)


def _targets(rows: Any, route: Route | None) -> Iterator[RouteTarget]:
    """Yield the targets that the form has, and those on other pages of it."""
    shown_here = {row.instance.pk for row in rows.forms if row.instance.pk}
    if route is not None:
        yield from route.targets.exclude(pk__in=shown_here).select_related("deployment")
    for row in rows.forms:
        is_there = row.instance.pk or row.has_changed()
        if is_there and not row.cleaned_data.get("DELETE") and row.instance.deployment_id is not None:
            yield row.instance
