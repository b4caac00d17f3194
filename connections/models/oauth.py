"""Signing in at a provider, and the grant that comes of it: when it ends, and who renews it now."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from connections.models.connection import Connection, Environment, Provider
from connections.tenancy import TenantModel


class OAuthState(TenantModel):
    """One way to a provider and back, good once. Kept for a while after its end, so that a lost answer can be seen.

    `unknown` means that the provider may have given an access that never arrived here. Signing in again is safe.
    """

    class Status(models.TextChoices):
        OPEN = "open", "Waiting for the person"
        STARTED = "started", "Answered, being finished"
        COMPLETED = "completed", "Completed"
        REFUSED = "refused", "Refused"
        UNKNOWN = "unknown", "Answer lost"

    digest = models.CharField(max_length=64, unique=True, editable=False, help_text="SHA-256 of the state.")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="oauth_states")
    provider = models.CharField(max_length=20, choices=Provider)
    environment = models.CharField(max_length=20, choices=Environment)
    config_version = models.PositiveIntegerField(help_text="Of the connection when it began.")
    redirect_uri = models.CharField(max_length=500)
    status = models.CharField(max_length=16, choices=Status, default=Status.OPEN)
    error_code = models.CharField(max_length=64, blank=True)
    correlation_id = models.CharField(max_length=128, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "sign-in at a provider"
        verbose_name_plural = "sign-ins at providers"
        indexes = [
            models.Index(fields=["expires_at"], name="oauth_state_by_end"),
            models.Index(fields=["used_at"], condition=Q(status="started"), name="oauth_state_started"),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.status}"


class OAuthGrant(TenantModel):
    """The access that a person gave. Its tokens are Credentials, which say when each of them ends by itself.

    Whoever renews it holds the lease, and notes before the call which refresh token it sends: if that is still noted when
    the lease has run out, an answer may have been lost, and with it the only copy of the next token.
    """

    connection = models.OneToOneField(Connection, on_delete=models.CASCADE, related_name="oauth_grant")
    authorized_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    authorized_at = models.DateTimeField()
    hard_expires_at = models.DateTimeField(
        null=True, blank=True, help_text="The access ends for good, however often it is renewed."
    )
    lease_token = models.UUIDField(null=True, blank=True, editable=False)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    refreshes = models.PositiveIntegerField(default=0, help_text="How often it was renewed.")
    refreshed_at = models.DateTimeField(null=True, blank=True)
    sent_fingerprint = models.CharField(
        max_length=12, blank=True, editable=False, help_text="Of the refresh token that was sent and not answered yet."
    )
    sent_at = models.DateTimeField(null=True, blank=True)
    lost_answers = models.PositiveIntegerField(default=0, help_text="Renewals whose answer was never kept.")
    lost_at = models.DateTimeField(null=True, blank=True)
    refused_fingerprint = models.CharField(
        max_length=12, blank=True, editable=False, help_text="Of the refresh token that the provider accepts no more."
    )
    failure_count = models.PositiveIntegerField(default=0, help_text="Failures in a row.")
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    error_code = models.CharField(max_length=64, blank=True)
    error_detail = models.TextField(blank=True, help_text="For operators; scrubbed.")

    def __str__(self) -> str:
        return f"access of {self.connection_id}"
