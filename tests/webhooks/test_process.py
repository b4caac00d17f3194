"""What becomes of a kept webhook."""

import uuid
from datetime import timedelta

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from connections.models import Account, DomainEvent, PlaidItemAccount, PlaidLink, RetiredPlaidItem
from connections.models.connection import Status
from connections.services.plaid_items import item_retire
from connections.services.plaid_links import digest
from sync.services.dispatch import items_offer
from tests.webhooks.conftest import UPDATES, link
from webhooks import tasks
from webhooks.models import WebhookEvent
from webhooks.services import plaid
from webhooks.services import process as services

pytestmark = pytest.mark.django_db


@pytest.fixture
def processed(bank, deliver, woken):
    """Deliver a webhook about the bank and process it; the event as it ended."""

    def run(code: str = "SYNC_UPDATES_AVAILABLE", kind: str = "ITEM", **fields) -> WebhookEvent:
        body = {"webhook_type": kind, "webhook_code": code, "item_id": bank.item_id} | fields
        answer = deliver(body)
        tasks.sweep()
        event = WebhookEvent.objects.get(pk=answer.json()["id"])
        assert event.lease_token is None
        return event

    return run


def bank_error(code: str, kind: str = "ITEM_ERROR") -> dict:
    return {"error_type": kind, "error_code": code, "error_message": "…", "status": 400}


# --- TRANSACTIONS ---
@pytest.mark.parametrize(
    "code, status, dirty_seq",
    [
        ("SYNC_UPDATES_AVAILABLE", "processed", 4),
        ("INITIAL_UPDATE", "ignored", 3),
        ("TRANSACTIONS_REMOVED", "ignored", 3),
        ("RECURRING_TRANSACTIONS_UPDATE", "processed", 3),
    ],
)
def test_transactions_are_processed_without_a_second_mark(bank, processed, code, status, dirty_seq):
    event = processed(code, "TRANSACTIONS")
    assert (event.status, event.attempts, bank.dirty_seq) == (status, 1, dirty_seq)
    assert event.processed_at >= event.received_at


def test_changed_streams_are_noted_until_somebody_reads_them(bank, processed):
    first = processed("RECURRING_TRANSACTIONS_UPDATE", "TRANSACTIONS", number=1)
    assert bank.item.recurring_changed_at == first.received_at
    second = processed("RECURRING_TRANSACTIONS_UPDATE", "TRANSACTIONS", number=2)
    assert bank.item.recurring_changed_at == second.received_at > first.received_at


def test_older_news_of_streams_does_not_undo_newer(bank, updates, woken):
    updates(webhook_code="RECURRING_TRANSACTIONS_UPDATE")
    newer = timezone.now() + timedelta(minutes=1)
    bank.change(recurring_changed_at=newer)
    tasks.sweep()
    assert bank.item.recurring_changed_at == newer


def test_what_could_not_be_marked_at_receipt_is_marked_now(bank, updates, woken):
    later = timezone.now() + timedelta(hours=1)
    event = updates()
    bank.change(dirty_seq=3, next_attempt_at=later, wait_reason="backoff", offered_until=later)
    WebhookEvent.objects.filter(pk=event.pk).update(is_marked=False)
    tasks.process(str(event.pk))
    assert (bank.dirty_seq, bank.item.offered_until, bank.connection.next_attempt_at) == (4, None, None)
    assert WebhookEvent.objects.get().status == "processed"
    assert woken == ["sync.tasks.dispatch"] * 2


@pytest.mark.parametrize("synced_at, dirty_seq", [(None, 4), (timezone.now(), 3)])
def test_legacy_code_that_could_not_be_marked_follows_the_same_rule(bank, updates, woken, synced_at, dirty_seq):
    bank.change(last_synced_at=synced_at)
    updates(webhook_code="INITIAL_UPDATE")
    bank.change(dirty_seq=3)
    WebhookEvent.objects.update(is_marked=False)
    tasks.sweep()
    assert bank.dirty_seq == dirty_seq


# --- an Item that comes later ---
def test_event_waits_for_its_item_and_finds_it(alice, deliver, woken):
    deliver(UPDATES | {"item_id": "item-2"})
    tasks.sweep()
    waiting = WebhookEvent.objects.get()
    assert (waiting.status, waiting.attempts, waiting.lease_token) == ("received", 0, None)
    assert waiting.next_attempt_at > timezone.now()
    later = link(alice, "item-2")
    WebhookEvent.objects.update(next_attempt_at=timezone.now())
    tasks.sweep()
    event = WebhookEvent.objects.get()
    assert (event.status, event.note, event.connection_id, event.workspace_id) == (
        "processed",
        "A sync is due.",
        later.connection_id,
        alice.workspace.pk,
    )
    assert (later.dirty_seq, later.item.last_webhook_at) == (4, event.received_at)


def test_event_waits_less_eagerly_after_a_minute(deliver, woken):
    deliver(UPDATES | {"item_id": "item-2"})
    WebhookEvent.objects.update(received_at=timezone.now() - timedelta(minutes=2))
    tasks.sweep()
    assert WebhookEvent.objects.get().next_attempt_at > timezone.now() + timedelta(seconds=15)


def test_event_without_an_item_is_ignored_after_a_quarter_of_an_hour(deliver, woken):
    deliver(UPDATES | {"item_id": "item-2"})
    WebhookEvent.objects.update(received_at=timezone.now() - timedelta(minutes=16))
    tasks.sweep()
    event = WebhookEvent.objects.get()
    assert (event.status, event.note) == ("ignored", "No connection has this Item.")


def test_event_that_names_no_item_is_ignored(deliver, woken):
    deliver(b"whatever")
    tasks.sweep()
    event = WebhookEvent.objects.get()
    assert (event.status, event.note) == ("ignored", "It names no Item.")


def test_other_environments_item_does_not_match(bank, deliver, woken):
    deliver(UPDATES | {"item_id": bank.item_id, "environment": "production"})
    tasks.sweep()
    assert (WebhookEvent.objects.get().status, bank.dirty_seq) == ("received", 3)


# --- refused work ---
def test_webhooks_switched_off_meanwhile(bank, updates, woken, alice):
    updates()
    alice.workspace.webhooks_enabled = False
    alice.workspace.save()
    tasks.sweep()
    assert WebhookEvent.objects.get().status == "ignored"


@pytest.mark.parametrize(
    "fields", [{"status": Status.DISCONNECTING}, {"status": Status.DISCONNECTED}, {"removed_at": timezone.now()}]
)
def test_disconnected_connection_is_left_alone(bank, processed, fields):
    bank.change(**fields)
    event = processed("LOGIN_REPAIRED")
    assert (event.status, event.note, bank.dirty_seq) == ("ignored", "The connection is disconnected.", 3)


@pytest.mark.parametrize("kind, code", [("ITEM", "SOMETHING_NEW"), ("HOLDINGS", "DEFAULT_UPDATE"), ("", "")])
def test_unknown_kind_is_ignored(bank, processed, kind, code):
    assert processed(code, kind).status == "ignored"


def test_acknowledged_address_is_proved_to_work(bank, processed):
    event = processed("WEBHOOK_UPDATE_ACKNOWLEDGED", new_webhook_url="https://causeway.example/webhook/plaid")
    assert (event.status, bank.dirty_seq, bank.connection.status) == ("processed", 3, "active")
    assert bank.item.webhook_url == "https://causeway.example/webhook/plaid"
    assert bank.item.webhook_confirmed_at == event.received_at


def test_address_that_plaid_reports_an_error_for_is_not_confirmed(bank, processed):
    processed("WEBHOOK_UPDATE_ACKNOWLEDGED", new_webhook_url="https://x.example", error=bank_error("X"))
    assert bank.item.webhook_confirmed_at is None


@pytest.mark.parametrize("code", ["NEW_ACCOUNTS_AVAILABLE", "USER_ACCOUNT_REVOKED"])
def test_other_accounts_are_offered_by_the_next_repair(bank, processed, code):
    event = processed(code)
    assert bank.item.account_selection_at == event.received_at


@pytest.mark.parametrize("code", ["NEW_ACCOUNTS_AVAILABLE", "USER_ACCOUNT_REVOKED", "LOGIN_REPAIRED"])
def test_news_of_accounts_has_them_read_again(bank, processed, code):
    bank.change(details_at=timezone.now())
    assert processed(code).status == "processed"
    assert (bank.item.details_at, bank.dirty_seq) == (None, 4)


def test_news_of_before_the_last_choice_offers_none(bank, updates, woken):
    updates(webhook_type="ITEM", webhook_code="NEW_ACCOUNTS_AVAILABLE")
    bank.change(repaired_at=timezone.now())
    tasks.sweep()
    assert bank.item.account_selection_at is None


@pytest.mark.parametrize("account_id", [None, 7, [], "a\0", "x" * 300])
def test_revoked_account_without_a_usable_name_only_has_the_accounts_read(bank, processed, account_id):
    assert processed("USER_ACCOUNT_REVOKED", account_id=account_id).status == "processed"
    assert bank.dirty_seq == 4


@pytest.mark.parametrize("ends", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", 5, [], "2026-02-30T00:00:00Z"])
def test_a_deadline_beyond_reason_is_the_usual_notice(bank, processed, ends):
    assert processed("PENDING_EXPIRATION", consent_expiration_time=ends).status == "processed"
    assert timedelta(days=6) < bank.connection.reauth_due_at - timezone.now() < timedelta(days=8)


@pytest.mark.django_db(transaction=True)
def test_a_revoked_account_is_locked_before_its_connection(bank, processed, owner_connection):
    """Who writes accounts holds them first and then wants the connection; here it must be the same way round."""
    with owner_connection.transaction():
        owner_connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"accounts:{bank.item.pk}"])
        with CaptureQueriesContext(database) as seen:
            event = processed("USER_ACCOUNT_REVOKED", account_id="gone")
        assert (event.status, event.note) == ("received", "Its accounts are being written right now.")
    locks = [query["sql"] for query in seen.captured_queries if '"connections_connection"' in query["sql"]]
    assert not any("FOR NO KEY UPDATE" in sql for sql in locks)
    WebhookEvent.objects.update(next_attempt_at=timezone.now())
    tasks.sweep()
    assert WebhookEvent.objects.get().status == "processed"


# --- ITEM ---
def told_failures() -> list[tuple[str, str]]:
    """What alerts are opened of."""
    told = DomainEvent.objects.filter(type="SyncFailed").order_by("sequence")
    return [(event.payload["code"], event.payload["status"]) for event in told]


def test_login_error_asks_the_owner_to_sign_in(bank, processed):
    event = processed("ERROR", error=bank_error("ITEM_LOGIN_REQUIRED"))
    connection = bank.connection
    assert (event.status, connection.status, connection.error_code) == (
        "processed",
        "needs_reauth",
        "bank_sign_in_required",
    )
    assert connection.error_correlation_id == event.correlation_id
    assert "ITEM_LOGIN_REQUIRED" in bank.item.last_sync_error
    assert bank.item.reauth_needed_at


def test_second_login_error_keeps_the_moment_of_the_first(bank, processed):
    first = timezone.now() - timedelta(days=1)
    bank.change(reauth_needed_at=first)
    processed("ERROR", error=bank_error("ITEM_LOGIN_REQUIRED"))
    assert bank.item.reauth_needed_at == first


def test_permanent_error_fails_the_connection(bank, processed):
    processed("ERROR", error=bank_error("ITEM_NOT_SUPPORTED"))
    connection = bank.connection
    assert (connection.status, connection.error_code) == ("failed", "bank_not_supported")
    assert (bank.item.reauth_needed_at, bank.item.removed_at) == (None, None)
    assert told_failures() == [("bank_not_supported", "failed")]
    # It is still tried, though rarely.
    assert connection.next_attempt_at > timezone.now()
    assert items_offer().small == []
    bank.change(next_attempt_at=timezone.now() - timedelta(seconds=1))
    assert items_offer().small == [bank.item.pk]


def test_item_that_plaid_does_not_know_any_more_is_done_with(bank, processed):
    processed("ERROR", error=bank_error("ITEM_NOT_FOUND"))
    assert (bank.connection.status, bank.connection.error_code) == ("failed", "bank_revoked")
    assert bank.item.removed_at
    assert RetiredPlaidItem.objects.get().item_id == bank.item_id


@pytest.mark.parametrize("code, is_quiet", [("ITEM_NOT_FOUND", False), ("ITEM_CONCURRENTLY_DELETED", True)])
def test_an_end_that_somebody_asked_for_alarms_nobody(bank, processed, code, is_quiet):
    processed("ERROR", error=bank_error(code))
    assert DomainEvent.objects.get(type="SyncFailed").payload["is_quiet"] is is_quiet


@pytest.mark.parametrize(
    "error", [bank_error("INSTITUTION_DOWN", "INSTITUTION_ERROR"), bank_error("BRAND_NEW"), None, "x"]
)
def test_other_errors_are_left_to_the_next_sync(bank, processed, error):
    event = processed("ERROR", error=error)
    assert (event.status, bank.connection.status, bank.dirty_seq) == ("processed", "active", 4)
    assert "left to the next sync" in event.note


def test_error_that_a_later_sync_has_disproved_changes_nothing(bank, deliver, woken):
    deliver(
        {
            "webhook_type": "ITEM",
            "webhook_code": "ERROR",
            "item_id": bank.item_id,
            "error": bank_error("ITEM_LOGIN_REQUIRED"),
        }
    )
    bank.change(last_sync_at=timezone.now())
    tasks.sweep()
    assert (bank.connection.status, WebhookEvent.objects.get().note) == ("active", "A sync went through since.")


def test_error_of_before_a_repair_changes_nothing(bank, updates, woken):
    updates(webhook_type="ITEM", webhook_code="ERROR", error=bank_error("ITEM_LOGIN_REQUIRED"))
    bank.change(repaired_at=timezone.now())
    tasks.sweep()
    assert (bank.connection.status, WebhookEvent.objects.get().note) == ("active", "The login was repaired since.")


def test_the_same_trouble_told_twice_counts_once(bank, updates, woken):
    for number in range(2):
        updates(webhook_type="ITEM", webhook_code="ERROR", error=bank_error("ITEM_NOT_SUPPORTED"), number=number)
    tasks.sweep()
    assert (bank.connection.failure_count, bank.dirty_seq, len(told_failures())) == (1, 4, 1)
    notes = set(WebhookEvent.objects.values_list("note", flat=True))
    assert notes == {"The connection has failed.", "This was known already."}


def test_repair_that_overtook_the_error_leaves_the_bank_working(bank, updates, woken):
    error = updates(webhook_type="ITEM", webhook_code="ERROR", error=bank_error("ITEM_LOGIN_REQUIRED"))
    repaired = updates(webhook_type="ITEM", webhook_code="LOGIN_REPAIRED")
    tasks.process(str(repaired.pk))
    tasks.process(str(error.pk))
    assert (bank.connection.status, bank.item.reauth_needed_at) == ("active", None)


def test_repair_of_long_before_the_next_trouble_changes_nothing(bank, updates, woken):
    event = updates(webhook_type="ITEM", webhook_code="LOGIN_REPAIRED")
    bank.change(status=Status.NEEDS_REAUTH, reauth_needed_at=event.received_at + timedelta(hours=1))
    tasks.sweep()
    assert bank.connection.status == "needs_reauth"


def test_repaired_login_is_tried_at_once(bank, processed, woken):
    bank.change(status=Status.NEEDS_REAUTH, reauth_needed_at=timezone.now(), error_code="bank_sign_in_required")
    assert processed("LOGIN_REPAIRED").status == "processed"
    assert (bank.connection.status, bank.connection.error_code, bank.item.reauth_needed_at, bank.dirty_seq) == (
        "active",
        "",
        None,
        4,
    )
    assert "sync.tasks.dispatch" in woken


def test_revoked_permission_ends_syncs_and_has_the_item_removed(bank, processed):
    later = timezone.now() + timedelta(hours=1)
    bank.change(lease_token=uuid.uuid4(), lease_expires_at=later, consent_expires_at=later, reauth_due_at=later)
    processed("USER_PERMISSION_REVOKED")
    connection, item, retired = bank.connection, bank.item, RetiredPlaidItem.objects.get()
    assert (connection.status, connection.error_code, connection.reauth_due_at) == ("failed", "bank_revoked", None)
    assert (connection.next_attempt_at, connection.wait_reason) == (None, "")
    assert item.removed_at
    assert (item.lease_token, item.consent_expires_at) == (None, None)  # a worker that reads it loses its claim
    assert (retired.item_id, retired.connection_id) == (bank.item_id, connection.pk)
    assert told_failures() == [("bank_revoked", "failed")]


def test_revoked_permission_told_twice_retires_one_item(bank, updates, woken):
    for number in range(2):
        updates(webhook_type="ITEM", webhook_code="USER_PERMISSION_REVOKED", number=number)
    tasks.sweep()
    assert RetiredPlaidItem.objects.count() == 1
    assert len(told_failures()) == 1


def test_revoked_permission_of_before_a_new_link_changes_nothing(bank, updates, woken):
    updates(webhook_type="ITEM", webhook_code="USER_PERMISSION_REVOKED")
    bank.change(repaired_at=timezone.now())
    tasks.sweep()
    assert (bank.connection.status, bank.item.removed_at) == ("active", None)


def test_news_of_an_item_that_was_replaced_does_not_wait_for_it(bank, deliver, woken):
    item_retire(bank.connection, item_id="former", access_token="")
    deliver(UPDATES | {"item_id": "former"})
    tasks.sweep()
    event = WebhookEvent.objects.get()
    assert (event.status, event.note) == ("ignored", "The Item was replaced by another one.")


@pytest.mark.parametrize(
    "code, field, given, expected",
    [
        ("PENDING_EXPIRATION", "consent_expiration_time", "2027-01-02T03:04:05Z", "2027-01-02T03:04:05+00:00"),
        ("PENDING_DISCONNECT", "disconnect_time", "2027-01-02T03:04:05", "2027-01-02T03:04:05+00:00"),
    ],
)
def test_end_of_a_consent_is_shown(bank, processed, code, field, given, expected):
    assert processed(code, **{field: given}).status == "processed"
    assert bank.connection.reauth_due_at.isoformat() == bank.item.consent_expires_at.isoformat() == expected
    assert bank.connection.status == "active"


def test_end_of_a_consent_of_before_a_repair_changes_nothing(bank, updates, woken):
    updates(webhook_type="ITEM", webhook_code="PENDING_DISCONNECT")
    bank.change(repaired_at=timezone.now())
    tasks.sweep()
    assert bank.connection.reauth_due_at is None


@pytest.mark.parametrize("given", [None, 7, "soon", "2027-99-99T00:00:00Z"])
def test_end_of_a_consent_without_a_date_is_in_a_week(bank, processed, given):
    processed("PENDING_DISCONNECT", disconnect_time=given)
    assert timedelta(days=6.9) < bank.connection.reauth_due_at - timezone.now() < timedelta(days=7)


def test_revoked_account_is_missing_and_the_rest_is_read_again(bank, processed):
    for name in ("kept", "gone"):
        account = Account.objects.create(workspace=bank.connection.workspace, connection=bank.connection, name=name)
        PlaidItemAccount.objects.create(
            workspace=account.workspace, item=bank.item, account=account, plaid_account_id=name
        )
    processed("USER_ACCOUNT_REVOKED", account_id="gone")
    assert dict(Account.objects.values_list("name", "status")) == {"kept": "active", "gone": "missing"}
    assert bank.dirty_seq == 4


def test_account_that_was_read_since_its_revocation_stays_as_it_was_read(bank, deliver, woken):
    account = Account.objects.create(workspace=bank.connection.workspace, connection=bank.connection, name="again")
    PlaidItemAccount.objects.create(workspace=account.workspace, item=bank.item, account=account, plaid_account_id="a")
    told = {"webhook_type": "ITEM", "webhook_code": "USER_ACCOUNT_REVOKED", "item_id": bank.item_id, "account_id": "a"}
    deliver(told)
    bank.change(details_at=timezone.now())
    tasks.sweep()
    assert WebhookEvent.objects.get().note == "The accounts were read since."
    account.refresh_from_db()
    assert (account.status, bank.item.account_selection_at, bank.dirty_seq) == ("active", None, 3)


# --- LINK ---
@pytest.fixture
def session(alice) -> PlaidLink:
    made = PlaidLink(
        workspace=alice.workspace,
        user=alice.user,
        environment="sandbox",
        digest=digest("link-sandbox-1"),
        is_hosted=True,
        next_poll_at=timezone.now() + timedelta(hours=1),
        expires_at=timezone.now() + timedelta(hours=4),
    )
    made.seal("link-sandbox-1")
    made.save()
    return made


def finished(deliver, token: str = "link-sandbox-1", code: str = "SESSION_FINISHED") -> WebhookEvent:
    deliver({"webhook_type": "LINK", "webhook_code": code, "link_token": token, "public_tokens": ["public-sandbox-1"]})
    tasks.sweep()
    return WebhookEvent.objects.get()


def test_finished_session_is_looked_at_now(session, deliver, woken):
    event = finished(deliver)
    session.refresh_from_db()
    assert (event.status, event.workspace_id) == ("processed", session.workspace_id)
    assert session.next_poll_at <= timezone.now()
    assert woken == ["webhooks.tasks.sweep", "sync.tasks.poll_links"]


def test_session_that_is_told_again_is_looked_at_again(session, deliver, woken):
    finished(deliver)
    PlaidLink.objects.update(next_poll_at=timezone.now() + timedelta(hours=1))
    WebhookEvent.objects.update(status="received", next_attempt_at=timezone.now())
    tasks.sweep()
    session.refresh_from_db()
    assert session.next_poll_at <= timezone.now()


def test_session_that_ended_already_wakes_nobody(session, deliver, woken):
    PlaidLink.objects.update(status=PlaidLink.Status.FINISHED)
    assert finished(deliver).status == "processed"
    assert woken == ["webhooks.tasks.sweep"]


@pytest.mark.parametrize("token, code", [("link-sandbox-2", "SESSION_FINISHED"), ("link-sandbox-1", "HANDOFF")])
def test_other_sessions_and_news_are_ignored(session, deliver, woken, token, code):
    assert finished(deliver, token, code).status == "ignored"


def test_session_of_a_workspace_without_webhooks_is_left_to_the_poll(session, deliver, woken, alice):
    alice.workspace.webhooks_enabled = False
    alice.workspace.save()
    assert finished(deliver).status == "ignored"
    assert woken == ["webhooks.tasks.sweep"]


# --- claims and ends ---
def test_event_is_processed_once(bank, updates, woken):
    event = updates()
    assert services.event_process(event.pk) is True
    assert services.event_process(event.pk) is False
    assert services.event_process(uuid.uuid4()) is False


def test_claimed_event_is_nobody_elses_until_its_lease_ends(bank, updates, woken):
    event = updates()
    assert services._claim(event.pk)
    assert services._claim(event.pk) is None
    assert services.events_due() == []
    WebhookEvent.objects.update(next_attempt_at=timezone.now())
    assert services._claim(event.pk).attempts == 2


def test_delivery_during_the_work_makes_it_be_looked_at_again(bank, updates, woken, monkeypatch):
    event = updates()
    claim = services._claim

    def interrupted(event_id):
        claimed = claim(event_id)
        updates()
        return claimed

    with monkeypatch.context() as patch:
        patch.setattr(services, "_claim", interrupted)
        assert services.event_process(event.pk)
    waiting = WebhookEvent.objects.get()
    assert (waiting.status, waiting.lease_token, waiting.deliveries) == ("received", None, 2)
    tasks.sweep()
    assert WebhookEvent.objects.get().status == "processed"


def test_failing_event_backs_off_and_is_given_up_in_the_end(bank, updates, deliver, woken, monkeypatch):
    def broken(*_args):
        raise ValueError("access-sandbox-1 is not a number")

    monkeypatch.setitem(plaid._HANDLERS, ("TRANSACTIONS", "SYNC_UPDATES_AVAILABLE"), broken)
    updates()
    ended = link_other_event(deliver)
    for attempt in range(1, services.MAX_ATTEMPTS + 1):
        tasks.sweep()
        event = WebhookEvent.objects.get(event_type="TRANSACTIONS")
        assert event.attempts == attempt
        WebhookEvent.objects.filter(pk=event.pk).update(next_attempt_at=timezone.now())
    assert (event.status, event.note) == ("failed", "ValueError: [hidden] is not a number")
    assert event.processed_at
    assert WebhookEvent.objects.get(pk=ended).status == "ignored"  # the others went on


def test_a_worker_that_fails_late_leaves_the_event_to_whoever_took_over(bank, updates, woken, monkeypatch):
    event = updates()

    def stalls_and_breaks(*_args):
        WebhookEvent.objects.update(lease_token=other, next_attempt_at=later)  # its lease ran out, and another claimed
        raise ValueError("too late")

    other, later = uuid.uuid4(), timezone.now() + timedelta(minutes=1)
    monkeypatch.setattr(services, "MAX_ATTEMPTS", 1)
    monkeypatch.setattr(services, "_handle", stalls_and_breaks)
    tasks.process(str(event.pk))
    found = WebhookEvent.objects.get()
    assert (found.status, found.lease_token, found.next_attempt_at) == ("received", other, later)


def link_other_event(deliver) -> str:
    return deliver({"webhook_type": "OTHER", "webhook_code": "OTHER"}).json()["id"]


def test_sweep_stops_in_time_and_goes_on_later(bank, updates, woken, monkeypatch):
    updates()
    monkeypatch.setattr(tasks, "LIMIT_S", -1)
    tasks.sweep()
    assert WebhookEvent.objects.get().status == "received"


def test_idle_sweep_is_one_query(db, django_assert_num_queries):
    with django_assert_num_queries(1):
        tasks.sweep()


def test_event_names_itself(bank, updates, woken):
    assert str(updates()) == "plaid TRANSACTIONS.SYNC_UPDATES_AVAILABLE"
