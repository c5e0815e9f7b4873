"""Bodies that a tenant's audit policy keeps; and indexes of the few records that people look for among millions.

The indexes are made one partition after the other while the ledger is written to (see `tenants.ledger_schema`). Each is
small: failed, very slow and dear requests are few.
"""

from typing import Any

import django.core.serializers.json
import django.core.validators
import django.db.models.deletion
from django.db import migrations, models

from tenants.ledger_schema import create_index, drop_index

NEWEST = "(started_at DESC, request_id DESC)"
INDEXES = {  # their conditions are those of UsageRecordQuerySet: failed, slow, dear
    "usage_record_failed": f"{NEWEST} WHERE outcome <> 'served' AND outcome <> 'client_gone'",
    "usage_record_slow": f"{NEWEST} WHERE latency_ms >= 60000",
    "usage_record_dear": f"{NEWEST} WHERE cost >= 1",
}


def create(apps: Any, schema_editor: Any) -> None:
    for name, definition in INDEXES.items():
        create_index(schema_editor, name, definition)


def drop(apps: Any, schema_editor: Any) -> None:
    for name in INDEXES:
        drop_index(schema_editor, name)


class Migration(migrations.Migration):
    atomic = False  # CREATE INDEX CONCURRENTLY

    dependencies = [("tenants", "0012_latency")]

    operations = [
        migrations.AddField(
            model_name="tenant",
            name="audit_policy",
            field=models.CharField(
                choices=[
                    ("none", "Nothing"),
                    ("errors", "Of requests that failed"),
                    ("all", "Of all requests"),
                ],
                default="none",
                help_text="Whose prompts and answers are kept to be read here: redacted, encrypted, and for some days.",
                max_length=8,
                verbose_name="bodies that are kept",
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="audit_retention_days",
            field=models.PositiveSmallIntegerField(
                default=7,
                help_text="Days until a body that was kept is deleted.",
                validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(90)],
                verbose_name="days that they are kept",
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="audit_redacts_personal",
            field=models.BooleanField(
                default=True,
                help_text="Replace e-mail addresses and card numbers before a body is stored; keys and tokens always are.",
                verbose_name="redact personal data",
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="audit_redacts_media",
            field=models.BooleanField(
                default=True,
                help_text="Replace images, audio and files in a body by their type and size.",
                verbose_name="leave media out",
            ),
        ),
        migrations.CreateModel(
            name="RequestBody",
            fields=[
                ("request_id", models.UUIDField(primary_key=True, serialize=False)),
                (
                    "started_at",
                    models.DateTimeField(help_text="When the request came: its days are counted from then."),
                ),
                (
                    "content",
                    models.BinaryField(help_text="Headers, request and answer: redacted, compressed, encrypted."),
                ),
                ("request_size", models.PositiveBigIntegerField(default=0, help_text="Bytes that came.")),
                ("answer_size", models.PositiveBigIntegerField(default=0, help_text="Bytes that went.")),
                ("is_request_cut", models.BooleanField(default=False)),
                ("is_answer_cut", models.BooleanField(default=False)),
                (
                    "redactions",
                    models.JSONField(
                        default=dict,
                        encoder=django.core.serializers.json.DjangoJSONEncoder,
                        help_text="How many of which kind.",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "verbose_name": "body of a request",
                "verbose_name_plural": "bodies of requests",
                "ordering": ["-started_at", "-request_id"],
                "default_permissions": ("view",),
                "indexes": [models.Index(fields=["tenant", "started_at"], name="request_body_tenant")],
            },
        ),
        migrations.AlterModelOptions(
            name="usagerecord", options={"ordering": ["-started_at", "-request_id"], "verbose_name": "request"}
        ),
        migrations.RunPython(create, drop),
    ]
