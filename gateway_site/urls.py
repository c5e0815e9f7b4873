"""The control plane's URLs. Admin modules load here, with the first page, and not in every process."""

from django.contrib import admin
from django.urls import path, re_path
from django.views.generic import RedirectView

from gateway_site.control_plane_api import control_plane
from routing.admin.dry_run import dry_run_page
from routing.admin.queue import queue_page

admin.autodiscover()

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
    re_path(r"^admin/queue/?$", admin.site.admin_view(queue_page), name="queue"),
    re_path(r"^admin/dry-run/?$", admin.site.admin_view(dry_run_page), name="dry_run"),
    path("admin/", admin.site.urls),
    path("api/", control_plane.urls),
]
