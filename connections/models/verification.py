"""Whether a connection's settings work, asked of its provider check by check."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from connections.models.connection import Connection
from connections.tenancy import TenantModel


class Verification(TenantModel):
    """One round of questions about one version of a connection's settings: made before the first, always ended.

    checks: {name, status, duration_ms, cause, remediation} each, stored as it is answered. What an older version of the
    settings is worth counts for nothing.
    """

    class Status(models.TextChoices):
        RUNNING = "running", "Running"
        PASSED = "passed", "Passed"
        FAILED = "failed", "Failed"

    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="verifications")
    config_version = models.PositiveIntegerField()
    status = models.CharField(max_length=16, choices=Status, default=Status.RUNNING)
    checks = models.JSONField(default=list)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    lease_token = models.UUIDField(null=True, blank=True, editable=False)
    lease_expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    attempts = models.PositiveSmallIntegerField(default=0, help_text="How many workers began it.")
    correlation_id = models.CharField(max_length=128, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            # Who asks while one is under way joins it.
            models.UniqueConstraint(
                fields=["connection", "config_version"], condition=Q(status="running"), name="one_running_verification"
            )
        ]
        indexes = [
            models.Index(fields=["connection", "-id"], name="verification_by_connection"),
            models.Index(fields=["finished_at"], condition=Q(finished_at__isnull=False), name="verification_by_end"),
            models.Index(fields=["lease_expires_at"], condition=Q(status="running"), name="verification_running"),
        ]

    def __str__(self) -> str:
        return f"{self.connection} version {self.config_version}: {self.status}"

    @property
    def failing(self) -> list[dict]:
        """The checks that keep the connection from its activation."""
        return [check for check in self.checks if check["status"] == "failed"]
