"""How long the inbox is kept."""

from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from webhooks.models import WebhookEvent, WebhookRefusal


def events_purge(*, batch: int = 5_000) -> int:
    """Delete events older than WEBHOOK_RETENTION_DAYS, a batch a statement; what waits stays. Returns how many."""
    before = timezone.now() - timedelta(days=settings.WEBHOOK_RETENTION_DAYS)
    WebhookRefusal.objects.filter(hour__lt=before).delete()
    count = 0
    while True:
        deleted = _purge_some(before, batch)
        count += deleted
        if deleted < batch:
            return count


def _purge_some(before: datetime, batch: int) -> int:
    ended = WebhookEvent.objects.exclude(status=WebhookEvent.Status.RECEIVED).filter(received_at__lt=before)
    oldest = list(ended.order_by("received_at").values_list("pk", flat=True)[:batch])
    # Asked again with the delete: one that is being replayed at this moment stays.
    deleted, _ = ended.filter(pk__in=oldest).delete()
    return deleted
