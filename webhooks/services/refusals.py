"""Counting the webhooks that were refused, and telling when they are many. None of them is kept.

A wrong secret or environment looks like this, and a provider that is refused too often stops sending at all. Anybody can
send what will be refused, too: the reason that is told with it says which check it was.
"""

from datetime import timedelta

import structlog
from django.conf import settings
from django.db import Error, connection, transaction
from django.utils import timezone

from config.logs import scrub
from connections.events import EventType, event_record
from connections.ids import uuid7
from webhooks.models import WebhookRefusal

log = structlog.get_logger(__name__)

HOUR = timedelta(hours=1)
_COUNT = """
    INSERT INTO webhooks_webhookrefusal AS known (id, provider, hour, count, last_reason, last_at)
    VALUES (%(id)s, %(provider)s, date_trunc('hour', %(now)s::timestamptz), 1, %(reason)s, %(now)s)
    ON CONFLICT (provider, hour) DO UPDATE
    SET count = known.count + 1, last_reason = excluded.last_reason, last_at = excluded.last_at
    RETURNING id, count, told_at IS NOT NULL
"""


def refusal_count(*, provider: str, reason: str) -> None:
    """One more in this hour: one statement, and news where they become many. Never raises: the sender's answer is the same."""
    values = {"id": uuid7(), "provider": provider, "now": timezone.now(), "reason": scrub(reason)[:200]}
    try:
        with connection.cursor() as cursor:
            cursor.execute(_COUNT, values)
            refusal_id, count, is_told = cursor.fetchone()
        if not is_told and 0 < settings.WEBHOOK_REFUSALS_ALERT <= count:
            _tell(WebhookRefusal.objects.get(pk=refusal_id))
    except Error as error:
        log.warning("webhook_refusal_uncounted", error=type(error).__name__)


@transaction.atomic
def _tell(many: WebhookRefusal) -> None:
    """Once an hour, whoever comes first."""
    if not WebhookRefusal.objects.filter(pk=many.pk, told_at=None).update(told_at=timezone.now()):
        return
    told = {"provider": many.provider, "count": many.count, "reason": many.last_reason}
    event_record(EventType.WEBHOOKS_REFUSED, payload=told)
    log.error("webhooks_refused", **told)


@transaction.atomic
def refusals_end() -> int:
    """Tell of the providers whose refusals have stayed below the limit for a whole hour. Returns how many."""
    waiting = WebhookRefusal.objects.select_for_update(no_key=True).filter(told_at__isnull=False, over_at=None)
    latest: dict[str, WebhookRefusal] = {}
    for many in waiting.order_by("hour"):
        latest[many.provider] = many
    before = timezone.now() - 2 * HOUR
    over = [provider for provider, many in latest.items() if many.hour <= before]
    waiting.filter(provider__in=over).update(over_at=timezone.now())
    for provider in over:
        event_record(EventType.WEBHOOKS_REFUSED_ENDED, payload={"provider": provider})
    return len(over)
