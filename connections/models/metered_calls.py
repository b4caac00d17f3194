"""How much of a provider's monthly allowance was used."""

from django.db import models

from connections.models.connection import Connection, Environment, Provider
from connections.tenancy import TenantModel


class MeteredCalls(TenantModel):
    """Calls to one account at its provider in one month that went through. Counted by `connections.metering`.

    QuickBooks meters reads of production companies, for all companies of an installation's keys together; writes and
    sandbox companies are free.
    """

    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="metered_calls")
    provider = models.CharField(max_length=20, choices=Provider)
    environment = models.CharField(max_length=20, choices=Environment)
    account = models.CharField(max_length=128, help_text="Whatever the provider calls it: a realm.")
    month = models.DateField(help_text="Its first day, UTC.")
    metered = models.PositiveBigIntegerField(default=0, help_text="Reads: they count against the allowance.")
    free = models.PositiveBigIntegerField(default=0, help_text="Writes.")
    last_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["connection", "environment", "account", "month"], name="calls_of_a_month")
        ]

    def __str__(self) -> str:
        return f"{self.metered} reads of {self.account} in {self.month:%Y-%m}"
