"""The way from a person at Plaid Link to a connection: link sessions, and exchanges of public tokens."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from connections import vault
from connections.models.connection import Connection, Environment
from connections.tenancy import TenantModel


class PlaidLink(TenantModel):
    """One link token that we asked for. A hosted one is polled until the person has finished at the bank."""

    class Status(models.TextChoices):
        OPEN = "open", "Waiting for the person"
        FINISHED = "finished", "Finished"
        EXITED = "exited", "Left without connecting"
        EXPIRED = "expired", "Expired"
        FAILED = "failed", "Failed"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    connection = models.ForeignKey(
        Connection,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="plaid_links",
        help_text="Set where an existing connection is repaired.",
    )
    environment = models.CharField(max_length=20, choices=Environment)
    digest = models.CharField(max_length=64, unique=True, editable=False, help_text="SHA-256 of the link token.")
    key_id = models.CharField(max_length=32, editable=False, db_index=True)
    ciphertext = models.BinaryField(editable=False)
    is_hosted = models.BooleanField(default=False)
    is_anew = models.BooleanField(
        default=False, help_text="It makes a new Item in place of the one that the connection still has."
    )
    status = models.CharField(max_length=16, choices=Status, default=Status.OPEN)
    status_reason = models.CharField(max_length=300, blank=True)
    next_poll_at = models.DateTimeField(null=True, blank=True)
    lease_token = models.UUIDField(null=True, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField()
    correlation_id = models.CharField(max_length=128, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = [
            models.Index(fields=["next_poll_at"], condition=Q(status="open", is_hosted=True), name="link_to_poll")
        ]

    def __str__(self) -> str:
        return f"{self.digest[:8]} {self.status}"

    @property
    def place(self) -> str:
        return f"{self._meta.db_table}:{self.pk}:link_token"

    def seal(self, link_token: str) -> None:
        self.key_id, self.ciphertext = vault.encrypt(link_token.encode(), place=self.place)

    def reveal(self) -> str:
        return vault.decrypt(bytes(self.ciphertext), key_id=self.key_id, place=self.place).decode()


class PlaidExchange(TenantModel):
    """One attempt to turn a public token into an Item: written before the call, so that a lost answer leaves a trace.

    The call makes a billable Item and cannot be repeated. `unknown` means that Plaid may hold an Item that we do not:
    somebody has to look at Plaid's dashboard.
    """

    class Status(models.TextChoices):
        STARTED = "started", "Started"
        COMPLETED = "completed", "Completed"
        REFUSED = "refused", "Refused by Plaid"
        UNKNOWN = "unknown", "Outcome unknown"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    link = models.ForeignKey(PlaidLink, on_delete=models.SET_NULL, null=True, blank=True, related_name="exchanges")
    connection = models.ForeignKey(
        Connection, on_delete=models.SET_NULL, null=True, blank=True, related_name="plaid_exchanges"
    )
    environment = models.CharField(max_length=20, choices=Environment)
    digest = models.CharField(max_length=64, db_index=True, editable=False, help_text="SHA-256 of the public token.")
    institution_name = models.CharField(max_length=200, blank=True)
    item_id = models.CharField(max_length=128, blank=True, help_text="Plaid's id of the Item that the call made.")
    institution_id = models.CharField(max_length=64, blank=True)
    accounts_digest = models.CharField(
        max_length=64, blank=True, editable=False, help_text="SHA-256 of the bank and the accounts that were offered."
    )
    key_id = models.CharField(max_length=32, blank=True, editable=False, db_index=True)
    ciphertext = models.BinaryField(
        null=True, editable=False, help_text="The access token from Plaid's answer until the connection has it."
    )
    attempts = models.PositiveIntegerField(default=0, help_text="How often the connection was made up for later.")
    next_attempt_at = models.DateTimeField(null=True, blank=True)
    status = models.CharField(max_length=16, choices=Status, default=Status.STARTED)
    error_code = models.CharField(max_length=64, blank=True)
    request_id = models.CharField(max_length=64, blank=True, help_text="Plaid's id of the call.")
    correlation_id = models.CharField(max_length=128, blank=True)
    started_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            # A token that Plaid refused was not used: whoever it belongs to may send it, again or from another workspace.
            models.UniqueConstraint(fields=["digest"], condition=~Q(status="refused"), name="one_exchange_per_token")
        ]
        indexes = [
            models.Index(fields=["started_at"], condition=Q(status="started"), name="exchange_started"),
            models.Index(fields=["started_at"], condition=Q(ciphertext__isnull=False), name="exchange_to_recover"),
            models.Index(
                fields=["user", "accounts_digest"], condition=~Q(accounts_digest=""), name="exchange_by_accounts"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.institution_name or 'exchange'} {self.status}"

    @property
    def place(self) -> str:
        return f"{self._meta.db_table}:{self.pk}:access_token"

    def seal(self, access_token: str) -> None:
        """Encrypt the access token into this row (not saved yet)."""
        self.key_id, self.ciphertext = vault.encrypt(access_token.encode(), place=self.place)

    def reveal(self) -> str:
        """The plaintext. Raises vault.CredentialUnreadable."""
        return vault.decrypt(bytes(self.ciphertext or b""), key_id=self.key_id, place=self.place).decode()

    def forget(self) -> None:
        """Destroy the access token (not saved yet)."""
        self.key_id, self.ciphertext = "", None
