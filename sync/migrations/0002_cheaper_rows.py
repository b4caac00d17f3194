"""What every arriving transaction costs: two indexes that others cover go, and PostgreSQL 18 makes ids by itself."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('connections', '0003_one_exchange_per_token'),
        ('sync', '0001_initial'),
    ]

    operations = [
        migrations.AlterField(
            model_name='transaction',
            name='account',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='transactions', to='connections.account'),
        ),
        migrations.AlterField(
            model_name='transaction',
            name='connection',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='transactions', to='connections.connection'),
        ),
        migrations.RunSQL(
            """
            DO $$ BEGIN
                IF current_setting('server_version_num')::int >= 180000 THEN
                    CREATE OR REPLACE FUNCTION causeway_uuid7() RETURNS uuid LANGUAGE sql VOLATILE PARALLEL SAFE
                        AS 'SELECT uuidv7()';
                END IF;
            END $$
            """,
            migrations.RunSQL.noop,
        ),
    ]
