"""What the API says about flows, and what it lets in. Shapes: docs/reference/api.md."""

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from connections.api.serializers import StrictCharField, StrictChoiceField, StrictSerializer, StrictUUIDField
from sync.flows.gaps import gaps_of
from sync.flows.pairs import ENTITIES
from sync.models import ConflictPolicy, Flow, FlowStatus

_MOST_STATUSES = 50
SHOWN_CHOICES = [(status.value, status.label) for status in FlowStatus if status != FlowStatus.REMOVED]


class FlowSerializer(serializers.Serializer):
    """Records of one connection, kept up at another."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    source_connection_id = serializers.UUIDField(source="source_id")
    source_provider = serializers.CharField(source="source.provider")
    target_connection_id = serializers.UUIDField(source="target_id")
    target_provider = serializers.CharField(source="target.provider")
    status = serializers.ChoiceField(choices=SHOWN_CHOICES)
    status_reason = serializers.CharField()
    entities = serializers.ListField(child=serializers.CharField(), help_text="In the order in which they are written.")
    statuses = serializers.ListField(
        child=serializers.CharField(), help_text="Of orders, those that are taken; all of them if empty."
    )
    start_date = serializers.DateField(allow_null=True, help_text="Orders of before are not taken.")
    conflict_policy = serializers.ChoiceField(choices=ConflictPolicy.choices)
    options = serializers.DictField(child=serializers.BooleanField())
    version = serializers.IntegerField(help_text="Counts changes of what a record becomes.")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class GapSerializer(serializers.Serializer):
    """Something that is missing before the flow can move records."""

    code = serializers.CharField()
    field = serializers.CharField(help_text="Of the flow, which it is about.")
    detail = serializers.CharField()
    remediation = serializers.CharField()


class FlowDetailSerializer(FlowSerializer):
    """The same with what is missing now."""

    gaps = serializers.SerializerMethodField(help_text="What is missing; empty where it may be active.")

    @extend_schema_field(GapSerializer(many=True))
    def get_gaps(self, flow: Flow) -> list[dict[str, Any]]:
        return [asdict(gap) for gap in gaps_of(flow)]


class _Settings(StrictSerializer):
    name = StrictCharField(required=False, max_length=200)
    entities = serializers.ListField(
        child=StrictChoiceField(choices=ENTITIES), required=False, allow_empty=False, max_length=len(ENTITIES)
    )
    statuses = serializers.ListField(
        child=serializers.RegexField(r"^[a-z0-9_-]{1,40}$"), required=False, max_length=_MOST_STATUSES
    )
    start_date = serializers.DateField(required=False, allow_null=True)
    conflict_policy = StrictChoiceField(choices=ConflictPolicy.choices, required=False)
    options = serializers.DictField(required=False)
    status = StrictChoiceField(
        choices=["active", "paused"], required=False, help_text="The same as activate and pause, once it is changed."
    )


class FlowDraftSerializer(_Settings):
    source_connection_id = StrictUUIDField()
    target_connection_id = StrictUUIDField()
    status = StrictChoiceField(choices=["draft", "active"], required=False, help_text="active: activate it at once.")


class FlowChangeSerializer(_Settings):
    """What is left out stays. Between which connections it goes cannot be changed: that is another flow."""
