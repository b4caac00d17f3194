"""Rules that say what becomes of records, version by version."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from connections.tenancy import TenantModel
from sync.mapping import TARGETS
from sync.models.flow import Flow

TARGET_CHOICES = {"quickbooks": "QuickBooks Online", "supabase": "Supabase"}


class Mapping(TenantModel):
    """The rules of one entity for one kind of target. One that has a flow is at work there; one without is at hand.

    `version` says which of its versions counts.
    """

    name = models.CharField(max_length=200)
    flow = models.ForeignKey(Flow, on_delete=models.PROTECT, null=True, blank=True, related_name="mappings")
    entity = models.CharField(max_length=32)
    target = models.CharField(max_length=20, choices=[(key, TARGET_CHOICES[key]) for key in TARGETS])
    version = models.PositiveIntegerField(default=1, help_text="The one that counts; every change makes another.")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    removed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["flow", "entity"],
                condition=Q(flow__isnull=False, removed_at=None),
                name="one_mapping_per_flow_and_entity",
            )
        ]
        indexes = [models.Index(fields=["workspace", "-id"], name="mapping_by_workspace")]

    def __str__(self) -> str:
        return self.name


class MappingVersion(TenantModel):
    """What the rules were from its making on. Never changed, never deleted: the database refuses it."""

    mapping = models.ForeignKey(Mapping, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    rules = models.JSONField(default=list)
    restored_from = models.PositiveIntegerField(
        null=True, blank=True, help_text="The version whose rules it has again."
    )
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    author = models.CharField(max_length=150, blank=True, help_text="Their name then.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["mapping", "number"], name="one_version_per_number")]
        indexes = [models.Index(fields=["workspace", "-id"], name="mapping_version_by_workspace")]

    def __str__(self) -> str:
        return f"Version {self.number} of {self.mapping_id}"
