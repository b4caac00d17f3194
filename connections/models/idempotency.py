"""What was asked for under an `Idempotency-Key`, and what was answered."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from connections import vault
from connections.tenancy import TenantModel


class IdempotencyKey(TenantModel):
    """One key of one person for one route. The row is there before the work is begun; docs/explanation/idempotency.md."""

    class Status(models.TextChoices):
        IN_PROGRESS = "in_progress", "In progress"
        DONE = "done", "Answered"
        FREE = "free", "Nothing was done"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    method = models.CharField(max_length=8)
    route = models.CharField(max_length=200, help_text="As in the URL table: ids and tokens are in the body's hash.")
    # Both keyed, so that they cannot be guessed at: what came from outside may hold a secret, and so may what came as a key.
    key_hash = models.CharField(max_length=64, editable=False)
    body_hash = models.CharField(max_length=64, editable=False)
    status = models.CharField(max_length=16, choices=Status, default=Status.IN_PROGRESS)
    lease_token = models.UUIDField()
    lease_expires_at = models.DateTimeField(help_text="After this nobody is at it any more.")
    key_id = models.CharField(max_length=32, blank=True, editable=False, db_index=True)
    ciphertext = models.BinaryField(null=True, editable=False, help_text="The answer.")
    correlation_id = models.CharField(max_length=128, blank=True, help_text="Of the request that did the work.")
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "user", "method", "route", "key_hash"], name="one_request_per_idempotency_key"
            ),
            models.CheckConstraint(
                condition=Q(status="done", ciphertext__isnull=False) | ~Q(status="done"), name="done_has_an_answer"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.method} {self.route} {self.status}"

    @property
    def place(self) -> str:
        return f"{self._meta.db_table}:{self.pk}:answer"

    def seal(self, answer: str) -> None:
        """Encrypt the answer into this row (not saved yet)."""
        self.key_id, self.ciphertext = vault.encrypt(answer.encode(), place=self.place)

    def reveal(self) -> str:
        """The answer as it was sealed. Raises vault.CredentialUnreadable."""
        return vault.decrypt(bytes(self.ciphertext or b""), key_id=self.key_id, place=self.place).decode()
