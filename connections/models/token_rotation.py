"""Replacing an Item's access token: one attempt, kept because Plaid's answer holds the only copy of the new one."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from connections import vault
from connections.models.connection import Connection
from connections.tenancy import TenantModel


class PlaidTokenRotation(TenantModel):
    """One call of `/item/access_token/invalidate`, written before it is made.

    The old token dies with the call, which must not be repeated. `unknown` means that nobody here may hold a token
    that works: a sync that goes through proves that the old one does, otherwise the bank has to be linked again.
    """

    class Status(models.TextChoices):
        STARTED = "started", "Started"
        COMPLETED = "completed", "Rotated"
        REFUSED = "refused", "Not rotated"
        UNKNOWN = "unknown", "Outcome unknown"

    connection = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="token_rotations")
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    item_id = models.CharField(max_length=128, help_text="Plaid's id of the Item.")
    lease_token = models.UUIDField(editable=False, help_text="The claim on the Item: no sync reads it meanwhile.")
    key_id = models.CharField(max_length=32, blank=True, editable=False, db_index=True)
    ciphertext = models.BinaryField(
        null=True, editable=False, help_text="The new access token from Plaid's answer until the connection has it."
    )
    status = models.CharField(max_length=16, choices=Status, default=Status.STARTED)
    error_code = models.CharField(max_length=64, blank=True)
    request_id = models.CharField(max_length=64, blank=True, help_text="Plaid's id of the call.")
    correlation_id = models.CharField(max_length=128, blank=True)
    started_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["item_id"], condition=Q(status__in=["started", "unknown"]), name="one_open_rotation"
            )
        ]
        indexes = [
            models.Index(fields=["started_at"], condition=Q(status__in=["started", "unknown"]), name="rotation_open")
        ]

    def __str__(self) -> str:
        return f"{self.item_id} {self.status}"

    @property
    def place(self) -> str:
        return f"{self._meta.db_table}:{self.pk}:access_token"

    def seal(self, access_token: str) -> None:
        """Encrypt the new access token into this row (not saved yet)."""
        self.key_id, self.ciphertext = vault.encrypt(access_token.encode(), place=self.place)

    def reveal(self) -> str:
        """The plaintext. Raises vault.CredentialUnreadable."""
        return vault.decrypt(bytes(self.ciphertext or b""), key_id=self.key_id, place=self.place).decode()

    def forget(self) -> None:
        """Destroy the new access token (not saved yet)."""
        self.key_id, self.ciphertext = "", None
