"""The coarse sums know all that reports tell, so that a report of everybody reads thousands of rows and not a million.

They are also found by time alone where they are of all tenants together, and failed requests by their outcome.
"""

from typing import Any

from django.db import migrations, models

# A drain of the version before does not name the new columns: they have defaults in the database, too.
FILL = """
UPDATE tenants_usageoverview{period} SET cache_write_1h_tokens = found.cache_write_1h_tokens,
    reasoning_tokens = found.reasoning_tokens, written_off = found.written_off
FROM (
    SELECT starts_at, whose.id, alias, provider, currency, sum(cache_write_1h_tokens) AS cache_write_1h_tokens,
        sum(reasoning_tokens) AS reasoning_tokens, sum(written_off) AS written_off
    FROM tenants_usage{period} CROSS JOIN LATERAL (VALUES (tenant_id), (0)) whose (id) GROUP BY 1, 2, 3, 4, 5
    HAVING sum(cache_write_1h_tokens) <> 0 OR sum(reasoning_tokens) <> 0 OR sum(written_off) <> 0
) found
WHERE tenants_usageoverview{period}.starts_at = found.starts_at AND tenants_usageoverview{period}.tenant_id = found.id
    AND tenants_usageoverview{period}.alias = found.alias
    AND tenants_usageoverview{period}.provider = found.provider
    AND tenants_usageoverview{period}.currency = found.currency
"""


def _of(period: str) -> list[Any]:
    name = f"usageoverview{period}"
    return [
        migrations.AddField(
            name,
            "cache_write_1h_tokens",
            models.BigIntegerField(default=0, db_default=0, help_text="What part of them is for an hour."),
        ),
        migrations.AddField(name, "reasoning_tokens", models.BigIntegerField(default=0, db_default=0)),
        migrations.AddField(
            name, "written_off", models.DecimalField(decimal_places=10, default=0, db_default=0, max_digits=20)
        ),
        migrations.RunSQL(FILL.format(period=period), migrations.RunSQL.noop),
        migrations.AddIndex(
            model_name=name,
            index=models.Index(
                fields=["starts_at"], condition=models.Q(tenant_id=0), name=f"usage_overview_{period}_all"
            ),
        ),
    ]


class Migration(migrations.Migration):
    dependencies = [("tenants", "0016_trail_retention")]

    operations = [
        *_of("hour"),
        *_of("day"),
        migrations.AddIndex(
            model_name="usagehour",
            index=models.Index(
                fields=["outcome", "starts_at"],
                condition=~models.Q(outcome="served") & ~models.Q(outcome="client_gone"),
                name="usage_hour_failed",
            ),
        ),
    ]
