"""What comes and goes regularly on a bank account, and when its bank is asked for it."""

from django.db import models

from connections.fields import NumericField
from connections.models import Account, Connection, PlaidItem
from connections.tenancy import TenantModel


class Subscription(TenantModel):
    """One recurring stream, as its source told it last. Nothing is deleted: one that ended stays as `cancelled`.

    Written in sets by `sync.subscriptions`.
    """

    class Status(models.TextChoices):
        VERIFIED = "verified", "Verified"
        UNVERIFIED = "unverified", "Unverified"
        CANCELLED = "cancelled", "Ended"

    class Direction(models.TextChoices):
        INFLOW = "inflow", "Money in"
        OUTFLOW = "outflow", "Money out"

    # The indexes below begin with these two.
    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="subscriptions", db_index=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="subscriptions", db_index=False)
    external_id = models.TextField(help_text="The source's id of the stream.")
    source_id = models.CharField(max_length=128, blank=True, help_text="Plaid's id of the Item that told it.")
    status = models.CharField(
        max_length=16,
        choices=Status,
        help_text="Verified: the source told it when it was last asked. Unverified: it cannot be asked any more.",
    )
    direction = models.CharField(max_length=16, choices=Direction)
    description = models.TextField()
    merchant_name = models.TextField(null=True, blank=True)
    category = models.TextField(null=True, blank=True)
    frequency = models.CharField(max_length=32)
    source_status = models.CharField(max_length=32, help_text="How sure the source is: EARLY_DETECTION, MATURE, …")
    is_active = models.BooleanField(help_text="The source still expects it to come.")
    average_amount = NumericField(null=True, blank=True, help_text="The source's sign: Plaid's positive is money out.")
    last_amount = NumericField(null=True, blank=True)
    iso_currency = models.TextField(null=True, blank=True)
    unofficial_currency = models.TextField(null=True, blank=True)
    first_date = models.DateField(null=True, blank=True)
    last_date = models.DateField(null=True, blank=True)
    predicted_next_date = models.DateField(null=True, blank=True)
    raw_json = models.JSONField()
    cancelled_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["connection", "external_id"], name="one_subscription_per_external_id")
        ]
        indexes = [
            models.Index(fields=["connection", "-id"], name="subscription_by_connection"),
            models.Index(fields=["account", "-id"], name="subscription_by_account"),
        ]

    def __str__(self) -> str:
        return self.merchant_name or self.description

    @property
    def currency(self) -> str | None:
        return self.iso_currency or self.unofficial_currency


class SubscriptionFeed(TenantModel):
    """When an Item's recurring streams are read: apart from its transactions, which never wait for them.

    `lease_token` is the claim of the worker that reads them now; the last statement of that work is conditional on it.
    """

    item = models.OneToOneField(PlaidItem, on_delete=models.CASCADE, related_name="subscription_feed")
    due_at = models.DateTimeField(null=True, blank=True, help_text="Read then without any news; null: never again.")
    not_before = models.DateTimeField(null=True, blank=True, help_text="News wait until then: the last read failed.")
    unavailable_code = models.CharField(
        max_length=64, blank=True, help_text="Why the bank's streams cannot be had, though nothing is wrong."
    )
    lease_token = models.UUIDField(null=True, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    read_at = models.DateTimeField(null=True, blank=True, help_text="The last read that went through.")
    failure_count = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True, help_text="For operators; scrubbed.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [models.Index(fields=["due_at"], name="subscription_feed_due")]

    def __str__(self) -> str:
        return str(self.item)
