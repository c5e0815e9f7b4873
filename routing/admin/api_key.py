"""API keys again, with settings that work: routing knows which models there are."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from routing.admin.connect import tools_for_new_key
from tenants.admin.api_key import ApiKeyAdmin
from tenants.models import ApiKey

admin.site.unregister(ApiKey)


@admin.register(ApiKey)
class RoutedApiKeyAdmin(ApiKeyAdmin):
    def settings_with(self, request: HttpRequest, key: ApiKey, secret: str) -> dict[str, Any]:
        found = tools_for_new_key(request, key, secret)
        return {"tools": found, "curl": next(tool for tool in found if tool.slug == "curl").snippets[0].text}
