"""The pages of Django's own models, in the console's clothes."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.models import Group

from gateway_site.infra.admin import Admin

admin.site.unregister(Group)  # Django has registered it already


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, Admin):
    filter_horizontal = ("permissions",)
