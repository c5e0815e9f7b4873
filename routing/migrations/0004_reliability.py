"""Health events, drafts and approvals of revisions, hedged requests."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("routing", "0003_stored_response"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="HealthEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                ("deployment", models.CharField(blank=True, max_length=63)),
                ("provider", models.CharField(blank=True, max_length=63)),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("breaker_opened", "Breaker opened"),
                            ("breaker_half_open", "Breaker half-open"),
                            ("breaker_closed", "Breaker closed"),
                            ("cooled_down", "Cools down"),
                            ("probe_failed", "Probe failed"),
                            ("probe_recovered", "Probe recovered"),
                            ("switched_off", "Switched off"),
                            ("switched_on", "Switched on"),
                        ],
                        max_length=32,
                    ),
                ),
                ("old", models.CharField(blank=True, max_length=32, verbose_name="before")),
                ("new", models.CharField(blank=True, max_length=32, verbose_name="after")),
                ("reason", models.CharField(blank=True, max_length=500)),
                ("until", models.DateTimeField(blank=True, null=True)),
                ("worker", models.CharField(blank=True, max_length=64)),
                ("stream_id", models.CharField(editable=False, max_length=40, null=True, unique=True)),
            ],
            options={
                "ordering": ["-at", "-pk"],
            },
        ),
        migrations.AddField(
            model_name="configrevision",
            name="approved_by",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            model_name="configrevision",
            name="changed_by",
            field=models.JSONField(blank=True, default=list, help_text="Who has changed something, by user name."),
        ),
        migrations.AddField(
            model_name="configrevision",
            name="is_pinned",
            field=models.BooleanField(
                default=False, help_text="A roll back: changes wait until published by hand.", verbose_name="pinned"
            ),
        ),
        migrations.AddField(
            model_name="configrevision",
            name="published_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="route",
            name="hedge",
            field=models.BooleanField(
                default=False,
                help_text="Ask the next target as well when the first token is late, and answer with the faster one.",
            ),
        ),
        migrations.AlterField(
            model_name="configrevision",
            name="status",
            field=models.CharField(
                choices=[
                    ("draft", "Waits for approval"),
                    ("published", "Published"),
                    ("rejected", "Rejected"),
                    ("superseded", "Superseded"),
                ],
                max_length=16,
            ),
        ),
        migrations.RunSQL(
            "UPDATE routing_configrevision SET published_at = created_at WHERE status = 'published'",
            migrations.RunSQL.noop,
        ),
    ]
