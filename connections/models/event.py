"""The outbox: what happened, written in the transaction in which it happened, and whom it was told to."""

from django.db import models
from django.db.models import Q
from django.utils import timezone

from connections.ids import uuid7


class DomainEvent(models.Model):
    """One fact of the past, never edited. The events of a `line` are delivered in the order of their `sequence`.

    line: the connection's id; without one the workspace's; for the installation the nil UUID.
    dispatched_at: every handler has it, or gave up on it; then the next one of the line has its turn.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    workspace = models.ForeignKey(
        "connections.Workspace", on_delete=models.PROTECT, related_name="+", null=True, blank=True, db_index=False
    )
    connection = models.ForeignKey(
        "connections.Connection", on_delete=models.PROTECT, related_name="events", null=True, blank=True
    )
    line = models.UUIDField(editable=False)
    sequence = models.BigIntegerField(editable=False)
    type = models.CharField(max_length=40)
    version = models.PositiveSmallIntegerField(default=1)
    payload = models.JSONField(default=dict)
    correlation_id = models.CharField(max_length=128, blank=True)
    occurred_at = models.DateTimeField(default=timezone.now)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, blank=True, help_text="Not tried before this.")
    lease_token = models.UUIDField(null=True, blank=True, editable=False)
    lease_expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    dispatched_at = models.DateTimeField(null=True, blank=True)
    parked_at = models.DateTimeField(null=True, blank=True, help_text="Given up: at least one handler never took it.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["line", "sequence"], name="one_event_per_place")]
        indexes = [
            # The heads of all lines are read from this one, a probe a line, however long the lines are.
            models.Index(fields=["line", "sequence"], condition=Q(dispatched_at=None), name="event_to_dispatch"),
            models.Index(fields=["parked_at"], condition=Q(parked_at__isnull=False), name="event_parked"),
            models.Index(
                fields=["dispatched_at"],
                condition=Q(dispatched_at__isnull=False, parked_at=None),
                name="event_to_purge",
            ),
        ]

    def __str__(self) -> str:
        return self.type


class EventDelivery(models.Model):
    """One handler's share of an event: delivered once its transaction committed."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    workspace = models.ForeignKey(
        "connections.Workspace", on_delete=models.PROTECT, related_name="+", null=True, blank=True, db_index=False
    )
    event = models.ForeignKey(DomainEvent, on_delete=models.CASCADE, related_name="deliveries", db_index=False)
    handler = models.CharField(max_length=60)
    attempts = models.PositiveIntegerField(default=0)
    last_error = models.TextField(blank=True, help_text="Scrubbed.")
    delivered_at = models.DateTimeField(null=True, blank=True)
    parked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["event", "handler"], name="one_delivery_per_handler")]

    def __str__(self) -> str:
        return self.handler
