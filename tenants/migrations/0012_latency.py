"""Coarse sums with histograms of latencies, for the console's first page.

The new tables begin with what hourly and daily usage add up to; latencies are counted from now on. A drain of the version
before does not know them: what that writes while this version is rolled out is missing there, until `verify_ledger --fix`
has added it.
"""

from typing import Any

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

COUNT = """
CREATE FUNCTION tollgate_count_buckets(buckets integer[]) RETURNS integer[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    counts integer[] := '{}';
    bucket integer;
BEGIN
    IF buckets IS NOT NULL THEN
        FOREACH bucket IN ARRAY buckets LOOP
            counts[bucket] := coalesce(counts[bucket], 0) + 1;
        END LOOP;
    END IF;
    RETURN counts;
END $$
"""
ADD = """
CREATE FUNCTION tollgate_add_histograms(counts integer[], more integer[]) RETURNS integer[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    bucket integer;
BEGIN
    FOR bucket IN SELECT generate_subscripts(more, 1) LOOP
        IF more[bucket] IS NOT NULL THEN
            counts[bucket] := coalesce(counts[bucket], 0) + more[bucket];
        END IF;
    END LOOP;
    RETURN counts;
END $$
"""
FILL = """
INSERT INTO tenants_usageoverview{period} (starts_at, tenant_id, alias, provider, currency, requests, errors, unpriced,
    input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, cost, cost_price, latency, first_token)
SELECT starts_at, whose.id, alias, provider, currency, sum(requests),
    coalesce(sum(requests) FILTER (WHERE outcome NOT IN ('served', 'client_gone', 'correction')), 0),
    coalesce(sum(requests) FILTER (WHERE cost_status = 'unpriced'), 0),
    sum(input_tokens), sum(cache_read_tokens), sum(cache_write_5m_tokens + cache_write_1h_tokens), sum(output_tokens),
    sum(cost), sum(cost_price), '{{}}', '{{}}'
FROM tenants_usage{period} CROSS JOIN LATERAL (VALUES (tenant_id), (0)) whose (id) GROUP BY 1, 2, 3, 4, 5
"""


TOTAL = """
INSERT INTO tenants_usagetotal{period} (starts_at, tenant_id, currency, requests, errors, cost)
SELECT starts_at, tenant_id, currency, sum(requests), sum(errors), sum(cost)
FROM tenants_usageoverview{period} WHERE tenant_id <> 0 GROUP BY 1, 2, 3
"""


def _columns() -> list[tuple[str, Any]]:
    return [
        ("id", models.BigAutoField(primary_key=True, serialize=False)),
        ("starts_at", models.DateTimeField()),
        ("alias", models.CharField(max_length=200)),
        ("provider", models.CharField(blank=True, max_length=63)),
        ("currency", models.CharField(default="USD", max_length=3)),
        ("requests", models.BigIntegerField(default=0)),
        ("errors", models.BigIntegerField(default=0)),
        ("unpriced", models.BigIntegerField(default=0, help_text="Requests of models without a price.")),
        ("input_tokens", models.BigIntegerField(default=0)),
        ("cache_read_tokens", models.BigIntegerField(default=0)),
        ("cache_write_tokens", models.BigIntegerField(default=0)),
        ("output_tokens", models.BigIntegerField(default=0)),
        ("cost", models.DecimalField(decimal_places=10, default=0, max_digits=20)),
        ("cost_price", models.DecimalField(decimal_places=10, default=0, max_digits=20)),
        ("latency", _histogram()),
        ("first_token", _histogram()),
        ("tenant", _tenant()),
    ]


def _total_columns() -> list[tuple[str, Any]]:
    return [
        ("id", models.BigAutoField(primary_key=True, serialize=False)),
        ("starts_at", models.DateTimeField()),
        ("currency", models.CharField(default="USD", max_length=3)),
        ("requests", models.BigIntegerField(default=0)),
        ("errors", models.BigIntegerField(default=0)),
        ("cost", models.DecimalField(decimal_places=10, default=0, max_digits=20)),
        ("tenant", _tenant()),
    ]


def _tenant() -> Any:
    return models.ForeignKey(
        db_constraint=False,
        db_index=False,
        on_delete=django.db.models.deletion.DO_NOTHING,
        related_name="+",
        to="tenants.tenant",
    )


def _histogram() -> Any:
    return django.contrib.postgres.fields.ArrayField(base_field=models.IntegerField(), default=list, size=None)


def _table(name: str, columns: list[tuple[str, Any]], fill: str, key: tuple[str, ...], constraint: str) -> list[Any]:
    """Make a table, fill it, and then have it unique."""
    return [
        migrations.CreateModel(
            name=name,
            fields=columns,
            options={"ordering": ["-starts_at", "-id"], "abstract": False, "default_permissions": ()},
        ),
        migrations.RunSQL(fill, migrations.RunSQL.noop),
        migrations.AddConstraint(
            model_name=name.lower(), constraint=models.UniqueConstraint(fields=key, name=constraint)
        ),
    ]


def _overview(period: str) -> list[Any]:
    key = ("tenant", "starts_at", "alias", "provider", "currency")
    name = f"UsageOverview{period.capitalize()}"
    index = models.Index(fields=["starts_at"], name=f"usage_overview_{period}_time")
    return [
        *_table(name, _columns(), FILL.format(period=period), key, f"usage_overview_{period}_key"),
        migrations.AddIndex(model_name=name.lower(), index=index),
    ]


def _total(period: str) -> list[Any]:
    key = ("starts_at", "tenant", "currency")
    name = f"UsageTotal{period.capitalize()}"
    return _table(name, _total_columns(), TOTAL.format(period=period), key, f"usage_total_{period}_key")


class Migration(migrations.Migration):
    dependencies = [("tenants", "0011_audit")]

    operations = [
        migrations.RunSQL(COUNT, "DROP FUNCTION tollgate_count_buckets(integer[])"),
        migrations.RunSQL(ADD, "DROP FUNCTION tollgate_add_histograms(integer[], integer[])"),
        *_overview("hour"),
        *_overview("day"),
        *_total("hour"),
        *_total("day"),
        migrations.AddIndex(
            model_name="budgetspend",
            index=models.Index(fields=["starts_at"], name="budget_spend_slot"),
        ),
        migrations.AddIndex(
            model_name="budgetalert",
            index=models.Index(
                condition=models.Q(("given_up_at__isnull", False)), fields=["given_up_at"], name="budget_alert_given_up"
            ),
        ),
    ]
