from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('connections', '0013_recurring_news'),
    ]

    operations = [
        migrations.AddField(
            model_name='plaiditem',
            name='is_history_partial',
            field=models.BooleanField(default=False, help_text="Imported with another system's cursor: what the bank told before it is not here."),
        ),
    ]
