"""Keeping a verified webhook: one statement that never waits for a lock on anything but its own row.

In that statement

1. the Item that the webhook names is found, and locked unless somebody else holds it;
2. the event gets its row, or, where this very delivery came before, its row counts it;
3. where the webhook is news of transactions, the Item is dirty from then on, is free to be offered, and a back-off of
   its connection ends.

The same delivery again changes nothing while its event waits, because the Item is dirty already; where it is not, or
somebody is reading it right now, it may be true news and marks the Item all the same. Once the event has been
processed, the same again marks the Item: identical bytes can be true news, and a needless sync is cheap.

An Item that waits to be read, and that nobody has begun to read, is not written dirty once more: whoever claims it reads
what every webhook until then was about. (Each count is a new entry in every index of the Item's.) A lease that ran out
counts as somebody reading until another takes the Item over: its holder may still come back and finish.

What another transaction holds is left alone: `is_marked` stays false (an event that was processed waits once more), and
whoever processes the event marks the Item then. (Locks are taken with NO KEY everywhere here: a plain FOR UPDATE on a
connection would hold up the foreign key of its new event.)
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson
from django.conf import settings
from django.db import DataError
from django.utils import timezone

from config import correlation
from config.cursors import OwnConnection, Prepared
from config.logs import is_plain, scrub, scrub_bytes
from connections.ids import uuid7
from connections.providers.base import Json
from connections.providers.plaid.webhooks import InboundEvent, Verified
from connections.services import plaid_links
from webhooks.together import Together

KEPT_HEADERS = ("Content-Type", "User-Agent")
TOGETHER = 16  # events in one statement, at most; there is one for each number
ALWAYS, UNTIL_SYNCED, AGAIN = "always", "until_synced", "again"
# What makes an Item dirty. The legacy codes come beside SYNC_UPDATES_AVAILABLE, which needs a first sync to be armed.
MARKS = {
    ("TRANSACTIONS", "SYNC_UPDATES_AVAILABLE"): ALWAYS,
    ("TRANSACTIONS", "INITIAL_UPDATE"): UNTIL_SYNCED,
    ("TRANSACTIONS", "HISTORICAL_UPDATE"): UNTIL_SYNCED,
    ("TRANSACTIONS", "DEFAULT_UPDATE"): UNTIL_SYNCED,
}

# What is given of an event, and as what.
_GIVEN = {
    "id": "uuid",
    "marks": "text",
    "item_id": "text",
    "environment": "text",
    "dedupe_key": "text",
    "event_type": "text",
    "code": "text",
    "link_digest": "text",
    "headers": "jsonb",
    "payload": "jsonb",
    "body": "bytea",
    "correlation_id": "text",
}
_RECEIVE_SQL = """
WITH given AS (SELECT * FROM (VALUES {rows}) AS given ({columns})),
known AS (
    SELECT given.id AS event_id, item.id, item.connection_id, item.workspace_id, workspace.webhooks_enabled,
           workspace.webhooks_enabled AND item.removed_at IS NULL AND given.marks = 'again' AS is_wanted_again,
           workspace.webhooks_enabled AND item.removed_at IS NULL
           AND (given.marks = 'always' OR (given.marks = 'until_synced' AND item.last_synced_at IS NULL)) AS is_wanted
    FROM given
    JOIN connections_plaiditem item ON item.item_id = given.item_id
    JOIN connections_connection connection ON connection.id = item.connection_id
    JOIN connections_workspace workspace ON workspace.id = item.workspace_id
    WHERE given.environment IN ('', connection.environment)
),
easing AS (
    SELECT connection.id FROM connections_connection connection
    WHERE connection.id IN (SELECT connection_id FROM known WHERE is_wanted) AND connection.wait_reason = 'backoff'
    FOR NO KEY UPDATE OF connection SKIP LOCKED
),
free AS (
    SELECT item.id, item.dirty_seq <= item.synced_seq OR item.lease_token IS NOT NULL AS may_be_news
    FROM connections_plaiditem item WHERE item.id IN (SELECT id FROM known)
    FOR NO KEY UPDATE OF item SKIP LOCKED
),
event AS (
    INSERT INTO webhooks_webhookevent AS kept (
        id, workspace_id, connection_id, provider, environment, dedupe_key, event_type, code, item_id, link_digest,
        headers, payload, body, status, deliveries, is_marked, attempts, replays, next_attempt_at, note, received_at,
        last_received_at, correlation_id
    )
    SELECT given.id, known.workspace_id, known.connection_id, 'plaid', given.environment, given.dedupe_key,
           given.event_type, given.code, given.item_id, given.link_digest, given.headers, given.payload, given.body,
           CASE WHEN known.webhooks_enabled IS FALSE THEN 'ignored' ELSE 'received' END, 1, free.id IS NOT NULL, 0, 0,
           %(now)s, CASE WHEN known.webhooks_enabled IS FALSE THEN %(disabled)s ELSE '' END, %(now)s, %(now)s,
           given.correlation_id
    FROM given LEFT JOIN known ON known.event_id = given.id LEFT JOIN free ON free.id = known.id
    ORDER BY given.dedupe_key  -- two processes that keep the same deliveries wait for each other in one direction only
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
    RETURNING kept.id, kept.dedupe_key, kept.status = 'received' AS is_waiting, kept.deliveries = 1 AS is_new
),
told AS (
    SELECT given.dedupe_key, event.id, event.is_new, event.is_waiting, free.id AS item_id, known.connection_id,
           known.webhooks_enabled,
           free.id IS NOT NULL AND CASE WHEN event.is_new THEN known.is_wanted
                                        WHEN event.is_waiting THEN known.is_wanted AND free.may_be_news
                                        ELSE known.is_wanted OR known.is_wanted_again END AS is_dirty
    FROM given JOIN event ON event.dedupe_key = given.dedupe_key
    LEFT JOIN known ON known.event_id = given.id LEFT JOIN free ON free.id = known.id
),
marked AS (
    UPDATE connections_plaiditem item SET
        last_webhook_at = %(now)s,
        dirty_seq = item.dirty_seq + CASE WHEN news.is_dirty AND free.may_be_news THEN 1 ELSE 0 END,
        offered_until = CASE WHEN news.is_dirty THEN NULL ELSE item.offered_until END
    FROM (SELECT item_id, bool_or(is_dirty) AS is_dirty FROM told WHERE webhooks_enabled GROUP BY item_id) AS news
    JOIN free ON free.id = news.item_id
    WHERE item.id = news.item_id
),
eased AS (
    UPDATE connections_connection connection SET next_attempt_at = NULL, wait_reason = '', updated_at = %(now)s
    FROM easing WHERE connection.id = easing.id AND easing.id IN (SELECT connection_id FROM told WHERE is_dirty)
)
SELECT dedupe_key, id, is_new, is_waiting, is_dirty FROM told
""".replace(
    # Processed already, and its Item could not be marked now: somebody holds it.
    "{is_opened}",
    "(kept.status <> 'received' AND NOT excluded.is_marked AND {marks} <> '' AND excluded.status = 'received')",
).replace("{marks}", "(SELECT given.marks FROM given WHERE given.dedupe_key = excluded.dedupe_key)")


@lru_cache
def _receive(size: int) -> Prepared:
    """The statement for so many events. Planning it takes longer than running it."""
    rows = (", ".join(f"%({name}_{number})s::{kind}" for name, kind in _GIVEN.items()) for number in range(size))
    written = _RECEIVE_SQL.replace("{rows}", ", ".join(f"({row})" for row in rows))
    return Prepared(written.replace("{columns}", ", ".join(_GIVEN)))


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
    """Keep a verified webhook of Plaid's. Committed when this returns (outside of any transaction); one statement.

    Webhooks that come at the same time share it: what most of a webhook takes is the statement's and its commit's.
    """
    shown, body = _without_secrets(raw, event.payload)
    kept = _receive_together(
        {
            "id": uuid7(),
            "marks": AGAIN if event.type == "ITEM" else MARKS.get((event.type, event.code), ""),
            "item_id": event.item_id,
            "environment": event.environment or verified.environment,
            "dedupe_key": dedupe_key(raw, verified, timezone.now()),
            "event_type": event.type,
            "code": event.code,
            "link_digest": _link_digest(event),
            "headers": _json(_kept(headers, verified)),
            "payload": shown,
            "body": body,
            "correlation_id": correlation.current(),
        }
    )
    if isinstance(kept, DataError):
        raise kept
    return kept


def _receive_all(events: Sequence[Mapping[str, Any]]) -> list[Receipt | DataError]:
    """What became of each, in order. What PostgreSQL refuses is refused alone, and the same delivery twice counts twice."""
    keys = [event["dedupe_key"] for event in events]
    if len(set(keys)) == len(keys) > 1:
        with suppress(DataError):
            found = _keep(events)
            return [found[key] for key in keys]
    return [_keep_alone(event) for event in events]


def _keep_alone(event: Mapping[str, Any]) -> Receipt | DataError:
    try:
        (receipt,) = _keep([event]).values()
        return receipt
    except DataError as refused:
        return refused


def _keep(events: Sequence[Mapping[str, Any]]) -> dict[str, Receipt]:
    """By dedupe key. Each key once."""
    values = {f"{name}_{number}": event[name] for number, event in enumerate(events) for name in _GIVEN}
    # In the web process one thread at a time is here, for all of them, and it needs no more than this statement.
    own = _own if settings.IS_WEB else None
    rows = _receive(len(events)).rows(values | {"now": timezone.now(), "disabled": DISABLED}, own=own)
    return {key: Receipt(*told) for key, *told in rows}


_own = OwnConnection()
_receive_together = Together(_receive_all, most=TOGETHER)


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
    try:
        if payload is not None and is_plain(raw):
            return _json(payload), raw
        plain = scrub_bytes(raw)
        if payload is None:
            return None, plain
        shown = scrub(payload)
        written = _json(shown)
        return written, (plain if shown == payload else written.encode())
    except (RecursionError, TypeError):  # orjson writes less deeply than it reads
        return None, scrub_bytes(raw)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
