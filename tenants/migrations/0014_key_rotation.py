from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0013_bodies")]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="previous_digest",
            field=models.CharField(editable=False, max_length=64, null=True, unique=True),
        ),
        migrations.AddField(
            model_name="apikey",
            name="previous_pepper_id",
            field=models.CharField(blank=True, default="", editable=False, max_length=8),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="apikey",
            name="previous_prefix",
            field=models.CharField(blank=True, default="", editable=False, max_length=16),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="apikey",
            name="previous_last_four",
            field=models.CharField(blank=True, default="", editable=False, max_length=4),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="apikey",
            name="previous_until",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="apikey",
            name="purpose",
            field=models.CharField(
                blank=True,
                choices=[("", "A program's"), ("playground", "Made by the playground for a person")],
                default="",
                editable=False,
                max_length=16,
            ),
        ),
    ]
