"""The clock's entry `housekeeping` became `safety-net` and `cleanup`; beat adds entries by itself and removes none."""

from django.db import migrations


def forget_housekeeping(apps, schema_editor):
    apps.get_model("django_celery_beat", "PeriodicTask").objects.using(schema_editor.connection.alias).filter(
        name="housekeeping"
    ).delete()


class Migration(migrations.Migration):

    dependencies = [
        ('sync', '0003_index_attached_tombstones'),
        ('django_celery_beat', '0019_alter_periodictasks_options'),
    ]

    operations = [migrations.RunPython(forget_housekeeping, migrations.RunPython.noop)]
