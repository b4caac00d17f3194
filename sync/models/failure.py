"""Records that could not be stored: the dead letters."""

from django.db import models
from django.db.models import Q

from connections.models import Connection
from connections.tenancy import TenantModel
from sync.models.run import SyncRun


class SyncFailure(TenantModel):
    """One record that a run had to set aside. Resolved by itself when it arrives whole or is removed at the source, or by a person."""

    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="failures")
    run = models.ForeignKey(SyncRun, on_delete=models.CASCADE, related_name="failures")
    flow = models.ForeignKey("sync.Flow", on_delete=models.PROTECT, null=True, blank=True, related_name="failures")
    entity = models.CharField(max_length=32, default="transactions")
    external_id = models.TextField(help_text="As the source names it, or a digest where it has no usable name.")
    code = models.CharField(max_length=64, default="record_rejected")
    reason = models.TextField()
    payload = models.TextField(help_text="The record as received, with characters that PostgreSQL refuses escaped.")
    attempts = models.PositiveIntegerField(default=1)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    waits_for_entity = models.CharField(
        max_length=32, blank=True, default="", db_default="", help_text="Parked: of the record that has to come first."
    )
    waits_for_id = models.TextField(blank=True, default="", db_default="", help_text="Its id at the source.")
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolution = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["connection", "entity", "external_id"],
                condition=Q(resolved_at=None, flow=None),
                name="one_open_failure_per_bank_record",
            ),
            models.UniqueConstraint(
                fields=["flow", "entity", "external_id"],
                condition=Q(resolved_at=None, flow__isnull=False),
                name="one_open_failure_per_flow_record",
            ),
        ]
        indexes = [
            models.Index(fields=["workspace", "-id"], name="failure_by_workspace"),
            models.Index(fields=["run"], name="failure_by_run"),
            models.Index(
                fields=["next_attempt_at"],
                condition=Q(resolved_at=None, next_attempt_at__isnull=False),
                name="failure_to_try_again",
            ),
            models.Index(
                fields=["flow", "waits_for_entity", "waits_for_id"],
                condition=Q(resolved_at=None) & ~Q(waits_for_entity=""),
                name="failure_parked",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.entity} {self.external_id}: {self.reason}"
