"""Bank accounts: ours, and how the bank's Item names them."""

from django.db import models
from django.db.models import Q

from connections.fields import NumericField
from connections.models.connection import Connection
from connections.models.plaid_item import PlaidItem
from connections.tenancy import TenantModel


class Account(TenantModel):
    """A bank account as we know it. It outlives the ids that Plaid gives it (account churn, re-link)."""

    class Status(models.TextChoices):
        ACTIVE = "active", "Active"
        MISSING = "missing", "No longer shared by the bank"
        ARCHIVED = "archived", "Removed by its owner"

    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="accounts")
    name = models.CharField(max_length=300)
    official_name = models.CharField(max_length=300, blank=True)
    mask = models.CharField(max_length=16, blank=True)
    type = models.CharField(max_length=32, blank=True)
    subtype = models.CharField(max_length=64, blank=True)
    iso_currency = models.CharField(max_length=8, null=True, blank=True)
    unofficial_currency = models.CharField(max_length=16, null=True, blank=True)
    balance_current = NumericField(null=True, blank=True)
    balance_available = NumericField(null=True, blank=True)
    balance_limit = NumericField(null=True, blank=True)
    balances_at = models.DateTimeField(null=True, blank=True)
    persistent_id = models.CharField(max_length=128, blank=True)
    status = models.CharField(max_length=16, choices=Status, default=Status.ACTIVE)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        indexes = [models.Index(fields=["connection", "-id"], name="account_by_connection")]

    def __str__(self) -> str:
        return f"{self.name} ••{self.mask}" if self.mask else self.name

    @property
    def currency(self) -> str | None:
        return self.iso_currency or self.unofficial_currency


class PlaidItemAccount(TenantModel):
    """Which of our accounts a Plaid account id means. An id that the bank replaced stays, with the moment it ended."""

    item = models.ForeignKey(PlaidItem, on_delete=models.CASCADE, related_name="item_accounts")
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="item_accounts")
    plaid_account_id = models.CharField(max_length=128)
    replaced_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["item", "plaid_account_id"], name="one_mapping_per_plaid_account"),
            models.UniqueConstraint(
                fields=["item", "account"], condition=Q(replaced_at=None), name="one_current_id_per_account"
            ),
        ]

    def __str__(self) -> str:
        return self.plaid_account_id
