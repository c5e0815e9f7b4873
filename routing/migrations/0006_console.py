from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("routing", "0005_config_change")]

    operations = []
