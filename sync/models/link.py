"""Which record of a source is which record of a target, and what is on its way between them."""

from django.db import models
from django.db.models import Q

from connections.models import Connection
from connections.tenancy import TenantModel
from sync.models.flow import Flow
from sync.models.run import SyncRun


class LinkState(models.TextChoices):
    LINKED = "linked", "Linked"
    SKIPPED = "skipped", "Not taken"
    REMOVED = "removed", "Removed"


class RecordLink(TenantModel):
    """One record of the source and what it is at the target: at most one. It outlives its flow, so that none is doubled.

    skipped: the flow does not take it as it is now; there is nothing of it at the target. removed: it is gone at the
    source; its row at the target, where there was one, says so.
    """

    source = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="links_from")
    target = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="links_to")
    entity = models.CharField(max_length=32)
    external_id = models.TextField(help_text="As the source names it.")
    state = models.CharField(max_length=16, choices=LinkState, default=LinkState.LINKED)
    target_external_id = models.TextField(blank=True, help_text="As the target names it.")
    target_version = models.TextField(blank=True, help_text="What the target had when it was last written.")
    content_hash = models.CharField(max_length=64, blank=True, help_text="Of what was last written.")
    source_modified_at = models.DateTimeField(null=True, blank=True, help_text="By the source's clock.")
    currency = models.CharField(max_length=8, blank=True, help_text="Of an order: what its refunds are in.")
    seen_run = models.UUIDField(null=True, blank=True, help_text="The comparison of all ids that saw it last.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["source", "target", "entity", "external_id"], name="one_target_record_per_source_record"
            )
        ]
        indexes = [
            models.Index(fields=["workspace", "-id"], name="link_by_workspace"),
            models.Index(fields=["target", "entity", "target_external_id"], name="link_by_target"),
            models.Index(fields=["source", "target", "entity", "id"], name="link_by_pair"),
        ]

    def __str__(self) -> str:
        return f"{self.entity} {self.external_id}"


class WriteIntent(TenantModel):
    """Records that are to be written together, frozen before they are sent: whoever repeats it sends the same bytes.

    It is made in the transaction that moves its run's position, and confirmed in the one that links its records.
    """

    run = models.ForeignKey(SyncRun, on_delete=models.CASCADE, related_name="intents")
    flow = models.ForeignKey(Flow, on_delete=models.PROTECT, related_name="intents")
    entity = models.CharField(max_length=32)
    number = models.PositiveIntegerField(help_text="In its run: they are sent in this order.")
    member_count = models.PositiveIntegerField()
    members = models.TextField(blank=True, help_text="The records, frozen; empty once they are confirmed.")
    body_hash = models.CharField(max_length=64, help_text="SHA-256 of the members.")
    idempotency_key = models.CharField(max_length=50, unique=True)
    attempts = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(
        null=True, blank=True, help_text="First sent then; what became of it may be unknown."
    )
    confirmed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="one_intent_per_place")]
        indexes = [
            models.Index(fields=["run", "number"], condition=Q(confirmed_at=None), name="intent_open"),
            models.Index(fields=["workspace", "-id"], name="intent_by_workspace"),
            models.Index(fields=["confirmed_at"], condition=Q(confirmed_at__isnull=False), name="intent_to_purge"),
        ]

    def __str__(self) -> str:
        return f"{self.member_count} {self.entity}, #{self.number}"
