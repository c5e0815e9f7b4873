"""Filled by its part of the work."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("tenants", "0006_money")]
    operations = []
