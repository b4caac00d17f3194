"""Staged pages are deleted within the hour, and vacuumed then: a vacuum for each part that arrives only reads them once more."""

from django.db import migrations

OPTIONS = "autovacuum_vacuum_insert_threshold"


class Migration(migrations.Migration):

    dependencies = [('sync', '0005_subscriptions')]

    operations = [
        migrations.RunSQL(
            f"ALTER TABLE sync_stagedpage SET ({OPTIONS} = -1, toast.{OPTIONS} = -1)",
            f"ALTER TABLE sync_stagedpage RESET ({OPTIONS}, toast.{OPTIONS})",
        )
    ]
