"""The installation's figures in Prometheus' words."""

from collections.abc import Callable, Iterator
from datetime import timedelta

from django.db.models import QuerySet, Sum
from django.utils import timezone
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from connections.models import ProviderPause
from diagnostics.figures import Figures, figures
from diagnostics.models import Alert, AlertDelivery
from webhooks.models import WebhookRefusal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_BY_STATUS: tuple[tuple[str, str, Callable[[Figures], dict[str, int]]], ...] = (
    ("connections", "Connections.", lambda found: found.connections),
    ("sync_runs_24h", "Runs of the last 24 hours.", lambda found: found.runs_24h),
    ("webhooks_24h", "Webhooks of the last 24 hours.", lambda found: found.webhooks_24h),
)
_ONE: tuple[tuple[str, str, Callable[[Figures], float]], ...] = (
    ("reauth_waiting", "Owners who have to sign in at their bank.", lambda found: found.connections.get("needs_reauth", 0)),
    ("reauth_oldest_seconds", "How long the one who waits longest has been asked.", lambda found: found.reauth_oldest_s),
    ("cleanup_pending", "Connections about to be removed for disuse.", lambda found: found.connections.get("pending_cleanup", 0)),
    ("connections_removed", "Connections that were disconnected.", lambda found: found.connections.get("disconnected", 0)),
    ("banks_dirty", "Banks with news that are not synced yet.", lambda found: found.banks_dirty),
    ("sync_lag_seconds", "How long the news that waits longest for a worker has waited.", lambda found: found.sync_lag_s),
    ("sync_failure_ratio_24h", "Failed runs among those that ended.", lambda found: found.failure_ratio_24h),
    ("webhook_duplicates_24h", "Deliveries that repeated another one.", lambda found: found.webhook_duplicates_24h),
    ("webhook_duplicate_ratio_24h", "Of all deliveries.", lambda found: found.webhook_duplicate_ratio_24h),
    ("webhook_lag_seconds", "How long the webhook that waits longest for a worker has been due.", lambda found: found.webhook_lag_s),
    ("outbox_waiting", "Events that not everybody has.", lambda found: found.outbox_waiting),
    ("outbox_parked", "Events that somebody could not take.", lambda found: found.outbox_parked),
    ("outbox_lag_seconds", "Age of the oldest event that not everybody has.", lambda found: found.outbox_lag_s),
    ("failed_records_open", "Records of connected banks set aside that nobody has resolved.", lambda found: found.failed_records_open),
)  # fmt: skip


class _Collector:
    """Asked anew at every scrape: the rows are the truth, whichever process answers."""

    def collect(self) -> Iterator[Metric]:
        found = figures()
        for name, said, of_status in _BY_STATUS:
            family = GaugeMetricFamily(f"causeway_{name}", said, labels=["status"])
            for status, count in sorted(of_status(found).items()):
                family.add_metric([status], count)
            yield family
        for name, said, value in _ONE:
            yield GaugeMetricFamily(f"causeway_{name}", said, value=value(found))
        for name, said, count in self._of_the_installation():
            yield GaugeMetricFamily(f"causeway_{name}", said, value=count)

    def _of_the_installation(self) -> Iterator[tuple[str, str, int]]:
        waiting = AlertDelivery.objects.filter(sent_at=None, given_up_at=None)
        lately = WebhookRefusal.objects.filter(last_at__gte=timezone.now() - timedelta(hours=1))
        yield "alerts_open", "Alerts about what has not recovered.", Alert.objects.filter(recovered_at=None).count()
        yield "alert_messages_waiting", "Alert messages that have not arrived.", waiting.count()
        yield "providers_paused", "Providers that let nothing of ours through.", ProviderPause.objects.count()
        yield "webhooks_refused_last_hour", "Refused, by the hours with one in the last sixty minutes.", _sum(lately)


def _sum(counted: QuerySet[WebhookRefusal]) -> int:
    return counted.aggregate(sum=Sum("count"))["sum"] or 0


def exposition() -> bytes:
    """The text that Prometheus scrapes: ten queries."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector())
    return generate_latest(registry)
