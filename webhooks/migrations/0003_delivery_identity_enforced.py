from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('webhooks', '0002_delivery_identity'),
    ]

    operations = [
        migrations.AlterField(
            model_name='webhookevent',
            name='last_received_at',
            field=models.DateTimeField(help_text='When it last came again.'),
        ),
        migrations.AlterField(
            model_name='webhookevent',
            name='received_at',
            field=models.DateTimeField(),
        ),
        migrations.RemoveField(model_name='webhookevent', name='first_received_at'),
        migrations.RemoveIndex(model_name='webhookevent', name='webhook_by_connection'),
        migrations.AddIndex(
            model_name='webhookevent',
            index=models.Index(fields=['connection', '-id'], name='webhook_by_connection'),
        ),
        migrations.AddIndex(
            model_name='webhookevent',
            index=models.Index(fields=['received_at'], name='webhook_by_age'),
        ),
    ]
