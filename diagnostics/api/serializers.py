"""How the work goes, over the API."""

from rest_framework import serializers


class FiguresSerializer(serializers.Serializer):
    """Figures of one workspace. `_24h`: of the last 24 hours; `_s`: seconds; a ratio of nothing is 0."""

    connections = serializers.DictField(child=serializers.IntegerField(), help_text="How many, by status.")
    banks_dirty = serializers.IntegerField(help_text="Banks with news that are not synced yet.")
    sync_lag_s = serializers.FloatField(help_text="How long the news that waits longest for a worker has waited.")
    runs_24h = serializers.DictField(child=serializers.IntegerField(), help_text="How many, by status.")
    failure_ratio_24h = serializers.FloatField(help_text="Failed runs among those that ended.")
    reauth_oldest_s = serializers.FloatField(
        help_text="How long the owner who waits longest has been asked to sign in."
    )
    webhooks_24h = serializers.DictField(child=serializers.IntegerField(), help_text="How many, by status.")
    webhook_duplicates_24h = serializers.IntegerField(help_text="Deliveries that repeated another one.")
    webhook_duplicate_ratio_24h = serializers.FloatField(help_text="Of all deliveries.")
    webhook_lag_s = serializers.FloatField(
        help_text="How long the webhook that waits longest for a worker has been due."
    )
    outbox_waiting = serializers.IntegerField(help_text="Events that not everybody has.")
    outbox_parked = serializers.IntegerField(help_text="Events that somebody could not take.")
    outbox_lag_s = serializers.FloatField(help_text="Age of the oldest event that not everybody has.")
    failed_records_open = serializers.IntegerField(help_text="Records set aside that nobody has resolved.")
