"""Money: what budgets count, what was written off, and prices for models that have none.

The ledger's table is made by hand (0002), so its columns are, too; they and those of the rollups have defaults of the
database: a drain of the version before, which does not know them, goes on writing.
"""

from decimal import Decimal
from typing import Any

import django.contrib.postgres.fields
import django.core.serializers.json
import django.core.validators
from django.db import migrations, models

from tenants.ledger_schema import alter

RECORD = """
ALTER TABLE tenants_usagerecord
    ADD COLUMN written_off numeric(20,10) NOT NULL DEFAULT 0,
    ADD COLUMN reported_cost numeric(20,10),
    ADD COLUMN units jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN service_tier varchar(16) NOT NULL DEFAULT '',
    ADD COLUMN budgets varchar(300)[] NOT NULL DEFAULT '{}',
    ADD COLUMN corrects uuid
"""
RECORD_BACK = """
ALTER TABLE tenants_usagerecord
    DROP COLUMN written_off, DROP COLUMN reported_cost, DROP COLUMN units, DROP COLUMN service_tier, DROP COLUMN budgets,
    DROP COLUMN corrects
"""
ROLLUPS = ("tenants_usagehour", "tenants_usageday")


def add_columns(apps: Any, schema_editor: Any) -> None:
    alter(schema_editor, RECORD)
    for table in ROLLUPS:
        schema_editor.execute(f"ALTER TABLE {table} ADD COLUMN written_off numeric(20,10) NOT NULL DEFAULT 0")


def drop_columns(apps: Any, schema_editor: Any) -> None:
    alter(schema_editor, RECORD_BACK)
    for table in ROLLUPS:
        schema_editor.execute(f"ALTER TABLE {table} DROP COLUMN written_off")


class Migration(migrations.Migration):
    dependencies = [("tenants", "0005_traced_index")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(add_columns, drop_columns)],
            state_operations=[
                migrations.AddField(
                    model_name='usageday',
                    name='written_off',
                    field=models.DecimalField(decimal_places=10, default=0, max_digits=20),
                ),
                migrations.AddField(
                    model_name='usagehour',
                    name='written_off',
                    field=models.DecimalField(decimal_places=10, default=0, max_digits=20),
                ),
                migrations.AddField(
                    model_name='usagerecord',
                    name='budgets',
                    field=django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=300), default=list, help_text='The budget counters it was charged to.', size=None),
                ),
                migrations.AddField(
                    model_name='usagerecord',
                    name='corrects',
                    field=models.UUIDField(blank=True, help_text='The record whose cost this one corrects.', null=True),
                ),
                migrations.AddField(
                    model_name='usagerecord',
                    name='reported_cost',
                    field=models.DecimalField(blank=True, decimal_places=10, help_text='What the provider says that it charges us.', max_digits=20, null=True),
                ),
                migrations.AddField(
                    model_name='usagerecord',
                    name='service_tier',
                    field=models.CharField(blank=True, help_text='Such as batch or flex; empty: the usual one.', max_length=16),
                ),
                migrations.AddField(
                    model_name='usagerecord',
                    name='units',
                    field=models.JSONField(default=dict, encoder=django.core.serializers.json.DjangoJSONEncoder, help_text='What else was used: audio_input_tokens, audio_output_tokens, images, characters, seconds.'),
                ),
                migrations.AddField(
                    model_name='usagerecord',
                    name='written_off',
                    field=models.DecimalField(decimal_places=10, default=0, help_text='What the request would have cost beyond its cost: a hard budget had no room for it.', max_digits=20),
                ),
            ],
        ),
        migrations.CreateModel(
            name='BudgetSpend',
            fields=[
                ('counter', models.CharField(help_text='As the usage records name it.', max_length=300, primary_key=True, serialize=False)),
                ('budget_id', models.BigIntegerField(db_index=True)),
                ('starts_at', models.DateTimeField()),
                ('spent', models.DecimalField(decimal_places=10, default=0, max_digits=20)),
                ('updated_at', models.DateTimeField(auto_now=True)),
            ],
            options={
                'ordering': ['-starts_at', 'counter'],
            },
        ),
        migrations.AddField(
            model_name='budget',
            name='increase',
            field=models.DecimalField(decimal_places=10, default=Decimal('0'), help_text='What may be spent on top until the increase ends.', max_digits=20, validators=[django.core.validators.MinValueValidator(Decimal('0')), django.core.validators.MaxValueValidator(Decimal('9000000000'))]),
        ),
        migrations.AddField(
            model_name='budget',
            name='increase_until',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='budget',
            name='reset_at',
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name='budget',
            name='resets',
            field=models.PositiveIntegerField(default=0, editable=False, help_text='How often it was set back to nothing spent.'),
        ),
        migrations.AddField(
            model_name='budget',
            name='rolling_days',
            field=models.PositiveSmallIntegerField(blank=True, help_text='How many days, today included; only for the last days.', null=True, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(366)]),
        ),
        migrations.AddField(
            model_name='tenant',
            name='floor_currency',
            field=models.CharField(default='USD', max_length=3, validators=[django.core.validators.RegexValidator('^[A-Z]{3}$', 'A currency is three capital letters, such as USD.')]),
        ),
        migrations.AddField(
            model_name='tenant',
            name='floor_input',
            field=models.DecimalField(blank=True, decimal_places=10, help_text='What a million tokens of a prompt cost where the model has no price.', max_digits=20, null=True, validators=[django.core.validators.MinValueValidator(Decimal('0'))]),
        ),
        migrations.AddField(
            model_name='tenant',
            name='floor_output',
            field=models.DecimalField(blank=True, decimal_places=10, help_text='What a million tokens of an answer cost where the model has no price.', max_digits=20, null=True, validators=[django.core.validators.MinValueValidator(Decimal('0'))]),
        ),
        migrations.AlterField(
            model_name='budget',
            name='amount',
            field=models.DecimalField(decimal_places=10, help_text='Of prepaid credit: all that was paid in.', max_digits=20, validators=[django.core.validators.MinValueValidator(Decimal('0')), django.core.validators.MaxValueValidator(Decimal('9000000000'))]),
        ),
        migrations.AlterField(
            model_name='budget',
            name='period',
            field=models.CharField(choices=[('day', 'Day'), ('week', 'Week'), ('month', 'Month'), ('quarter', 'Quarter'), ('total', 'Total'), ('rolling', 'The last days'), ('credit', 'Prepaid credit')], default='month', max_length=8),
        ),
        migrations.AlterField(
            model_name='tenant',
            name='unpriced_policy',
            field=models.CharField(choices=[('allow', 'Serve, and list the model as unpriced'), ('floor', "Bill models without a price at the tenant's floor"), ('refuse', 'Refuse models without a price')], default='allow', max_length=16),
        ),
        migrations.AlterField(
            model_name='usageday',
            name='outcome',
            field=models.CharField(choices=[('served', 'Served'), ('client_gone', 'Client gone'), ('upstream_failed', 'Upstream failed'), ('cut', 'Cut in mid-answer'), ('rejected', 'Rejected by the upstream'), ('shutdown', 'Ended by a shutdown'), ('gateway_failed', 'Gateway failed'), ('lost', 'Lost with its worker'), ('correction', 'Correction of an earlier record')], max_length=16),
        ),
        migrations.AlterField(
            model_name='usagehour',
            name='outcome',
            field=models.CharField(choices=[('served', 'Served'), ('client_gone', 'Client gone'), ('upstream_failed', 'Upstream failed'), ('cut', 'Cut in mid-answer'), ('rejected', 'Rejected by the upstream'), ('shutdown', 'Ended by a shutdown'), ('gateway_failed', 'Gateway failed'), ('lost', 'Lost with its worker'), ('correction', 'Correction of an earlier record')], max_length=16),
        ),
        migrations.AlterField(
            model_name='usagerecord',
            name='outcome',
            field=models.CharField(choices=[('served', 'Served'), ('client_gone', 'Client gone'), ('upstream_failed', 'Upstream failed'), ('cut', 'Cut in mid-answer'), ('rejected', 'Rejected by the upstream'), ('shutdown', 'Ended by a shutdown'), ('gateway_failed', 'Gateway failed'), ('lost', 'Lost with its worker'), ('correction', 'Correction of an earlier record')], max_length=16),
        ),
    ]
