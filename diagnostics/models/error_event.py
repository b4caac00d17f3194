"""What an operator opens when a user tells them a correlation id."""

from django.conf import settings
from django.db import models

from connections.ids import uuid7
from connections.models import Connection, Workspace


class ErrorEvent(models.Model):
    """One error that somebody met: an API answer of 400 or above, or a task that failed. Scrubbed; kept for 30 days."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    # Errors before a workspace is known (sign-in, receivers, tasks) belong to none: only the console sees those.
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    correlation_id = models.CharField(max_length=128, db_index=True)
    code = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(help_text="The HTTP status; 500 for a task.")
    method = models.CharField(max_length=16, help_text="The HTTP method, or TASK.")
    path = models.CharField(max_length=500, help_text="The path without its query, or the task's name.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    connection = models.ForeignKey(Connection, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    operator_detail = models.TextField(blank=True, help_text="What happened, for operators.")
    provider = models.CharField(max_length=20, blank=True)
    provider_code = models.CharField(max_length=100, blank=True)
    provider_request_id = models.CharField(max_length=100, blank=True)
    stack = models.TextField(blank=True, help_text="Only where the fault may be ours (5xx).")
    unrecorded_before = models.PositiveIntegerField(
        default=0, help_text="Errors like this one that the limit kept out since the last one recorded."
    )
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        ordering = ("-id",)
        indexes = [models.Index(fields=["workspace", "-id"], name="error_by_workspace")]

    def __str__(self) -> str:
        return f"{self.code} {self.method} {self.path}"
