"""Items that a re-link left behind: billed until Plaid has removed them."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from connections import vault
from connections.models.connection import Connection, Environment
from connections.tenancy import TenantModel


class RetiredPlaidItem(TenantModel):
    """An Item that no connection reads any more. Its access token is kept, sealed, until `/item/remove` went through."""

    class Status(models.TextChoices):
        PENDING = "pending", "To be removed"
        REMOVED = "removed", "Removed"

    connection = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="retired_items")
    item_id = models.CharField(max_length=128)
    environment = models.CharField(max_length=20, choices=Environment)
    key_id = models.CharField(max_length=32, blank=True, editable=False, db_index=True)
    ciphertext = models.BinaryField(null=True, editable=False)
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(
        default=timezone.now, help_text="Not tried before this; while somebody tries, the end of their lease."
    )
    last_error = models.TextField(blank=True, help_text="Scrubbed.")
    correlation_id = models.CharField(max_length=128, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    removed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["next_attempt_at"], condition=Q(status="pending"), name="retired_item_pending"),
            models.Index(fields=["item_id"], name="retired_item_by_item"),
        ]

    def __str__(self) -> str:
        return self.item_id

    @property
    def place(self) -> str:
        return f"{self._meta.db_table}:{self.pk}:access_token"

    def seal(self, access_token: str) -> None:
        """Encrypt the access token into this row (not saved yet)."""
        self.key_id, self.ciphertext = vault.encrypt(access_token.encode(), place=self.place)

    def reveal(self) -> str:
        """The plaintext. Raises vault.CredentialUnreadable."""
        return vault.decrypt(bytes(self.ciphertext or b""), key_id=self.key_id, place=self.place).decode()
