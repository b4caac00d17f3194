"""What moved on a bank account."""

from django.db import models
from django.db.models import Q

from connections.fields import NumericField
from connections.models import Account, Connection
from connections.tenancy import TenantModel


class Transaction(TenantModel):
    """One bank transaction, as its source tells it. A removed one stays as a tombstone (`archived`).

    Written in sets by `sync.merge`; `note` and `user_category` are the user's own and no sync overwrites them.
    """

    # The indexes below begin with these two: every further one costs each row that arrives.
    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="transactions", db_index=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="transactions", db_index=False)
    external_id = models.TextField()
    source_id = models.CharField(max_length=128, blank=True, help_text="Plaid's id of the Item that told it.")
    amount = NumericField(help_text="The source's sign: Plaid's positive is money out.")
    iso_currency = models.TextField(null=True, blank=True)
    unofficial_currency = models.TextField(null=True, blank=True)
    date = models.DateField()
    authorized_date = models.DateField(null=True, blank=True)
    name = models.TextField()
    merchant_name = models.TextField(null=True, blank=True)
    pending = models.BooleanField()
    pending_external_id = models.TextField(null=True, blank=True)
    category = models.TextField(null=True, blank=True)
    archived = models.BooleanField(default=False)
    archived_at = models.DateTimeField(null=True, blank=True)
    note = models.TextField(blank=True, default="", db_default="")
    user_category = models.TextField(blank=True, default="", db_default="")
    raw_json = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            # Wider than "unique in its account": a transaction that the bank moves between accounts stays one row.
            models.UniqueConstraint(fields=["connection", "external_id"], name="one_transaction_per_external_id")
        ]
        indexes = [
            models.Index(fields=["connection", "-date", "-id"], name="transaction_by_connection"),
            models.Index(fields=["account", "-date", "-id"], name="transaction_by_account"),
            models.Index(fields=["connection", "-date", "-id"], condition=Q(archived=False), name="transaction_live"),
            # What users attached to rows that left is looked for at every update that takes some and brings others.
            models.Index(
                fields=["connection"],
                condition=Q(archived=True) & (~Q(note="") | ~Q(user_category="")),
                name="transaction_left_attached",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.date} {self.name}"

    @property
    def currency(self) -> str | None:
        return self.iso_currency or self.unofficial_currency
