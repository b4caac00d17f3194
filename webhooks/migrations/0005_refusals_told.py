"""An hour with many refused webhooks says that operators were told of it, and of its end."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('webhooks', '0004_refusals_and_replays'),
    ]

    operations = [
        migrations.AddField(
            model_name='webhookrefusal',
            name='told_at',
            field=models.DateTimeField(blank=True, help_text='They became many: operators were alerted.', null=True),
        ),
        migrations.AddField(
            model_name='webhookrefusal',
            name='over_at',
            field=models.DateTimeField(blank=True, help_text='That it is over was told.', null=True),
        ),
    ]
