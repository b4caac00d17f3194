"""The durable inbox: what providers told us, kept before they get their answer."""

from datetime import timedelta

from django.db import models
from django.db.models import Q
from django.utils import timezone

from connections.ids import uuid7
from connections.models import Connection, Workspace
from connections.models.connection import Environment, Provider

REMATCH_FOR = timedelta(minutes=15)  # news of an Item may overtake the exchange that makes it ours


class WebhookEvent(models.Model):
    """One distinct message of a provider, verified, and what became of it.

    Providers repeat themselves, and identical bytes can be true news. So a message has one row (`dedupe_key`): while
    that is unprocessed a repetition only counts, afterwards it opens the row again (`webhooks.inbox`).
    """

    class Status(models.TextChoices):
        RECEIVED = "received", "Waiting"
        PROCESSED = "processed", "Processed"
        IGNORED = "ignored", "Ignored"
        FAILED = "failed", "Failed"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    workspace = models.ForeignKey(
        Workspace,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="Unknown until the Item is.",
    )
    connection = models.ForeignKey(
        Connection, on_delete=models.CASCADE, null=True, blank=True, related_name="webhook_events"
    )
    provider = models.CharField(max_length=20, choices=Provider)
    environment = models.CharField(max_length=20, choices=Environment, blank=True)
    dedupe_key = models.CharField(max_length=100, unique=True, editable=False)
    event_type = models.CharField(max_length=100, blank=True)
    code = models.CharField(max_length=100, blank=True)
    item_id = models.CharField(
        max_length=128, blank=True, db_index=True, help_text="Whatever the provider calls the connection."
    )
    headers = models.JSONField(default=dict, help_text="How it came and how it was verified.")
    payload = models.JSONField(
        null=True, blank=True, help_text="The message without its secrets; null where it is not a JSON object."
    )
    body = models.BinaryField(
        editable=False, help_text="The bytes as they came. Tokens may be among them: never shown."
    )
    status = models.CharField(max_length=16, choices=Status, default=Status.RECEIVED)
    deliveries = models.PositiveIntegerField(default=1)
    is_marked = models.BooleanField(
        default=False, help_text="The Item was marked dirty, where that was due, as the message came in."
    )
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(
        help_text="Not processed before this; while somebody processes it, the end of their lease."
    )
    lease_token = models.UUIDField(null=True, blank=True, editable=False)
    error = models.TextField(blank=True, help_text="Why it was ignored or failed; scrubbed.")
    first_received_at = models.DateTimeField()
    received_at = models.DateTimeField(help_text="The delivery that is being, or was last, processed.")
    processed_at = models.DateTimeField(null=True, blank=True)
    correlation_id = models.CharField(max_length=128, blank=True)

    class Meta:
        indexes = [
            # The sweep's question touches only the rows that wait.
            models.Index(fields=["next_attempt_at"], condition=Q(status="received"), name="webhook_unprocessed"),
            models.Index(fields=["workspace", "-id"], name="webhook_by_workspace"),
            models.Index(fields=["connection", "-received_at"], name="webhook_by_connection"),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.event_type}.{self.code}"

    @property
    def may_still_match(self) -> bool:
        """Whether the Item that it speaks of may yet turn up."""
        return timezone.now() - self.received_at < REMATCH_FOR
