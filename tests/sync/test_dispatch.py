"""What is due is offered once, to whoever may do it, and nothing is forgotten."""

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from connections.models import Connection, PlaidItem
from connections.models.connection import Status
from sync.models import RunStatus, StagedPage, SyncRun, Trigger
from sync.services import dispatch
from sync.services.runs import run_request

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def make(alice):
    def call(number: int = 0, *, status: str = "active", **fields) -> PlaidItem:
        connection = Connection.objects.create(
            workspace=alice.workspace, owner=alice.user, provider="plaid", name=f"Bank {number}", status=status
        )
        return PlaidItem.objects.create(
            workspace=alice.workspace, connection=connection, item_id=f"item-{connection.pk}", **fields
        )

    return call


def test_a_dirty_item_is_offered_once_until_the_offer_runs_out(make, settings):
    settings.OFFER_S = 0.3
    item = make()
    assert dispatch.items_offer().small == [item.pk]
    assert dispatch.items_offer().small == []
    time.sleep(0.35)
    assert dispatch.items_offer().small == [item.pk]


def test_large_items_go_their_own_way(make):
    item = make(is_large=True)
    offered = dispatch.items_offer()
    assert (offered.small, offered.large) == ([], [item.pk])


@pytest.mark.parametrize(
    "fields",
    [
        {"synced_seq": 1},
        {"status": "paused"},
        {"status": "needs_reauth"},
        {"removed_at": timezone.now()},
        {"lease_expires_at": timezone.now() + timedelta(hours=1)},
    ],
)
def test_what_is_clean_paused_removed_or_claimed_is_not_offered(make, fields):
    make(**fields)
    assert dispatch.items_offer().small == []


def test_an_item_whose_lease_died_is_offered_again(make):
    item = make(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert dispatch.items_offer().small == [item.pk]


def test_a_wait_is_respected(make):
    item = make()
    Connection.objects.update(next_attempt_at=timezone.now() + timedelta(minutes=1))
    assert dispatch.items_offer().small == []
    Connection.objects.update(next_attempt_at=timezone.now())
    assert dispatch.items_offer().small == [item.pk]


def test_what_a_task_gives_back_is_offered_at_once(make):
    item = make()
    dispatch.items_offer()
    dispatch.items_return([item.pk])
    assert dispatch.items_offer().small == [item.pk]
    dispatch.items_return([])


def test_an_idle_tick_is_one_query(make, django_assert_num_queries):
    make(synced_seq=1)
    with django_assert_num_queries(1):
        dispatch.items_offer()


def test_items_nobody_looked_at_become_dirty(make, settings):
    settings.SAFETY_NET_S = 3600
    ago = lambda **since: timezone.now() - timedelta(**since)  # noqa: E731
    late = make(synced_seq=1, history_complete=True, last_synced_at=ago(hours=2))
    young = make(synced_seq=1, history_complete=False, last_synced_at=ago(minutes=20))
    make(synced_seq=1, history_complete=True, last_synced_at=ago(minutes=20))
    make(synced_seq=1, history_complete=True, last_synced_at=ago(hours=2), status="paused")
    assert dispatch.items_poll() == 2
    assert set(dispatch.items_offer().small) == {late.pk, young.pk}
    assert dispatch.items_poll() == 0


def test_runs_of_a_connection_that_left_are_ended(make, alice):
    item = make(status="disconnecting")
    run = SyncRun.objects.create(
        workspace=alice.workspace, connection=item.connection, trigger="user", parameters_hash="x", status="running"
    )
    StagedPage.objects.create(
        run_id=run.pk, page_number=1, workspace_id=alice.workspace.pk, lease_token=run.pk, body={}
    )
    assert dispatch.runs_sweep() == 1
    run.refresh_from_db()
    assert (run.status, run.errors[0]["code"]) == (RunStatus.CANCELLED, "connection_not_active")
    assert run.finished_at
    assert not StagedPage.objects.exists()
    assert dispatch.runs_sweep() == 0


def test_runs_of_an_item_that_is_removed_are_ended(make, alice):
    item = make(removed_at=timezone.now())
    run = SyncRun.objects.create(workspace=alice.workspace, connection=item.connection, trigger="user")
    assert dispatch.runs_sweep() == 1
    run.refresh_from_db()
    assert run.status == RunStatus.CANCELLED


def test_a_second_request_joins_the_waiting_run(make, alice):
    item = make(synced_seq=1)
    first = run_request(connection_id=item.connection_id, trigger=Trigger.USER, requested_by=alice.user)
    second = run_request(connection_id=item.connection_id, trigger=Trigger.WEBHOOK)
    item.refresh_from_db()
    assert (first.pk, item.dirty_seq) == (second.pk, 3)
    assert first.status == RunStatus.QUEUED


def test_a_request_ends_a_back_off_but_not_a_providers_wait(make):
    from connections.errors import Conflict

    item = make()
    later = timezone.now() + timedelta(hours=1)
    Connection.objects.update(next_attempt_at=later, wait_reason="backoff", status=Status.FAILED)
    run_request(connection_id=item.connection_id, trigger=Trigger.USER)
    assert Connection.objects.get().next_attempt_at is None
    Connection.objects.update(next_attempt_at=later, wait_reason="rate_limit")
    with pytest.raises(Conflict):
        run_request(connection_id=item.connection_id, trigger=Trigger.USER)


def test_only_banks_are_refreshed(alice):
    from connections.errors import Conflict

    shop = Connection.objects.create(
        workspace=alice.workspace, owner=alice.user, provider="woocommerce", name="Shop", status="active"
    )
    with pytest.raises(Conflict):
        run_request(connection_id=shop.pk, trigger=Trigger.USER)
