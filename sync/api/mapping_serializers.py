"""What the API says about mappings, and what it lets in. Shapes: docs/reference/api.md."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from connections.api.serializers import StrictCharField, StrictChoiceField, StrictSerializer, StrictUUIDField
from sync.flows.pairs import ENTITIES
from sync.mapping import TARGETS, TargetField, field_table
from sync.mapping.defaults import GLOBAL, STANDARD, US
from sync.models import Mapping
from sync.models.mapping import TARGET_CHOICES

_TARGETS = [(key, TARGET_CHOICES[key]) for key in TARGETS]
_MOST_VERSIONS = 50


class RuleSerializer(serializers.Serializer):
    """One rule: the target's field gets what the expression gives, looked up where there is a table."""

    target = serializers.CharField(help_text="A field of the target; `Line.…` and `lines.…` are those of a line.")
    expression = serializers.CharField(help_text="docs/reference/expressions.md")
    default = serializers.JSONField(allow_null=True, help_text="Where the rule gives nothing; numbers as text.")
    required = serializers.BooleanField(  # type: ignore[assignment] # a rule's own word
        help_text="Without a value the record is set aside."
    )
    lookup = serializers.DictField(
        allow_null=True, help_text='What the expression gives → what the field gets; "*" for whatever is not in it.'
    )


class MappingSerializer(serializers.Serializer):
    """Rules that say what becomes of records."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    flow_id = serializers.UUIDField(allow_null=True, help_text="The flow that follows it; null: it is at hand only.")
    entity = serializers.ChoiceField(choices=ENTITIES)
    target = serializers.ChoiceField(choices=_TARGETS)
    version = serializers.IntegerField(help_text="The one that counts. Send it with a change.")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class MappingVersionSerializer(serializers.Serializer):
    version = serializers.IntegerField(source="number")
    restored_from = serializers.IntegerField(allow_null=True)
    created_by = serializers.CharField(source="author", help_text="Who made it.")
    created_at = serializers.DateTimeField()
    rules = RuleSerializer(many=True)


class TargetFieldSerializer(serializers.Serializer):
    """A field of the target."""

    name = serializers.CharField()
    type = serializers.CharField(help_text="As the target calls it.")
    takes = serializers.CharField(help_text="The kind of value: text, number, boolean, day, instant, address or any.")
    max_length = serializers.SerializerMethodField()
    choices = serializers.ListField(child=serializers.CharField(), help_text="The only values; empty: any.")
    required = serializers.BooleanField(source="is_required")  # type: ignore[assignment]
    is_line = serializers.BooleanField(help_text="Of a line; its rule may use `line`.")
    read_only = serializers.CharField(help_text='Why no rule may set it, or "".')  # type: ignore[assignment]
    documents = serializers.ListField(
        child=serializers.CharField(), help_text="Kinds of document that have it; empty: all."
    )
    help = serializers.CharField()

    def get_max_length(self, field: TargetField) -> int | None:
        return field.max_length or None


class MappingDetailSerializer(MappingSerializer):
    """The same with its rules, the fields that they can set, and what they were before."""

    rules = serializers.SerializerMethodField()
    fields_ = serializers.SerializerMethodField(
        "shown_fields", help_text="Of the target, those that no rule may set too."
    )
    versions = serializers.SerializerMethodField(help_text=f"The latest {_MOST_VERSIONS}, newest first.")

    def get_fields(self) -> dict[str, Any]:
        """`fields` is a word of the framework's own."""
        found = super().get_fields()
        return {("fields" if name == "fields_" else name): field for name, field in found.items()}

    @extend_schema_field(RuleSerializer(many=True))
    def get_rules(self, mapping: Mapping) -> list[dict[str, Any]]:
        return mapping.versions.get(number=mapping.version).rules

    @extend_schema_field(TargetFieldSerializer(many=True))
    def shown_fields(self, mapping: Mapping) -> Any:
        table = field_table(mapping.target, mapping.entity)
        return TargetFieldSerializer(table.fields.values(), many=True).data

    @extend_schema_field(MappingVersionSerializer(many=True))
    def get_versions(self, mapping: Mapping) -> Any:
        versions = mapping.versions.order_by("-number")[:_MOST_VERSIONS]
        return MappingVersionSerializer(versions, many=True).data


_RULES = {"type": "array", "items": {"$ref": "#/components/schemas/Rule"}}


@extend_schema_field(_RULES)
class _RulesField(serializers.JSONField):
    """They are checked by what knows the target, which names each mistake by its path."""


class MappingDraftSerializer(StrictSerializer):
    entity = StrictChoiceField(choices=ENTITIES)
    flow_id = StrictUUIDField(required=False, allow_null=True)
    target = StrictChoiceField(choices=_TARGETS, required=False, help_text="The flow's, where there is one.")
    name = StrictCharField(required=False, max_length=200)
    rules = _RulesField(required=False, help_text="The shipped ones if left out.")
    region = StrictChoiceField(
        choices=[US, GLOBAL, STANDARD],
        required=False,
        help_text="Of the shipped rules: for QuickBooks us or global, for a store standard.",
    )


class MappingChangeSerializer(StrictSerializer):
    version = serializers.IntegerField(min_value=1, help_text="The version that the change is made to.")
    rules = _RulesField(required=False, help_text="All of them.")
    restore = serializers.IntegerField(required=False, min_value=1, help_text="The version whose rules count again.")
    name = StrictCharField(required=False, max_length=200)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "rules" in attrs and "restore" in attrs:
            raise serializers.ValidationError({"restore": ["Send rules, or the version to restore."]})
        return attrs


class MappingFilters(serializers.Serializer):
    flow_id = serializers.UUIDField(required=False)
    entity = StrictChoiceField(choices=ENTITIES, required=False)
    target = StrictChoiceField(choices=_TARGETS, required=False)


class PreviewRequestSerializer(StrictSerializer):
    """One of record, source_record and external_id, or none of them: then the record that the flow wrote last."""

    record = serializers.JSONField(required=False, help_text="In canonical form, as a preview shows it.")
    source_record = serializers.JSONField(required=False, help_text="As the source writes it.")
    external_id = StrictCharField(required=False, max_length=200, help_text="The record's id at the source.")
    rules = _RulesField(required=False, help_text="To try, instead of those that count.")
    document = StrictChoiceField(
        choices=["Invoice", "SalesReceipt", "RefundReceipt", "CreditMemo"],
        required=False,
        help_text="What it becomes in QuickBooks; left out: rules for either are run.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        named = [name for name in ("record", "source_record", "external_id") if name in attrs]
        if len(named) > 1:
            raise serializers.ValidationError({named[1]: ["Name one record."]})
        return attrs


class RuleFailureSerializer(serializers.Serializer):
    path = serializers.CharField(help_text="rules.3")
    target = serializers.CharField()
    code = serializers.ChoiceField(choices=["expression_failed", "value_refused", "lookup_missing", "required"])
    detail = serializers.CharField()
    remediation = serializers.CharField()
    line_id = serializers.CharField(help_text='Of the line, or "".')


class RuleOutcomeSerializer(serializers.Serializer):
    rule = serializers.IntegerField(help_text="Its place among the rules.")
    target = serializers.CharField()
    line = serializers.IntegerField(allow_null=True, help_text="Which line, counted from 0.")
    value = serializers.JSONField(allow_null=True, help_text="What the expression gave.")
    result = serializers.JSONField(allow_null=True, help_text="What the target gets.")
    failure = RuleFailureSerializer(allow_null=True)


class PreviewSerializer(serializers.Serializer):
    """One record on its way: source → canonical → target."""

    source_record = serializers.DictField(source="source", allow_null=True, help_text="As the source writes it.")
    canonical = serializers.DictField()
    target = serializers.DictField(help_text="In a store the whole row; in the books what the rules give.")
    rules = RuleOutcomeSerializer(many=True)
    failures = RuleFailureSerializer(many=True, help_text="Empty where it could be written so.")
