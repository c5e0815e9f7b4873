"""The control plane's URLs. Admin modules load here, with the first page, and not in every process."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

admin.autodiscover()

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
    path("admin/", admin.site.urls),
]
