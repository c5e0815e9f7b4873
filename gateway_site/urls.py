"""The control plane's URLs. Admin modules load here, with the first page, and not in every process."""

from django.contrib import admin
from django.urls import path, re_path

from gateway_site.control_plane_api import control_plane
from routing.admin.dry_run import dry_run_page
from routing.admin.queue import queue_page
from tenants.admin.usage import usage_page

admin.autodiscover()

urlpatterns = [
    re_path(r"^admin/queue/?$", admin.site.admin_view(queue_page), name="queue"),
    re_path(r"^admin/dry-run/?$", admin.site.admin_view(dry_run_page), name="dry_run"),
    re_path(r"^admin/usage/?$", admin.site.admin_view(usage_page), name="usage"),
    path("admin/", admin.site.urls),
    path("api/", control_plane.urls),
]
