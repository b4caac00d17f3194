"""One example an operation on mappings, for the API's documentation."""

from typing import Any

from connections.api.examples import answered, asked, listed

_TIME = "2026-05-12T14:03:09Z"
_RULE: dict[str, Any] = {
    "target": "memo",
    "expression": "record.payment_method + ' ' + record.memo",
    "default": None,
    "required": False,
    "lookup": None,
}
_STATUS = {**_RULE, "target": "status", "expression": "record.status", "lookup": {"processing": "paid", "*": "open"}}
_MAPPING: dict[str, Any] = {
    "id": "019a2f72-5e6f-7a71-9283-9e0f1a2b3c4d",
    "name": "Orders to supabase",
    "flow_id": "019a2f71-4d5e-7f60-8172-8d9e0f1a2b3c",
    "entity": "orders",
    "target": "supabase",
    "version": 2,
    "created_at": _TIME,
    "updated_at": _TIME,
}
_FIELD: dict[str, Any] = {
    "name": "memo",
    "type": "text",
    "takes": "text",
    "max_length": None,
    "choices": [],
    "required": False,
    "is_line": False,
    "read_only": "",
    "documents": [],
    "help": "",
}
_VERSION = {"version": 2, "restored_from": None, "created_by": "alice", "created_at": _TIME, "rules": [_RULE, _STATUS]}
_DETAIL = _MAPPING | {"rules": [_RULE, _STATUS], "fields": [_FIELD], "versions": [_VERSION]}
_FAILURE = {
    "path": "rules.1",
    "target": "status",
    "code": "lookup_missing",
    "detail": "The rule's lookup table has no entry for 'on-hold'.",
    "remediation": "Add 'on-hold' to the table, or \"*\" for whatever is not in it.",
    "line_id": "",
}
_TRIED = {"rule": 0, "target": "memo", "line": None, "value": "stripe Ring twice", "result": "stripe Ring twice"}

MAPPINGS = [listed(_MAPPING)]
MAPPING = [answered(_DETAIL)]
DRAFT = [
    asked({"flow_id": _MAPPING["flow_id"], "entity": "orders", "rules": [_RULE, _STATUS]}),
    answered(_DETAIL, status="201"),
]
CHANGE = [asked({"version": 1, "rules": [_RULE, _STATUS]}), answered(_DETAIL)]
PREVIEW = [
    asked({"external_id": "49"}),
    answered(
        {
            "source_record": {"id": "49", "number": "49", "status": "on-hold", "total": "19.99"},
            "canonical": {"entity": "orders", "source_id": "49", "number": "49", "status": "on-hold", "total": "19.99"},
            "target": {"number": "49", "memo": "stripe Ring twice", "total": "19.99"},
            "rules": [_TRIED | {"failure": None}],
            "failures": [_FAILURE],
        }
    ),
]
