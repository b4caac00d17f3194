"""Counting the webhooks that were refused. None of them is kept."""

import structlog
from django.db import Error, connection
from django.utils import timezone

from config.logs import scrub
from connections.ids import uuid7

log = structlog.get_logger(__name__)

_COUNT = """
    INSERT INTO webhooks_webhookrefusal AS known (id, provider, hour, count, last_reason, last_at)
    VALUES (%(id)s, %(provider)s, date_trunc('hour', %(now)s::timestamptz), 1, %(reason)s, %(now)s)
    ON CONFLICT (provider, hour) DO UPDATE
    SET count = known.count + 1, last_reason = excluded.last_reason, last_at = excluded.last_at
"""


def refusal_count(*, provider: str, reason: str) -> None:
    """One more in this hour: one statement. Never raises: the answer to the sender is the same."""
    values = {"id": uuid7(), "provider": provider, "now": timezone.now(), "reason": scrub(reason)[:200]}
    try:
        with connection.cursor() as cursor:
            cursor.execute(_COUNT, values)
    except Error as error:
        log.warning("webhook_refusal_uncounted", error=type(error).__name__)
