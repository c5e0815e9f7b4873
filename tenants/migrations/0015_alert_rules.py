import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.utils.timezone
import tenants.currencies
from decimal import Decimal
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tenants', '0014_key_rotation'),
    ]

    operations = [
        migrations.CreateModel(
            name='AlertRule',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100)),
                ('severity', models.CharField(choices=[('critical', 'Critical'), ('warning', 'Warning'), ('notice', 'Notice')], default='warning', max_length=16)),
                ('is_enabled', models.BooleanField(default=True, verbose_name='on')),
                ('metric', models.CharField(choices=[('error_rate', 'Error rate'), ('requests_per_minute', 'Requests per minute'), ('tokens_per_minute', 'Tokens per minute'), ('cost_per_hour', 'Cost per hour'), ('cost_per_day', 'Cost per day'), ('latency_p95', 'Latency, p95'), ('first_token_p95', 'Time to first token, p95'), ('cache_hit_rate', 'Cache hit rate'), ('breaker_open', 'Open breakers'), ('probe_failing', 'Failing probes'), ('ledger_lag', 'Ledger lag'), ('worker_lag', 'Workers behind the newest revision')], default='error_rate', max_length=32)),
                ('comparison', models.CharField(choices=[('above', 'Above'), ('below', 'Below')], default='above', max_length=8, verbose_name='is')),
                ('threshold', models.DecimalField(decimal_places=6, default=Decimal('5'), max_digits=24)),
                ('currency', models.CharField(default='USD', help_text='Of costs; others are not added up.', max_length=3, validators=[tenants.currencies.validate_currency])),
                ('window', models.PositiveIntegerField(choices=[(5, '5 minutes'), (10, '10 minutes'), (15, '15 minutes'), (30, '30 minutes'), (60, '1 hour'), (180, '3 hours'), (360, '6 hours'), (720, '12 hours'), (1440, '1 day')], default=10, help_text='What is measured: the last so many minutes or hours.', verbose_name='over')),
                ('sustained', models.PositiveIntegerField(default=5, help_text='Minutes that it has to hold before anybody is told.', validators=[django.core.validators.MaxValueValidator(10080)], verbose_name='sustained for')),
                ('cooldown', models.PositiveIntegerField(default=60, help_text='Minutes before the rule fires again, and before it is repeated while it goes on.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(10080)])),
                ('minimum_requests', models.PositiveIntegerField(default=20, help_text='With fewer requests in the window nothing is decided: one of one is no alarm.')),
                ('model', models.CharField(blank=True, help_text='As clients send it; empty: all.', max_length=200)),
                ('provider', models.CharField(blank=True, help_text='Its slug; empty: all.', max_length=63)),
                ('deployment', models.CharField(blank=True, help_text='Its slug; empty: all.', max_length=63)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('api_key', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.apikey', verbose_name='API key')),
            ],
            options={
                'ordering': ['name', 'pk'],
            },
        ),
        migrations.CreateModel(
            name='AlertChannel',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100)),
                ('kind', models.CharField(choices=[('email', 'E-mail'), ('webhook', 'Webhook'), ('slack', 'Slack')], default='email', max_length=16)),
                ('emails', django.contrib.postgres.fields.ArrayField(base_field=models.EmailField(max_length=254), blank=True, default=list, help_text='Who is written to.', size=None, verbose_name='addresses')),
                ('address_encrypted', models.TextField(blank=True, editable=False)),
                ('address_hint', models.CharField(blank=True, editable=False, max_length=200)),
                ('secret_encrypted', models.TextField(blank=True, editable=False)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('tenant', models.ForeignKey(blank=True, help_text='A tenant, whose owners may change it; empty: the operators.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='alert_channels', to='tenants.tenant', verbose_name='belongs to')),
            ],
            options={
                'ordering': ['name', 'pk'],
            },
        ),
        migrations.CreateModel(
            name='AlertState',
            fields=[
                ('rule', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='state', serialize=False, to='tenants.alertrule')),
                ('judged_at', models.DateTimeField()),
                ('value', models.DecimalField(decimal_places=6, max_digits=24, null=True)),
                ('holds_since', models.DateTimeField(null=True)),
                ('fires_since', models.DateTimeField(null=True)),
                ('fired_at', models.DateTimeField(null=True)),
                ('worst', models.DecimalField(decimal_places=6, max_digits=24, null=True)),
                ('is_told', models.BooleanField(default=False)),
                ('no_data_since', models.DateTimeField(null=True)),
            ],
            options={
                'default_permissions': (),
            },
        ),
        migrations.AddField(
            model_name='alertrule',
            name='channels',
            field=models.ManyToManyField(blank=True, help_text='Who is told.', related_name='rules', to='tenants.alertchannel'),
        ),
        migrations.AddField(
            model_name='alertrule',
            name='tenant',
            field=models.ForeignKey(blank=True, help_text='A tenant, whose owners may change it; empty: the operators.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='alert_rules', to='tenants.tenant', verbose_name='belongs to'),
        ),
        migrations.AddField(
            model_name='alertrule',
            name='watched_tenant',
            field=models.ForeignKey(blank=True, help_text='Only what this tenant does; empty: all tenants.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='watched_by', to='tenants.tenant', verbose_name='tenant'),
        ),
        migrations.CreateModel(
            name='AlertSilence',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('provider', models.CharField(blank=True, help_text='Rules that name this provider; empty: any.', max_length=63)),
                ('severity', models.CharField(blank=True, choices=[('critical', 'Critical'), ('warning', 'Warning'), ('notice', 'Notice')], help_text='Empty: any.', max_length=16)),
                ('starts_at', models.DateTimeField(default=django.utils.timezone.now, verbose_name='from')),
                ('ends_at', models.DateTimeField(verbose_name='until')),
                ('reason', models.CharField(max_length=200)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('created_by', models.ForeignKey(blank=True, editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL, verbose_name='by')),
                ('rule', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='silences', to='tenants.alertrule')),
                ('tenant', models.ForeignKey(blank=True, help_text='A tenant, whose owners may change it; empty: the operators.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='alert_silences', to='tenants.tenant', verbose_name='belongs to')),
                ('watched_tenant', models.ForeignKey(blank=True, help_text='Only what this tenant does; empty: all tenants.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='silenced_by', to='tenants.tenant', verbose_name='tenant')),
            ],
            options={
                'ordering': ['-ends_at', '-pk'],
            },
        ),
        migrations.CreateModel(
            name='AlertIncident',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('title', models.CharField(max_length=100)),
                ('words', models.TextField()),
                ('severity', models.CharField(choices=[('critical', 'Critical'), ('warning', 'Warning'), ('notice', 'Notice')], max_length=16)),
                ('metric', models.CharField(max_length=32)),
                ('currency', models.CharField(default='USD', max_length=3)),
                ('began_at', models.DateTimeField()),
                ('value', models.DecimalField(decimal_places=6, max_digits=24, verbose_name='when it began')),
                ('worst', models.DecimalField(decimal_places=6, max_digits=24)),
                ('last', models.DecimalField(decimal_places=6, max_digits=24, verbose_name='at the end')),
                ('resolved_at', models.DateTimeField(blank=True, null=True)),
                ('acknowledged_at', models.DateTimeField(blank=True, null=True)),
                ('acknowledged_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('tenant', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='alert_incidents', to='tenants.tenant', verbose_name='of')),
                ('rule', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='incidents', to='tenants.alertrule')),
                ('silence', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='tenants.alertsilence', verbose_name='silenced by')),
            ],
            options={
                'ordering': ['-resolved_at', '-pk'],
            },
        ),
        migrations.CreateModel(
            name='AlertMessage',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('channel_name', models.CharField(max_length=100)),
                ('kind', models.CharField(choices=[('firing', 'Firing'), ('repeated', 'Still firing'), ('resolved', 'Resolved')], max_length=16)),
                ('value', models.DecimalField(decimal_places=6, max_digits=24)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('delivered_at', models.DateTimeField(null=True)),
                ('given_up_at', models.DateTimeField(null=True)),
                ('tries', models.PositiveSmallIntegerField(default=0)),
                ('next_try_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('error', models.TextField(blank=True)),
                ('channel', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='messages', to='tenants.alertchannel')),
                ('incident', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='messages', to='tenants.alertincident')),
            ],
            options={
                'ordering': ['pk'],
                'default_permissions': (),
                'indexes': [models.Index(condition=models.Q(('delivered_at', None), ('given_up_at', None)), fields=['next_try_at'], name='alert_message_waiting')],
            },
        ),
        migrations.AddIndex(
            model_name='alertincident',
            index=models.Index(fields=['-resolved_at', '-id'], name='alert_incident_list'),
        ),
        migrations.AddConstraint(
            model_name='alertincident',
            constraint=models.UniqueConstraint(condition=models.Q(('resolved_at', None)), fields=('rule',), name='alert_incident_one_per_rule'),
        ),
    ]
