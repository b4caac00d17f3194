"""Pages of an update that is not complete yet."""

from django.db import models


class StagedPage(models.Model):
    """One raw page, kept out of the live rows until its update is whole.

    The table is unlogged: staging must be cheap, and a database crash that empties it only costs a restart of the loop.
    """

    pk = models.CompositePrimaryKey("run_id", "page_number")
    run_id = models.UUIDField()
    page_number = models.PositiveIntegerField(help_text="1, 2, 3 … without a gap, or the stage is dropped.")
    workspace_id = models.UUIDField()
    lease_token = models.UUIDField()
    body = models.JSONField()
    failed = models.JSONField(
        default=list, help_text="Records of this page that PostgreSQL cannot hold: [{external_id, reason, payload}]"
    )

    def __str__(self) -> str:
        return f"{self.run_id} page {self.page_number}"
