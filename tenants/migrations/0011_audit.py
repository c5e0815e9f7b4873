"""The audit trail, which the database too keeps as it was written, and the tokens of the REST API."""

import django.contrib.postgres.fields
import django.core.serializers.json
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

KEEP = """
CREATE FUNCTION tenants_auditevent_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The audit trail is written, never changed.' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER tenants_auditevent_keep BEFORE DELETE OR UPDATE ON tenants_auditevent
    FOR EACH ROW EXECUTE FUNCTION tenants_auditevent_keep();
"""
LET_GO = """
DROP TRIGGER tenants_auditevent_keep ON tenants_auditevent;
DROP FUNCTION tenants_auditevent_keep();
"""


def _tenant(help_text):
    return models.ForeignKey(
        db_constraint=False,
        db_index=False,
        help_text=help_text,
        null=True,
        on_delete=django.db.models.deletion.DO_NOTHING,
        related_name="+",
        to="tenants.tenant",
    )


def _json(help_text):
    return models.JSONField(
        default=dict, encoder=django.core.serializers.json.DjangoJSONEncoder, help_text=help_text
    )


class Migration(migrations.Migration):
    dependencies = [("tenants", "0010_sign_in")]

    operations = [
        migrations.CreateModel(
            name="ApiToken",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=100)),
                (
                    "scopes",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=32), help_text="What it may do.", size=None
                    ),
                ),
                ("digest", models.CharField(editable=False, max_length=64, unique=True)),
                ("prefix", models.CharField(editable=False, max_length=16)),
                ("last_four", models.CharField(editable=False, max_length=4)),
                ("expires_at", models.DateTimeField(blank=True, help_text="Empty: never.", null=True)),
                (
                    "last_used_at",
                    models.DateTimeField(blank=True, editable=False, null=True, verbose_name="last used"),
                ),
                ("revoked_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        blank=True,
                        help_text="Whose things it reaches; empty: those of the whole deployment.",
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="api_tokens",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={"verbose_name": "API token", "ordering": ["-pk"]},
        ),
        migrations.AddConstraint(
            model_name="apitoken",
            constraint=models.UniqueConstraint(
                fields=("tenant", "name"), name="api_token_name_per_tenant", nulls_distinct=False
            ),
        ),
        migrations.CreateModel(
            name="AuditEvent",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "actor",
                    models.CharField(
                        blank=True, help_text="The user, the API token or the command, by name.", max_length=150
                    ),
                ),
                ("user_id", models.BigIntegerField(null=True, verbose_name="user's id")),
                (
                    "via",
                    models.CharField(
                        choices=[
                            ("console", "Console"),
                            ("api_token", "API token"),
                            ("command", "Command"),
                            ("task", "Task"),
                        ],
                        max_length=16,
                    ),
                ),
                ("acting_for", _tenant("An operator did it in the place of this tenant's owner.")),
                ("tenant", _tenant("Whose it is; empty: the deployment's own.")),
                ("action", models.CharField(max_length=32)),
                ("object_type", models.CharField(max_length=64, verbose_name="kind")),
                ("object_id", models.CharField(blank=True, max_length=64, verbose_name="id")),
                ("object_repr", models.CharField(blank=True, max_length=200, verbose_name="object")),
                ("changes", _json("By field: before and after.")),
                ("detail", _json("What else there is to say.")),
                ("correlation_id", models.CharField(blank=True, max_length=128)),
                ("remote_address", models.CharField(blank=True, max_length=64)),
            ],
            options={
                "verbose_name": "audit event",
                "ordering": ["-at", "-id"],
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(fields=["-at", "-id"], name="audit_newest"),
                    models.Index(fields=["tenant", "-at", "-id"], name="audit_of_tenant"),
                    models.Index(fields=["object_type", "object_id", "-at", "-id"], name="audit_of_object"),
                    models.Index(fields=["actor", "-at", "-id"], name="audit_by_actor"),
                ],
            },
        ),
        migrations.RunSQL(KEEP, LET_GO),
    ]
