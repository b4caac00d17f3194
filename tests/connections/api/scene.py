"""Rows to ask the API for, and what every one of its problems looks like."""

import uuid
from typing import Any

import pytest
from django.utils import timezone

from connections.models import Account, Connection, PlaidItem, PlaidItemAccount
from sync.models import Flow, Mapping, MappingVersion
from tests.factories import Person
from webhooks.models import WebhookEvent

__all__ = ["account", "bank", "shop"]

UNKNOWN = "019a2f6e-7c1d-7b52-9a4e-3f1c5d7e9b20"


def make_bank(person: Person, name: str = "First Bank", **fields: Any) -> Connection:
    values = {"workspace": person.workspace, "owner": person.user, "provider": "plaid", "name": name}
    connection = Connection.objects.create(**values | {"status": "active", "environment": "sandbox"} | fields)
    PlaidItem.objects.create(
        workspace=person.workspace,
        connection=connection,
        item_id=f"item-{uuid.uuid4()}",
        institution_id="ins_1",
        institution_name="First Bank",
        institution_logo="bG9nbw==",
        institution_color="#004966",
        dirty_seq=1,
        synced_seq=1,
    )
    return connection


def make_shop(person: Person, name: str = "Shop", **fields: Any) -> Connection:
    values = {"workspace": person.workspace, "owner": person.user, "provider": "woocommerce", "name": name}
    return Connection.objects.create(**values | {"status": "active"} | fields)


def make_store(person: Person, name: str = "Warehouse", **fields: Any) -> Connection:
    values = {"workspace": person.workspace, "owner": person.user, "provider": "supabase", "name": name}
    return Connection.objects.create(**values | {"status": "active", "config": {"kind": "rest"}} | fields)


def make_flow(source: Connection, target: Connection | None = None, **fields: Any) -> Flow:
    """From the connection to a store, which is made where none is given."""
    store = {"provider": "supabase", "name": "Warehouse", "status": "active", "config": {"kind": "rest"}}
    whose = {"workspace": source.workspace, "owner": source.owner}
    target = target or Connection.objects.create(**whose, **store, environment=source.environment)
    values = {"name": "Flow", "status": "draft", "options": {"keep_raw": False}}
    values["entities"] = ["customers", "products", "orders", "refunds"]
    return Flow.objects.create(workspace=source.workspace, source=source, target=target, **{**values, **fields})


def make_mapping(person: Person, *, rules: list[dict] | None = None, **fields: Any) -> Mapping:
    """Of orders for a store, with one rule where none are given."""
    values = {"name": "Mapping", "entity": "orders", "target": "supabase", "created_by": person.user}
    made = Mapping.objects.create(workspace=person.workspace, **{**values, **fields})
    rule = {"target": "memo", "expression": "record.memo", "default": None, "required": False, "lookup": None}
    MappingVersion.objects.create(workspace=person.workspace, mapping=made, number=1, rules=rules or [rule])
    return made


def make_account(connection: Connection, name: str = "Checking", **fields: Any) -> Account:
    values = {"workspace_id": connection.workspace_id, "connection": connection, "name": name, "iso_currency": "USD"}
    made = Account.objects.create(**values | fields)
    PlaidItemAccount.objects.create(
        workspace_id=connection.workspace_id,
        item=connection.plaid_item,
        account=made,
        plaid_account_id=f"plaid-{made.pk}",
    )
    return made


def make_event(connection: Connection | None, **fields: Any) -> WebhookEvent:
    """A webhook that was processed."""
    now = timezone.now()
    values = {"provider": "plaid", "dedupe_key": uuid.uuid4().hex, "event_type": "TRANSACTIONS", "body": b"{}"}
    values |= {"code": "SYNC_UPDATES_AVAILABLE", "payload": {"webhook_code": "SYNC_UPDATES_AVAILABLE"}}
    values |= {"workspace_id": connection.workspace_id, "connection": connection} if connection else {}
    moments = {"received_at": now, "last_received_at": now, "next_attempt_at": now, "processed_at": now}
    return WebhookEvent.objects.create(**values | moments | {"status": "processed"} | fields)


@pytest.fixture
def bank(alice) -> Connection:
    """Alice's bank."""
    return make_bank(alice)


@pytest.fixture
def shop(alice) -> Connection:
    """Alice's shop: a connection without a bank's privacy."""
    return make_shop(alice)


@pytest.fixture
def account(bank) -> Account:
    return make_account(bank)


def assert_problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """The answer is this problem, whole and consistent; its body."""
    assert response.headers["Content-Type"] == "application/problem+json", response.content[:500]
    body = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    assert body["status"] == status
    assert body["type"] == f"/docs/errors/{code}"
    for name in ("title", "detail", "remediation", "instance"):
        assert isinstance(body[name], str)
        assert body[name]
    assert isinstance(body["retryable"], bool)
    assert body["correlation_id"] == response.headers["X-Correlation-ID"]
    return body
