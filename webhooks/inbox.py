"""Keeping a verified webhook: one statement that never waits for a lock on anything but its own row.

In that statement

1. the Item that the webhook names is found, and locked unless somebody else holds it;
2. the event gets its row, or, if an identical one was processed before, opens that row again;
3. where the webhook is news of transactions, the Item becomes dirty at once, is free to be offered, and a back-off of
   its connection ends.

An identical message that still waits changes nothing, because the Item is dirty already. Where it is not, or somebody
is reading it right now, the message may be true news, so it is marked dirty all the same. What another transaction
holds is left alone: `is_marked` stays false, and whoever processes the event marks the Item then. (Locks are taken
with NO KEY everywhere here: a plain FOR UPDATE on a connection would hold up the foreign key of its new event.)
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from django.db import connection
from django.utils import timezone

from config import correlation
from config.logs import scrub
from connections.ids import uuid7
from connections.providers.base import Json
from connections.providers.plaid.webhooks import InboundEvent, Verified

KEPT_HEADERS = ("Content-Type", "User-Agent")
ALWAYS, UNTIL_SYNCED = "always", "until_synced"
# What makes an Item dirty. The legacy codes come beside SYNC_UPDATES_AVAILABLE, which needs a first sync to be armed.
MARKS = {
    ("TRANSACTIONS", "SYNC_UPDATES_AVAILABLE"): ALWAYS,
    ("TRANSACTIONS", "INITIAL_UPDATE"): UNTIL_SYNCED,
    ("TRANSACTIONS", "HISTORICAL_UPDATE"): UNTIL_SYNCED,
    ("TRANSACTIONS", "DEFAULT_UPDATE"): UNTIL_SYNCED,
}

_RECEIVE = """
WITH known AS (
    SELECT item.id, item.connection_id, item.workspace_id, workspace.webhooks_enabled,
           workspace.webhooks_enabled AND item.removed_at IS NULL
           AND (%(marks)s = 'always' OR (%(marks)s = 'until_synced' AND item.last_synced_at IS NULL)) AS is_wanted
    FROM connections_plaiditem item
    JOIN connections_connection connection ON connection.id = item.connection_id
    JOIN connections_workspace workspace ON workspace.id = item.workspace_id
    WHERE item.item_id = %(item_id)s AND %(environment)s IN ('', connection.environment)
),
easing AS (
    SELECT connection.id
    FROM connections_connection connection JOIN known ON known.connection_id = connection.id
    WHERE connection.wait_reason = 'backoff' AND known.is_wanted
    FOR NO KEY UPDATE OF connection SKIP LOCKED
),
free AS (
    SELECT item.id, item.dirty_seq <= item.synced_seq OR coalesce(item.lease_expires_at > %(now)s, false) AS may_be_news
    FROM connections_plaiditem item JOIN known ON known.id = item.id
    FOR NO KEY UPDATE OF item SKIP LOCKED
),
event AS (
    INSERT INTO webhooks_webhookevent AS kept (
        id, workspace_id, connection_id, provider, environment, dedupe_key, event_type, code, item_id, headers, payload,
        body, status, deliveries, is_marked, attempts, next_attempt_at, error, first_received_at, received_at,
        correlation_id
    )
    SELECT %(id)s, known.workspace_id, known.connection_id, 'plaid', %(environment)s, %(dedupe_key)s, %(event_type)s,
           %(code)s, %(item_id)s, %(headers)s::jsonb, %(payload)s::jsonb, %(body)s,
           CASE WHEN known.webhooks_enabled IS FALSE THEN 'ignored' ELSE 'received' END, 1, free.id IS NOT NULL, 0,
           %(now)s, CASE WHEN known.webhooks_enabled IS FALSE THEN %(disabled)s ELSE '' END, %(now)s, %(now)s,
           %(correlation_id)s
    FROM (SELECT 1) AS once LEFT JOIN known ON true LEFT JOIN free ON true
    ON CONFLICT (dedupe_key) DO UPDATE SET
        deliveries = kept.deliveries + 1,
        is_marked = excluded.is_marked AND (kept.is_marked OR kept.status <> 'received'),
        workspace_id = coalesce(kept.workspace_id, excluded.workspace_id),
        connection_id = coalesce(kept.connection_id, excluded.connection_id),
        headers = CASE WHEN kept.status = 'received' THEN kept.headers ELSE excluded.headers END,
        attempts = CASE WHEN kept.status = 'received' THEN kept.attempts ELSE 0 END,
        next_attempt_at = CASE WHEN kept.status = 'received' THEN kept.next_attempt_at ELSE excluded.next_attempt_at END,
        error = CASE WHEN kept.status = 'received' THEN kept.error ELSE excluded.error END,
        received_at = CASE WHEN kept.status = 'received' THEN kept.received_at ELSE excluded.received_at END,
        processed_at = CASE WHEN kept.status = 'received' THEN kept.processed_at END,
        correlation_id = CASE WHEN kept.status = 'received' THEN kept.correlation_id ELSE excluded.correlation_id END,
        status = CASE WHEN kept.status = 'received' THEN kept.status ELSE excluded.status END
    RETURNING kept.id, kept.status, kept.received_at = %(now)s AS is_news
),
marked AS (
    UPDATE connections_plaiditem item SET
        last_webhook_at = %(now)s,
        dirty_seq = item.dirty_seq + CASE WHEN known.is_wanted AND (event.is_news OR free.may_be_news) THEN 1 ELSE 0 END,
        offered_until = CASE WHEN known.is_wanted AND (event.is_news OR free.may_be_news) THEN NULL ELSE item.offered_until END
    FROM free, known, event
    WHERE item.id = free.id AND known.id = free.id
    RETURNING known.is_wanted AND (event.is_news OR free.may_be_news) AS is_dirty
),
eased AS (
    UPDATE connections_connection connection SET next_attempt_at = NULL, wait_reason = '', updated_at = %(now)s
    FROM easing, event
    WHERE connection.id = easing.id AND event.is_news
)
SELECT event.id, event.is_news, event.status = 'received', coalesce((SELECT is_dirty FROM marked), false) FROM event
"""
DISABLED = "Webhooks are switched off in this workspace."


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a delivery. is_news: no identical one was waiting. is_waiting: it is to be processed.

    is_dirty: it made its Item dirty.
    """

    event_id: Any
    is_news: bool
    is_waiting: bool
    is_dirty: bool


def receive(*, raw: bytes, headers: Mapping[str, str], verified: Verified, event: InboundEvent) -> Receipt:
    """Keep a verified webhook of Plaid's. Committed when this returns (outside of any transaction); one statement."""
    values: dict[str, Any] = {
        "id": uuid7(),
        "now": timezone.now(),
        "marks": MARKS.get((event.type, event.code), ""),
        "item_id": event.item_id,
        "environment": event.environment or verified.environment,
        "dedupe_key": f"plaid:{hashlib.sha256(raw).hexdigest()}",
        "event_type": event.type,
        "code": event.code,
        "headers": _json(_kept(headers, verified)),
        "payload": _shown(event.payload),
        "body": raw,
        "disabled": DISABLED,
        "correlation_id": correlation.current(),
    }
    with connection.cursor() as cursor:
        cursor.execute(_RECEIVE, values)
        return Receipt(*cursor.fetchone())


def _kept(headers: Mapping[str, str], verified: Verified) -> dict[str, Any]:
    found = {name: headers[name].replace("\0", "")[:200] for name in KEPT_HEADERS if headers.get(name)}
    proof = {"method": verified.method, "key_id": verified.key_id, "issued_at": verified.issued_at}
    return found | {"verification": {name: value for name, value in proof.items() if value}}


def _shown(payload: Json | None) -> str | None:
    """The message without its secrets, as JSON; None where there is none, or it is nested beyond reason."""
    try:
        return None if payload is None else _json(scrub(payload))
    except RecursionError:
        return None


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
