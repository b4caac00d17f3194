"""Webhooks: gathered, signed, in order, until they are acknowledged."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json

import pytest

from .conftest import Receiver
from .quickbooks import Company, QuickBooks

KEY = "verifier-of-the-test"


class Listener:
    """An app of the test's own, with a receiver and a company connected to it."""

    def __init__(self, provider: QuickBooks, receiver: Receiver, **app: str):
        given = {"webhook_url": receiver.url, "verifier": KEY} | app
        self.app = provider.control("apps", **given)
        self.provider = provider
        self.receiver = receiver

    def company(self, **given) -> Company:
        shown = self.provider.control("companies", **given)
        company = Company(self.provider, shown["realm"])
        company.grant = self.provider.control("grants", realm=shown["realm"], client_id=self.app["client_id"])
        company.token = company.grant["access_token"]
        return company

    def fire(self, *events: dict, **more) -> None:
        self.provider.control(f"apps/{self.app['client_id']}/webhook", events=list(events), **more)


def signature(body: bytes) -> str:
    return base64.b64encode(hmac.new(KEY.encode(), body, hashlib.sha256).digest()).decode()


@pytest.fixture
def listener(quickbooks: QuickBooks, receiver: Receiver):
    yield Listener(quickbooks, receiver)
    quickbooks.control("webhooks", gather_s=0.3, retry_scale=0.01)


def test_changes_arrive_together_as_cloud_events(listener: Listener):
    books, other = listener.company(), listener.company()
    made = books.customer()
    books.made("Customer", {"Id": made["Id"], "SyncToken": "0", "sparse": True, "Notes": "x"})
    receipt = other.made("SalesReceipt", other.sale(1))
    other.made("SalesReceipt", {"Id": receipt["Id"], "SyncToken": "0"}, operation="delete")
    (headers, body) = listener.receiver.wait(1)[0]
    assert headers["content-type"] == "application/cloudevents+json"
    assert headers["intuit-signature"] == signature(body)
    events = json.loads(body)
    told = [(one["intuitaccountid"], one["type"], one["intuitentityid"]) for one in events]
    assert (books.realm, "qbo.customer.created.v1", made["Id"]) in told
    assert (books.realm, "qbo.customer.updated.v1", made["Id"]) in told
    assert (other.realm, "qbo.salesreceipt.deleted.v1", receipt["Id"]) in told
    assert len({one["id"] for one in events}) == len(events)
    assert all(dt.datetime.fromisoformat(one["time"]) and len(one["time"]) == 30 for one in events)


def test_former_format_groups_by_realm(quickbooks: QuickBooks, receiver: Receiver):
    listener = Listener(quickbooks, receiver, webhook_format="legacy")
    books = listener.company()
    made = books.customer()
    body = receiver.wait(1)[0][1]
    (notice,) = json.loads(body)["eventNotifications"]
    assert notice["realmId"] == books.realm
    entity = notice["dataChangeEvent"]["entities"][0]
    assert (entity["name"], entity["operation"], entity["id"]) == ("Customer", "Create", made["Id"])
    assert entity["lastUpdated"].endswith("Z")


def test_nobody_hears_of_a_company_that_is_not_connected_to_it(quickbooks: QuickBooks, listener: Listener):
    books = listener.company()
    quickbooks.control(f"grants/{books.grant['id']}/state", revoked=True)
    Company(quickbooks, books.realm).customer()
    listener.fire({"realm": "1", "entity": "Item", "id": 5})
    listener.receiver.wait(1)
    assert [json.loads(body)[0]["intuitaccountid"] for _headers, body in listener.receiver.received] == ["1"]


def test_unacknowledged_request_holds_the_later_ones_back(listener: Listener):
    listener.provider.control("webhooks", retry_scale=0.03)
    listener.receiver.answers = [500, 503]
    for number in range(3):
        listener.fire({"realm": "1", "entity": "Item", "id": number})
    arrived = [json.loads(body)[0]["intuitentityid"] for _headers, body in listener.receiver.wait(5)]
    assert arrived == ["0", "0", "0", "1", "2"]


def test_signatures_can_be_forged(listener: Listener):
    variants = ("signature", "body", "hex", "sha1", "missing")
    for number, variant in enumerate(variants):
        listener.provider.control("faults", kind="forge", realm=f"forged-{number}", variant=variant)
        listener.fire({"realm": f"forged-{number}", "entity": "Item", "id": number})
    arrived = listener.receiver.wait(len(variants))
    assert all(headers.get("intuit-signature") != signature(body) for headers, body in arrived)
    assert "intuit-signature" not in arrived[-1][0]


def test_duplicates_late_and_reordered(listener: Listener):
    def arm(kind: str, realm: str, **options) -> None:
        listener.provider.control("faults", kind=kind, realm=realm, **options)

    arm("duplicate", "dup", copies=2)
    arm("reorder", "second")
    arm("late", "late", seconds=0.5)
    for realm in ("dup", "late", "second", "first"):
        listener.fire({"realm": realm, "entity": "Item", "id": 1})
    arrived = listener.receiver.wait(6)
    realms = [json.loads(body)[0]["intuitaccountid"] for _headers, body in arrived]
    assert realms == ["dup", "dup", "dup", "first", "second", "late"]
    assert len({body for _headers, body in arrived[:3]}) == 1


def test_merges_raw_bodies_and_signatures_on_request(listener: Listener):
    listener.fire({"realm": "1", "entity": "Customer", "id": 5, "operation": "Merge", "deleted_id": "27"})
    listener.provider.control(f"apps/{listener.app['client_id']}/webhook", raw='{"what": "is this"')
    (_, merge), (headers, raw) = listener.receiver.wait(2)
    assert json.loads(merge)[0]["data"] == {"deletedid": "27"}
    assert (raw, headers["intuit-signature"]) == (b'{"what": "is this"', signature(raw))
    assert listener.provider.control("webhooks", "GET")["webhooks"][-1]["body"] == '{"what": "is this"'
    signed = listener.provider.control(f"apps/{listener.app['client_id']}/sign", bodies=["abc"])
    assert signed == {"signatures": [signature(b"abc")]}
