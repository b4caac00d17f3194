"""A link to a bank, a shop, books or a data store, and where it stands."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.fields.json import KT

from connections.fields import CounterField
from connections.tenancy import TenantModel


class Status(models.TextChoices):
    DRAFT = "draft", "Draft"
    VERIFIED = "verified", "Verified"
    ACTIVE = "active", "Active"
    NEEDS_REAUTH = "needs_reauth", "Needs you"
    FAILED = "failed", "Failing"
    PAUSED = "paused", "Paused"
    PENDING_CLEANUP = "pending_cleanup", "Leaving soon"
    DISCONNECTING = "disconnecting", "Disconnecting"
    DISCONNECTED = "disconnected", "Disconnected"


CLOSED = (Status.DISCONNECTING, Status.DISCONNECTED)  # for good: nothing is read any more, and nothing leads back


class Provider(models.TextChoices):
    PLAID = "plaid", "Plaid"
    WOOCOMMERCE = "woocommerce", "WooCommerce"
    QUICKBOOKS = "quickbooks", "QuickBooks Online"
    SUPABASE = "supabase", "Supabase"


class Environment(models.TextChoices):
    SANDBOX = "sandbox", "Sandbox"
    PRODUCTION = "production", "Production"


class Wait(models.TextChoices):
    """Why a connection's next attempt lies in the future."""

    NONE = "", "–"
    BACKOFF = "backoff", "Back-off after a failure"
    RATE_LIMIT = "rate_limit", "The provider asked us to slow down"
    CONFIGURATION = "configuration", "The provider refuses this installation's keys"


class Errand(models.TextChoices):
    """Work at the provider that follows a change of status, after its commit, until it succeeds."""

    NONE = "", "–"
    ACTIVATED = "activated", "Set up at the provider"
    DISCONNECTING = "disconnecting", "Clear away at the provider"


class Connection(TenantModel):
    """One linked account at one provider. Its status moves only through `connections.services.lifecycle`."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="connections")
    provider = models.CharField(max_length=20, choices=Provider)
    name = models.CharField(max_length=200)
    environment = models.CharField(max_length=20, choices=Environment, default=Environment.PRODUCTION)
    status = models.CharField(max_length=20, choices=Status, default=Status.DRAFT)
    status_reason = models.CharField(max_length=300, blank=True)
    config = models.JSONField(
        default=dict, blank=True, help_text="Settings that are not secret; secrets are Credentials."
    )
    config_version = models.PositiveIntegerField(default=1, help_text="Counts changes of settings and secrets.")
    good = models.JSONField(
        null=True,
        blank=True,
        editable=False,
        help_text="What was last activated: {config, environment, version, credentials}. Kept while a newer one is a draft.",
    )
    facts = models.JSONField(
        default=dict,
        blank=True,
        editable=False,
        help_text="What the provider's code remembers of it: a realm, the ids of its webhooks. Never secret.",
    )
    errand = models.CharField(
        max_length=16, choices=Errand, default=Errand.NONE, blank=True, help_text="What is still to do at the provider."
    )
    errand_at = models.DateTimeField(null=True, blank=True, help_text="Not tried before this.")
    errand_lease = models.UUIDField(null=True, blank=True, editable=False)
    errand_lease_at = models.DateTimeField(null=True, blank=True, help_text="Until then somebody is at it.")
    errand_attempts = models.PositiveIntegerField(default=0)
    errand_error = models.TextField(blank=True, help_text="For operators; scrubbed.")
    last_sync_at = models.DateTimeField(null=True, blank=True)
    last_verified_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(
        null=True, blank=True, help_text="A person last read it through the API then, to the hour."
    )
    reauth_due_at = models.DateTimeField(
        null=True, blank=True, help_text="When the access that was given ends, unless a person renews it."
    )
    reauth_noticed_on = models.DateField(
        null=True, blank=True, help_text="The end of consent (UTC) that the last notice was about."
    )
    reauth_noticed_days = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="How many days ahead that notice was: the smallest so far."
    )
    failure_count = models.PositiveIntegerField(default=0, help_text="Failures in a row; a success sets it to 0.")
    failing_since = models.DateTimeField(
        null=True, blank=True, help_text="The first of these failures; null: there are none."
    )
    next_attempt_at = models.DateTimeField(null=True, blank=True, help_text="Not tried before this.")
    wait_reason = models.CharField(max_length=20, choices=Wait, default=Wait.NONE, blank=True)
    error_code = models.CharField(max_length=64, blank=True)
    error_detail = models.TextField(blank=True, help_text="For operators; scrubbed.")
    error_correlation_id = models.CharField(max_length=128, blank=True)
    error_at = models.DateTimeField(null=True, blank=True)
    event_seq = CounterField(default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            # In the whole installation: two that read and write the same books would each undo what the other does. One
            # that is being disconnected still counts: withdrawing its access would end that of the other.
            models.UniqueConstraint(
                KT("facts__realm_id"),
                condition=Q(provider="quickbooks", facts__has_key="realm_id") & ~Q(status="disconnected"),
                name="one_connection_per_realm",
            )
        ]
        indexes = [
            models.Index(fields=["workspace", "-id"], name="connection_by_workspace"),
            models.Index(fields=["owner", "-id"], name="connection_by_owner"),
            models.Index(
                fields=["next_attempt_at"], condition=Q(next_attempt_at__isnull=False), name="connection_waiting"
            ),
            models.Index(
                fields=["reauth_due_at"], condition=Q(reauth_due_at__isnull=False), name="connection_reauth_due"
            ),
            models.Index(
                fields=["reauth_noticed_on"], condition=Q(reauth_noticed_on__isnull=False), name="connection_noticed"
            ),
            models.Index(fields=["updated_at"], condition=Q(status="disconnecting"), name="connection_disconnecting"),
            models.Index(fields=["errand_at"], condition=~Q(errand=""), name="connection_errand"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_syncable(self) -> bool:
        """Whether runs may start: failing connections are still tried, those that wait for a person are not."""
        return self.status in (Status.ACTIVE, Status.FAILED, Status.PENDING_CLEANUP)

    @property
    def is_closed(self) -> bool:
        return self.status in CLOSED
