"""Real deliveries: the simulator signs and sends, gunicorn receives, PostgreSQL keeps."""

import hashlib
import hmac
import http.client
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.parse import urlsplit

import psycopg
import pytest
from django.conf import settings as django_settings
from django.db import connection
from django.db.models import F
from django.utils import timezone

from config.processes import wait_until
from config.roles import dsn_of
from connections.models import PlaidItem
from connections.providers.plaid.webhooks import Verified, parse
from connections.services.plaid_exchange import public_token_exchange
from sync import engine
from sync.models import SyncRun
from tests.webhooks.conftest import SECRET, UPDATES, link
from webhooks import inbox, tasks
from webhooks.models import WebhookEvent
from webhooks.services import process as services

pytestmark = pytest.mark.django_db(transaction=True)


def signed(body: bytes) -> dict[str, str]:
    return {
        "X-Plaid-Signature": hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest(),
        "Content-Type": "application/json",
    }


def post(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)) as made:
        made.request("POST", "/webhook/plaid", body, headers)
        answer = made.getresponse()
        return answer.status, answer.read()


class Sender:
    """The simulated Plaid, with one Item that sends its webhooks to a web process of ours."""

    def __init__(self, simulator, web, person, *, is_linked: bool = False) -> None:
        self.simulator = simulator
        made = simulator.control("POST", "items", {"webhook": f"{web.url}/webhook/plaid", "transactions": 5})
        self.item_id = made["item_id"]
        if is_linked:
            who = {"user": person.user, "workspace_id": person.workspace.pk}
            public_token_exchange(**who, public_token=made["public_token"], environment="sandbox")
        else:
            self.bank = link(person, self.item_id)

    def fire(self, code: str = "SYNC_UPDATES_AVAILABLE", fault: dict | None = None, **fields) -> list[int | str]:
        """Send one webhook; the status of its first attempt (and of its copies')."""
        after = max((sent["seq"] for sent in self.sent()), default=0)
        if fault:
            self.simulator.control("POST", "faults", {"path": "webhook", "item_id": self.item_id, **fault})
        self.simulator.control("POST", f"items/{self.item_id}/webhook", {"code": code} | fields)
        assert wait_until(lambda: self.sent(after) and all(sent["attempts"] for sent in self.sent(after)), 15)
        return [sent["attempts"][0]["status"] for sent in self.sent(after)]

    def sent(self, after: int = 0) -> list[dict]:
        return self.simulator.control("GET", f"webhooks?after={after}&item_id={self.item_id}")["webhooks"]


@pytest.fixture
def sender(simulator, shared_web, alice) -> Sender:
    return Sender(simulator, shared_web, alice)


def test_webhook_of_the_simulator_is_verified_and_kept(sender):
    assert sender.fire() == [200]
    event = WebhookEvent.objects.get()
    assert event.headers["verification"]["method"] == "jwt"
    assert event.headers["User-Agent"] == "Plaid Webhooks"
    assert (event.connection_id, event.environment, sender.bank.dirty_seq) == (sender.bank.connection_id, "sandbox", 4)


@pytest.mark.parametrize("variant", ["signature", "body", "none", "hs256", "unknown_kid", "missing"])
def test_forged_webhook_is_refused(sender, variant):
    assert sender.fire(fault={"kind": "forge", "variant": variant}) == [401]
    assert (WebhookEvent.objects.count(), sender.bank.dirty_seq) == (0, 3)


@pytest.mark.parametrize("seconds, status", [(-600, 401), (600, 401), (30, 200), (-200, 200)])
def test_clock_skew_is_tolerated_within_limits(sender, seconds, status):
    assert sender.fire(fault={"kind": "clock_skew", "seconds": seconds}) == [status]


def test_rotation_of_keys_is_followed(sender):
    assert sender.fire() == [200]
    sender.simulator.control("POST", "keys/rotate", {})
    assert sender.fire("NEW_ACCOUNTS_AVAILABLE") == [200]


def test_copies_signed_in_the_same_second_are_one_event(sender):
    wait_until(lambda: time.time() % 1 < 0.2, 2)
    assert sender.fire(fault={"kind": "duplicate", "copies": 3}) == [200] * 4
    events = list(WebhookEvent.objects.all())
    assert sum(event.deliveries for event in events) == 4
    assert len(events) == len({event.headers["verification"]["issued_at"] for event in events})
    assert sender.bank.dirty_seq == 3 + len(events)


def test_webhook_that_comes_late_counts_when_it_comes(sender):
    began = time.monotonic()
    assert sender.fire(fault={"kind": "late", "seconds": 1}) == [200]
    assert time.monotonic() - began >= 1
    assert (WebhookEvent.objects.count(), sender.bank.dirty_seq) == (1, 4)


def test_webhooks_in_another_order_all_count(sender):
    sender.simulator.control("POST", "faults", {"path": "webhook", "kind": "reorder", "item_id": sender.item_id})
    sender.simulator.control("POST", f"items/{sender.item_id}/webhook", {"code": "NEW_ACCOUNTS_AVAILABLE"})
    assert sender.fire() == [200]
    assert wait_until(lambda: [sent["status"] for sent in sender.sent()] == [200, 200], 15)
    arrived = list(WebhookEvent.objects.order_by("received_at").values_list("code", flat=True))
    assert arrived == ["SYNC_UPDATES_AVAILABLE", "NEW_ACCOUNTS_AVAILABLE"]
    sender.bank.change(details_at=timezone.now())
    tasks.sweep()
    assert set(WebhookEvent.objects.values_list("status", flat=True)) == {"processed"}
    assert sender.bank.dirty_seq >= 5
    assert sender.bank.item.details_at is None


def test_copies_that_were_signed_later_are_events_of_their_own(sender):
    """Nothing tells a repetition from true news with the same bytes."""
    assert sender.fire() == [200]
    time.sleep(1.1)
    assert sender.fire() == [200]
    assert (WebhookEvent.objects.count(), sender.bank.dirty_seq) == (2, 4)


def test_key_endpoint_in_trouble_delays_and_loses_nothing(simulator, live_web, alice):
    """503: Plaid sends it again, and by then the key can be had. A web process of its own: it knows no key yet."""
    sender = Sender(simulator, live_web, alice)
    sender.simulator.control(
        "POST", "faults", {"path": "/webhook_verification_key/get", "kind": "error", "status": 500, "body": "x"}
    )
    assert sender.fire() == [503]
    assert wait_until(lambda: sender.sent()[-1]["status"] == 200, 15)
    assert WebhookEvent.objects.count() == 1


@pytest.mark.parametrize("code, status, dirty_seq", [("ERROR", "needs_reauth", 3), ("LOGIN_REPAIRED", "active", 4)])
def test_real_bodies_are_processed(sender, code, status, dirty_seq):
    assert sender.fire(code, type="ITEM") == [200]
    tasks.sweep()
    assert (sender.bank.connection.status, sender.bank.dirty_seq) == (status, dirty_seq)
    assert WebhookEvent.objects.get().status == "processed"


def test_webhook_is_processed_by_worker_and_beat(sender, worker, beat):
    assert sender.fire("NEW_ACCOUNTS_AVAILABLE") == [200]
    assert wait_until(lambda: WebhookEvent.objects.get().status == "processed", 15)


def test_dead_broker_costs_no_webhook_and_little_time(process, alice, servers):
    """Neither the wake-up call nor a key's cache is waited for."""
    web = process("web", REDIS_URL="redis://127.0.0.1:9/0", PLAID_WEBHOOK_SECRET=SECRET)
    bank = link(alice)
    took = []
    for number in range(3):
        body = json.dumps(UPDATES | {"item_id": bank.item_id, "number": number}).encode()
        started = time.monotonic()
        status, _ = post(web.url, body, signed(body))
        took.append(time.monotonic() - started)
        assert status == 200
    assert max(took) < 1.5
    assert (WebhookEvent.objects.count(), bank.dirty_seq) == (3, 4)


def test_oversize_body_gets_its_answer_over_the_wire(process, alice):
    """Not a reset connection: the sender reads why."""
    web = process("web", PLAID_WEBHOOK_SECRET=SECRET)
    body = b" " * (3 * 1024 * 1024)
    status, answer = post(web.url, body, signed(body))
    assert (status, json.loads(answer)["code"]) == (413, "request_too_large")


# --- at the same time ---
def receive(body: dict) -> inbox.Receipt:
    raw = json.dumps(body).encode()
    return inbox.receive(raw=raw, headers={}, verified=Verified("hmac"), event=parse(raw))


def in_threads(count: int, work) -> list:
    together = threading.Barrier(count)

    def one(number: int):
        together.wait()
        try:
            return work(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_identical_webhooks_at_once_are_one_event(alice):
    bank = link(alice)
    wait_until(lambda: time.time() % 60 < 55, 10)  # the minute is part of their identity
    receipts = in_threads(8, lambda number: receive(UPDATES | {"item_id": bank.item_id}))
    assert (sum(receipt.is_new for receipt in receipts), WebhookEvent.objects.get().deliveries) == (1, 8)
    tasks.sweep()
    assert bank.dirty_seq > 3
    assert WebhookEvent.objects.get().status == "processed"


def test_different_webhooks_at_once_are_all_kept_and_the_item_is_dirty(alice):
    bank = link(alice)
    in_threads(8, lambda number: receive(UPDATES | {"item_id": bank.item_id, "number": number}))
    assert WebhookEvent.objects.count() == 8
    tasks.sweep()
    assert 4 <= bank.dirty_seq <= 11
    assert set(WebhookEvent.objects.values_list("status", flat=True)) == {"processed"}


def test_locked_item_is_not_waited_for_and_marked_later(alice):
    """A long merge may hold the rows, as everybody here does: no_key, so that new events may still point at them."""
    bank = link(alice)
    bank.change(wait_reason="backoff")
    with psycopg.connect(dsn_of(django_settings.DATABASES["default"])) as holder:
        holder.execute("SELECT FROM connections_connection FOR NO KEY UPDATE")
        holder.execute("SELECT FROM connections_plaiditem FOR NO KEY UPDATE")
        started = time.monotonic()
        receipt = receive(UPDATES | {"item_id": bank.item_id})
        assert time.monotonic() - started < 1
        holder.rollback()
    assert (receipt.is_new, receipt.is_dirty, bank.dirty_seq) == (True, False, 3)
    tasks.sweep()
    assert (bank.dirty_seq, bank.connection.wait_reason) == (4, "")


@pytest.mark.parametrize("is_processed", [True, False])
def test_duplicate_while_the_item_is_locked_is_marked_later_too(alice, is_processed):
    """The holder may be the last statement of a run that had read everything before this."""
    bank = link(alice)
    wait_until(lambda: time.time() % 60 < 55, 10)
    receive(UPDATES | {"item_id": bank.item_id})
    if is_processed:
        tasks.sweep()
    with psycopg.connect(dsn_of(django_settings.DATABASES["default"])) as holder:
        holder.execute("UPDATE connections_plaiditem SET synced_seq = dirty_seq")
        receive(UPDATES | {"item_id": bank.item_id})
        holder.commit()
    assert WebhookEvent.objects.get().status == "received"
    tasks.sweep()
    assert (bank.item.synced_seq, bank.dirty_seq) == (4, 5)


def test_event_is_processed_by_one_of_several_workers(alice):
    bank = link(alice)
    receive(UPDATES | {"item_id": bank.item_id})
    (event_id,) = services.events_due()
    assert sum(in_threads(6, lambda number: services.event_process(event_id))) == 1
    assert WebhookEvent.objects.get().attempts == 1


def test_worker_that_died_loses_no_event(alice, settings):
    bank = link(alice)
    receive(UPDATES | {"item_id": bank.item_id})
    (event_id,) = services.events_due()
    settings.LEASE_S = 0.3
    assert services._claim(event_id)  # and then nothing more is heard of it
    assert wait_until(lambda: services.events_due() == [event_id], 5)
    tasks.sweep()
    assert WebhookEvent.objects.get().status == "processed"


# --- kill -9 ---
def test_death_of_web_and_worker_between_answer_and_effect_loses_nothing(process, alice, beat):
    web = process("web", PLAID_WEBHOOK_SECRET=SECRET)
    bank = link(alice)
    with psycopg.connect(dsn_of(django_settings.DATABASES["default"])) as holder:
        holder.execute("SELECT FROM connections_connection FOR NO KEY UPDATE")
        body = {"webhook_type": "ITEM", "webhook_code": "NEW_ACCOUNTS_AVAILABLE", "item_id": bank.item_id}
        raw = json.dumps(body | {"environment": "sandbox"}).encode()
        assert post(web.url, raw, signed(raw))[0] == 200
        web.kill()
        first = process("worker", LEASE_S="2")
        assert wait_until(lambda: WebhookEvent.objects.get().attempts == 1, 20)  # claimed, and waits for the row
        first.kill()
        holder.rollback()
    assert (WebhookEvent.objects.get().status, bank.dirty_seq) == ("received", 3)
    process("worker", LEASE_S="2")
    assert wait_until(lambda: WebhookEvent.objects.get().status == "processed", 20)
    event = WebhookEvent.objects.get()
    assert (event.attempts, bank.item.account_selection_at) == (2, event.received_at)
    assert bank.dirty_seq == 4


# --- speed ---
def test_a_merge_that_holds_the_bank_delays_no_answer(simulator, shared_web, alice, monkeypatch):
    """The Item's row is held from a merge's last statement to its commit; here until every answer is there."""
    made = simulator.control("POST", "items", {"transactions": 3000})
    who = {"user": alice.user, "workspace_id": alice.workspace.pk}
    pk = public_token_exchange(**who, public_token=made["public_token"], environment="sandbox").pk
    item_pk = PlaidItem.objects.get(connection_id=pk).pk
    merging, holding, answered = threading.Event(), threading.Event(), threading.Event()
    merge_staged, move_cursor = engine.merge.merge_staged, engine._Sync._move_cursor

    def merge(*args, **kwargs):
        merging.set()
        return merge_staged(*args, **kwargs)

    def hold(turn, final):
        move_cursor(turn, final)
        holding.set()
        answered.wait(30)

    monkeypatch.setattr(engine.merge, "merge_staged", merge)
    monkeypatch.setattr(engine._Sync, "_move_cursor", hold)

    def deliver(number: int) -> float:
        raw = json.dumps(UPDATES | {"item_id": made["item_id"], "environment": "sandbox", "number": number}).encode()
        started = time.monotonic()
        assert post(shared_web.url, raw, signed(raw))[0] == 200
        return time.monotonic() - started

    def sync() -> engine.Outcome:
        try:
            return engine.sync_item(item_pk, deadline=time.monotonic() + 60, is_large_queue=True)
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(sync)
        assert merging.wait(60)
        took = [deliver(number) for number in range(10)]
        assert holding.wait(60)
        took += [deliver(number) for number in range(10, 40)]
        answered.set()
        assert run.result(60) == engine.Outcome.SYNCED
    assert sorted(took)[-2] < 2  # Plaid waits ten seconds; one may start a thread of the server's
    assert WebhookEvent.objects.count() == 40
    tasks.sweep()
    item = PlaidItem.objects.get(pk=item_pk)
    assert item.dirty_seq > item.synced_seq
    assert set(WebhookEvent.objects.values_list("status", flat=True)) == {"processed"}


def test_bank_is_read_within_seconds_of_its_webhook(simulator, shared_web, alice, worker, beat):
    bank = Sender(simulator, shared_web, alice, is_linked=True)
    assert wait_until(lambda: not PlaidItem.objects.filter(dirty_seq__gt=F("synced_seq")).exists(), 60)
    waited = []
    for number in range(1, 9):
        bank.simulator.control("POST", f"items/{bank.item_id}/webhook", {"code": "SYNC_UPDATES_AVAILABLE"})
        runs = SyncRun.objects.filter(trigger="webhook", finished_at__isnull=False)
        assert wait_until(lambda: runs.count() >= number, 30)  # noqa: B023 - asked within the turn
        waited.append((runs.latest("pk").started_at - WebhookEvent.objects.latest("pk").received_at).total_seconds())
    assert sorted(waited)[-2] <= 5, waited
