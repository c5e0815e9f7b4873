"""Prices of characters, seconds and service tiers, in currencies that exist."""

from decimal import Decimal

import django.core.validators
from django.db import migrations, models

import tenants.currencies


def unit(help_text: str) -> models.DecimalField:
    return models.DecimalField(
        blank=True,
        decimal_places=10,
        help_text=help_text,
        max_digits=20,
        null=True,
        validators=[django.core.validators.MinValueValidator(Decimal("0"))],
    )


class Migration(migrations.Migration):
    dependencies = [("providers", "0003_reliability")]

    operations = [
        migrations.AddField(
            model_name="modelprice", name="character", field=unit("Characters spoken, so many as tokens.")
        ),
        migrations.AddField(
            model_name="modelprice", name="second", field=unit("Each second of audio, heard or made.")
        ),
        migrations.AddField(
            model_name="modelprice",
            name="multipliers",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text='Of all these prices, by service tier: {"batch": "0.5", "flex": "0.5", "priority": "1.75"}.',
            ),
        ),
        migrations.AlterField(
            model_name="modelprice",
            name="audio_input",
            field=unit("Tokens of audio in the prompt; empty: as input."),
        ),
        migrations.AlterField(
            model_name="modelprice",
            name="audio_output",
            field=unit("Tokens of audio in the answer; empty: as output."),
        ),
        migrations.AlterField(
            model_name="modelprice",
            name="cache_write_1h",
            field=unit("Tokens written to a cache for an hour; empty: as for 5 minutes."),
        ),
        migrations.AlterField(model_name="modelprice", name="image", field=unit("Each image made.")),
        migrations.AlterField(model_name="modelprice", name="per_request", field=unit("Each request.")),
        migrations.AlterField(
            model_name="modelprice",
            name="currency",
            field=models.CharField(default="USD", max_length=3, validators=[tenants.currencies.validate_currency]),
        ),
        migrations.AlterField(
            model_name="modelprice",
            name="per",
            field=models.PositiveIntegerField(
                default=1000000,
                help_text="Tokens or characters that a price is for.",
                validators=[django.core.validators.MinValueValidator(1)],
            ),
        ),
    ]
