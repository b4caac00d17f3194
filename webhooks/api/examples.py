"""One example an operation, for the API's documentation."""

from connections.api.examples import answered, asked, listed

_EVENT = {
    "id": "019a2f71-3c4d-7e5f-8061-7c8d9e0f1a2b",
    "provider": "plaid",
    "environment": "sandbox",
    "event_type": "TRANSACTIONS",
    "code": "SYNC_UPDATES_AVAILABLE",
    "connection_id": "019a2f6e-7c1d-7b52-9a4e-3f1c5d7e9b20",
    "item_id": "Ed6bjNrDLJfGvZWwnkQlfxwoNz54B5C97ejBr",
    "status": "processed",
    "note": "A sync is due since it came in.",
    "deliveries": 1,
    "attempts": 1,
    "replays": 0,
    "received_at": "2026-05-12T14:03:09Z",
    "last_received_at": "2026-05-12T14:03:09Z",
    "processed_at": "2026-05-12T14:03:10Z",
    "correlation_id": "4b1f0c6e5d1f4f0e9a57c8f3d2b1a096",
}
_PAYLOAD = {
    "webhook_type": "TRANSACTIONS",
    "webhook_code": "SYNC_UPDATES_AVAILABLE",
    "item_id": _EVENT["item_id"],
    "initial_update_complete": True,
    "historical_update_complete": False,
    "environment": "sandbox",
}
_WAITING = {"status": "received", "note": "", "attempts": 0, "replays": 1, "processed_at": None}

EVENTS = [listed(_EVENT)]
EVENT = [answered(_EVENT | {"payload": _PAYLOAD})]
REPLAY = [answered(_EVENT | _WAITING, status="202")]
SETTINGS = [answered({"enabled": True})]
SWITCH = [asked({"enabled": False}), answered({"enabled": False})]
