"""Banks that nobody uses get notice, then time, and are removed; any use in between keeps them."""

from datetime import timedelta

import pytest
from django.utils import timezone

from connections import errors
from connections.models import Connection, DomainEvent, PlaidItem, RetiredPlaidItem
from connections.models.connection import Status
from connections.services import lifecycle
from connections.services.dormancy import connection_use, dormant_notice, dormant_remove
from connections.services.plaid_items import relink_completed
from sync.services.dispatch import items_offer
from tests.connections.api.scene import make_bank, make_shop

pytestmark = pytest.mark.django_db

IDLE, GRACE = timedelta(days=90), timedelta(days=14)


def ago(time: timedelta):
    return timezone.now() - time


@pytest.fixture
def bank(alice) -> Connection:
    """Failing for longer than anybody cared."""
    made = make_bank(alice, status=Status.NEEDS_REAUTH)
    Connection.objects.update(created_at=ago(3 * IDLE), last_sync_at=ago(2 * IDLE), last_used_at=ago(IDLE * 1.5))
    made.refresh_from_db()
    return made


@pytest.fixture
def noticed(bank) -> Connection:
    assert dormant_notice() == 1
    bank.refresh_from_db()
    return bank


def past_grace() -> None:
    PlaidItem.objects.update(cleanup_notified_at=ago(GRACE + timedelta(minutes=1)))


def test_an_unused_bank_gets_one_notice_that_says_until_when(noticed):
    assert noticed.status == Status.PENDING_CLEANUP
    unused = ago(IDLE * 1.5)
    assert noticed.status_reason.startswith(f"Not used since {unused:%-d %B %Y}: removed on ")
    assert PlaidItem.objects.get().cleanup_notified_at
    (told,) = DomainEvent.objects.filter(type="CleanupNoticed")
    assert told.payload["unused_since"][:10] == f"{unused:%Y-%m-%d}"
    assert dormant_notice() == 0


def test_after_the_grace_it_is_disconnected_like_any_other(noticed):
    assert dormant_remove() == 0
    past_grace()
    assert (dormant_remove(), dormant_remove()) == (1, 0)
    noticed.refresh_from_db()
    assert (noticed.status, noticed.status_reason[:15]) == (Status.DISCONNECTING, "Not used since ")
    assert RetiredPlaidItem.objects.filter(status="pending").count() == 1


@pytest.mark.parametrize("field", ["created_at", "last_sync_at", "last_used_at"])
def test_whatever_was_used_lately_is_left_alone(bank, field):
    Connection.objects.update(**{field: ago(IDLE - timedelta(hours=1))})
    assert dormant_notice() == 0


@pytest.mark.parametrize("status", ["paused", "draft", "disconnecting", "disconnected"])
def test_what_a_person_has_stopped_is_not_cleaned_up(bank, status):
    Connection.objects.update(status=status)
    assert dormant_notice() == 0


def test_only_banks_that_are_still_billed_are_cleaned_up(bank, alice):
    make_shop(alice)
    PlaidItem.objects.update(removed_at=timezone.now())
    Connection.objects.update(created_at=ago(3 * IDLE), last_sync_at=None, last_used_at=None)
    assert dormant_notice() == 0


@pytest.mark.parametrize("tail", ["", "/accounts", "/transactions"])
def test_a_person_who_reads_it_through_the_api_ends_the_notice(alice, noticed, tail):
    assert alice.api.get(f"/api/v1/connections/{noticed.pk}{tail}").status_code == 200
    noticed.refresh_from_db()
    assert (noticed.status, noticed.status_reason) == (Status.ACTIVE, "")
    assert noticed.last_used_at > ago(timedelta(minutes=1))
    assert PlaidItem.objects.get().cleanup_notified_at is None
    past_grace()
    assert dormant_remove() == 0
    assert [event.type for event in DomainEvent.objects.order_by("sequence")] == [
        "CleanupNoticed",
        "ConnectionActivated",
    ]


def test_the_answer_to_that_person_says_that_it_stays(alice, noticed):
    assert alice.api.get(f"/api/v1/connections/{noticed.pk}").json()["status"] == "active"


def test_one_that_is_kept_is_tried_at_once_where_something_was_wrong_with_it(alice, noticed):
    later = timezone.now() + timedelta(hours=6)
    Connection.objects.update(error_code="bank_sign_in_required", next_attempt_at=later, wait_reason="backoff")
    assert items_offer().small == []
    shown = alice.api.get(f"/api/v1/connections/{noticed.pk}").json()
    assert (shown["status"], shown["next_attempt_at"]) == ("active", None)
    assert items_offer().small == [noticed.plaid_item.pk]


def test_a_person_who_reads_it_as_the_notice_is_given_keeps_it(bank):
    """The row was read before the notice, and its use is written after."""
    read_before = Connection.objects.get(pk=bank.pk)
    assert dormant_notice() == 1
    connection_use(read_before)
    bank.refresh_from_db()
    assert (bank.status, PlaidItem.objects.get().cleanup_notified_at) == (Status.ACTIVE, None)
    past_grace()
    assert dormant_remove() == 0


def test_seeing_it_in_a_list_is_no_use_and_neither_is_what_another_may_not_read(alice, dave, noticed):
    alice.api.get("/api/v1/connections")
    dave.api.get(f"/api/v1/connections/{noticed.pk}")
    noticed.refresh_from_db()
    assert noticed.status == Status.PENDING_CLEANUP


def test_use_is_written_at_most_once_an_hour(alice, bank, django_assert_num_queries):
    Connection.objects.update(status="active")
    path = f"/api/v1/connections/{bank.pk}"
    alice.api.get("/api/v1/me")
    with django_assert_num_queries(7):  # token, memberships, role, connection, its use, its verification, role
        alice.api.get(path)
    bank.refresh_from_db()
    used_at = bank.last_used_at
    assert used_at > ago(timedelta(minutes=1))
    with django_assert_num_queries(6):  # token, memberships, role, connection, its verification, role
        alice.api.get(path)
    bank.refresh_from_db()
    assert bank.last_used_at == used_at


@pytest.mark.parametrize(
    "error", [errors.NeedsReauth(), errors.PermanentError(code="bank_revoked"), errors.ProviderError()]
)
def test_trouble_is_no_use_and_does_not_hide_the_notice(noticed, error):
    for _ in range(4):
        lifecycle.record_failure(noticed, error)
    noticed.save()
    assert noticed.status == Status.PENDING_CLEANUP
    assert noticed.next_attempt_at > timezone.now()  # still tried, at leisure
    past_grace()
    assert dormant_remove() == 1


def test_a_repaired_login_is_a_used_one(noticed):
    relink_completed(connection=noticed)
    noticed.refresh_from_db()
    assert noticed.status == Status.ACTIVE
    assert dormant_notice() == 0
