"""One example an operation, for the API's documentation."""

from typing import Any

from connections.api.examples import answered, asked, listed

_TIME = "2026-05-12T14:03:09Z"
_CONNECTION_ID = "019a2f6e-7c1d-7b52-9a4e-3f1c5d7e9b20"
_OUTCOMES = ("fetched", "processed", "created", "updated", "unchanged", "removed", "skipped", "parked", "failed")
_QUEUED: dict[str, Any] = {
    "sync_id": "019a2f70-1a2b-7c3d-8e4f-5a6b7c8d9e0f",
    "parent_id": None,
    "status": "queued",
    "connection_id": _CONNECTION_ID,
    "flow_id": None,
    "entity": "transactions",
    "mode": "incremental",
    "trigger": "user",
    "created_at": _TIME,
    "started_at": None,
    "finished_at": None,
    **{f"records_{outcome}": 0 for outcome in _OUTCOMES},
    "ledger_balanced": True,
    "errors": [],
    "plan_id": None,
    "records_expected": None,
    "next_attempt_at": None,
    "waiting": None,
    "correlation_id": "4b1f0c6e5d1f4f0e9a57c8f3d2b1a096",
}
_ENDED = _QUEUED | {
    "status": "succeeded",
    "started_at": _TIME,
    "finished_at": "2026-05-12T14:03:11Z",
    "records_fetched": 24,
    "records_processed": 24,
    "records_created": 20,
    "records_updated": 3,
    "records_removed": 1,
}

REFRESH = [answered(_QUEUED, status="202")]
RUNS = [listed(_ENDED)]
RUN = [answered(_ENDED)]
TRANSACTIONS = [
    listed(
        {
            "id": "019a2f70-2b3c-7d4e-8f50-6b7c8d9e0f1a",
            "external_id": "lPNjeW1nR6CDn5okmGQ6hEpMo4lLNoSrzqDje",
            "account_id": "019a2f6e-8d2e-7c63-8b5f-4e2d6c8f0a31",
            "amount": "72.10",
            "currency": "USD",
            "date": "2026-05-11",
            "authorized_date": "2026-05-10",
            "name": "PURCHASE WM SUPERCENTER #1700",
            "merchant_name": "Walmart",
            "pending": False,
            "pending_external_id": None,
            "category": "GENERAL_MERCHANDISE",
            "archived": False,
            "updated_at": _TIME,
        }
    )
]
SUBSCRIPTIONS = [
    listed(
        {
            "id": "019a2f70-3c4d-7e5f-9061-7c8d9e0f1a2b",
            "external_id": "no86Eox18VHMvaOVL7gPUM9ap3aR1LsAVZ5nc",
            "account_id": "019a2f6e-8d2e-7c63-8b5f-4e2d6c8f0a31",
            "status": "verified",
            "direction": "outflow",
            "description": "COPPERLINE GYM",
            "merchant_name": "Copperline Gym",
            "category": "PERSONAL_CARE",
            "frequency": "MONTHLY",
            "source_status": "MATURE",
            "is_active": True,
            "average_amount": "39.90",
            "last_amount": "39.90",
            "currency": "USD",
            "first_date": "2025-06-02",
            "last_date": "2026-05-02",
            "predicted_next_date": "2026-06-01",
            "cancelled_at": None,
            "updated_at": _TIME,
        }
    )
]

_FLOW: dict[str, Any] = {
    "id": "019a2f71-4d5e-7f60-8172-8d9e0f1a2b3c",
    "name": "Corner shop → Warehouse",
    "source_connection_id": _CONNECTION_ID,
    "source_provider": "woocommerce",
    "target_connection_id": "019a2f6e-9e3f-7d74-8c60-5f3e7d9f1b42",
    "target_provider": "supabase",
    "status": "active",
    "status_reason": "",
    "entities": ["customers", "products", "orders", "refunds"],
    "statuses": ["processing", "completed", "refunded"],
    "start_date": "2026-01-01",
    "conflict_policy": "source_wins",
    "options": {"keep_raw": False},
    "version": 1,
    "created_at": _TIME,
    "updated_at": _TIME,
}
_GAP = {
    "code": "table_missing",
    "field": "entities",
    "detail": "The store Warehouse keeps no refunds.",
    "remediation": "Add refunds to the connection's entities, run its SQL file, then verify and activate it.",
}
_FLOW_GIVEN = {name: _FLOW[name] for name in ("source_connection_id", "target_connection_id", "entities", "statuses")}
_OF_FLOW = {"flow_id": _FLOW["id"], "entity": "orders"}
SYNC = [
    asked({"mode": "incremental"}, "What has changed, in all flows"),
    asked(
        {"flow_id": _FLOW["id"], "filters": {"date_from": "2026-05-01", "status": ["completed"]}}, "Some of one flow"
    ),
    asked({"ids": ["1204"]}, "One record"),
    answered(_QUEUED | {"connection_id": None, "entity": "orders"}, status="202"),
]
CANCEL = [answered(_QUEUED | _OF_FLOW | {"status": "cancelled", "finished_at": _TIME}, status="202")]
FLOWS = [listed(_FLOW)]
FLOW = [answered(_FLOW | {"gaps": []})]
FLOW_DRAFT = [asked(_FLOW_GIVEN), answered(_FLOW | {"status": "draft", "gaps": [_GAP]}, status="201")]
FLOW_CHANGE = [asked({"statuses": ["completed"]}), answered(_FLOW | {"statuses": ["completed"], "gaps": []})]
