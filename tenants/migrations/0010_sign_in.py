import django.db.models.deletion
import django.db.models.functions.text
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0009_legal")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="email_is_proven",
            field=models.BooleanField(
                default=True,
                help_text="Single sign-on finds the account by its address; not while somebody else may have chosen the address.",
                verbose_name="e-mail address is proven",
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="requires_two_factor",
            field=models.BooleanField(
                default=False,
                help_text="Its members see nothing before they have set up an authenticator app or a passkey.",
                verbose_name="second factor required",
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="requires_sso",
            field=models.BooleanField(
                default=False,
                help_text="Its members must come by single sign-on; a password alone lets nobody in.",
                verbose_name="single sign-on required",
            ),
        ),
        migrations.CreateModel(
            name="Invitation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("email", models.EmailField(max_length=254, verbose_name="e-mail address")),
                (
                    "role",
                    models.CharField(
                        choices=[("owner", "Owner"), ("developer", "Developer"), ("viewer", "Viewer")],
                        default="developer",
                        max_length=16,
                    ),
                ),
                ("token_hash", models.CharField(editable=False, max_length=64, unique=True)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("expires_at", models.DateTimeField(editable=False)),
                ("mailed_at", models.DateTimeField(editable=False, null=True)),
                ("withdrawn_at", models.DateTimeField(editable=False, null=True)),
                ("accepted_at", models.DateTimeField(editable=False, null=True)),
                (
                    "accepted_by",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "invited_by",
                    models.ForeignKey(
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
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="invitations",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={"ordering": ["-created_at", "-pk"]},
        ),
        migrations.AddConstraint(
            model_name="invitation",
            constraint=models.UniqueConstraint(
                models.F("tenant"),
                django.db.models.functions.text.Lower("email"),
                condition=models.Q(("accepted_at", None), ("withdrawn_at", None)),
                name="one_open_invitation_per_address",
                violation_error_message="This address has an invitation already: send that one again, or withdraw it.",
            ),
        ),
    ]
