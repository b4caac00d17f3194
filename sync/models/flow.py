"""From where to where records go, and how far each has come."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from connections.fields import CounterField
from connections.models import Connection
from connections.tenancy import TenantModel


class FlowStatus(models.TextChoices):
    DRAFT = "draft", "Draft"
    ACTIVE = "active", "Active"
    PAUSED = "paused", "Paused"
    REMOVED = "removed", "Removed"


class ConflictPolicy(models.TextChoices):
    """Who is right where a record was changed on both sides."""

    SOURCE_WINS = "source_wins", "The source wins"
    TARGET_WINS = "target_wins", "The target wins"
    NEWEST_WINS = "newest_wins", "The newest wins"
    ASK = "ask", "A person is asked"


class Flow(TenantModel):
    """Records of one connection, kept up at another. Only an active one moves anything; a removed one is history."""

    name = models.CharField(max_length=200)
    source = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="flows_from")
    target = models.ForeignKey(Connection, on_delete=models.PROTECT, related_name="flows_to")
    entities = models.JSONField(default=list, help_text="What is kept up, in the order in which it has to be written.")
    statuses = models.JSONField(
        default=list, blank=True, help_text="Of orders at the source, those that are taken; all of them if empty."
    )
    start_date = models.DateField(null=True, blank=True, help_text="Orders of before are not taken.")
    conflict_policy = models.CharField(max_length=16, choices=ConflictPolicy, default=ConflictPolicy.SOURCE_WINS)
    options = models.JSONField(default=dict, blank=True, help_text="What this pair of providers offers to choose.")
    version = models.PositiveIntegerField(
        default=1, help_text="Counts changes of what a record becomes: all of them are written anew after one."
    )
    status = models.CharField(max_length=16, choices=FlowStatus, default=FlowStatus.DRAFT)
    status_reason = models.CharField(max_length=300, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            # Two that write the same records to the same place would each undo what the other does.
            models.UniqueConstraint(
                fields=["source", "target"], condition=~Q(status="removed"), name="one_flow_between_two"
            )
        ]
        indexes = [
            models.Index(fields=["workspace", "-id"], name="flow_by_workspace"),
            models.Index(fields=["source"], condition=Q(status="active"), name="flow_active_from"),
        ]

    def __str__(self) -> str:
        return self.name


class Watermark(TenantModel):
    """How far a flow has read one entity: everything before `position` is at the target, or on record as set aside.

    There is one once a person has asked for the first sync; from then on webhooks and the clock keep it up.
    """

    flow = models.ForeignKey(Flow, on_delete=models.CASCADE, related_name="watermarks")
    entity = models.CharField(max_length=32)
    position = models.JSONField(default=dict, blank=True, help_text="Opaque to all but the source's provider.")
    news_seq = CounterField(default=0, editable=False, help_text="The news that were read: a dirty_seq of RecordNews.")
    synced_at = models.DateTimeField(null=True, blank=True, help_text="A run last came to its end then.")
    next_sync_at = models.DateTimeField(null=True, blank=True, help_text="Read by then, news or not.")
    next_reconcile_at = models.DateTimeField(null=True, blank=True, help_text="All ids are compared then.")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["flow", "entity"], name="one_watermark_per_entity")]
        indexes = [
            models.Index(fields=["next_sync_at"], name="watermark_due"),
            models.Index(fields=["next_reconcile_at"], name="watermark_to_reconcile"),
        ]

    def __str__(self) -> str:
        return f"{self.entity} of {self.flow_id}"
