"""Consents that end: noticed 14, 7 and 1 days ahead, each once, as events for whoever tells the owner.

Once the day that was told is not the day any more, an event says that too.
"""

from typing import Any

from django.db import connection as database
from django.db import transaction

from connections.events import EventType, event_record
from connections.models.connection import CLOSED

NOTICE_DAYS = (14, 7, 1)

# A notice is due while the end is ahead, if none as near to it was given for that day. What is learned late is noticed
# once, not once for every day that has passed already.
_NOTICE = """
    WITH nearest AS (
        SELECT c.id, (c.reauth_due_at AT TIME ZONE 'UTC')::date AS ends_on,
               (SELECT min(days) FROM unnest(%(days)s::int[]) AS days
                WHERE c.reauth_due_at <= now() + days * interval '1 day') AS days
        FROM connections_connection c
        WHERE c.reauth_due_at > now() AND c.reauth_due_at <= now() + %(longest)s * interval '1 day'
          AND c.status <> ALL(%(closed)s)
    ), due AS (
        SELECT n.* FROM nearest n JOIN connections_connection c ON c.id = n.id
        WHERE c.reauth_noticed_on IS DISTINCT FROM n.ends_on OR c.reauth_noticed_days > n.days
        ORDER BY n.id LIMIT %(limit)s FOR NO KEY UPDATE OF c SKIP LOCKED
    )
    UPDATE connections_connection c SET reauth_noticed_on = due.ends_on, reauth_noticed_days = due.days
    FROM due WHERE c.id = due.id RETURNING c.id, c.reauth_due_at, due.days
"""

# Renewed, withdrawn or disconnected; or the day has passed and syncs still go through, so it was renewed silently.
_ENDED = """
    WITH ended AS (
        SELECT id FROM connections_connection
        WHERE reauth_noticed_on IS NOT NULL AND (
            reauth_due_at IS NULL OR status = ANY(%(closed)s)
            OR reauth_due_at > now() + %(longest)s * interval '1 day'
            OR reauth_due_at < now() - interval '2 days' AND last_sync_at > reauth_due_at + interval '2 days'
        ) ORDER BY id LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE connections_connection c SET reauth_noticed_on = NULL, reauth_noticed_days = NULL
    FROM ended WHERE c.id = ended.id RETURNING c.id
"""


@transaction.atomic
def notices_record(*, limit: int = 500) -> int:
    """Write the notices that are due, and the end of those that hold no longer. Returns how many notices.

    An idle call is two queries.
    """
    values: dict[str, Any] = {
        "days": list(NOTICE_DAYS),
        "longest": max(NOTICE_DAYS),
        "closed": [status.value for status in CLOSED],
        "limit": limit,
    }
    with database.cursor() as cursor:
        cursor.execute(_ENDED, values)
        ended = [connection_id for (connection_id,) in cursor.fetchall()]
    for connection_id in ended:
        event_record(EventType.REAUTH_DUE_ENDED, connection_id=connection_id)
    with database.cursor() as cursor:
        cursor.execute(_NOTICE, values)
        noticed = cursor.fetchall()
    for connection_id, due_at, days in noticed:
        event_record(EventType.REAUTH_DUE, connection_id=connection_id, payload={"due_at": due_at, "days": days})
    return len(noticed)
