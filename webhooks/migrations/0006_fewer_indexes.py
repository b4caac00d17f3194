"""Four indexes less: two that repeated the beginning of others, and two for prefixes, which nobody looks for.

Every webhook is written to each of them before it is answered.
"""

import django.db.models.deletion
from django.db import migrations, models

# Django makes one of these beside each index on a text. The indexes themselves stay, and so does what Django knows of them.
_DROP_PREFIXES = r"""
    DO $$
    DECLARE prefixes text;
    BEGIN
        FOR prefixes IN
            SELECT format('%I', indexname) FROM pg_indexes
            WHERE schemaname = current_schema() AND tablename = 'webhooks_webhookevent' AND indexname LIKE '%\_like'
        LOOP
            EXECUTE 'DROP INDEX ' || prefixes;
        END LOOP;
    END $$
"""


class Migration(migrations.Migration):

    dependencies = [
        ('webhooks', '0005_refusals_told'),
    ]

    operations = [
        migrations.AlterField(
            model_name='webhookevent',
            name='workspace',
            field=models.ForeignKey(blank=True, db_index=False, help_text='Unknown until the Item is.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='connections.workspace'),
        ),
        migrations.AlterField(
            model_name='webhookevent',
            name='connection',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='webhook_events', to='connections.connection'),
        ),
        migrations.RunSQL(_DROP_PREFIXES, migrations.RunSQL.noop),
    ]
