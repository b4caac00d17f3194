"""A bank, and somebody who delivers webhooks about it."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from connections.models import Connection, PlaidItem
from connections.models.connection import Status
from tests import plugin
from tests.conftest import Process, free_port, gunicorn, is_answering
from webhooks.models import WebhookEvent

SECRET = "shared-with-the-relay"
UPDATES: dict[str, Any] = {"webhook_type": "TRANSACTIONS", "webhook_code": "SYNC_UPDATES_AVAILABLE"}


@pytest.fixture(scope="module")
def shared_web(django_db_setup, _simulators) -> Iterator[Process]:
    """gunicorn for all tests of a file: starting one takes longer than most of them. It knows both ways to sign."""
    port = free_port()
    urls = dict.fromkeys(("PLAID_SANDBOX_URL", "PLAID_PRODUCTION_URL"), f"{_simulators.url}/plaid")
    log = plugin.HOME / "logs" / f"shared-web-{port}.log"
    made = Process("web", gunicorn(port), log, urls | {"PLAID_WEBHOOK_SECRET": SECRET})
    made.url = f"http://127.0.0.1:{port}"
    made.wait_until(lambda: is_answering(f"{made.url}/healthz"))
    yield made
    made.stop()


@dataclass(frozen=True)
class Bank:
    """One linked bank, read anew at every question."""

    connection_id: Any
    item_id: str

    @property
    def connection(self) -> Connection:
        return Connection.objects.get(pk=self.connection_id)

    @property
    def item(self) -> PlaidItem:
        return PlaidItem.objects.get(connection_id=self.connection_id)

    @property
    def dirty_seq(self) -> int:
        return self.item.dirty_seq

    def change(self, **fields) -> None:
        """Of the Item, or, where it has no such field, of the connection."""
        names = {field.name for field in PlaidItem._meta.get_fields()}
        of_item = {name: value for name, value in fields.items() if name in names}
        PlaidItem.objects.filter(connection_id=self.connection_id).update(**of_item)
        if of_connection := {name: value for name, value in fields.items() if name not in names}:
            Connection.objects.filter(pk=self.connection_id).update(**of_connection)


def link(person, item_id: str = "item-1", **fields) -> Bank:
    connection = Connection.objects.create(
        workspace=person.workspace,
        owner=person.user,
        provider="plaid",
        name="Bank",
        environment="sandbox",
        status=Status.ACTIVE,
    )
    PlaidItem.objects.create(workspace=person.workspace, connection=connection, item_id=item_id)
    made = Bank(connection.pk, item_id)
    made.change(dirty_seq=3, synced_seq=3, last_synced_at=timezone.now(), **fields)
    return made


@pytest.fixture
def bank(alice) -> Bank:
    """A bank that is up to date."""
    return link(alice)


@pytest.fixture
def deliver(db, settings):
    """POST a webhook, signed with the shared secret: deliver({"webhook_code": …}) or deliver(b"…"). Returns the answer."""
    settings.PLAID_WEBHOOK_SECRET = SECRET
    client = Client(raise_request_exception=False)

    def post(body: dict | bytes, **headers: str):
        raw = body if isinstance(body, bytes) else json.dumps({"environment": "sandbox"} | body, indent=2).encode()
        signature = hmac.new(SECRET.encode(), raw, hashlib.sha256).hexdigest()
        return client.post(
            "/webhook/plaid", raw, content_type="application/json", headers={"X-Plaid-Signature": signature} | headers
        )

    return post


@pytest.fixture
def updates(bank, deliver):
    """Deliver SYNC_UPDATES_AVAILABLE for the bank; the event."""

    def send(**fields) -> WebhookEvent:
        answer = deliver(UPDATES | {"item_id": bank.item_id} | fields)
        assert answer.status_code == 200, answer.content
        return WebhookEvent.objects.get(pk=answer.json()["id"])

    return send


@pytest.fixture
def woken(monkeypatch) -> list[str]:
    """The tasks that were woken, in order."""
    sent: list[str] = []
    for place in (
        "webhooks.views",
        "webhooks.services.plaid",
        "webhooks.services.replays",
        "connections.services.plaid_items",
        "connections.services.plaid_news",
    ):
        monkeypatch.setattr(f"{place}.wake", sent.append)
    return sent


def ended(event: WebhookEvent, status: str = "processed", at: datetime | None = None) -> None:
    """As if it had been processed."""
    WebhookEvent.objects.filter(pk=event.pk).update(status=status, processed_at=at or timezone.now())
