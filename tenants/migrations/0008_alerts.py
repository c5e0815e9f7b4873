"""Alerts of budgets, what was paid into prepaid credit, and currencies that exist."""

from decimal import Decimal

import django.contrib.postgres.fields
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import tenants.currencies
import tenants.models.tenant


class Migration(migrations.Migration):
    dependencies = [("tenants", "0007_reports")]

    operations = [
        migrations.AddField(
            model_name="tenant",
            name="alert_emails",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.EmailField(max_length=254),
                blank=True,
                default=list,
                help_text="Who is written to when a budget is spent to one of its thresholds.",
                size=None,
            ),
        ),
        migrations.AddField(
            model_name="tenant",
            name="alert_secret_encrypted",
            field=models.TextField(blank=True, editable=False),
        ),
        migrations.AddField(
            model_name="tenant",
            name="alert_webhook",
            field=models.CharField(
                blank=True,
                help_text="An address that is told the same, signed with the webhook's secret.",
                max_length=500,
                validators=[tenants.models.tenant.validate_webhook],
            ),
        ),
        migrations.AlterField(
            model_name="budget",
            name="currency",
            field=models.CharField(default="USD", max_length=3, validators=[tenants.currencies.validate_currency]),
        ),
        migrations.AlterField(
            model_name="tenant",
            name="floor_currency",
            field=models.CharField(default="USD", max_length=3, validators=[tenants.currencies.validate_currency]),
        ),
        migrations.CreateModel(
            name="CreditTopUp",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("amount", models.DecimalField(decimal_places=10, max_digits=20)),
                ("currency", models.CharField(max_length=3)),
                ("note", models.CharField(blank=True, max_length=200)),
                ("at", models.DateTimeField(auto_now_add=True)),
                (
                    "budget",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="top_ups",
                        to="tenants.budget",
                    ),
                ),
                (
                    "by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="credit_top_ups", to="tenants.tenant"
                    ),
                ),
            ],
            options={
                "ordering": ["-pk"],
            },
        ),
        migrations.CreateModel(
            name="BudgetAlert",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("counter", models.CharField(help_text="As the usage records name it.", max_length=300)),
                ("threshold", models.PositiveIntegerField(help_text="Per cent of the limit.")),
                (
                    "credit",
                    models.DecimalField(
                        decimal_places=10,
                        default=Decimal("0"),
                        help_text="What had been paid in: a top-up arms the alerts of a prepaid credit anew. 0 for other budgets.",
                        max_digits=20,
                    ),
                ),
                ("spent", models.DecimalField(decimal_places=10, max_digits=20)),
                ("limit", models.DecimalField(decimal_places=10, max_digits=20)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("emailed_at", models.DateTimeField(blank=True, null=True, verbose_name="e-mail sent at")),
                ("posted_at", models.DateTimeField(blank=True, null=True, verbose_name="webhook answered at")),
                ("delivered_at", models.DateTimeField(blank=True, null=True)),
                ("given_up_at", models.DateTimeField(blank=True, null=True)),
                (
                    "waits_since",
                    models.DateTimeField(default=django.utils.timezone.now, help_text="It is given up a day later."),
                ),
                ("tries", models.PositiveSmallIntegerField(default=0)),
                ("next_try_at", models.DateTimeField(default=django.utils.timezone.now)),
                ("error", models.TextField(blank=True)),
                (
                    "budget",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="alerts", to="tenants.budget"
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="budget_alerts", to="tenants.tenant"
                    ),
                ),
            ],
            options={
                "ordering": ["-pk"],
                "indexes": [
                    models.Index(
                        condition=models.Q(("delivered_at", None), ("given_up_at", None)),
                        fields=["next_try_at"],
                        name="budget_alert_waiting",
                    )
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("counter", "threshold", "credit"), name="budget_alert_once_per_period"
                    )
                ],
            },
        ),
    ]
