"""The control plane's URLs. Admin modules load here, with the first page, and not in every process."""

from django.contrib import admin
from django.urls import path, re_path

from gateway_site.console.site import drop_foreign_pages
from gateway_site.control_plane_api import control_plane
from gateway_site.setup.arrival import setup_arrival
from gateway_site.setup.guide import setup_page
from gateway_site.sign_in import urls as sign_in_urls
from routing.admin.configuration import configuration_file, configuration_page
from routing.admin.connect import connect_page
from routing.admin.dry_run import dry_run_page
from routing.admin.live import live_page, stop
from routing.admin.node import node_page
from routing.admin.playground import playground_outcome, playground_page, playground_request
from routing.admin.progress import progress_page
from routing.admin.queue import queue_page
from tenants.admin.usage import usage_page

admin.autodiscover()
drop_foreign_pages(admin.site)

urlpatterns = [
    re_path(r"^admin/queue/?$", admin.site.admin_view(queue_page), name="queue"),
    re_path(r"^admin/live/?$", admin.site.admin_view(live_page), name="live"),
    path("admin/live/<str:request_id>/stop", admin.site.admin_view(stop), name="live_stop"),
    re_path(r"^admin/setup/?$", admin.site.admin_view(setup_page), name="setup"),
    path("admin/setup/arrival", admin.site.admin_view(setup_arrival), name="setup_arrival"),
    re_path(r"^admin/dry-run/?$", admin.site.admin_view(dry_run_page), name="dry_run"),
    re_path(r"^admin/usage/?$", admin.site.admin_view(usage_page), name="usage"),
    re_path(r"^admin/connect/?$", admin.site.admin_view(connect_page), name="connect"),
    re_path(r"^admin/revision-progress/?$", admin.site.admin_view(progress_page), name="revision_progress"),
    re_path(r"^admin/playground/?$", admin.site.admin_view(playground_page), name="playground"),
    path("admin/playground/request", admin.site.admin_view(playground_request), name="playground_request"),
    path("admin/playground/outcome", admin.site.admin_view(playground_outcome), name="playground_outcome"),
    *sign_in_urls.urlpatterns,
    re_path(r"^admin/nodes/?$", admin.site.admin_view(node_page), name="nodes"),
    re_path(r"^admin/configuration/?$", admin.site.admin_view(configuration_page), name="configuration"),
    path("admin/configuration/tollgate.yaml", admin.site.admin_view(configuration_file), name="configuration_file"),
    path("admin/", admin.site.urls),
    path("api/", control_plane.urls),
]
