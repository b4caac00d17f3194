"""Accesses that end: noticed ahead, each time once, as events for whoever tells the owner.

A bank's consent 14, 7 and 1 days ahead; an OAuth grant 60, 30 and 7 days before its end for good, and 14 days before the
end that every renewal moves: near as that is, nobody renews it.

Once the day that was told is not the day any more, an event says that too.
"""

from typing import Any

from django.db import connection as database
from django.db import transaction

from connections.events import EventType, event_record
from connections.models.connection import CLOSED

CONSENT_DAYS, GRANT_DAYS, UNUSED_DAYS = (14, 7, 1), (60, 30, 7), (14,)
NOTICE_DAYS = tuple(sorted({*CONSENT_DAYS, *GRANT_DAYS, *UNUSED_DAYS}, reverse=True))

# SQL, of connection `c` with its grant `g`, if it has one: how many days ahead its end is noticed.
_DAYS = """CASE WHEN g.id IS NULL THEN %(consent)s::int[] WHEN g.hard_expires_at = c.reauth_due_at THEN %(grant)s::int[]
           ELSE %(unused)s::int[] END"""

# A grant that nobody renews ends before the day that its connection names; once it is renewed, that day holds again.
_UNUSED = """
    UPDATE connections_connection c SET reauth_due_at = k.expires_at
    FROM connections_credential k JOIN connections_oauthgrant g ON g.connection_id = k.connection_id
    WHERE k.connection_id = c.id AND k.name = 'refresh_token' AND NOT k.is_superseded
      AND k.expires_at > now() AND k.expires_at <= now() + %(unused_longest)s * interval '1 day'
      AND (g.hard_expires_at IS NULL OR k.expires_at < g.hard_expires_at - interval '1 hour')
      AND (c.reauth_due_at IS NULL OR c.reauth_due_at > k.expires_at) AND c.status <> ALL(%(closed)s)
"""

# A notice is due while the end is ahead, if none as near to it was given for that day. What is learned late is noticed
# once, not once for every day that has passed already.
_NOTICE = f"""
    WITH nearest AS (
        SELECT c.id, (c.reauth_due_at AT TIME ZONE 'UTC')::date AS ends_on,
               (SELECT min(days) FROM unnest({_DAYS}) AS days
                WHERE c.reauth_due_at <= now() + days * interval '1 day') AS days
        FROM connections_connection c LEFT JOIN connections_oauthgrant g ON g.connection_id = c.id
        WHERE c.reauth_due_at > now() AND c.reauth_due_at <= now() + %(longest)s * interval '1 day'
          AND c.status <> ALL(%(closed)s)
    ), due AS (
        SELECT n.* FROM nearest n JOIN connections_connection c ON c.id = n.id
        WHERE n.days IS NOT NULL
          AND (c.reauth_noticed_on IS DISTINCT FROM n.ends_on OR c.reauth_noticed_days > n.days)
        ORDER BY n.id LIMIT %(limit)s FOR NO KEY UPDATE OF c SKIP LOCKED
    )
    UPDATE connections_connection c SET reauth_noticed_on = due.ends_on, reauth_noticed_days = due.days
    FROM due WHERE c.id = due.id RETURNING c.id, c.reauth_due_at, due.days
"""

# Renewed, withdrawn or disconnected; or the day has passed and syncs still go through, so it was renewed silently.
_ENDED = f"""
    WITH ended AS (
        SELECT c.id FROM connections_connection c LEFT JOIN connections_oauthgrant g ON g.connection_id = c.id
        WHERE c.reauth_noticed_on IS NOT NULL AND (
            c.reauth_due_at IS NULL OR c.status = ANY(%(closed)s)
            OR c.reauth_due_at > now() + (SELECT max(days) FROM unnest({_DAYS}) AS days) * interval '1 day'
            OR c.reauth_due_at < now() - interval '2 days' AND c.last_sync_at > c.reauth_due_at + interval '2 days'
        ) ORDER BY c.id LIMIT %(limit)s FOR NO KEY UPDATE OF c SKIP LOCKED
    )
    UPDATE connections_connection c SET reauth_noticed_on = NULL, reauth_noticed_days = NULL
    FROM ended WHERE c.id = ended.id RETURNING c.id
"""


@transaction.atomic
def notices_record(*, limit: int = 500) -> int:
    """Write the notices that are due, and the end of those that hold no longer. Returns how many notices.

    An idle call is three queries.
    """
    values: dict[str, Any] = {
        "consent": list(CONSENT_DAYS),
        "grant": list(GRANT_DAYS),
        "unused": list(UNUSED_DAYS),
        "unused_longest": max(UNUSED_DAYS),
        "longest": max(NOTICE_DAYS),
        "closed": [status.value for status in CLOSED],
        "limit": limit,
    }
    with database.cursor() as cursor:
        cursor.execute(_UNUSED, values)
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
