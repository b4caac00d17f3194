"""One login at one bank, and how far we have read it."""

from django.db import models
from django.db.models import F, Func, Q

from connections.models.connection import Connection
from connections.tenancy import TenantModel


class PlaidItem(TenantModel):
    """Plaid's Item behind a connection.

    The Item needs a sync while `dirty_seq > synced_seq`: both only count up, so that news that arrives during a run is
    never lost and ten pieces of it cost one run. `lease_token` is the claim of the worker that reads it now; the last
    statement of that work is conditional on it.
    """

    connection = models.OneToOneField(Connection, on_delete=models.CASCADE, related_name="plaid_item")
    item_id = models.CharField(max_length=128, unique=True)
    institution_id = models.CharField(max_length=64, blank=True)
    institution_name = models.CharField(max_length=200, blank=True)
    institution_logo = models.TextField(blank=True, help_text="PNG in base64, as Plaid gives it.")
    institution_color = models.CharField(max_length=16, blank=True)
    cursor = models.TextField(blank=True, help_text='Position in the Item\'s history; "" is its beginning.')
    history_complete = models.BooleanField(
        default=False, help_text="Plaid has delivered the whole history at least once."
    )
    is_new_history = models.BooleanField(
        default=False, help_text="Re-linked as a new Item: rows older than its history belong to the one before."
    )
    is_history_partial = models.BooleanField(
        default=False,
        help_text="Imported with another system's cursor: what the bank told before it is not here.",
    )
    dirty_seq = models.BigIntegerField(default=1)
    synced_seq = models.BigIntegerField(default=0)
    dirty_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="Its oldest news came then; null: there are none. Kept by the database.",
    )
    lease_token = models.UUIDField(null=True, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    offered_until = models.DateTimeField(
        null=True, blank=True, help_text="Handed to the broker; not offered again before this."
    )
    is_large = models.BooleanField(default=False, help_text="Its update is long: it goes to the queue for large work.")
    details_at = models.DateTimeField(
        null=True, blank=True, help_text="Accounts and consent were read then; null: read them with the next sync."
    )
    last_synced_at = models.DateTimeField(null=True, blank=True)
    reauth_needed_at = models.DateTimeField(null=True, blank=True)
    probed_at = models.DateTimeField(
        null=True, blank=True, help_text="While it needs its owner: when Plaid was last asked whether it still does."
    )
    repaired_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Its login was last repaired then: what was told before does not count any more.",
    )
    username_refused_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="The bank first refused the changed user name then; refused once more after a repair, it is linked anew.",
    )
    last_sync_error = models.TextField(blank=True)
    last_webhook_at = models.DateTimeField(null=True, blank=True)
    webhook_url = models.CharField(max_length=500, blank=True, help_text="Where Plaid says that it sends webhooks.")
    webhook_asked_at = models.DateTimeField(
        null=True, blank=True, help_text="When Plaid was last asked to send them to us instead."
    )
    webhook_confirmed_at = models.DateTimeField(
        null=True, blank=True, help_text="Plaid acknowledged that address by a webhook that arrived."
    )
    account_selection_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Since then the bank has other accounts to choose from; repairing the login through Link shows them.",
    )
    recurring_changed_at = models.DateTimeField(
        null=True, blank=True, help_text="Plaid's recurring streams changed then; null: what was read is current."
    )
    auto_sync_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Its next sync by the clock, at a time of day of its own; null: not planned yet.",
    )
    consent_expires_at = models.DateTimeField(null=True, blank=True)
    cleanup_notified_at = models.DateTimeField(null=True, blank=True)
    removed_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [
            # The dispatcher's question, "who is dirty and free to be offered?", touches only the rows that are.
            models.Index(
                Func(F("offered_until"), template="coalesce(%(expressions)s, '-infinity'::timestamptz)"),
                condition=Q(dirty_seq__gt=F("synced_seq"), removed_at=None),
                name="item_to_offer",
            ),
            models.Index(fields=["last_synced_at"], condition=Q(removed_at=None), name="item_last_synced"),
            models.Index(fields=["auto_sync_at"], condition=Q(removed_at=None), name="item_auto_sync"),
            models.Index(fields=["institution_id"], name="item_institution"),
            models.Index(
                fields=["recurring_changed_at"],
                condition=Q(recurring_changed_at__isnull=False),
                name="item_recurring_changed",
            ),
        ]

    def __str__(self) -> str:
        return self.institution_name or self.item_id

    @property
    def is_dirty(self) -> bool:
        return self.dirty_seq > self.synced_seq
