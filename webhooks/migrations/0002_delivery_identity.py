"""A row is a delivery: the body's digest and the moment of its signature. Tokens are not kept with it."""

from django.db import migrations, models

# Rows of before told their first and their last delivery, and Link's messages kept their tokens until they were handled.
_FIRST_RECEIVED = """
    UPDATE webhooks_webhookevent SET last_received_at = received_at, received_at = first_received_at
"""
_FORGET = """
    UPDATE webhooks_webhookevent SET body = convert_to(coalesce(payload, '{}')::text, 'UTF8') WHERE event_type = 'LINK'
"""


class Migration(migrations.Migration):

    dependencies = [
        ('webhooks', '0001_webhook_event'),
    ]

    operations = [
        migrations.RenameField('webhookevent', 'error', 'note'),
        migrations.AlterField(
            model_name='webhookevent',
            name='note',
            field=models.TextField(blank=True, help_text='What was done, or why nothing was; scrubbed.'),
        ),
        migrations.AlterField(
            model_name='webhookevent',
            name='body',
            field=models.BinaryField(help_text='The bytes as they came; without its tokens, where there were any.'),
        ),
        migrations.AddField(
            model_name='webhookevent',
            name='link_digest',
            field=models.CharField(blank=True, default='', editable=False, help_text='SHA-256 of the link token that it names.', max_length=64),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='webhookevent',
            name='replays',
            field=models.PositiveIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='webhookevent',
            name='last_received_at',
            field=models.DateTimeField(help_text='When it last came again.', null=True),
        ),
        migrations.RunSQL(_FIRST_RECEIVED, migrations.RunSQL.noop),
        migrations.RunSQL(_FORGET, migrations.RunSQL.noop),
    ]
