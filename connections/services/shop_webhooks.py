"""Shops' webhooks, looked after: a shop disables one after a handful of failed deliveries, and tells nobody."""

import time
from datetime import timedelta

import structlog
from django.db import connection as database
from django.utils import timezone

from config import correlation
from connections.errors import CausewayError
from connections.models import Connection
from connections.providers.woocommerce import hooks
from connections.services.access import access_of

log = structlog.get_logger(__name__)

EVERY = timedelta(hours=1)


def webhooks_watch(*, deadline: float) -> int:
    """See to those that nobody has looked at within the hour, until the time is up. Returns how many shops. An idle call
    is one query. What goes wrong waits for the next hour: whether a shop lets us in, others find out."""
    count = 0
    while time.monotonic() < deadline and (connection := _claim()):
        count += 1
        with correlation.bound(None):
            try:
                if made := hooks.watch(access_of(connection, is_good=True)):
                    log.warning("shop_webhooks_made_anew", connection=str(connection.pk), topics=made)
            except CausewayError as error:
                log.warning("shop_webhooks_unseen", connection=str(connection.pk), code=error.code)
    return count


def _claim() -> Connection | None:
    """An active shop whose hour has come; it has come for nobody else then."""
    now = timezone.now()
    with database.cursor() as cursor:
        cursor.execute(
            """
            UPDATE connections_connection SET facts = facts || jsonb_build_object('webhooks_watched_at', %s::text)
            WHERE id = (
                SELECT id FROM connections_connection
                WHERE provider = 'woocommerce' AND status = 'active' AND errand = '' AND facts ? 'webhooks'
                AND coalesce(facts->>'webhooks_watched_at', '') < %s
                ORDER BY facts->>'webhooks_watched_at' NULLS FIRST LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
            ) RETURNING id
            """,
            [now.isoformat(), (now - EVERY).isoformat()],
        )
        row = cursor.fetchone()
    return Connection.objects.get(pk=row[0]) if row else None
