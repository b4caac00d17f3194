"""A provider that lets nothing of ours through, whichever connection asks."""

from django.db import models
from django.utils import timezone


class ProviderPause(models.Model):
    """While this row exists, the clock's work at that provider and environment rests. A probe ends it.

    Connections keep their states: nothing is wrong with any of them.
    """

    provider = models.CharField(max_length=20)
    environment = models.CharField(max_length=16)
    code = models.CharField(max_length=64, help_text="Of the errors' catalogue.")
    operator_detail = models.TextField(blank=True, help_text="What the provider said. Scrubbed.")
    correlation_id = models.CharField(max_length=128, blank=True)
    since = models.DateTimeField(default=timezone.now)
    probes = models.PositiveIntegerField(default=0)
    next_probe_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["provider", "environment"], name="one_pause_per_environment")]

    def __str__(self) -> str:
        return f"{self.provider} {self.environment}"
