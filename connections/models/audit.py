"""Who did what, and the chain that shows whether anybody has touched the record of it since."""

from django.conf import settings
from django.db import models

from connections.ids import uuid7


class SecurityEvent(models.Model):
    """One act that somebody may ask about later. The application's role can insert it, and neither change nor delete it.

    workspace: none for what concerns the whole installation. actor: none for the system, and for a sign-in with a name
    that nobody has. actor_name: as it was then.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    workspace = models.ForeignKey(
        "connections.Workspace", on_delete=models.PROTECT, related_name="+", null=True, blank=True, db_index=False
    )
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+", null=True, blank=True
    )
    actor_name = models.CharField(max_length=150, blank=True)
    action = models.CharField(max_length=64)
    object_type = models.CharField(max_length=64, blank=True)
    object_id = models.CharField(max_length=64, blank=True)
    ip = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.CharField(max_length=300, blank=True)
    correlation_id = models.CharField(max_length=128, blank=True)
    details = models.JSONField(default=dict, help_text="Nothing secret.")
    at = models.DateTimeField(db_index=True)

    class Meta:
        indexes = [models.Index(fields=["workspace", "-id"], name="security_event_by_workspace")]

    def __str__(self) -> str:
        return self.action


class AuditSeal(models.Model):
    """One link of a workspace's chain: the hash of one security event and of the link before.

    event_id is no foreign key: a seal outlives an event that somebody removed, and so tells of it.
    chain: the workspace's id; for the installation the nil UUID.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    workspace = models.ForeignKey(
        "connections.Workspace", on_delete=models.PROTECT, related_name="+", null=True, blank=True, db_index=False
    )
    chain = models.UUIDField(editable=False)
    sequence = models.BigIntegerField(editable=False)
    event_id = models.UUIDField(unique=True, editable=False)
    previous_hash = models.CharField(max_length=64, blank=True)
    hash = models.CharField(max_length=64)
    sealed_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["chain", "sequence"], name="one_seal_per_place")]

    def __str__(self) -> str:
        return f"#{self.sequence}"
