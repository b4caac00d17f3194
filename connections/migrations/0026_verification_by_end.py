"""Old verifications are found by their end."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('connections', '0025_failing_since'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='verification',
            index=models.Index(condition=models.Q(('finished_at__isnull', False)), fields=['finished_at'], name='verification_by_end'),
        ),
    ]
