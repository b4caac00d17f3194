"""Records of a shop arrive at a store: all of them, once, and what is equal costs nothing."""

import time
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from connections.models import Connection
from connections.models.connection import Status
from connections.services.record_news import record_news_mark
from sync.flows import engine
from sync.models import FlowStatus, LinkState, RunStatus, SyncFailure, SyncRun, Trigger, Watermark, WriteIntent
from sync.services.flow_dispatch import due, flows_dispatch
from sync.services.flow_runs import run_cancel_request
from sync.services.flows import flow_change, flow_pause

pytestmark = pytest.mark.django_db(transaction=True)


def test_everything_arrives_once_with_its_money_and_the_second_time_nothing_is_written(
    world, django_assert_num_queries
):
    first = world.sync()
    world.assert_arrived()
    for entity, run in first.items():
        assert run.status == RunStatus.SUCCEEDED, (entity, run.errors, world.failures())
        assert run.records_created == run.records_fetched - run.records_skipped - run.records_parked
    mark = world.mark()
    second = world.sync()
    assert world.calls(mark) == []
    for entity, run in second.items():
        assert (run.records_created, run.records_updated) == (0, 0), entity
        assert run.ledger_balanced
    assert world.sync("orders", mode="full")["orders"].records_unchanged == first["orders"].records_created
    assert world.calls(mark) == []
    with django_assert_num_queries(1):
        assert flows_dispatch() == 0
    assert not WriteIntent.objects.exclude(members="").exists()


def test_one_poisoned_record_is_one_failure_and_the_others_arrive_until_it_is_mended(make_world):
    world = make_world(orders=6)
    world.sync("customers", "products")
    victim = sorted(world.bodies("orders"))[2]
    world.store.sql(f"ALTER TABLE orders ADD CONSTRAINT poison CHECK (source_id <> '{victim}')")
    run = world.sync("orders")["orders"]
    assert (run.status, run.records_failed, run.ledger_balanced) == (RunStatus.PARTIAL, 1, True)
    assert run.errors[0]["code"] == "record_rejected"
    assert world.at_store("orders").keys() == world.bodies("orders").keys() - {victim}
    failure = world.failures()[0]
    assert (failure.external_id, failure.attempts, failure.next_attempt_at) == (victim, 1, None)
    world.store.sql("ALTER TABLE orders DROP CONSTRAINT poison")
    assert world.sync("orders", ids=[victim])["orders"].records_created == 1
    assert [one.entity for one in world.failures()] == []
    assert world.at_store("orders").keys() == world.bodies("orders").keys()


def test_an_order_waits_for_its_customer_who_is_fetched_and_a_refund_for_its_order(make_world):
    world = make_world(orders=12, customers=4)
    runs = world.sync("refunds")  # nobody has seen any order, customer or product
    world.assert_refunds_complete()
    assert runs["refunds"].records_parked == runs["refunds"].records_fetched > 0
    assert runs["refunds"].status == RunStatus.SUCCEEDED
    assert world.failures() == []
    world.sync()
    world.assert_arrived()


def test_a_parent_that_is_gone_at_the_source_keeps_nobody_waiting(make_world):
    world = make_world(orders=6, customers=3)
    orders = world.bodies("orders")
    customer = next(str(body["customer_id"]) for body in orders.values() if body["customer_id"])
    world.shop.call("DELETE", f"/customers/{customer}", force="true")
    world.sync()
    assert world.failures() == []
    assert world.at_store("orders").keys() == world.bodies("orders").keys()


def test_what_changes_or_goes_follows(world):
    world.sync()
    order, other = sorted(world.bodies("orders"))[:2]
    world.shop.put(f"/orders/{order}", customer_note="Leave it at the door")
    world.shop.call("DELETE", f"/orders/{other}")  # into the bin
    run = world.sync("orders")["orders"]
    assert (run.records_updated, run.records_removed) == (1, 1)
    assert world.at_store("orders")[order]["memo"] == "Leave it at the door"
    assert other not in world.at_store("orders")
    assert world.link("orders", other).state == LinkState.REMOVED
    again = world.sync("orders")["orders"]
    assert (again.records_updated, again.records_removed, again.ledger_balanced) == (0, 0, True)


def test_what_shows_up_among_no_changes_is_found_by_comparing_all_ids(world):
    world.sync()
    gone, unseen = sorted(world.bodies("orders"))[:2]
    world.shop.call("DELETE", f"/orders/{gone}", force="true")  # destroyed: no change tells of it
    world.link("orders", unseen).delete()
    Watermark.objects.filter(entity="orders").update(next_reconcile_at=timezone.now() - timedelta(seconds=1))
    world.work()
    run = SyncRun.objects.get(mode="reconcile")
    assert (run.status, run.records_removed, run.records_unchanged, run.ledger_balanced) == ("succeeded", 1, 1, True)
    assert gone not in world.at_store("orders")
    assert world.link("orders", unseen).state == LinkState.LINKED
    assert world.watermark("orders").next_reconcile_at > timezone.now()


def test_only_the_orders_that_the_flow_takes_are_taken_and_what_is_there_is_kept_up(make_world):
    world = make_world(orders=10, flow={"statuses": ["completed"]})
    world.sync()
    statuses = {key: body["status"] for key, body in world.bodies("orders").items()}
    assert world.at_store("orders").keys() == {key for key, status in statuses.items() if status == "completed"}
    taken = next(iter(world.at_store("orders")))
    waiting = next(key for key, status in statuses.items() if status != "completed")
    world.shop.put(f"/orders/{taken}", status="on-hold")
    world.shop.put(f"/orders/{waiting}", status="completed")
    world.sync("orders")
    assert world.at_store("orders")[taken]["status"] == "on-hold"
    assert waiting in world.at_store("orders")
    flow_change(flow_id=world.flow.pk, actor=world.person.user, statuses=[])
    world.sync("orders", "refunds")
    assert world.at_store("orders").keys() == statuses.keys()
    assert world.failures() == []


def test_filters_choose_and_move_no_watermark(world):
    world.sync("customers", "products")
    bodies = world.bodies("orders")
    dear = {key for key, body in bodies.items() if Decimal(body["total"]) >= 200}
    run = world.sync("orders", filters={"total_min": "200"})["orders"]
    assert world.at_store("orders").keys() == dear
    assert run.records_skipped == len(bodies) - len(dear)
    assert not Watermark.objects.filter(entity="orders").exists()


# --- what triggers a run ---
def test_news_begin_a_run_once_a_person_has_begun_and_are_taken_with_its_end(world):
    now = timezone.now()
    record_news_mark(world.flow.source, "orders", told_at=now)
    assert world.due() == []  # nobody asked for the first sync yet
    world.sync()
    [order] = world.shop.ops({"op": "place"})
    for _ in range(3):
        record_news_mark(world.flow.source, "orders", told_at=now)
    world.work()
    told = SyncRun.objects.filter(trigger=Trigger.WEBHOOK)
    assert [run.records_created for run in told] == [1]
    assert str(order) in world.at_store("orders")
    assert due() == {}


def test_news_that_come_while_a_run_reads_begin_another(world):
    world.sync()
    world.ask("orders")
    run = SyncRun.objects.get(status=RunStatus.QUEUED)
    held = engine.claim(run.pk)
    record_news_mark(world.flow.source, "orders", told_at=timezone.now())
    flows_dispatch()
    assert SyncRun.objects.filter(status=RunStatus.QUEUED, trigger=Trigger.WEBHOOK).count() == 1
    SyncRun.objects.filter(pk=held.run_id).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    world.work()
    assert set(SyncRun.objects.values_list("status", flat=True)) == {"succeeded"}
    assert due() == {}


def test_the_clock_reads_a_flow_that_nobody_told_anything(world):
    world.sync()
    Watermark.objects.update(next_sync_at=timezone.now() - timedelta(seconds=1))
    world.work()
    assert SyncRun.objects.filter(trigger=Trigger.SCHEDULE, status="succeeded").count() == 4
    assert due() == {}


def test_equal_requests_that_wait_are_one_run_and_customers_come_before_orders(world):
    orders, again = world.ask("orders"), world.ask("orders")
    customers = SyncRun.objects.create(
        workspace=world.flow.workspace, flow=world.flow, connection=world.flow.source, entity="refunds", trigger="user"
    )
    assert orders == again
    assert world.due() == [orders.pk]  # the refunds wait for it
    assert engine.claim(customers.pk) is None


# --- trouble ---
def let_time_pass(world) -> None:
    Connection.objects.exclude(next_attempt_at=None).update(next_attempt_at=timezone.now())
    SyncRun.objects.exclude(next_attempt_at=None).update(next_attempt_at=timezone.now())


@pytest.mark.parametrize("side", ["shop", "store"])
def test_a_provider_that_is_away_is_waited_for_in_sight_and_the_run_goes_on_by_itself(make_world, side):
    world = make_world(orders=4)
    world.sync("customers", "products")
    run = world.ask("orders")
    getattr(world, side).fault("reset", times=50)
    world.work()
    run.refresh_from_db()
    assert (run.status, run.finished_at, run.lease_token) == (RunStatus.RUNNING, None, None)
    assert run.waiting_code
    assert run.next_attempt_at > timezone.now()
    blamed = Connection.objects.get(pk=world.flow.source_id if side == "shop" else world.flow.target_id)
    assert (blamed.status, blamed.failure_count, blamed.next_attempt_at) == ("active", 1, run.next_attempt_at)
    world.store.control("faults", "DELETE"), world.shop.http.delete(f"{world.shop.control_url}/faults")
    let_time_pass(world)
    world.work()
    run.refresh_from_db(), blamed.refresh_from_db()
    assert (run.status, run.waiting_code, blamed.failure_count) == ("succeeded", "", 0)
    assert world.at_store("orders").keys() == world.bodies("orders").keys()


def test_work_is_accepted_while_a_connection_needs_somebody_and_done_once_it_works(world):
    Connection.objects.filter(pk=world.flow.source_id).update(status=Status.NEEDS_REAUTH)
    run = world.ask("products")
    assert world.due() == []
    Connection.objects.filter(pk=world.flow.source_id).update(status=Status.ACTIVE)
    assert world.due() == [run.pk]


def test_an_answer_that_was_lost_after_the_write_doubles_nothing_and_is_told_as_what_it_was(make_world):
    world = make_world(orders=2, customers=4)
    run = world.ask("customers")
    for method, skip in (("POST", 0), ("GET", 1)):  # it looks, writes, and looks again
        world.store.fault("commit_then_drop", path=f"{method} *customers*", skip=skip, times=50)
    world.work()
    intent = WriteIntent.objects.get(confirmed_at=None)
    written = len(world.store.rows("customers"))
    world.store.control("faults", "DELETE")
    let_time_pass(world)
    world.work()
    run.refresh_from_db(), intent.refresh_from_db()
    assert (run.status, run.records_created, run.records_unchanged) == ("succeeded", run.records_fetched, 0)
    assert written == run.records_created == len(world.store.rows("customers"))
    assert intent.attempts == 2
    assert intent.confirmed_at


def test_a_worker_that_lost_its_claim_changes_nothing(make_world):
    world = make_world(orders=3)
    world.sync("customers", "products")
    run = world.ask("orders")
    held = engine.claim(run.pk)
    SyncRun.objects.filter(pk=run.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    other = engine.claim(run.pk)
    assert other is not None
    with pytest.raises(engine.LeaseLost):
        engine.run_end(world.flow, held)
    with pytest.raises(engine.LeaseLost):
        engine.run_release(held)
    run.refresh_from_db()
    assert run.lease_token == other.token


def test_a_ledger_that_does_not_add_up_fails_the_run_and_moves_no_watermark(make_world):
    world = make_world(orders=2)
    run = world.ask("customers")
    held = engine.claim(run.pk)
    SyncRun.objects.filter(pk=run.pk).update(records_fetched=1)
    assert engine.run_end(world.flow, held) == RunStatus.FAILED
    run.refresh_from_db()
    assert run.errors[0]["code"] == "ledger_unbalanced"
    assert not Watermark.objects.exists()


def test_a_run_whose_connection_is_disconnected_ends(world):
    run = world.ask("products")
    Connection.objects.filter(pk=world.flow.target_id).update(status=Status.DISCONNECTING)
    world.work()
    run.refresh_from_db()
    assert (run.status, run.errors[0]["code"]) == ("cancelled", "connection_not_active")
    assert due() == {}


# --- stopping ---
def test_a_run_that_stops_in_the_middle_goes_on_after_its_last_whole_page(make_world):
    world = make_world(orders=230, products=4, customers=3)
    world.sync("customers", "products")
    run = world.ask("orders")
    turns = 0
    while (found := world.due()) and turns < 20:
        engine.run_flow(found[0], deadline=time.monotonic() - 1)  # no time: one page a turn
        turns += 1
    run.refresh_from_db()
    assert run.status == "succeeded"
    assert turns >= run.page_count >= 3
    assert run.ledger_balanced
    assert (run.records_unchanged, run.records_failed) == (0, 0)
    assert world.at_store("orders").keys() == world.bodies("orders").keys()


def test_a_cancelled_run_ends_what_was_not_begun_never_begins_and_nothing_is_lost(make_world):
    world = make_world(orders=130, products=3, customers=2)
    world.sync("customers", "products")
    run = world.ask("orders")
    engine.run_flow(run.pk, deadline=time.monotonic() - 1)
    assert run_cancel_request(run_id=run.pk, actor=world.person.user).cancel_requested_at
    waiting = world.ask("refunds")
    assert run_cancel_request(run_id=waiting.pk, actor=world.person.user).status == "cancelled"
    world.work()
    run.refresh_from_db(), waiting.refresh_from_db()
    assert (run.status, waiting.status, waiting.started_at) == ("cancelled", "cancelled", None)
    assert 0 < len(world.at_store("orders")) < 130
    world.sync("orders")
    assert world.at_store("orders").keys() == world.bodies("orders").keys()


def test_a_paused_flow_moves_nothing_and_goes_on_where_it_was(make_world):
    world = make_world(orders=3)
    run = world.ask("products")
    flow_pause(flow_id=world.flow.pk, actor=world.person.user)
    assert world.due() == []
    world.flow.status = FlowStatus.ACTIVE
    world.flow.save()
    world.work()
    run.refresh_from_db()
    assert run.status == "succeeded"


def test_in_sandbox_mode_nothing_is_written_to_a_production_store(world, workspace):
    run = world.ask("products")
    workspace.sandbox_mode = True
    workspace.save()
    world.work()
    run.refresh_from_db()
    assert (run.status, run.errors[0]["code"]) == ("failed", "sandbox_mode")
    assert world.at_store("products") == {}


def test_a_failed_record_that_may_pass_is_tried_again_when_its_time_comes(make_world):
    world = make_world(orders=2, products=3)
    world.sync()
    order = min(world.bodies("orders"))
    world.link("orders", order).delete()
    SyncFailure.objects.create(
        workspace=world.flow.workspace,
        connection=world.flow.source,
        flow=world.flow,
        run=SyncRun.objects.last(),
        entity="orders",
        external_id=order,
        code="record_changed",
        reason="",
        payload="{}",
        next_attempt_at=timezone.now(),
    )
    world.work()
    assert world.failures() == []
    assert SyncRun.objects.get(trigger=Trigger.RETRY).parameters == {"ids": [order]}
