"""Deployments and prices again: routing knows who leads to them, and what became of a change."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display

from providers.admin.deployment import DeploymentAdmin
from providers.admin.price import ModelPriceAdmin
from providers.models import Deployment, ModelPrice
from routing.admin.progress import PublishedMixin
from routing.models import Route

MOST_ROUTES = 20

admin.site.unregister([Deployment, ModelPrice])


@admin.register(Deployment)
class RoutedDeploymentAdmin(PublishedMixin, DeploymentAdmin):
    readonly_fields = (*DeploymentAdmin.readonly_fields, "routes")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """With the routes that lead to it, once it is there."""
        fieldsets = list(super().get_fieldsets(request, obj))
        return fieldsets if obj is None else [*fieldsets, ("Used by", {"fields": ("routes",)})]

    @display(description="Routes")
    def routes(self, deployment: Deployment) -> SafeString | str:
        found = Route.objects.filter(targets__deployment=deployment).order_by("name").distinct()[:MOST_ROUTES]
        links = ((reverse("admin:routing_route_change", args=[route.pk]), route) for route in found)
        return (
            format_html_join(", ", '<a href="{}" class="text-link underline">{}</a>', links)
            or "None: nobody is served by it."
        )


@admin.register(ModelPrice)
class RoutedModelPriceAdmin(PublishedMixin, ModelPriceAdmin):
    pass
