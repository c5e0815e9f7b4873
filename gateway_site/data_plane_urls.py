"""The data plane's URLs."""

from django.urls import path

from gateway_site.api import data_plane

urlpatterns = [path("", data_plane.urls)]
