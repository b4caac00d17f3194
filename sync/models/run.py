"""One attempt to move records, and its report."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from connections.models import Connection
from connections.tenancy import TenantModel


class RunStatus(models.TextChoices):
    QUEUED = "queued", "Waiting"
    RUNNING = "running", "Syncing"
    AWAITING_APPROVAL = "awaiting_approval", "Needs approval"
    SUCCEEDED = "succeeded", "Succeeded"
    PARTIAL = "partial", "Succeeded in part"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


class Trigger(models.TextChoices):
    LINK = "link", "First sync after linking"
    WEBHOOK = "webhook", "Webhook"
    USER = "user", "A person"
    SCHEDULE = "schedule", "Schedule"
    RETRY = "retry", "Automatic retry"


class SyncRun(TenantModel):
    """Made before the first call and always ended. The ledger: every record fetched has exactly one outcome."""

    connection = models.ForeignKey(
        Connection,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="runs",
        help_text="Whose records are read. A run over several flows has none, but children.",
    )
    flow = models.ForeignKey("sync.Flow", on_delete=models.PROTECT, null=True, blank=True, related_name="runs")
    parent = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True, related_name="children")
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    entity = models.CharField(max_length=32, default="transactions")
    mode = models.CharField(
        max_length=16,
        default="incremental",
        choices=[("incremental", "Incremental"), ("full", "Full replay"), ("reconcile", "Comparison of all ids")],
    )
    trigger = models.CharField(max_length=16, choices=Trigger)
    parameters_hash = models.CharField(
        max_length=64, help_text="Mode, filters and ids: only equal requests share a run."
    )
    parameters = models.JSONField(
        default=dict, blank=True, db_default={}, help_text="Filters and ids, where there are any."
    )
    status = models.CharField(max_length=20, choices=RunStatus, default=RunStatus.QUEUED)
    correlation_id = models.CharField(max_length=128, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    # Where the loop stands, so that a later task goes on after the last whole page.
    lease_token = models.UUIDField(null=True, blank=True)
    lease_expires_at = models.DateTimeField(
        null=True, blank=True, help_text="Of a flow's run: until then somebody is at it."
    )
    offered_until = models.DateTimeField(null=True, blank=True, help_text="Handed out to the workers until then.")
    next_attempt_at = models.DateTimeField(null=True, blank=True, help_text="Not gone on with before this.")
    waiting_code = models.CharField(max_length=64, blank=True, default="", db_default="", help_text="Why it waits.")
    attempts = models.PositiveIntegerField(default=0, db_default=0, help_text="That failed since it last came further.")
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    dirty_seq = models.BigIntegerField(null=True, blank=True, help_text="Of the news, before the first call.")
    source_id = models.CharField(
        max_length=128, blank=True, help_text="Plaid's id of the Item that the pages come from."
    )
    first_cursor = models.TextField(blank=True)
    next_cursor = models.TextField(blank=True)
    page_count = models.PositiveIntegerField(default=0)
    restarts = models.PositiveIntegerField(default=0)

    records_expected = models.PositiveBigIntegerField(null=True, blank=True, help_text="Where the source tells.")
    records_fetched = models.PositiveBigIntegerField(default=0)
    records_created = models.PositiveBigIntegerField(default=0)
    records_updated = models.PositiveBigIntegerField(default=0)
    records_unchanged = models.PositiveBigIntegerField(default=0)
    records_removed = models.PositiveBigIntegerField(default=0)
    records_skipped = models.PositiveBigIntegerField(default=0)
    records_parked = models.PositiveBigIntegerField(default=0)
    records_failed = models.PositiveBigIntegerField(default=0)
    errors = models.JSONField(default=list, blank=True, help_text="[{code, detail, remediation, correlation_id}]")

    class Meta:
        constraints = [
            # The database coalesces: a second request joins the waiting run instead of queueing behind it.
            models.UniqueConstraint(
                fields=["connection", "parameters_hash"],
                condition=Q(status="queued", flow=None),
                name="one_queued_run_of_bank",
            ),
            models.UniqueConstraint(
                fields=["connection", "entity"],
                condition=Q(status="running", flow=None),
                name="one_running_run_of_bank",
            ),
            models.UniqueConstraint(
                fields=["flow", "entity", "parameters_hash"],
                condition=Q(status="queued", flow__isnull=False),
                name="one_queued_run_of_flow",
            ),
            models.UniqueConstraint(
                fields=["flow", "entity"],
                condition=Q(status="running", flow__isnull=False),
                name="one_running_run_of_flow",
            ),
            models.UniqueConstraint(
                fields=["workspace", "entity", "parameters_hash"],
                condition=Q(status="queued", flow=None, connection=None),
                name="one_queued_run_over_flows",
            ),
        ]
        indexes = [
            models.Index(fields=["workspace", "-id"], name="run_by_workspace"),
            models.Index(fields=["connection", "-id"], name="run_by_connection"),
            models.Index(fields=["status", "-id"], name="run_by_status"),
            models.Index(fields=["parent"], condition=Q(parent__isnull=False), name="run_by_parent"),
            models.Index(fields=["flow", "-id"], condition=Q(flow__isnull=False), name="run_by_flow"),
            # The clock asks every few seconds what is to be done; it looks at nothing else.
            models.Index(
                fields=["flow", "id"],
                condition=Q(flow__isnull=False, status__in=["queued", "running"]),
                name="run_of_flow_open",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.entity} {self.status}"

    @property
    def records_processed(self) -> int:
        return self.records_fetched - self.records_parked

    @property
    def ledger_balanced(self) -> bool:
        """fetched = created + updated + unchanged + removed + skipped + parked + failed."""
        outcomes = ("created", "updated", "unchanged", "removed", "skipped", "parked", "failed")
        return self.records_fetched == sum(getattr(self, f"records_{outcome}") for outcome in outcomes)
