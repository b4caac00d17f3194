"""An access token is replaced once: the new one is kept before all else, and doubt is told and never repeated."""

import threading
from datetime import timedelta

import pytest
from django.db import connection as database
from django.utils import timezone

from config.processes import wait_until
from connections.errors import Conflict, OutcomeUnknown, PermanentError
from connections.models import Credential, DomainEvent, PlaidItem, PlaidTokenRotation, RetiredPlaidItem, SecurityEvent
from connections.services.disconnecting import connection_disconnect
from connections.services.plaid_exchange import public_token_exchange
from connections.services.plaid_removal import retired_items_remove
from connections.services.token_rotation import access_token_rotate, rotations_sweep
from sync.engine import Outcome

pytestmark = pytest.mark.django_db(transaction=True)

INVALIDATE = "/item/access_token/invalidate"


def rotate(bank, person) -> PlaidTokenRotation:
    return access_token_rotate(connection_id=bank.connection.pk, actor=person.user)


def token(bank) -> str:
    return Credential.objects.get(connection=bank.connection).reveal()


def calls(bank) -> int:
    log = bank.simulator.control("GET", f"log?item_id={bank.plaid_id}")["requests"]
    return sum(row["path"] == INVALIDATE for row in log)


def make_late() -> None:
    PlaidTokenRotation.objects.update(started_at=timezone.now() - timedelta(hours=1))


def test_the_new_token_works_and_is_nowhere_else(bank, alice):
    bank.sync()
    before = token(bank)
    rotation = rotate(bank, alice)
    assert (rotation.status, rotation.ciphertext, rotation.key_id) == ("completed", None, "")
    assert token(bank) != before
    bank.add(name="After the rotation")
    assert bank.sync() == Outcome.SYNCED
    bank.assert_equal_to_source()
    assert SecurityEvent.objects.filter(action="access_token_rotated", actor=alice.user).count() == 1
    assert not DomainEvent.objects.filter(payload__icontains=token(bank)).exists()


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "commit_then_drop"},
        {"kind": "html", "status": 502},
        {"kind": "missing_field", "field": "new_access_token"},
    ],
)
def test_a_lost_answer_is_doubt_that_is_told_and_never_repeated(bank, alice, fault):
    bank.sync()
    bank.fault(path=INVALIDATE, **fault)
    with pytest.raises(OutcomeUnknown) as caught:
        rotate(bank, alice)
    assert caught.value.code == "rotation_unknown"
    assert PlaidTokenRotation.objects.get().status == "unknown"
    assert DomainEvent.objects.get(type="TokenRefreshFailed").payload["code"] == "rotation_unknown"
    with pytest.raises(Conflict):
        rotate(bank, alice)
    assert (rotations_sweep(), calls(bank)) == (0, 1)
    assert bank.item.lease_token is None


def test_a_sync_that_goes_through_proves_that_nothing_was_rotated(bank, alice):
    bank.fault("html", path=INVALIDATE, status=502)
    with pytest.raises(OutcomeUnknown):
        rotate(bank, alice)
    assert bank.sync() == Outcome.SYNCED
    assert rotations_sweep() == 1
    assert PlaidTokenRotation.objects.get().status == "refused"
    assert DomainEvent.objects.get(type="TokenRotated").payload["is_rotated"] is False
    assert rotate(bank, alice).status == "completed"


def test_what_plaid_refuses_is_no_doubt(bank, alice):
    bank.fault("error", path=INVALIDATE, status=400, error_type="ITEM_ERROR", error_code="ITEM_NOT_FOUND")
    with pytest.raises(PermanentError):
        rotate(bank, alice)
    assert PlaidTokenRotation.objects.get().status == "refused"
    assert rotate(bank, alice).status == "completed"


def test_no_sync_reads_the_bank_meanwhile_and_none_is_disturbed(link, alice):
    bank = link(transactions=700)
    bank.fault("latency", path=INVALIDATE, seconds=1)

    def call():
        rotate(bank, alice)
        database.close()

    thread = threading.Thread(target=call)
    thread.start()
    assert wait_until(PlaidTokenRotation.objects.exists, 20)
    assert bank.sync() == Outcome.NOTHING
    thread.join(30)
    assert bank.turn() == Outcome.SYNCED
    PlaidItem.objects.update(lease_token=alice.user.pk, lease_expires_at=timezone.now() + timedelta(minutes=1))
    with pytest.raises(Conflict, match="being read"):
        rotate(bank, alice)
    assert calls(bank) == 1


def test_a_process_that_died_with_the_answer_kept_is_made_up_for(bank, alice, monkeypatch):
    before = token(bank)
    monkeypatch.setattr("connections.services.token_rotation._finish", lambda pk: None)
    rotate(bank, alice)
    monkeypatch.undo()
    assert token(bank) == before
    assert rotations_sweep() == 0  # it may still be under way
    make_late()
    assert (rotations_sweep(), rotations_sweep()) == (1, 0)
    assert token(bank) != before
    PlaidItem.objects.update(lease_expires_at=None)
    assert bank.sync() == Outcome.SYNCED


def test_a_process_that_died_over_the_call_leaves_doubt(bank, alice, monkeypatch):
    monkeypatch.setattr("connections.providers.plaid.client.PlaidClient.access_token_invalidate", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        rotate(bank, alice)
    make_late()
    rotations_sweep()
    assert PlaidTokenRotation.objects.get().status == "unknown"
    assert DomainEvent.objects.filter(type="TokenRefreshFailed").count() == 1


def test_an_item_left_by_a_relink_meanwhile_is_still_removed(bank, alice, simulator, monkeypatch):
    monkeypatch.setattr("connections.services.token_rotation._finish", lambda pk: None)
    rotate(bank, alice)
    monkeypatch.undo()
    made = simulator.control("POST", "items", {"transactions": 5, "life": False})
    public_token_exchange(
        user=alice.user,
        workspace_id=alice.workspace.pk,
        public_token=made["public_token"],
        environment="sandbox",
        connection=bank.connection,
    )
    new = token(bank)
    make_late()
    rotations_sweep()
    assert token(bank) == new
    assert retired_items_remove() == 1
    assert simulator.control("GET", f"items/{bank.plaid_id}")["removed"]
    assert RetiredPlaidItem.objects.get().status == "removed"


def test_a_bank_disconnected_meanwhile_is_removed_with_the_token_that_works(bank, alice, monkeypatch):
    monkeypatch.setattr("connections.services.token_rotation._finish", lambda pk: None)
    rotate(bank, alice)
    monkeypatch.undo()
    connection_disconnect(connection_id=bank.connection.pk, reason="")
    assert retired_items_remove() == 0  # the old token is dead
    make_late()
    rotations_sweep()
    RetiredPlaidItem.objects.update(next_attempt_at=timezone.now())
    assert retired_items_remove() == 1
    bank.connection.refresh_from_db()
    assert bank.connection.status == "disconnected"
    with pytest.raises(Conflict):
        rotate(bank, alice)
