from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("tenants", "0010_sign_in")]

    operations = []
