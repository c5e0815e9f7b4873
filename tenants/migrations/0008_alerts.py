"""Filled by its part of the work."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("tenants", "0007_reports")]
    operations = []
