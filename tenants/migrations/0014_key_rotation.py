from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("tenants", "0013_bodies")]

    operations = []
