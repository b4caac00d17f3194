"""What a shop tells us. A module with the capability `Notifies`; pure functions.

The body is a record as it was when the shop delivered it, signed, without a time: a hint that this record has to be read
again, no more. There is no topic for refunds: they come with their order.
Source: WooCommerce's WC_Webhook; REST API documentation, "Webhooks".
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

import orjson

from connections.providers.base import InboundEvent, Json
from connections.providers.woocommerce import records

SIGNATURE, TOPIC = "x-wc-webhook-signature", "x-wc-webhook-topic"
POLL = "poll"  # the record could not be told: whatever changed has to be looked for
_ENTITIES = {"order": "orders", "product": "products", "coupon": "coupons", "customer": "customers"}
_PING = re.compile(rb"webhook_id=\d{1,20}")
_TOPIC = re.compile(r"[a-z_]{1,40}\.[a-z_]{1,60}")


def is_signed(raw: bytes, headers: Mapping[str, str], *, secret: str) -> bool:
    """Whether the signature over the raw bytes is good, in constant time."""
    made = base64.b64encode(hmac.new(secret.encode(), raw, hashlib.sha256).digest())
    return bool(secret) and hmac.compare_digest(made, headers.get(SIGNATURE, "").encode())


def is_ping(raw: bytes, headers: Mapping[str, str]) -> bool:
    """What a shop sends when a webhook is made: a form, unsigned, with the webhook's number and nothing else."""
    return SIGNATURE not in headers and _PING.fullmatch(raw.strip()) is not None


def parse(raw: bytes, headers: Mapping[str, str]) -> list[InboundEvent]:
    """What it tells; [] for a ping, and for a topic that is none of ours. Raises ValueError for what cannot be read."""
    if is_ping(raw, headers):
        return []
    topic = topic_of(headers)
    entity, body = entity_of(topic), _object(raw)
    if not entity:
        return []
    key, occurred_at = dedupe_key(topic, raw, body), records.instant(body.get("date_modified_gmt"))
    number = body.get("id")
    if isinstance(number, bool) or not isinstance(number, int | str) or not str(number).isdecimal():
        return [InboundEvent(entity, "", POLL, key)]  # an error in the record's place: destroyed, or no longer shown
    action = topic.partition(".")[2]
    found = [InboundEvent(entity, str(number), action, key, occurred_at=occurred_at)]
    refunds = records.refund_ids(body) if entity == "orders" else []
    return found + [InboundEvent("refunds", one, "updated", f"{key}:{one}", occurred_at=occurred_at) for one in refunds]


def entity_of(topic: str) -> str:
    """Of what it is; "" where it is none of ours."""
    return _ENTITIES.get(topic.partition(".")[0], "")


def topic_of(headers: Mapping[str, str]) -> str:
    topic = headers.get(TOPIC, "")
    return topic if _TOPIC.fullmatch(topic) else ""


def dedupe_key(topic: str, raw: bytes, body: Json) -> str:
    """Of the content: a shop gives two deliveries of one second the same delivery id."""
    told = f"{topic}\n{body.get('id', '')}\n{hashlib.sha256(raw).hexdigest()}"
    return hashlib.sha256(told.encode()).hexdigest()


def hint_of(raw: bytes) -> Json:
    """What is kept of a body: enough to know what to read again, and nothing about a customer."""
    body = _object(raw)
    kept: dict[str, Any] = {
        name: body[name] for name in ("id", "status", "date_modified_gmt") if isinstance(body.get(name), int | str)
    }
    if refunds := records.refund_ids(body):
        kept["refunds"] = [{"id": int(one)} for one in refunds if one.isdecimal()]
    if isinstance(body.get("code"), str):
        kept["code"] = body["code"][:100]
    return kept


def _object(raw: bytes) -> Json:
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ValueError("not JSON") from error
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found
