"""What operators are told of: one alert a subject and cause until it recovers, and what became of telling them."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from connections.ids import uuid7
from connections.models import Connection, Workspace


class Alert(models.Model):
    """Something that a person has to look at. The same trouble, told again, is counted here and not opened twice.

    subject: "connection:<id>", or what of the installation it is about. cause: a code of the errors' catalogue, or what is
    to come.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    workspace = models.ForeignKey(
        Workspace, on_delete=models.CASCADE, null=True, blank=True, related_name="+", db_index=False
    )
    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, null=True, blank=True, related_name="alerts")
    subject = models.CharField(max_length=100)
    cause = models.CharField(max_length=64)
    title = models.CharField(max_length=300)
    text = models.TextField()
    correlation_id = models.CharField(max_length=128, blank=True)
    occurrences = models.PositiveIntegerField(default=1)
    opened_at = models.DateTimeField(default=timezone.now)
    last_seen_at = models.DateTimeField(default=timezone.now)
    recovered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(
                fields=["subject", "cause"], condition=Q(recovered_at=None), name="one_open_alert_per_cause"
            )
        ]
        indexes = [
            models.Index(fields=["recovered_at"], condition=Q(recovered_at__isnull=False), name="alert_by_recovery")
        ]

    def __str__(self) -> str:
        return self.title


class AlertDelivery(models.Model):
    """One message to one channel: that an alert was opened, or that it is over. A row before it is sent."""

    class Kind(models.TextChoices):
        OPENED = "opened", "Opened"
        RECOVERED = "recovered", "Recovered"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    kind = models.CharField(max_length=10, choices=Kind)
    channel = models.CharField(max_length=64, help_text="A fingerprint of its URL, which holds secrets.")
    channel_name = models.CharField(max_length=200, help_text="Its URL with the secrets hidden.")
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=timezone.now)
    last_error = models.TextField(blank=True, help_text="Scrubbed.")
    sent_at = models.DateTimeField(null=True, blank=True)
    given_up_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        verbose_name_plural = "alert deliveries"
        constraints = [models.UniqueConstraint(fields=["alert", "kind", "channel"], name="one_message_per_channel")]
        indexes = [
            models.Index(
                fields=["next_attempt_at"], condition=Q(sent_at=None, given_up_at=None), name="alert_delivery_due"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} to {self.channel_name}"
