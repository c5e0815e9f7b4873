"""Usage by end user and day, so that reports of end users outlive the records; records are found by what clients call them.

The new table begins with what the ledger has. A drain of the version before does not know it: what that writes while this
version is rolled out is missing there, until `verify_ledger --fix` has added it. The index is made while the ledger is
written to, so this is not one transaction: first the index, which goes on where it was broken off, then the rest at once.
"""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models, transaction

from tenants.ledger_schema import create_index, drop_index

INDEX = "usage_record_correlation"
# Most requests are called by their own id, which has an index already.
DEFINITION = "(correlation_id, started_at DESC) WHERE correlation_id <> replace(request_id::text, '-', '')"

FILL = """
INSERT INTO tenants_usageenduserday (day, tenant_id, project, api_key_id, end_user, alias, currency, requests, errors,
    unpriced, input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, output_tokens,
    reasoning_tokens, cost, cost_price, written_off)
SELECT (started_at AT TIME ZONE 'UTC')::date, tenant_id, project, api_key_id, end_user, alias, currency,
    count(*) FILTER (WHERE corrects IS NULL),
    count(*) FILTER (WHERE outcome NOT IN ('served', 'client_gone', 'correction')),
    count(*) FILTER (WHERE cost_status = 'unpriced' AND corrects IS NULL),
    coalesce(sum(input_tokens), 0), coalesce(sum(cache_read_tokens), 0), coalesce(sum(cache_write_5m_tokens), 0),
    coalesce(sum(cache_write_1h_tokens), 0), coalesce(sum(output_tokens), 0), coalesce(sum(reasoning_tokens), 0),
    sum(cost), coalesce(sum(cost_price), 0), sum(written_off)
FROM tenants_usagerecord WHERE end_user <> '' GROUP BY 1, 2, 3, 4, 5, 6, 7
"""


class AtOnce(migrations.SeparateDatabaseAndState):
    """Operations that are one transaction, of a migration that is none."""

    def database_forwards(self, app_label: str, schema_editor: Any, *states: Any) -> None:
        with transaction.atomic(using=schema_editor.connection.alias):
            super().database_forwards(app_label, schema_editor, *states)

    def database_backwards(self, app_label: str, schema_editor: Any, *states: Any) -> None:
        with transaction.atomic(using=schema_editor.connection.alias):
            super().database_backwards(app_label, schema_editor, *states)


def create(apps: Any, schema_editor: Any) -> None:
    create_index(schema_editor, INDEX, DEFINITION)


def drop(apps: Any, schema_editor: Any) -> None:
    drop_index(schema_editor, INDEX)


TABLE = [
    migrations.CreateModel(
        name='UsageEndUserDay',
        fields=[
            ('id', models.BigAutoField(primary_key=True, serialize=False)),
            ('day', models.DateField()),
            ('project', models.CharField(blank=True, max_length=63)),
            ('end_user', models.CharField(max_length=200)),
            ('alias', models.CharField(max_length=200)),
            ('currency', models.CharField(default='USD', max_length=3)),
            ('requests', models.BigIntegerField(default=0)),
            ('errors', models.BigIntegerField(default=0)),
            ('unpriced', models.BigIntegerField(default=0, help_text='Requests of models without a price.')),
            ('input_tokens', models.BigIntegerField(default=0)),
            ('cache_read_tokens', models.BigIntegerField(default=0)),
            ('cache_write_5m_tokens', models.BigIntegerField(default=0)),
            ('cache_write_1h_tokens', models.BigIntegerField(default=0)),
            ('output_tokens', models.BigIntegerField(default=0)),
            ('reasoning_tokens', models.BigIntegerField(default=0)),
            ('cost', models.DecimalField(decimal_places=10, default=0, max_digits=20)),
            ('cost_price', models.DecimalField(decimal_places=10, default=0, max_digits=20)),
            ('written_off', models.DecimalField(decimal_places=10, default=0, max_digits=20)),
            ('api_key', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='tenants.apikey', verbose_name='API key')),
            ('tenant', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='tenants.tenant')),
        ],
        options={
            'verbose_name': 'daily usage of an end user',
            'verbose_name_plural': 'daily usage of end users',
            'ordering': ['-day', '-id'],
        },
    ),
    migrations.RunSQL(FILL, migrations.RunSQL.noop),
    migrations.AddConstraint(
        model_name='usageenduserday',
        constraint=models.UniqueConstraint(fields=('tenant', 'day', 'end_user', 'project', 'api_key', 'alias', 'currency'), name='usage_end_user_day_key'),
    ),
    migrations.AddIndex(
        model_name='usageenduserday',
        index=models.Index(fields=['day', 'id'], name='usage_end_user_day_list'),
    ),
    migrations.AddIndex(
        model_name='usageday',
        index=models.Index(fields=['api_key', 'starts_at'], name='usage_day_api_key'),
    ),
]


class Migration(migrations.Migration):
    atomic = False  # CREATE INDEX CONCURRENTLY

    dependencies = [("tenants", "0006_money")]

    operations = [
        migrations.RunPython(create, drop),
        AtOnce(database_operations=TABLE, state_operations=TABLE),
    ]
