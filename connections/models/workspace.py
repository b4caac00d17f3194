"""Who works here: workspaces, people, their roles and their tokens."""

import zoneinfo

from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.utils import timezone

from connections.ids import uuid7
from connections.tenancy import TenantModel


def validate_timezone(name: str) -> None:
    if name not in zoneinfo.available_timezones():
        raise ValidationError("%(name)s is not a time zone such as America/Edmonton.", params={"name": name})


class User(AbstractUser):
    """A person. What they may do in a workspace is their `Membership` there; `is_staff` opens the console."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)


class Workspace(models.Model):
    """The tenant: every connection, record and run belongs to exactly one."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    slug = models.SlugField(
        max_length=63,
        unique=True,
        validators=[RegexValidator(r"^[a-z0-9][a-z0-9-]*$", "Lower-case letters, digits and dashes.")],
    )
    name = models.CharField(max_length=200)
    timezone = models.CharField(max_length=64, default="America/Edmonton", validators=[validate_timezone])
    sandbox_mode = models.BooleanField(default=False, help_text="No write leaves for a production connection.")
    webhooks_enabled = models.BooleanField(
        default=True, help_text="Off: webhooks are stored and ignored, syncs run by schedule."
    )
    limits = models.JSONField(
        default=dict, blank=True, help_text="Overrides of the installation's confirmation limits."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.slug


class Role(models.TextChoices):
    """What a member may do, from least to most (DESIGN: roles)."""

    VIEWER = "viewer", "Viewer"
    MEMBER = "member", "Member"
    OPERATOR = "operator", "Operator"
    OWNER = "owner", "Owner"

    @property
    def rank(self) -> int:
        return list(Role).index(self)

    def covers(self, required: "Role") -> bool:
        """Whether this role may do what `required` may."""
        return self.rank >= required.rank


class Membership(TenantModel):
    """One person's role in one workspace."""

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "user"], name="one_membership_per_person")]

    def __str__(self) -> str:
        return f"{self.user} is {self.role} of {self.workspace}"


class AccessToken(models.Model):
    """A bearer token. Only its digest is kept; the prefix tells tokens apart in lists and logs."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="access_tokens")
    name = models.CharField(max_length=100, default="api")
    prefix = models.CharField(max_length=12, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False, help_text="SHA-256 of the token.")
    scope = models.CharField(max_length=16, default="full", choices=[("full", "Full"), ("read", "Read only")])
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.prefix}…"

    @property
    def is_valid(self) -> bool:
        return self.revoked_at is None and self.expires_at > timezone.now()
