"""The usage ledger: partitioned by day, so that retention drops tables instead of deleting rows.

Django cannot declare a partitioned table, so the table is made here by hand and the model is declared as state only.
Columns are added to it later as to any other model. Partitions are made by `tenants.ledger.ensure_partition`.
"""

import django.core.serializers.json
import django.db.models.deletion
from django.db import migrations, models

CREATE = """
CREATE TABLE tenants_usagerecord (
    request_id uuid NOT NULL,
    started_at timestamptz NOT NULL,
    correlation_id varchar(128) NOT NULL DEFAULT '',
    tenant_id bigint NOT NULL,
    project varchar(63) NOT NULL DEFAULT '',
    api_key_id bigint NOT NULL,
    end_user varchar(200) NOT NULL DEFAULT '',
    dialect varchar(32) NOT NULL,
    alias varchar(200) NOT NULL,
    route varchar(200) NOT NULL DEFAULT '',
    provider varchar(63) NOT NULL DEFAULT '',
    deployment varchar(63) NOT NULL DEFAULT '',
    model varchar(200) NOT NULL DEFAULT '',
    is_streamed boolean NOT NULL DEFAULT false,
    status smallint NOT NULL,
    outcome varchar(16) NOT NULL,
    error_code varchar(64) NOT NULL DEFAULT '',
    attempts jsonb NOT NULL DEFAULT '[]',
    input_tokens bigint,
    cache_read_tokens bigint,
    cache_write_5m_tokens bigint,
    cache_write_1h_tokens bigint,
    output_tokens bigint,
    reasoning_tokens bigint,
    cost numeric(20, 10) NOT NULL DEFAULT 0,
    cost_price numeric(20, 10),
    currency varchar(3) NOT NULL DEFAULT 'USD',
    cost_status varchar(16) NOT NULL,
    latency_ms integer NOT NULL,
    first_token_ms integer,
    overhead_us integer,
    revision integer,
    worker varchar(64) NOT NULL DEFAULT '',
    PRIMARY KEY (started_at, request_id)
) PARTITION BY RANGE (started_at);
CREATE INDEX usage_record_tenant ON tenants_usagerecord (tenant_id, started_at DESC, request_id DESC);
CREATE INDEX usage_record_api_key ON tenants_usagerecord (api_key_id, started_at DESC, request_id DESC);
CREATE INDEX usage_record_request ON tenants_usagerecord (request_id);
"""


class Migration(migrations.Migration):

    dependencies = [
        ('tenants', '0001_initial'),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(CREATE, "DROP TABLE tenants_usagerecord")],
            state_operations=[
            migrations.CreateModel(
                name='UsageRecord',
                fields=[
                    ('request_id', models.UUIDField(primary_key=True, serialize=False)),
                    ('started_at', models.DateTimeField()),
                    ('correlation_id', models.CharField(blank=True, max_length=128)),
                    ('project', models.CharField(blank=True, max_length=63)),
                    ('end_user', models.CharField(blank=True, max_length=200)),
                    ('dialect', models.CharField(max_length=32)),
                    ('alias', models.CharField(max_length=200)),
                    ('route', models.CharField(blank=True, max_length=200)),
                    ('provider', models.CharField(blank=True, max_length=63)),
                    ('deployment', models.CharField(blank=True, max_length=63)),
                    ('model', models.CharField(blank=True, max_length=200)),
                    ('is_streamed', models.BooleanField(default=False)),
                    ('status', models.PositiveSmallIntegerField()),
                    ('outcome', models.CharField(choices=[('served', 'Served'), ('client_gone', 'Client gone'), ('upstream_failed', 'Upstream failed'), ('cut', 'Cut in mid-answer'), ('rejected', 'Rejected by the upstream'), ('shutdown', 'Ended by a shutdown'), ('gateway_failed', 'Gateway failed')], max_length=16)),
                    ('error_code', models.CharField(blank=True, max_length=64)),
                    ('attempts', models.JSONField(default=list, encoder=django.core.serializers.json.DjangoJSONEncoder)),
                    ('input_tokens', models.BigIntegerField(blank=True, null=True)),
                    ('cache_read_tokens', models.BigIntegerField(blank=True, null=True)),
                    ('cache_write_5m_tokens', models.BigIntegerField(blank=True, null=True)),
                    ('cache_write_1h_tokens', models.BigIntegerField(blank=True, null=True)),
                    ('output_tokens', models.BigIntegerField(blank=True, null=True)),
                    ('reasoning_tokens', models.BigIntegerField(blank=True, null=True)),
                    ('cost', models.DecimalField(decimal_places=10, default=0, max_digits=20)),
                    ('cost_price', models.DecimalField(blank=True, decimal_places=10, max_digits=20, null=True)),
                    ('currency', models.CharField(default='USD', max_length=3)),
                    ('cost_status', models.CharField(choices=[('exact', 'Exact'), ('estimated', 'Estimated'), ('unpriced', 'Unpriced')], max_length=16)),
                    ('latency_ms', models.PositiveIntegerField()),
                    ('first_token_ms', models.PositiveIntegerField(blank=True, null=True)),
                    ('overhead_us', models.PositiveIntegerField(blank=True, null=True)),
                    ('revision', models.PositiveIntegerField(blank=True, null=True)),
                    ('worker', models.CharField(blank=True, max_length=64)),
                    ('api_key', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='tenants.apikey', verbose_name='API key')),
                    ('tenant', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='tenants.tenant')),
                ],
                options={
                    'ordering': ['-started_at', '-request_id'],
                },
            ),
            ],
        ),
    ]
