from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("tenants", "0014_key_rotation")]

    operations = []
