"""Terms, privacy notices and who accepted them. The database, too, keeps what was published as it is."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import tenants.models.legal

KEEP = """
CREATE FUNCTION tenants_legaldocument_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'What is published stays as it is.' USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER tenants_legaldocument_keep
    BEFORE DELETE OR UPDATE OF kind, version, text, effective_from, published_at ON tenants_legaldocument
    FOR EACH ROW EXECUTE FUNCTION tenants_legaldocument_keep();
"""
LET_GO = """
DROP TRIGGER tenants_legaldocument_keep ON tenants_legaldocument;
DROP FUNCTION tenants_legaldocument_keep();
"""
KINDS = [("terms", "Terms of use"), ("privacy", "Privacy notice")]


class Migration(migrations.Migration):
    dependencies = [("tenants", "0008_alerts")]

    operations = [
        migrations.CreateModel(
            name="LegalDocument",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.CharField(choices=KINDS, max_length=16)),
                ("version", models.PositiveIntegerField(editable=False)),
                (
                    "text",
                    models.TextField(
                        help_text="Headings (#), lists (-), **bold**, *emphasis*, `code` and [links](https://…); no HTML."
                    ),
                ),
                (
                    "effective_from",
                    models.DateField(
                        default=tenants.models.legal.today,
                        help_text="The day (UTC) from which on it is in force.",
                    ),
                ),
                ("published_at", models.DateTimeField(auto_now_add=True)),
                (
                    "published_by",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={"ordering": ["kind", "-version"]},
        ),
        migrations.CreateModel(
            name="LegalAcceptance",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(auto_now_add=True)),
                (
                    "document",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="acceptances",
                        to="tenants.legaldocument",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="legal_acceptances",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={"ordering": ["-at", "-pk"]},
        ),
        migrations.AddConstraint(
            model_name="legaldocument",
            constraint=models.UniqueConstraint(fields=("kind", "version"), name="legal_version_per_kind"),
        ),
        migrations.AddConstraint(
            model_name="legalacceptance",
            constraint=models.UniqueConstraint(fields=("user", "document"), name="legal_accepted_once"),
        ),
        migrations.RunSQL(KEEP, LET_GO),
    ]
