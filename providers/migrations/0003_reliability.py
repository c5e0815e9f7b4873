"""Connections (HTTP/2, proxies, certificates), queues, probes and the providers' own catalogues."""

import django.contrib.postgres.fields
import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("providers", "0002_capabilities"),
    ]

    operations = [
        migrations.AddField(
            model_name="deployment",
            name="probe_every",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Seconds between two small requests that ask whether it answers, at least 10, and 300 for images, speech"
                " and transcriptions; empty: none is sent.",
                null=True,
                validators=[django.core.validators.MinValueValidator(10)],
            ),
        ),
        migrations.AddField(
            model_name="deployment",
            name="probe_reason",
            field=models.CharField(blank=True, editable=False, max_length=500),
        ),
        migrations.AddField(
            model_name="deployment",
            name="probe_result",
            field=models.CharField(
                blank=True,
                choices=[
                    ("ok", "Answers"),
                    ("cannot_probe", "Cannot be probed"),
                    ("unreachable", "Unreachable"),
                    ("rejected", "Rejects the probe"),
                ],
                editable=False,
                max_length=16,
            ),
        ),
        migrations.AddField(
            model_name="deployment",
            name="probed_at",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name="provider",
            name="ca_certificate",
            field=models.TextField(
                blank=True,
                help_text="Who may vouch for the provider, as PEM; empty: whom the machine trusts.",
                verbose_name="CA certificate",
            ),
        ),
        migrations.AddField(
            model_name="provider",
            name="catalogue",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=200), blank=True, default=list, editable=False, size=None
            ),
        ),
        migrations.AddField(
            model_name="provider",
            name="catalogue_at",
            field=models.DateTimeField(blank=True, editable=False, null=True, verbose_name="catalogue asked for at"),
        ),
        migrations.AddField(
            model_name="provider",
            name="client_certificate",
            field=models.TextField(
                blank=True, help_text="What we show to the provider, as PEM with its chain; only together with its key."
            ),
        ),
        migrations.AddField(
            model_name="provider",
            name="client_key_encrypted",
            field=models.TextField(blank=True, editable=False),
        ),
        migrations.AddField(
            model_name="provider",
            name="http2",
            field=models.BooleanField(
                default=False, help_text="Many requests share one connection.", verbose_name="HTTP/2"
            ),
        ),
        migrations.AddField(
            model_name="provider",
            name="proxy_encrypted",
            field=models.TextField(blank=True, editable=False),
        ),
        migrations.AddField(
            model_name="provider",
            name="queue_size",
            field=models.PositiveIntegerField(
                default=100, help_text="Requests of each worker that may wait for a place; 0: none waits."
            ),
        ),
        migrations.AddField(
            model_name="provider",
            name="queue_wait",
            field=models.FloatField(
                default=5,
                help_text="Seconds that a request waits at the most, from 0.05 to 300.",
                validators=[
                    django.core.validators.MinValueValidator(0.05),
                    django.core.validators.MaxValueValidator(300),
                ],
            ),
        ),
    ]
