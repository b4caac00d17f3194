"""What the API says about runs, transactions and subscriptions, and how one may filter them. Shapes: docs/reference/api.md."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from connections.api.serializers import ConnectionErrorSerializer, StrictChoiceField
from connections.errors import CATALOGUE
from sync.models import RunStatus, Subscription, SyncRun, Trigger


class RunSerializer(serializers.Serializer):
    """One attempt to move records. fetched = created + updated + unchanged + removed + skipped + parked + failed."""

    sync_id = serializers.UUIDField(source="pk")
    parent_id = serializers.UUIDField(allow_null=True)
    status = serializers.ChoiceField(choices=RunStatus.choices)
    connection_id = serializers.UUIDField(allow_null=True)
    flow_id = serializers.SerializerMethodField()
    entity = serializers.CharField()
    mode = serializers.CharField()
    trigger = serializers.ChoiceField(choices=Trigger.choices)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    records_fetched = serializers.IntegerField()
    records_processed = serializers.IntegerField(help_text="fetched − parked")
    records_created = serializers.IntegerField()
    records_updated = serializers.IntegerField()
    records_unchanged = serializers.IntegerField()
    records_removed = serializers.IntegerField()
    records_skipped = serializers.IntegerField()
    records_parked = serializers.IntegerField(help_text="Wait for another record or for a decision.")
    records_failed = serializers.IntegerField()
    ledger_balanced = serializers.BooleanField()
    errors = serializers.SerializerMethodField()  # type: ignore[assignment]
    plan_id = serializers.SerializerMethodField()
    records_expected = serializers.IntegerField(
        allow_null=True, help_text="Of one still reading, where the source tells."
    )
    next_attempt_at = serializers.DateTimeField(allow_null=True, help_text="It waits until then.")
    waiting = serializers.SerializerMethodField(help_text="Why it waits; null where it does not.")
    correlation_id = serializers.CharField()

    def get_flow_id(self, run: SyncRun) -> UUID | None:
        return getattr(run, "flow_id", None)

    def get_plan_id(self, run: SyncRun) -> UUID | None:
        return getattr(run, "plan_id", None)

    @extend_schema_field(ConnectionErrorSerializer(allow_null=True))
    def get_waiting(self, run: SyncRun) -> dict[str, Any] | None:
        if not run.waiting_code or run.status not in (RunStatus.QUEUED, RunStatus.RUNNING):
            return None
        entry = CATALOGUE.get(run.waiting_code, CATALOGUE["provider_error"])
        words = {"code": run.waiting_code, "detail": entry.detail, "remediation": entry.remediation}
        return words | {"correlation_id": run.correlation_id}

    @extend_schema_field(ConnectionErrorSerializer(many=True))
    def get_errors(self, run: SyncRun) -> list[dict[str, Any]]:
        return run.errors


class TransactionSerializer(serializers.Serializer):
    """One bank transaction. `amount` is exact and keeps the source's sign: Plaid's positive is money out."""

    id = serializers.UUIDField()
    external_id = serializers.CharField()
    account_id = serializers.UUIDField()
    amount = serializers.DecimalField(max_digits=None, decimal_places=None)
    currency = serializers.CharField(allow_null=True)
    date = serializers.DateField()
    authorized_date = serializers.DateField(allow_null=True)
    name = serializers.CharField()
    merchant_name = serializers.CharField(allow_null=True)
    pending = serializers.BooleanField()
    pending_external_id = serializers.CharField(
        allow_null=True, help_text="The pending transaction that this one settled."
    )
    category = serializers.CharField(allow_null=True)
    archived = serializers.BooleanField(help_text="The source removed it.")
    updated_at = serializers.DateTimeField()


class TransactionFilters(serializers.Serializer):
    archived = StrictChoiceField(choices=["false", "true", "all"], default="false")
    account_id = serializers.UUIDField(required=False)
    date_from = serializers.DateField(required=False)
    date_to = serializers.DateField(required=False, help_text="Inclusive.")
    pending = serializers.BooleanField(required=False, allow_null=True, default=None)
    q = serializers.CharField(
        required=False, allow_blank=True, max_length=200, help_text="Part of the name or of the merchant's name."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("date_from") and attrs.get("date_to") and attrs["date_from"] > attrs["date_to"]:
            raise serializers.ValidationError({"date_to": ["Lies before date_from."]})
        return attrs


class SubscriptionSerializer(serializers.Serializer):
    """What comes or goes regularly. Amounts are exact and keep the source's sign: Plaid's positive is money out."""

    id = serializers.UUIDField()
    external_id = serializers.CharField()
    account_id = serializers.UUIDField()
    status = serializers.ChoiceField(
        choices=Subscription.Status.choices,
        help_text="verified: the bank told it when it was last asked. unverified: it cannot be asked any more. cancelled: it ended.",
    )
    direction = serializers.ChoiceField(choices=Subscription.Direction.choices)
    description = serializers.CharField()
    merchant_name = serializers.CharField(allow_null=True)
    category = serializers.CharField(allow_null=True)
    frequency = serializers.CharField(help_text="WEEKLY, BIWEEKLY, SEMI_MONTHLY, MONTHLY, ANNUALLY, UNKNOWN, …")
    source_status = serializers.CharField(
        help_text="How sure the bank's side is: EARLY_DETECTION, MATURE, TOMBSTONED, UNKNOWN, …"
    )
    is_active = serializers.BooleanField(help_text="It is still expected to come.")
    average_amount = serializers.DecimalField(max_digits=None, decimal_places=None, allow_null=True)
    last_amount = serializers.DecimalField(max_digits=None, decimal_places=None, allow_null=True)
    currency = serializers.CharField(allow_null=True)
    first_date = serializers.DateField(allow_null=True)
    last_date = serializers.DateField(allow_null=True)
    predicted_next_date = serializers.DateField(allow_null=True)
    cancelled_at = serializers.DateTimeField(allow_null=True, help_text="When we learned that it had ended.")
    updated_at = serializers.DateTimeField()


class SubscriptionFilters(serializers.Serializer):
    status = StrictChoiceField(choices=Subscription.Status.choices, required=False)
    direction = StrictChoiceField(choices=Subscription.Direction.choices, required=False)
    account_id = serializers.UUIDField(required=False)


class RunFilters(serializers.Serializer):
    connection_id = serializers.UUIDField(required=False)
    status = StrictChoiceField(choices=RunStatus.choices, required=False)
