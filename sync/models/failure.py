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
    entity = models.CharField(max_length=32, default="transactions")
    external_id = models.TextField(help_text="As the source names it, or a digest where it has no usable name.")
    code = models.CharField(max_length=64, default="record_rejected")
    reason = models.TextField()
    payload = models.TextField(help_text="The record as received, with characters that PostgreSQL refuses escaped.")
    attempts = models.PositiveIntegerField(default=1)
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolution = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["connection", "entity", "external_id"],
                condition=Q(resolved_at=None),
                name="one_open_failure_per_record",
            )
        ]
        indexes = [
            models.Index(fields=["workspace", "-id"], name="failure_by_workspace"),
            models.Index(fields=["run"], name="failure_by_run"),
        ]

    def __str__(self) -> str:
        return f"{self.entity} {self.external_id}: {self.reason}"
