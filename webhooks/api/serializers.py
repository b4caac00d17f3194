"""What the API says about the inbox, and how one may filter it."""

from typing import Any

from rest_framework import serializers

from connections.api.serializers import StrictBooleanField
from connections.models.connection import Environment, Provider
from webhooks.models import WebhookEvent


class WebhookEventSerializer(serializers.Serializer):
    """One delivery of a provider's, and what became of it."""

    id = serializers.UUIDField()
    provider = serializers.ChoiceField(choices=Provider.choices)
    environment = serializers.ChoiceField(choices=Environment.choices, allow_blank=True)
    event_type = serializers.CharField()
    code = serializers.CharField()
    connection_id = serializers.UUIDField(allow_null=True)
    item_id = serializers.CharField(help_text="What the provider calls the connection.")
    status = serializers.ChoiceField(choices=WebhookEvent.Status.choices)
    note = serializers.CharField(help_text="What was done, or why nothing was.")
    deliveries = serializers.IntegerField(help_text="How often exactly this delivery came.")
    attempts = serializers.IntegerField()
    replays = serializers.IntegerField()
    received_at = serializers.DateTimeField()
    last_received_at = serializers.DateTimeField()
    processed_at = serializers.DateTimeField(allow_null=True)
    correlation_id = serializers.CharField()


class WebhookEventDetailSerializer(WebhookEventSerializer):
    """The same with the message, without its tokens."""

    payload = serializers.JSONField(allow_null=True, help_text="Null where it was no JSON object.")


class WebhookEventFilters(serializers.Serializer):
    status = serializers.ChoiceField(choices=WebhookEvent.Status.choices, required=False)
    provider = serializers.ChoiceField(choices=Provider.choices, required=False)
    event_type = serializers.CharField(required=False, max_length=100)
    code = serializers.CharField(required=False, max_length=100)
    connection_id = serializers.UUIDField(required=False)
    item_id = serializers.CharField(required=False, max_length=128)
    since = serializers.DateTimeField(required=False, source="received_at__gte")
    until = serializers.DateTimeField(required=False, source="received_at__lt", help_text="Exclusive.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        since, until = attrs.get("received_at__gte"), attrs.get("received_at__lt")
        if since and until and since > until:
            raise serializers.ValidationError({"until": ["Lies before since."]})
        return attrs


class WebhookSettingsSerializer(serializers.Serializer):
    enabled = StrictBooleanField(help_text="Off: webhooks are kept and ignored, syncs run by schedule.")
