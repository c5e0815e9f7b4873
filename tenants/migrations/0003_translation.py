"""What a translation lost, in the ledger; and how long a tenant's responses are stored.

The ledger's table is made by hand (0002), so its columns are, too, with defaults of the database: a drain of the version
before, which does not know them, goes on writing. No row is rewritten. The index holds translated requests only; making
it reads the ledger once, and usage waits in Valkey meanwhile.
"""

import django.core.serializers.json
import django.core.validators
from django.db import migrations, models

ADD = """
ALTER TABLE tenants_usagerecord
    ADD COLUMN dialect_upstream varchar(32) NOT NULL DEFAULT '',
    ADD COLUMN losses jsonb NOT NULL DEFAULT '[]';
CREATE INDEX usage_record_translated ON tenants_usagerecord (started_at DESC, request_id DESC)
    WHERE (dialect_upstream <> '' AND dialect_upstream <> dialect) OR losses <> '[]';
"""
REMOVE = """
DROP INDEX usage_record_translated;
ALTER TABLE tenants_usagerecord DROP COLUMN dialect_upstream, DROP COLUMN losses;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0002_usage_record"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(ADD, REMOVE)],
            state_operations=[
                migrations.AddField(
                    model_name="usagerecord",
                    name="dialect_upstream",
                    field=models.CharField(
                        blank=True,
                        help_text="What the upstream was asked in; empty when none was asked.",
                        max_length=32,
                    ),
                ),
                migrations.AddField(
                    model_name="usagerecord",
                    name="losses",
                    field=models.JSONField(
                        default=list,
                        encoder=django.core.serializers.json.DjangoJSONEncoder,
                        help_text="What its translation could not carry: path, weight and why.",
                    ),
                ),
            ],
        ),
        migrations.AddField(
            model_name="tenant",
            name="stores_responses",
            field=models.BooleanField(
                default=True, help_text="Keep the answers of /v1/responses, so that later requests can go on from them."
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="response_retention_days",
            field=models.PositiveSmallIntegerField(
                default=30,
                help_text="Days until a stored response is deleted.",
                validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(365)],
            ),
        ),
    ]
