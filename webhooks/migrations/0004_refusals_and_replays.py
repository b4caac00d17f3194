"""Refused webhooks are counted; owners switch webhooks off and on, and operators replay them."""

from django.conf import settings
from django.db import migrations, models

import connections.ids

_REPLAYED = "status, note, attempts, replays, is_marked, next_attempt_at, processed_at"
_GRANTS = {"webhooks_webhookevent": f"UPDATE ({_REPLAYED})", "connections_workspace": "UPDATE (webhooks_enabled)"}


def grant(_apps, schema_editor):
    tenant = schema_editor.quote_name(settings.DATABASE_ROLES["tenant"])
    for table, right in _GRANTS.items():
        schema_editor.execute(f"GRANT {right} ON {table} TO {tenant}")


def revoke(_apps, schema_editor):
    tenant = schema_editor.quote_name(settings.DATABASE_ROLES["tenant"])
    for table, right in _GRANTS.items():
        schema_editor.execute(f"REVOKE {right} ON {table} FROM {tenant}")


class Migration(migrations.Migration):

    dependencies = [
        ('webhooks', '0003_delivery_identity_enforced'),
    ]

    operations = [
        migrations.CreateModel(
            name='WebhookRefusal',
            fields=[
                ('id', models.UUIDField(default=connections.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                ('provider', models.CharField(choices=[('plaid', 'Plaid'), ('woocommerce', 'WooCommerce'), ('quickbooks', 'QuickBooks Online'), ('supabase', 'Supabase')], max_length=20)),
                ('hour', models.DateTimeField(help_text='Its beginning.')),
                ('count', models.PositiveIntegerField(default=1)),
                ('last_reason', models.CharField(help_text='Which check refused the last of them.', max_length=200)),
                ('last_at', models.DateTimeField()),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('provider', 'hour'), name='refusals_of_an_hour')],
            },
        ),
        migrations.RunPython(grant, revoke),
    ]
