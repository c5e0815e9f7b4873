"""Stored responses. The database deletes a tenant's with the tenant: Django would read them all, bodies included."""

import django.db.models.deletion
from django.db import migrations, models

DELETE_WITH_TENANT = """
ALTER TABLE routing_storedresponse ADD CONSTRAINT stored_response_of_tenant
    FOREIGN KEY (tenant_id) REFERENCES tenants_tenant (id) ON DELETE CASCADE;
"""
REMOVE = "ALTER TABLE routing_storedresponse DROP CONSTRAINT stored_response_of_tenant;"


class Migration(migrations.Migration):
    dependencies = [
        ("routing", "0002_initial"),
        ("tenants", "0003_translation"),
    ]

    operations = [
        migrations.CreateModel(
            name="StoredResponse",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("response_id", models.CharField(max_length=255)),
                ("deployment", models.CharField(blank=True, help_text="Who has answered.", max_length=63)),
                ("dialect", models.CharField(blank=True, help_text="In which the upstream was asked.", max_length=32)),
                (
                    "is_native",
                    models.BooleanField(
                        help_text="The upstream keeps it; here is only where it is.", verbose_name="kept upstream"
                    ),
                ),
                ("body", models.BinaryField(default=b"")),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("expires_at", models.DateTimeField(db_index=True)),
                (
                    "api_key",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.apikey",
                        verbose_name="API key",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "ordering": ["-pk"],
                "indexes": [models.Index(fields=["tenant", "-id"], name="stored_response_tenant")],
                "constraints": [
                    models.UniqueConstraint(fields=("response_id", "tenant"), name="stored_response_per_tenant")
                ],
            },
        ),
        migrations.RunSQL(DELETE_WITH_TENANT, REMOVE),
    ]
