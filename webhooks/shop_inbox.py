"""Keeping what a shop's webhook hints at: one statement.

The body is a whole order with its customer. It only says what has to be read again, so its hint is kept and the rest is
not. The same content twice is one event; once that was processed, the same again is processed again: a product that was
deleted, restored and deleted is told in the same words, and to look once more costs little.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from django.utils import timezone

from config import correlation
from config.cursors import Prepared
from config.logs import scrub
from connections.errors import CausewayError, NotFound, RequestError
from connections.ids import uuid7
from connections.models import Connection, Credential
from connections.models.connection import Provider
from connections.providers.woocommerce import hooks, webhooks
from webhooks.inbox import DISABLED, Receipt

KEPT_HEADERS = ("Content-Type", "User-Agent", "X-WC-Webhook-Topic", "X-WC-Webhook-ID", "X-WC-Webhook-Delivery-ID")

_RECEIVE = Prepared(
    """
INSERT INTO webhooks_webhookevent AS kept (
    id, workspace_id, connection_id, provider, environment, dedupe_key, event_type, code, item_id, link_digest,
    headers, payload, body, status, deliveries, is_marked, attempts, replays, next_attempt_at, note, received_at,
    last_received_at, correlation_id
) VALUES (
    %(id)s, %(workspace_id)s, %(connection_id)s, 'woocommerce', %(environment)s, %(dedupe_key)s, %(event_type)s,
    %(code)s, '', '', %(headers)s::jsonb, %(payload)s::jsonb, %(body)s, %(status)s, 1, false, 0, 0, %(now)s, %(note)s,
    %(now)s, %(now)s, %(correlation_id)s
)
ON CONFLICT (dedupe_key) DO UPDATE SET
    deliveries = kept.deliveries + 1,
    last_received_at = excluded.last_received_at,
    next_attempt_at = CASE WHEN {is_opened} THEN excluded.next_attempt_at ELSE kept.next_attempt_at END,
    attempts = CASE WHEN {is_opened} THEN 0 ELSE kept.attempts END,
    processed_at = CASE WHEN {is_opened} THEN NULL ELSE kept.processed_at END,
    status = CASE WHEN {is_opened} THEN 'received' ELSE kept.status END
RETURNING kept.id, kept.deliveries = 1, kept.status = 'received', false
""".replace("{is_opened}", "(kept.status <> 'received' AND excluded.status = 'received')")
)


class Unsigned(CausewayError):
    """No signature, or one that does not fit: not kept."""

    default_code = "webhook_unverified"


@dataclass(frozen=True, slots=True)
class Hooked:
    """A connection that a shop may call, and the secret it signs with."""

    connection: Connection
    secret: str


def hooked(connection_id: UUID) -> Hooked:
    """Raises NotFound where nobody may be called at, RequestError (gone) where nobody is any more: shops then stop."""
    named = Credential.objects.filter(connection_id=connection_id, name=hooks.SECRET, is_superseded=False)
    found = named.select_related("connection__workspace").first()
    if found and found.connection.provider == Provider.WOOCOMMERCE and not found.connection.is_closed:
        return Hooked(found.connection, found.reveal())
    ended = Connection.objects.filter(pk=connection_id, provider=Provider.WOOCOMMERCE).first()
    if ended and ended.is_closed:
        raise RequestError("This connection has been disconnected.", code="gone", remediation="Delete the webhook.")
    raise NotFound


def receive(subject: Hooked, *, raw: bytes, headers: Mapping[str, str]) -> Receipt:
    """Keep what it hints at. Committed when this returns (outside of any transaction). Raises Unsigned."""
    lowered = {name.lower(): value for name, value in headers.items()}
    if not webhooks.is_signed(raw, lowered, secret=subject.secret):
        told = "no signature" if webhooks.SIGNATURE not in lowered else "a signature that does not fit"
        raise Unsigned(operator_detail=f"WooCommerce: {told} (connection {subject.connection.pk})")
    connection, topic, hint = subject.connection, webhooks.topic_of(lowered), _hint(raw)
    is_enabled = connection.workspace.webhooks_enabled
    values: dict[str, Any] = {
        "id": uuid7(),
        "now": timezone.now(),
        "workspace_id": connection.workspace_id,
        "connection_id": connection.pk,
        "environment": connection.environment,
        "dedupe_key": _dedupe_key(connection, topic, raw),
        "event_type": topic.partition(".")[0],
        "code": topic.partition(".")[2],
        "headers": orjson.dumps(_kept(headers)).decode(),
        "payload": hint and hint.decode(),
        "body": hint or b"",
        "status": "received" if is_enabled else "ignored",
        "note": "" if is_enabled else DISABLED,
        "correlation_id": correlation.current(),
    }
    (row,) = _RECEIVE.rows(values)  # it has a row, whatever is found
    return Receipt(*row)


def _hint(raw: bytes) -> bytes | None:
    try:
        return orjson.dumps(scrub(webhooks.hint_of(raw)))
    except ValueError:  # signed, and not to be read: the next pull finds out
        return None


def _dedupe_key(connection: Connection, topic: str, raw: bytes) -> str:
    told = b"\n".join((connection.pk.bytes, topic.encode(), hashlib.sha256(raw).digest()))
    return f"woocommerce:{hashlib.sha256(told).hexdigest()}"


def _kept(headers: Mapping[str, str]) -> dict[str, Any]:
    found = {name: scrub(headers[name])[:200] for name in KEPT_HEADERS if headers.get(name)}
    return found | {"verification": {"method": "hmac"}}
