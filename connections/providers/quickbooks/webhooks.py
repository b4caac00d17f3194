"""What QuickBooks tells us, in both of its forms. A module with the capability `Notifies`; pure functions.

One address serves all companies, and one delivery may mix them: each event names its own. It says which record changed
and never how: the record is read again.
Source: Intuit developer docs, "Webhooks" and "Understanding the data object"; Intuit blog, "Webhooks payload structure".
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from django.utils.dateparse import parse_datetime

from connections.providers.base import InboundEvent, Json

SIGNATURE = "intuit-signature"
ACTIONS = {
    **{name: name for name in ("created", "updated", "deleted", "merged", "voided", "emailed")},
    "create": "created",
    "update": "updated",
    "delete": "deleted",
    "merge": "merged",
    "void": "voided",
}
_TYPE = re.compile(r"qbo\.([a-z]{1,60})\.([a-z]{1,30})\.v\d+")
_NAMES = (
    "Account", "Bill", "BillPayment", "Budget", "Class", "CreditMemo", "Currency", "Customer", "Department", "Deposit",
    "Employee", "Estimate", "Invoice", "Item", "JournalCode", "JournalEntry", "Payment", "PaymentMethod", "Preferences",
    "Purchase", "PurchaseOrder", "RefundReceipt", "SalesReceipt", "TaxAgency", "Term", "TimeActivity", "Transfer",
    "Vendor", "VendorCredit",
)  # fmt: skip
_ENTITIES = {name.lower(): name for name in _NAMES}


def is_signed(raw: bytes, headers: Mapping[str, str], *, secret: str) -> bool:
    """Whether the signature over the raw bytes is good, in constant time."""
    made = base64.b64encode(hmac.new(secret.encode(), raw, hashlib.sha256).digest())
    return bool(secret) and hmac.compare_digest(made, headers.get(SIGNATURE, "").strip().encode())


def parse(raw: bytes, headers: Mapping[str, str]) -> list[InboundEvent]:
    """Every event that it tells, each once. Raises ValueError for what cannot be read."""
    try:
        told = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ValueError("not JSON") from error
    events = {event.dedupe_key: event for event in _events(told)}
    return list(events.values())


def _events(told: Any) -> Iterator[InboundEvent]:
    if isinstance(told, dict) and isinstance(told.get("eventNotifications"), list):
        yield from _legacy(told["eventNotifications"])
    elif isinstance(told, list) and all(isinstance(one, dict) for one in told):
        yield from map(_cloud_event, told)  # one that is none is kept by itself: it must not take the others with it
    elif isinstance(told, dict) and "specversion" in told:
        yield _cloud_event(told)
    else:
        raise ValueError("neither CloudEvents nor eventNotifications")


def _cloud_event(told: Json) -> InboundEvent:
    """Told apart by its id. One without any of what we need is kept all the same, as an event of no entity."""
    kind = _TYPE.fullmatch(_text(told, "type"))
    entity, action = (kind[1], kind[2]) if kind else ("", "")
    realm, number = _text(told, "intuitaccountid"), _text(told, "intuitentityid")
    own = _text(told, "id") or _digest(orjson.dumps(told, option=orjson.OPT_SORT_KEYS).decode())
    return InboundEvent(
        entity=_ENTITIES.get(entity, entity),
        external_id=number[:100],
        action=ACTIONS.get(action, action),
        dedupe_key=f"quickbooks:{_digest(own)}",
        route=realm[:128],
        occurred_at=_moment(_text(told, "time")),
    )


def _legacy(told: list[Any]) -> Iterator[InboundEvent]:
    for company in told:
        changed = company.get("dataChangeEvent") if isinstance(company, dict) else None
        listed = changed.get("entities") if isinstance(changed, dict) else None
        for one in listed if isinstance(listed, list) else ():
            if isinstance(one, dict):
                yield _legacy_event(_text(company, "realmId"), one)


def _legacy_event(realm: str, told: Json) -> InboundEvent:
    """Without an id of its own: what, which, how and when."""
    entity, number, action = (_text(told, name) for name in ("name", "id", "operation"))
    moment = _text(told, "lastUpdated")
    return InboundEvent(
        entity=_ENTITIES.get(entity.lower(), entity)[:60],
        external_id=number[:100],
        action=ACTIONS.get(action.lower(), action.lower())[:30],
        dedupe_key=f"quickbooks:{_digest('|'.join((realm, entity, number, action, moment)))}",
        route=realm[:128],
        occurred_at=_moment(moment),
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _text(told: Mapping[str, Any], name: str) -> str:
    value = told.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value.replace("\x00", "") if isinstance(value, str) else ""


def _moment(text: str) -> datetime | None:
    """Also with nine digits of a second, which are cut to six."""
    try:
        found = parse_datetime(text[:40])
    except ValueError:
        return None
    return found if found is None or found.tzinfo else found.replace(tzinfo=UTC)
