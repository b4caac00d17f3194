"""Keeping a webhook that hints at records: each of its events a row, all of them in one statement.

An event names its company (`route`), and one delivery may mix companies: each event finds the connection that has that
account by the fact of its provider, or is kept without one. The same event again only counts: it says that a record
changed, and that is known already.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from django.utils import timezone

from config import correlation
from config.cursors import Prepared
from config.logs import scrub, scrub_bytes
from connections.ids import uuid7
from connections.providers.base import InboundEvent
from webhooks.inbox import DISABLED, KEPT_HEADERS

MAX_UNREADABLE = 64 << 10  # of a body that nobody can read, so much is kept

_RECEIVE = Prepared("""
WITH told AS (
    SELECT * FROM jsonb_to_recordset(%(events)s::jsonb) AS one (
        id uuid, dedupe_key text, event_type text, code text, route text, payload jsonb
    )
),
known AS (
    SELECT DISTINCT ON (connection.facts ->> 'realm_id') connection.id, connection.workspace_id, connection.environment,
           connection.facts ->> 'realm_id' AS route, workspace.webhooks_enabled
    FROM connections_connection connection JOIN connections_workspace workspace ON workspace.id = connection.workspace_id
    WHERE connection.provider = %(provider)s AND connection.facts ? 'realm_id' AND connection.status <> 'disconnected'
      AND connection.facts ->> 'realm_id' IN (SELECT route FROM told)
    ORDER BY connection.facts ->> 'realm_id', connection.created_at DESC
)
INSERT INTO webhooks_webhookevent AS kept (
    id, workspace_id, connection_id, provider, environment, dedupe_key, event_type, code, item_id, link_digest, headers,
    payload, body, status, deliveries, is_marked, attempts, replays, next_attempt_at, note, received_at, last_received_at,
    correlation_id
)
SELECT told.id, known.workspace_id, known.id, %(provider)s, coalesce(known.environment, ''), told.dedupe_key,
       told.event_type, told.code, told.route, '', %(headers)s::jsonb, told.payload, %(body)s,
       CASE WHEN known.webhooks_enabled IS FALSE THEN 'ignored' ELSE 'received' END, 1, false, 0, 0, %(now)s,
       CASE WHEN known.webhooks_enabled IS FALSE THEN %(disabled)s ELSE '' END, %(now)s, %(now)s, %(correlation_id)s
FROM told LEFT JOIN known ON known.route = told.route
ORDER BY told.dedupe_key
ON CONFLICT (dedupe_key) DO UPDATE SET
    deliveries = kept.deliveries + 1,
    last_received_at = excluded.last_received_at,
    workspace_id = coalesce(kept.workspace_id, excluded.workspace_id),
    connection_id = coalesce(kept.connection_id, excluded.connection_id)
RETURNING kept.deliveries = 1 AND kept.status = 'received'
""")  # in the order of their keys: two deliveries of the same events wait for each other, and do not deadlock


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a delivery. waiting: so many of its events are new, and wait to be processed."""

    events: int
    waiting: int


def receive(*, provider: str, headers: Mapping[str, str], events: Sequence[InboundEvent]) -> Receipt:
    """Keep the events of a verified webhook. headers: by lower-case name.

    Committed when this returns (outside of any transaction); one statement.
    """
    return _keep(provider, headers, [_row(event) for event in events], b"")


def receive_unreadable(*, provider: str, raw: bytes, headers: Mapping[str, str], dedupe_key: str, why: str) -> Receipt:
    """Keep a verified webhook that nobody can read, for an operator: it was answered, and will not come again."""
    row = {"id": uuid7(), "dedupe_key": dedupe_key, "event_type": "", "code": "unreadable", "route": ""}
    row["payload"] = {"unreadable": why[:200], "bytes": len(raw)}
    return _keep(provider, headers, [row], scrub_bytes(raw[:MAX_UNREADABLE]))


def _keep(provider: str, headers: Mapping[str, str], rows: list[dict[str, Any]], body: bytes) -> Receipt:
    values: dict[str, Any] = {
        "events": orjson.dumps(rows).decode(),
        "provider": provider,
        "headers": orjson.dumps(_kept(headers)).decode(),
        "body": body,
        "now": timezone.now(),
        "disabled": DISABLED,
        "correlation_id": correlation.current(),
    }
    kept = _RECEIVE.rows(values)
    return Receipt(len(kept), sum(is_waiting for (is_waiting,) in kept))


def _row(event: InboundEvent) -> dict[str, Any]:
    told = {"entity": event.entity, "id": event.external_id, "action": event.action, "occurred_at": _text(event)}
    return {
        "id": uuid7(),
        "dedupe_key": event.dedupe_key,
        "event_type": event.entity[:100],
        "code": event.action[:100],
        "route": event.route[:128],
        "payload": scrub(told),
    }


def _text(event: InboundEvent) -> str | None:
    moment: datetime | None = event.occurred_at
    return moment.isoformat() if moment else None


def _kept(headers: Mapping[str, str]) -> dict[str, Any]:
    found = {name: scrub(told)[:200] for name in KEPT_HEADERS if (told := headers.get(name.lower()))}
    return found | {"verification": {"method": "hmac"}}
