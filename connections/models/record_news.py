"""That something changed at a source, entity by entity."""

from django.db import models
from django.db.models import F, Q

from connections.fields import CounterField
from connections.models.connection import Connection
from connections.tenancy import TenantModel


class RecordNews(TenantModel):
    """News of one connection's records of one entity, counted as they come and taken once they were read.

    dirty_seq counts news, pulled_seq takes the dirty_seq that was read before the pull's first call: what comes meanwhile
    is not lost, and ten coalesce into one.
    """

    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="news")
    entity = models.CharField(max_length=40, help_text="As flows call it: orders, customers.")
    dirty_seq = CounterField(default=0, editable=False)
    pulled_seq = CounterField(default=0, editable=False)
    first_at = models.DateTimeField(help_text="Of the news that wait.")
    last_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["connection", "entity"], name="one_news_per_entity")]
        indexes = [
            # The question of whoever pulls touches only what waits.
            models.Index(fields=["first_at"], condition=Q(dirty_seq__gt=F("pulled_seq")), name="record_news_waiting")
        ]

    def __str__(self) -> str:
        return f"{self.entity} of {self.connection_id}"
