"""Filled by its part of the work."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("providers", "0003_reliability")]
    operations = []
