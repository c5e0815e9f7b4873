"""The pages of Django's own models, in the console's clothes."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.models import Group
from django.http import HttpRequest

from gateway_site.infra.admin import Admin

admin.site.unregister(Group)  # Django has registered it already


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, Admin):
    search_help_text = "Name"
    filter_horizontal = ("permissions",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Superusers say what a group may: whoever else could would give their own group everything."""
        found = super().get_readonly_fields(request, obj)
        return found if request.user.is_superuser else (*found, "permissions")
