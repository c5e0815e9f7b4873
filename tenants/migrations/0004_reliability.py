"""Decision traces in the ledger, whose table is made by hand (0002); priorities, and what goes on without Valkey."""

from typing import Any

import django.core.serializers.json
from django.db import migrations, models

from tenants.ledger_schema import alter


def add_trace(apps: Any, schema_editor: Any) -> None:
    alter(schema_editor, "ALTER TABLE tenants_usagerecord ADD COLUMN trace jsonb")


def drop_trace(apps: Any, schema_editor: Any) -> None:
    alter(schema_editor, "ALTER TABLE tenants_usagerecord DROP COLUMN trace")


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0003_translation"),
    ]

    operations = [
        # First, while this transaction holds no other lock: it may have to wait for the ledger's. No row is rewritten.
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(add_trace, drop_trace)],
            state_operations=[
                migrations.AddField(
                    model_name="usagerecord",
                    name="trace",
                    field=models.JSONField(
                        blank=True,
                        encoder=django.core.serializers.json.DjangoJSONEncoder,
                        help_text="How its route was decided, where that was asked for.",
                        null=True,
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="apikey",
            name="may_trace",
            field=models.BooleanField(
                default=False,
                help_text="May ask how a request was routed: which targets there were, and why each was chosen.",
            ),
        ),
        migrations.AddField(
            model_name="apikey",
            name="priority",
            field=models.CharField(
                choices=[("low", "Low"), ("normal", "Normal"), ("high", "High")],
                default="normal",
                help_text="Who goes first where requests wait for a busy provider.",
                max_length=8,
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="allows_catalogue",
            field=models.BooleanField(
                default=False,
                help_text="A model without a route goes to the provider whose catalogue lists it.",
                verbose_name="unmapped models",
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="without_valkey",
            field=models.CharField(
                choices=[
                    ("local", "Serve; each worker enforces its share of the limits"),
                    ("refuse", "Refuse until limits can be enforced exactly"),
                ],
                default="local",
                help_text="What becomes of its requests while the limits of all workers cannot be counted together.",
                max_length=8,
                verbose_name="while Valkey is away",
            ),
        ),
    ]
