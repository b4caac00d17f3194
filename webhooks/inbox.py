"""Keeping a verified webhook: one statement that never waits for a lock on anything but its own row.

In that statement

1. the Item that the webhook names is found, and locked unless somebody else holds it;
2. the event gets its row, or, where this very delivery came before, its row counts it;
3. where the webhook is news of transactions, the Item becomes dirty at once, is free to be offered, and a back-off of
   its connection ends.

The same delivery again changes nothing while its event waits, because the Item is dirty already; where it is not, or
somebody is reading it right now, it may be true news and marks the Item all the same. Once the event has been
processed, the same again marks the Item: identical bytes can be true news, and a needless sync is cheap.

What another transaction holds is left alone: `is_marked` stays false (an event that was processed waits once more), and
whoever processes the event marks the Item then. (Locks are taken with NO KEY everywhere here: a plain FOR UPDATE on a
connection would hold up the foreign key of its new event.)
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from django.utils import timezone

from config import correlation
from config.cursors import Prepared
from config.logs import scrub, scrub_bytes
from connections.ids import uuid7
from connections.providers.base import Json
from connections.providers.plaid.webhooks import InboundEvent, Verified
from connections.services import plaid_links

KEPT_HEADERS = ("Content-Type", "User-Agent")
ALWAYS, UNTIL_SYNCED, AGAIN = "always", "until_synced", "again"
# What makes an Item dirty. The legacy codes come beside SYNC_UPDATES_AVAILABLE, which needs a first sync to be armed.
MARKS = {
    ("TRANSACTIONS", "SYNC_UPDATES_AVAILABLE"): ALWAYS,
    ("TRANSACTIONS", "INITIAL_UPDATE"): UNTIL_SYNCED,
    ("TRANSACTIONS", "HISTORICAL_UPDATE"): UNTIL_SYNCED,
    ("TRANSACTIONS", "DEFAULT_UPDATE"): UNTIL_SYNCED,
}

_RECEIVE_SQL = """
WITH known AS (
    SELECT item.id, item.connection_id, item.workspace_id, workspace.webhooks_enabled,
           workspace.webhooks_enabled AND item.removed_at IS NULL AND %(marks)s = 'again' AS is_wanted_again,
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
        id, workspace_id, connection_id, provider, environment, dedupe_key, event_type, code, item_id, link_digest,
        headers, payload, body, status, deliveries, is_marked, attempts, replays, next_attempt_at, note, received_at,
        last_received_at, correlation_id
    )
    SELECT %(id)s, known.workspace_id, known.connection_id, 'plaid', %(environment)s, %(dedupe_key)s, %(event_type)s,
           %(code)s, %(item_id)s, %(link_digest)s, %(headers)s::jsonb, %(payload)s::jsonb, %(body)s,
           CASE WHEN known.webhooks_enabled IS FALSE THEN 'ignored' ELSE 'received' END, 1, free.id IS NOT NULL, 0, 0,
           %(now)s, CASE WHEN known.webhooks_enabled IS FALSE THEN %(disabled)s ELSE '' END, %(now)s, %(now)s,
           %(correlation_id)s
    FROM (SELECT 1) AS once LEFT JOIN known ON true LEFT JOIN free ON true
    ON CONFLICT (dedupe_key) DO UPDATE SET
        deliveries = kept.deliveries + 1,
        last_received_at = excluded.last_received_at,
        workspace_id = coalesce(kept.workspace_id, excluded.workspace_id),
        connection_id = coalesce(kept.connection_id, excluded.connection_id),
        is_marked = excluded.is_marked AND (kept.is_marked OR kept.status <> 'received'),
        next_attempt_at = CASE WHEN {is_opened} THEN excluded.next_attempt_at ELSE kept.next_attempt_at END,
        attempts = CASE WHEN {is_opened} THEN 0 ELSE kept.attempts END,
        processed_at = CASE WHEN {is_opened} THEN NULL ELSE kept.processed_at END,
        status = CASE WHEN {is_opened} THEN 'received' ELSE kept.status END
    RETURNING kept.id, kept.status = 'received' AS is_waiting, kept.deliveries = 1 AS is_new
),
news AS (
    SELECT free.id, CASE WHEN event.is_new THEN known.is_wanted
                         WHEN event.is_waiting THEN known.is_wanted AND free.may_be_news
                         ELSE known.is_wanted OR known.is_wanted_again END AS is_dirty
    FROM free JOIN known ON known.id = free.id CROSS JOIN event
),
marked AS (
    UPDATE connections_plaiditem item SET
        last_webhook_at = %(now)s,
        dirty_seq = item.dirty_seq + CASE WHEN news.is_dirty THEN 1 ELSE 0 END,
        offered_until = CASE WHEN news.is_dirty THEN NULL ELSE item.offered_until END
    FROM news WHERE item.id = news.id
),
eased AS (
    UPDATE connections_connection connection SET next_attempt_at = NULL, wait_reason = '', updated_at = %(now)s
    FROM easing, news WHERE connection.id = easing.id AND news.is_dirty
)
SELECT event.id, event.is_new, event.is_waiting, coalesce((SELECT is_dirty FROM news), false) FROM event
""".replace(
    # Processed already, and its Item could not be marked now: somebody holds it.
    "{is_opened}",
    "(kept.status <> 'received' AND NOT excluded.is_marked AND %(marks)s <> '' AND excluded.status = 'received')",
)
# Planning it takes longer than running it.
_RECEIVE = Prepared(_RECEIVE_SQL)
DISABLED = "Webhooks are switched off in this workspace."


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a delivery. is_new: it is no duplicate. is_waiting: it is to be processed.

    is_dirty: it made its Item dirty.
    """

    event_id: Any
    is_new: bool
    is_waiting: bool
    is_dirty: bool


def receive(*, raw: bytes, headers: Mapping[str, str], verified: Verified, event: InboundEvent) -> Receipt:
    """Keep a verified webhook of Plaid's. Committed when this returns (outside of any transaction); one statement."""
    now = timezone.now()
    shown, body = _without_secrets(raw, event.payload)
    values: dict[str, Any] = {
        "id": uuid7(),
        "now": now,
        "marks": AGAIN if event.type == "ITEM" else MARKS.get((event.type, event.code), ""),
        "item_id": event.item_id,
        "environment": event.environment or verified.environment,
        "dedupe_key": dedupe_key(raw, verified, now),
        "event_type": event.type,
        "code": event.code,
        "link_digest": _link_digest(event),
        "headers": _json(_kept(headers, verified)),
        "payload": shown,
        "body": body,
        "disabled": DISABLED,
        "correlation_id": correlation.current(),
    }
    row = _RECEIVE.execute(values).fetchone()
    return Receipt(*(row or ()))  # it has a row, whatever is found


def dedupe_key(raw: bytes, verified: Verified, now: datetime) -> str:
    """What makes two deliveries one: the body's digest and when it was signed, or, where nothing says that, the minute."""
    moment = f"iat:{verified.issued_at}" if verified.issued_at is not None else f"minute:{int(now.timestamp()) // 60}"
    return f"plaid:{hashlib.sha256(raw).hexdigest()}:{moment}"


def _kept(headers: Mapping[str, str], verified: Verified) -> dict[str, Any]:
    found = {name: scrub(headers[name])[:200] for name in KEPT_HEADERS if headers.get(name)}
    proof = {"method": verified.method, "key_id": verified.key_id, "issued_at": verified.issued_at}
    return found | {"verification": {name: value for name, value in proof.items() if value}}


def _link_digest(event: InboundEvent) -> str:
    """Of the link token, by which its session is found: the token itself, which opens the session, is not kept."""
    token = (event.payload or {}).get("link_token") if event.type == "LINK" else None
    return plaid_links.digest(token) if isinstance(token, str) else ""


def _without_secrets(raw: bytes, payload: Json | None) -> tuple[str | None, bytes]:
    """(the message as JSON, its bytes), both without secrets: the bytes as they came wherever there are none.

    The message is None where it is no JSON object, or nested beyond reason.
    """
    plain = scrub_bytes(raw)
    if payload is None:
        return None, plain
    try:
        shown = scrub(payload)
        written = _json(shown)
        return written, (plain if shown == payload else written.encode())
    except (RecursionError, TypeError):  # orjson writes less deeply than it reads
        return None, plain


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
