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
    """One delivery of a provider's, verified, and what became of it.

    Providers give webhooks no id, and identical bytes can be true news. So a row is the digest of the body together
    with the moment at which it was signed (`dedupe_key`); the same once more only counts (`webhooks.inbox`).
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
        db_index=False,  # `webhook_by_workspace` begins with it
        related_name="+",
        help_text="Unknown until the Item is.",
    )
    connection = models.ForeignKey(
        Connection, on_delete=models.CASCADE, null=True, blank=True, db_index=False, related_name="webhook_events"
    )
    provider = models.CharField(max_length=20, choices=Provider)
    environment = models.CharField(max_length=20, choices=Environment, blank=True)
    dedupe_key = models.CharField(max_length=100, unique=True, editable=False)
    event_type = models.CharField(max_length=100, blank=True)
    code = models.CharField(max_length=100, blank=True)
    item_id = models.CharField(
        max_length=128, blank=True, db_index=True, help_text="Whatever the provider calls the connection."
    )
    link_digest = models.CharField(
        max_length=64, blank=True, editable=False, help_text="SHA-256 of the link token that it names."
    )
    headers = models.JSONField(default=dict, help_text="How it came and how it was verified.")
    payload = models.JSONField(
        null=True, blank=True, help_text="The message without its secrets; null where it is not a JSON object."
    )
    body = models.BinaryField(
        editable=False, help_text="The bytes as they came; without its tokens, where there were any."
    )
    status = models.CharField(max_length=16, choices=Status, default=Status.RECEIVED)
    deliveries = models.PositiveIntegerField(default=1)
    is_marked = models.BooleanField(
        default=False, help_text="The Item was marked dirty, where that was due, as the message came in."
    )
    attempts = models.PositiveIntegerField(default=0)
    replays = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(
        help_text="Not processed before this; while somebody processes it, the end of their lease."
    )
    lease_token = models.UUIDField(null=True, blank=True, editable=False)
    note = models.TextField(blank=True, help_text="What was done, or why nothing was; scrubbed.")
    received_at = models.DateTimeField()
    last_received_at = models.DateTimeField(help_text="When it last came again.")
    processed_at = models.DateTimeField(null=True, blank=True)
    correlation_id = models.CharField(max_length=128, blank=True)

    class Meta:
        indexes = [
            # The sweep's question touches only the rows that wait.
            models.Index(fields=["next_attempt_at"], condition=Q(status="received"), name="webhook_unprocessed"),
            models.Index(fields=["workspace", "-id"], name="webhook_by_workspace"),
            models.Index(fields=["connection", "-id"], name="webhook_by_connection"),
            # Those of a span, for replays and the retention.
            models.Index(fields=["received_at"], name="webhook_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.event_type}.{self.code}"

    @property
    def may_still_match(self) -> bool:
        """Whether the Item that it speaks of may yet turn up."""
        return timezone.now() - self.received_at < REMATCH_FOR


class WebhookRefusal(models.Model):
    """How many webhooks were refused in an hour: counted, not kept. A provider that is refused too often stops sending."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    provider = models.CharField(max_length=20, choices=Provider)
    hour = models.DateTimeField(help_text="Its beginning.")
    count = models.PositiveIntegerField(default=1)
    last_reason = models.CharField(max_length=200, help_text="Which check refused the last of them.")
    last_at = models.DateTimeField()
    told_at = models.DateTimeField(null=True, blank=True, help_text="They became many: operators were alerted.")
    over_at = models.DateTimeField(null=True, blank=True, help_text="That it is over was told.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["provider", "hour"], name="refusals_of_an_hour")]

    def __str__(self) -> str:
        return f"{self.count} of {self.provider}"
