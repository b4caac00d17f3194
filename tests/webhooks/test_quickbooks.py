"""POST /webhook/quickbooks: both of Intuit's formats, kept by one statement, routed to their company, and never believed."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime

import psycopg
import pytest
from django.db import DatabaseError
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from connections.models import Connection, RecordNews
from connections.models.connection import Status
from connections.providers.quickbooks import webhooks
from connections.services.record_news import news_waiting, record_news_taken
from diagnostics.models import ErrorEvent
from webhooks import hints
from webhooks.models import WebhookEvent, WebhookRefusal
from webhooks.services.process import event_process
from webhooks.services.replays import replay_preview

pytestmark = pytest.mark.django_db

VERIFIER = "verifier-of-the-app"
REALM, OTHER, STRANGE = "9341450000000001", "9341450000000002", "999"


def books(person, realm: str = REALM, **fields) -> Connection:
    made = {"status": Status.ACTIVE, "environment": "sandbox", "facts": {"realm_id": realm}} | fields
    return Connection.objects.create(
        workspace=person.workspace, owner=person.user, provider="quickbooks", name=f"Books {realm}", **made
    )


def cloud(number: str = "1", *, realm: str = REALM, kind: str = "customer.updated", own: str = "", **fields) -> dict:
    return {
        "specversion": "1.0",
        "id": own or f"event-{realm}-{kind}-{number}",
        "source": "intuit.x",
        "type": f"qbo.{kind}.v1",
        "time": "2025-09-10T21:31:25.179851517Z",
        "intuitentityid": number,
        "intuitaccountid": realm,
        "data": {},
    } | fields


def legacy(*entities: dict, realm: str = REALM) -> dict:
    told = {"name": "Customer", "id": "1", "operation": "Update", "lastUpdated": "2026-09-08T20:52:31.657Z"}
    return {"realmId": realm, "dataChangeEvent": {"entities": [told | one for one in entities]}}


def signed(raw: bytes, secret: str = VERIFIER) -> str:
    return base64.b64encode(hmac.new(secret.encode(), raw, hashlib.sha256).digest()).decode()


@pytest.fixture
def deliver(settings):
    settings.QUICKBOOKS_WEBHOOK_VERIFIER = VERIFIER
    client = Client(raise_request_exception=False)

    def post(body, *, signature: str | None = None, content_type: str = "application/json"):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"intuit-signature": signed(raw) if signature is None else signature} if signature != "" else {}
        return client.post("/webhook/quickbooks", raw, content_type=content_type, headers=given)

    return post


def process_all() -> None:
    for event in WebhookEvent.objects.filter(status="received"):
        event_process(event.pk)


# --- kept ---
def test_cloud_events_are_kept_each_with_its_company(alice, deliver, woken):
    mine, theirs = books(alice), books(alice, OTHER)
    body = [cloud("1"), cloud("5", realm=OTHER, kind="salesreceipt.created"), cloud("7", realm=STRANGE)]
    answer = deliver(body, content_type="application/cloudevents+json")
    assert (answer.status_code, answer.json()) == (200, {"events": 3, "new": 3})
    kept = {event.item_id: event for event in WebhookEvent.objects.all()}
    assert [kept[realm].connection_id for realm in (REALM, OTHER, STRANGE)] == [mine.pk, theirs.pk, None]
    assert (kept[OTHER].event_type, kept[OTHER].code, kept[OTHER].payload["id"]) == ("SalesReceipt", "created", "5")
    assert (kept[OTHER].environment, kept[STRANGE].workspace_id) == ("sandbox", None)
    assert kept[REALM].headers["Content-Type"] == "application/cloudevents+json"
    assert woken == ["webhooks.tasks.sweep"]


def test_the_legacy_form_is_kept_as_well(alice, deliver, woken):
    books(alice)
    body = {
        "eventNotifications": [legacy({}, {"name": "Invoice", "operation": "Void"}), legacy({"id": "9"}, realm=OTHER)]
    }
    assert deliver(body).json() == {"events": 3, "new": 3}
    found = WebhookEvent.objects.order_by("item_id", "event_type").values_list("item_id", "event_type", "code")
    assert list(found) == [(REALM, "Customer", "updated"), (REALM, "Invoice", "voided"), (OTHER, "Customer", "updated")]


def test_it_takes_one_statement(alice, deliver, woken, monkeypatch):
    books(alice)
    statements = []
    execute = psycopg.Cursor.execute

    def counted(cursor, statement, *args, **kwargs):
        statements.append(statement)
        return execute(cursor, statement, *args, **kwargs)

    monkeypatch.setattr(psycopg.Cursor, "execute", counted)
    assert deliver([cloud(str(number)) for number in range(200)]).json() == {"events": 200, "new": 200}
    assert len(statements) == 1


def test_the_same_event_again_only_counts(alice, deliver, woken):
    books(alice)
    for _ in range(3):
        assert deliver([cloud("1")]).status_code == 200
    assert deliver([cloud("1"), cloud("1"), cloud("2")]).json() == {"events": 2, "new": 1}
    assert sorted(WebhookEvent.objects.values_list("deliveries", flat=True)) == [1, 4]
    assert len(woken) == 2


def test_legacy_events_are_told_apart_by_what_which_how_and_when(deliver, woken):
    for change in ({}, {}, {"id": "2"}, {"operation": "Delete"}, {"lastUpdated": "2026-09-08T20:52:32.000Z"}):
        deliver({"eventNotifications": [legacy(change)]})
    assert WebhookEvent.objects.count() == 4


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense",
        b"\xff\x00",
        b'{"a": 1}',
        b"[1]",
        b'"text"',
        b"null",
        b"{}",
        b"[" * 5000,
        b'{"eventNotifications": 1}',
    ],
)
def test_what_nobody_can_read_is_kept_and_answered_200(deliver, woken, raw):
    assert deliver(raw).status_code == 200
    assert deliver(raw).status_code == 200
    event = WebhookEvent.objects.get()
    assert (event.code, event.deliveries, event.item_id) == ("unreadable", 2, "")
    event_process(event.pk)
    event.refresh_from_db()
    assert event.status == "ignored"


@pytest.mark.parametrize(
    "odd",
    [
        {}, {"type": 5}, {"type": "qbo.unicorn.updated.v1"}, {"intuitaccountid": None}, {"intuitentityid": {"a": 1}},
        {"time": "yesterday"}, {"id": "x" * 300}, {"id": "nul\x00byte"}, {"data": {"deletedid": "27"}}, {"intuitaccountid": 5},
    ],
)  # fmt: skip
def test_one_odd_event_does_not_keep_the_others_out(alice, deliver, woken, odd):
    books(alice)
    assert deliver([cloud("1"), cloud("2", own="odd") | odd]).json()["events"] == 2
    process_all()
    assert not WebhookEvent.objects.filter(status="failed").exists()
    assert RecordNews.objects.get().dirty_seq >= 1


def test_an_empty_delivery_is_acknowledged(deliver, woken):
    assert deliver([]).json() == {"events": 0, "new": 0}


# --- refused ---
@pytest.mark.parametrize(
    "signature", ["", "nonsense", "é", hmac.new(VERIFIER.encode(), b"[]", hashlib.sha256).hexdigest()]
)
def test_what_is_not_intuits_is_counted_and_not_kept(deliver, woken, signature):
    answer = deliver(b"[]", signature=signature)
    assert (answer.status_code, answer.json()["code"]) == (401, "webhook_unverified")
    assert WebhookEvent.objects.count() == 0
    assert WebhookRefusal.objects.get(provider="quickbooks").count == 1
    assert ErrorEvent.objects.filter(code="webhook_unverified").exists()


def test_the_signature_is_over_the_bytes_as_they_came(deliver, woken):
    raw = json.dumps([cloud()], indent=3).encode()
    assert deliver(raw).status_code == 200
    assert deliver(raw + b" ", signature=signed(raw)).status_code == 401


def test_without_a_verifier_nothing_is_believed(deliver, woken, settings):
    settings.QUICKBOOKS_WEBHOOK_VERIFIER = ""
    assert deliver(b"[]", signature=signed(b"[]", "")).status_code == 401
    assert WebhookRefusal.objects.get().last_reason == "QUICKBOOKS_WEBHOOK_VERIFIER is not set"


def test_only_posts_are_taken(client):
    answer = client.get("/webhook/quickbooks")
    assert (answer.status_code, answer["Allow"]) == (405, "POST")


def test_what_cannot_be_kept_is_sent_again(deliver, woken, monkeypatch):
    def broken(**_kwargs):
        raise DatabaseError("away")

    monkeypatch.setattr(hints, "receive", broken)
    answer = deliver([cloud()])
    assert (answer.status_code, bool(answer["Retry-After"])) == (503, True)


@given(st.binary(max_size=200))
def test_a_signature_fits_its_own_bytes_and_no_others(raw):
    headers = {"intuit-signature": signed(raw)}
    assert webhooks.is_signed(raw, headers, secret=VERIFIER)
    assert not webhooks.is_signed(raw + b"!", headers, secret=VERIFIER)
    assert not webhooks.is_signed(raw, headers, secret="another")


# --- processed ---
def test_news_wait_for_the_next_pull_and_are_one_however_many_came(alice, deliver, woken):
    connection = books(alice)
    before = timezone.now()
    deliver([cloud(str(number)) for number in range(5)] + [cloud("9", kind="invoice.voided")])
    process_all()
    news = {one.entity: one for one in news_waiting()}
    assert {entity: one.dirty_seq for entity, one in news.items()} == {"customers": 5, "orders": 1}
    assert news["customers"].workspace_id == alice.workspace.pk
    assert news["customers"].first_at >= before
    record_news_taken(connection.pk, {"customers": 4, "orders": 1})
    assert [one.entity for one in news_waiting()] == ["customers"]
    record_news_taken(connection.pk, {"customers": 5})
    assert not news_waiting().exists()
    assert set(WebhookEvent.objects.values_list("status", flat=True)) == {"processed"}


def test_news_of_an_unknown_company_wait_for_it(alice, deliver, woken):
    deliver([cloud()])
    process_all()
    event = WebhookEvent.objects.get()
    assert (event.status, event.note) == ("received", "Waits for its company.")
    connection = books(alice)
    WebhookEvent.objects.update(next_attempt_at=timezone.now())
    process_all()
    event.refresh_from_db()
    assert (event.status, event.connection_id, event.environment) == ("processed", connection.pk, "sandbox")


def test_an_unknown_company_is_given_up_and_its_news_stay(deliver, woken):
    deliver([cloud()])
    WebhookEvent.objects.update(received_at=datetime(2026, 1, 1, tzinfo=UTC))
    process_all()
    assert WebhookEvent.objects.get().status == "ignored"


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"status": Status.DISCONNECTING}, "disconnected"),
        ({"status": Status.PAUSED}, "Kept for the next pull"),
        ({"status": Status.NEEDS_REAUTH}, "Kept for the next pull"),
    ],
)
def test_what_state_the_connection_is_in_decides(alice, deliver, woken, change, note):
    books(alice, **change)
    deliver([cloud()])
    process_all()
    assert note in WebhookEvent.objects.get().note


def test_switched_off_webhooks_are_kept_and_ignored(alice, deliver, woken):
    books(alice)
    alice.workspace.webhooks_enabled = False
    alice.workspace.save()
    assert deliver([cloud()]).json() == {"events": 1, "new": 0}
    assert WebhookEvent.objects.get().status == "ignored"
    assert not RecordNews.objects.exists()


def test_lists_are_forgotten_and_other_kinds_ignored(alice, deliver, woken):
    books(alice)
    deliver(
        [
            cloud("1", kind="account.updated"),
            cloud("2", kind="employee.updated"),
            cloud("3", kind="preferences.updated"),
        ]
    )
    process_all()
    found = dict(WebhookEvent.objects.values_list("event_type", "status"))
    assert found == {"Account": "processed", "Employee": "ignored", "Preferences": "processed"}
    assert not RecordNews.objects.exists()


def test_replaying_is_forecast_and_marks_again(alice, deliver, woken):
    books(alice)
    deliver([cloud()])
    process_all()
    today = timezone.now()
    preview = replay_preview(since=today.replace(hour=0, minute=0), until=today.replace(year=today.year + 1))
    [forecast] = preview.events
    assert (forecast.kind, forecast.status) == ("Customer.updated", "processed")
    assert RecordNews.objects.get().dirty_seq == 1


@given(st.lists(st.sampled_from(["create", "Update", "DELETE", "merge", "void", "Voided", "emailed"]), min_size=1))
def test_each_operation_has_one_name_in_both_forms(operations):
    raw = json.dumps(
        {"eventNotifications": [legacy(*({"operation": name, "id": str(n)} for n, name in enumerate(operations)))]}
    )
    assert {event.action for event in webhooks.parse(raw.encode(), {})} <= set(webhooks.ACTIONS.values())
