"""The few records that have a decision trace are found by an index, which is made while the ledger is written to."""

from typing import Any

from django.db import migrations

from tenants.ledger_schema import create_index, drop_index

NAME = "usage_record_traced"
# Few records have one: requests with several attempts, and those that asked for it.
DEFINITION = "(started_at DESC, request_id DESC) WHERE trace IS NOT NULL"


def create(apps: Any, schema_editor: Any) -> None:
    create_index(schema_editor, NAME, DEFINITION)


def drop(apps: Any, schema_editor: Any) -> None:
    drop_index(schema_editor, NAME)


class Migration(migrations.Migration):
    atomic = False  # CREATE INDEX CONCURRENTLY

    dependencies = [
        ("tenants", "0004_reliability"),
    ]

    operations = [
        migrations.RunPython(create, drop),
    ]
