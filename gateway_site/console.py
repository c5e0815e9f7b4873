"""The console: Django's admin for operators and, with what their role lets them see, for members of a tenant."""

from typing import Any

from django.http import HttpRequest
from unfold.sites import UnfoldAdminSite

from tenants.standing import standing_of


class ConsoleSite(UnfoldAdminSite):
    """Lets in whoever has something to do here; what that is, their permissions say."""

    def has_permission(self, request: HttpRequest) -> bool:
        user: Any = request.user
        return bool(user.is_active and standing_of(user).is_somebody)
