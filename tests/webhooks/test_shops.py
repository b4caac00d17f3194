"""POST /webhook/woocommerce/{connection_id}: what is answered, what is kept, and what becomes of it."""

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from django.test import Client

from connections.models import Connection
from connections.models.connection import Status
from connections.services.configuring import credential_keep
from connections.services.record_news import news_waiting, record_news_taken
from tests.connections.sandbox.shops import recorded
from webhooks.models import WebhookEvent, WebhookRefusal
from webhooks.services import process

pytestmark = pytest.mark.django_db
SECRET = "labSecret123"


@pytest.fixture
def shop(alice) -> Connection:
    made = Connection.objects.create(
        workspace=alice.workspace,
        owner=alice.user,
        provider="woocommerce",
        name="Shop",
        status=Status.ACTIVE,
        config={"store_url": "https://shop.example.com"},
    )
    credential_keep(made, "webhook_secret", SECRET)
    return made


@pytest.fixture
def deliver(shop, woken):
    """Posts a delivery as the shop would, signed unless told otherwise."""

    def post(body: bytes, *, topic: str = "order.updated", signature: str | None = None, to=None, **headers: str):
        signed = base64.b64encode(hmac.new(SECRET.encode(), body, hashlib.sha256).digest()).decode()
        sent = {"X-WC-Webhook-Topic": topic, "X-WC-Webhook-ID": "7", "X-WC-Webhook-Delivery-ID": "abc"} | headers
        if signature != "":
            sent["X-WC-Webhook-Signature"] = signature or signed
        url = f"/webhook/woocommerce/{to or shop.pk}"
        return Client().post(url, body, content_type="application/json", headers=sent)

    return post


def recorded_deliveries():
    """What a real shop sent, header for header and byte for byte."""
    for name in ("webhook_order_deleted", "webhook_order_created_and_updated", "webhook_after_refunds"):
        told = recorded(name)
        yield from ((told["secret"], one) for one in told["deliveries"] if one["h"].get("X-WC-Webhook-Signature"))


def test_recorded_deliveries_of_a_real_shop_are_kept(shop, woken):
    count = 0
    for secret, one in recorded_deliveries():
        credential_keep(shop, "webhook_secret", secret)
        headers = {name: value for name, value in one["h"].items() if name.startswith("X-WC")}
        answer = Client().post(
            f"/webhook/woocommerce/{shop.pk}", one["b"].encode(), content_type="application/json", headers=headers
        )
        assert answer.status_code == 200, one
        count += 1
    assert count >= 3
    assert WebhookEvent.objects.filter(connection=shop, workspace=shop.workspace).count() > 1


def waiting() -> dict[str, int]:
    return {news.entity: news.dirty_seq for news in news_waiting()}


def processed(status: str = "processed") -> WebhookEvent:
    """The one event there is, once it was."""
    event = WebhookEvent.objects.get()
    assert process.event_process(event.pk)
    event.refresh_from_db()
    assert event.status == status, event.note
    return event


def test_only_the_hint_is_kept_of_an_order_and_it_is_news_for_the_next_pull(shop, deliver, woken):
    body = {
        "id": 29,
        "status": "processing",
        "billing": {"email": "ann@example.com"},
        "refunds": [{"id": 31, "total": "-1"}],
    }
    assert deliver(json.dumps(body).encode()).status_code == 200
    event = WebhookEvent.objects.get()
    assert event.payload == {"id": 29, "status": "processing", "refunds": [{"id": 31}]}
    assert b"ann@" not in bytes(event.body)
    assert (event.event_type, event.code, event.status) == ("order", "updated", "received")
    assert woken == ["webhooks.tasks.sweep"]
    assert processed().note == "orders 29, refunds 31: kept for the next pull."
    assert waiting() == {"orders": 1, "refunds": 1}
    assert {news.connection_id for news in news_waiting()} == {shop.pk}


def test_ten_webhooks_are_one_piece_of_news_until_somebody_has_read_it(shop, deliver, woken):
    for number in range(10):
        deliver(json.dumps({"id": number}).encode())
    for event in WebhookEvent.objects.all():
        process.event_process(event.pk)
    assert waiting() == {"orders": 10}
    record_news_taken(shop.pk, {"orders": 9})
    assert waiting() == {"orders": 10}
    record_news_taken(shop.pk, {"orders": 10})
    assert waiting() == {}


def test_what_no_flow_carries_is_no_news(deliver, woken):
    assert deliver(b'{"id": 5}', topic="coupon.updated").status_code == 200
    assert processed("ignored").note == "Nothing is read because of this kind of webhook."
    assert waiting() == {}


def test_news_that_come_again_wait_since_they_came_again(deliver, woken):
    deliver(b'{"id": 29}', topic="product.deleted")
    first = processed()
    WebhookEvent.objects.update(received_at=first.received_at - timedelta(days=3))
    record_news_taken(first.connection_id, {"products": 1})
    deliver(b'{"id": 29}', topic="product.deleted")
    processed()
    (news,) = news_waiting()
    assert news.first_at > first.received_at


def test_keeping_one_is_one_statement_after_the_look_at_whose_it_is(deliver, monkeypatch):
    statements = []
    execute = psycopg.Cursor.execute

    def counted(cursor, statement, *args, **kwargs):
        statements.append(str(statement))
        return execute(cursor, statement, *args, **kwargs)

    monkeypatch.setattr(psycopg.Cursor, "execute", counted)
    assert deliver(b'{"id": 29}').status_code == 200
    assert len(statements) == 2
    assert "INSERT" in statements[1]


def test_two_orders_of_one_second_are_two_events_though_their_delivery_id_is_one(deliver):
    deliver(b'{"id": 29}')
    deliver(b'{"id": 30}')
    assert WebhookEvent.objects.count() == 2


def test_the_same_content_again_counts_while_it_waits_and_is_news_once_processed(deliver):
    assert deliver(b'{"id": 29}', topic="product.deleted").json()["status"] == "received"
    assert deliver(b'{"id": 29}', topic="product.deleted").json()["status"] == "duplicate"
    event = WebhookEvent.objects.get()
    assert (event.deliveries, event.status) == (2, "received")
    process.event_process(event.pk)
    deliver(b'{"id": 29}', topic="product.deleted")
    event.refresh_from_db()
    assert (event.deliveries, event.status, event.processed_at) == (3, "received", None)


@pytest.mark.parametrize("signature", ["", "wrong", base64.b64encode(b"0" * 32).decode(), "é"])
def test_a_wrong_signature_is_refused_counted_and_not_kept(deliver, signature):
    assert deliver(b'{"id": 29}', signature=signature).status_code == 401
    assert not WebhookEvent.objects.exists()
    assert WebhookRefusal.objects.get().provider == "woocommerce"


def test_the_signature_is_over_the_bytes_as_they_came(deliver):
    body = b'{"id": 29,  "name":"\xc3\xa9\\u00e9"}'
    assert deliver(body).status_code == 200
    signed = base64.b64encode(hmac.new(SECRET.encode(), body, hashlib.sha256).digest()).decode()
    assert deliver(body.replace(b"  ", b" "), signature=signed).status_code == 401


def test_a_ping_is_answered_and_nothing_is_kept(shop):
    answer = Client().post(f"/webhook/woocommerce/{shop.pk}", {"webhook_id": "12"})
    assert answer.status_code == 401  # a form of several parts is no ping
    form = "application/x-www-form-urlencoded"
    for ping in recorded("webhook_pings"):
        answer = Client().post(f"/webhook/woocommerce/{shop.pk}", ping["b"], content_type=form)
        assert answer.status_code == 200
    assert not WebhookEvent.objects.exists()


def test_an_error_in_the_record_s_place_asks_for_a_poll(deliver):
    body = b'{"code":"woocommerce_rest_shop_order_invalid_id","message":"Invalid ID.","data":{"status":404}}'
    assert deliver(body).status_code == 200
    assert processed().note == "orders (which, it does not say): kept for the next pull."
    assert waiting() == {"orders": 1}


@pytest.mark.parametrize("body", [b"not json", b"[1]", b"", b'{"id": {"a": 1}}', b'{"id": 29', b"\xff\xfe"])
def test_signed_content_that_nobody_can_read_is_answered_200_and_news_of_its_kind(deliver, body):
    assert deliver(body).status_code == 200
    assert processed().note == "orders (which, it does not say): kept for the next pull."
    assert waiting() == {"orders": 1}


def test_an_unknown_connection_and_one_without_a_secret_are_answered_alike(shop, deliver):
    shop.credentials.all().delete()
    unknown, bare = deliver(b"{}", to=uuid4()), deliver(b"{}")
    assert unknown.status_code == bare.status_code == 404
    left_out = ("instance", "correlation_id")
    told = [{name: value for name, value in one.json().items() if name not in left_out} for one in (unknown, bare)]
    assert told[0] == told[1]


@pytest.mark.parametrize("status", [Status.DISCONNECTING, Status.DISCONNECTED])
def test_a_disconnected_shop_is_told_to_stop(shop, deliver, status):
    Connection.objects.filter(pk=shop.pk).update(status=status)
    assert deliver(b'{"id": 29}').status_code == 410
    assert not WebhookEvent.objects.exists()


def test_a_secret_of_another_connection_opens_nothing(shop, alice, deliver):
    other = Connection.objects.create(workspace=alice.workspace, owner=alice.user, provider="woocommerce", name="B")
    credential_keep(other, "webhook_secret", "anotherSecret456")
    assert deliver(b'{"id": 29}', to=other.pk).status_code == 401


def test_one_over_a_megabyte_is_refused(deliver):
    assert deliver(b'{"id": 29, "x": "' + b"a" * (1 << 20) + b'"}').status_code == 413


def test_where_webhooks_are_switched_off_it_is_kept_and_ignored(shop, deliver, alice):
    alice.workspace.webhooks_enabled = False
    alice.workspace.save()
    assert deliver(b'{"id": 29}').status_code == 200
    assert WebhookEvent.objects.get().status == "ignored"
    assert waiting() == {}


def test_only_post_is_taken(shop):
    assert Client().get(f"/webhook/woocommerce/{shop.pk}").status_code == 405
