"""What opens a connection's door at its provider, encrypted."""

import hashlib
import hmac

from django.conf import settings
from django.db import models
from django.db.models import Q

from connections import vault
from connections.models.connection import Connection
from connections.tenancy import TenantModel


def fingerprint(secret: str) -> str:
    """Twelve hex digits that tell two secrets apart and give neither away (keyed, so that it cannot be guessed at)."""
    return hmac.new(settings.SECRET_KEY.encode(), secret.encode(), hashlib.sha256).hexdigest()[:12]


class Credential(TenantModel):
    """One named secret of a connection. The plaintext exists in memory only, between `reveal` and the provider call."""

    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="credentials")
    name = models.CharField(max_length=64, help_text="access_token, consumer_secret, …")
    key_id = models.CharField(max_length=32, editable=False, db_index=True)
    ciphertext = models.BinaryField(editable=False)
    fingerprint = models.CharField(max_length=12, editable=False)
    last_four = models.CharField(max_length=4, editable=False, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    is_superseded = models.BooleanField(
        default=False, help_text="Of the configuration that was last active, until the newer one is activated."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["connection", "name", "is_superseded"], name="one_credential_per_name")
        ]
        indexes = [
            models.Index(fields=["name", "expires_at"], condition=Q(expires_at__isnull=False), name="credential_ending")
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.fingerprint}"

    @property
    def place(self) -> str:
        """Where this ciphertext belongs; it decrypts nowhere else."""
        return f"{self._meta.db_table}:{self.pk}:{self.name}"

    def seal(self, secret: str) -> None:
        """Encrypt `secret` into this row (not saved yet)."""
        self.key_id, self.ciphertext = vault.encrypt(secret.encode(), place=self.place)
        self.fingerprint = fingerprint(secret)
        self.last_four = secret[-4:] if len(secret) >= 16 else ""

    def reveal(self) -> str:
        """The plaintext. Raises vault.CredentialUnreadable."""
        return vault.decrypt(bytes(self.ciphertext), key_id=self.key_id, place=self.place).decode()
