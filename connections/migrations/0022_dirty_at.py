from django.db import migrations, models

# Whoever counts dirty_seq or synced_seq up need not think of it: there are a dozen such places, some of them in SQL.
_NOTE = """
    CREATE FUNCTION causeway_item_dirty_at() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.dirty_at := CASE
            WHEN NEW.dirty_seq <= NEW.synced_seq THEN NULL
            WHEN OLD.dirty_seq > OLD.synced_seq AND NEW.synced_seq = OLD.synced_seq THEN OLD.dirty_at
            ELSE now() END;
        RETURN NEW;
    END $$;
    CREATE TRIGGER dirty_at_first BEFORE INSERT ON connections_plaiditem
    FOR EACH ROW WHEN (NEW.dirty_at IS NULL) EXECUTE FUNCTION causeway_item_dirty_at();
    CREATE TRIGGER dirty_at BEFORE UPDATE OF dirty_seq, synced_seq ON connections_plaiditem
    FOR EACH ROW WHEN (NEW.dirty_seq <> OLD.dirty_seq OR NEW.synced_seq <> OLD.synced_seq)
    EXECUTE FUNCTION causeway_item_dirty_at();
    UPDATE connections_plaiditem SET dirty_at = coalesce(greatest(last_synced_at, last_webhook_at), created_at)
    WHERE dirty_seq > synced_seq;
"""
_FORGET = """
    DROP TRIGGER dirty_at ON connections_plaiditem;
    DROP TRIGGER dirty_at_first ON connections_plaiditem;
    DROP FUNCTION causeway_item_dirty_at();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('connections', '0021_oauth'),
    ]

    operations = [
        migrations.AddField(
            model_name='plaiditem',
            name='dirty_at',
            field=models.DateTimeField(blank=True, editable=False, help_text='Its oldest news came then; null: there are none. Kept by the database.', null=True),
        ),
        migrations.RunSQL(_NOTE, _FORGET),
    ]
