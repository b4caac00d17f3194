"""POST /webhook/plaid: what is answered, and what is in the database by then."""

import json
import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest
from django.db import DatabaseError, OperationalError, connection, transaction
from django.db.models import Sum
from django.test import Client
from django.utils import timezone

from connections.providers.plaid.webhooks import Verified
from connections.services.event_dispatch import events_dispatch
from diagnostics.models import Alert, ErrorEvent
from tests.webhooks.conftest import UPDATES, ended, link
from webhooks import inbox
from webhooks.models import WebhookEvent, WebhookRefusal
from webhooks.services import refusals

pytestmark = pytest.mark.django_db


# --- kept ---
def test_verified_webhook_is_kept_and_marks_its_item_dirty(bank, updates, woken, alice):
    before = timezone.now()
    event = updates(historical_update_complete=True)
    assert (bank.dirty_seq, bank.item.last_webhook_at >= before) == (4, True)
    assert (event.status, event.is_marked, event.deliveries, event.attempts) == ("received", True, 1, 0)
    assert (event.workspace_id, event.connection_id) == (alice.workspace.pk, bank.connection_id)
    assert (event.event_type, event.code, event.item_id) == ("TRANSACTIONS", "SYNC_UPDATES_AVAILABLE", "item-1")
    assert (event.provider, event.environment) == ("plaid", "sandbox")
    assert event.payload["historical_update_complete"] is True
    assert json.loads(bytes(event.body)) == event.payload
    assert event.headers == {"Content-Type": "application/json", "verification": {"method": "hmac"}}
    assert event.received_at == event.last_received_at >= before
    assert woken == ["sync.tasks.dispatch"]


def test_it_takes_one_statement(bank, deliver, woken, monkeypatch):
    statements = []
    execute = psycopg.Cursor.execute  # Django's cursor is one as well

    def counted(cursor, statement, *args, **kwargs):
        statements.append(statement)
        return execute(cursor, statement, *args, **kwargs)

    monkeypatch.setattr(psycopg.Cursor, "execute", counted)
    assert deliver(UPDATES | {"item_id": bank.item_id}).status_code == 200
    assert len(statements) == 1


def test_it_is_written_to_no_index_that_another_makes_needless():
    with connection.cursor() as cursor:
        cursor.execute("""
            SELECT indexrelid::regclass::text, indkey::text, indpred IS NULL, bool_or(class.opcname LIKE '%pattern%')
            FROM pg_index JOIN pg_opclass class ON class.oid = ANY (indclass)
            WHERE indrelid = 'webhooks_webhookevent'::regclass GROUP BY indexrelid, indkey::text, indpred IS NULL
        """)
        indexes = cursor.fetchall()
    assert [name for name, _, _, is_for_prefixes in indexes if is_for_prefixes] == []
    whole = {name: columns.split() for name, columns, is_whole, _ in indexes if is_whole}
    repeated = [
        (one, other)
        for one, columns in whole.items()
        for other, longer in whole.items()
        if one != other and longer[: len(columns)] == columns
    ]
    assert repeated == []
    assert len(indexes) == 7


def test_correlation_id_of_the_delivery_is_kept(bank, deliver, woken):
    answer = deliver(UPDATES | {"item_id": bank.item_id}, **{"X-Correlation-ID": "from-outside"})
    assert answer["X-Correlation-ID"] == "from-outside"
    assert WebhookEvent.objects.get().correlation_id == "from-outside"


def test_news_are_offered_at_once_and_end_a_backoff(bank, updates, woken):
    later = timezone.now() + timedelta(hours=1)
    bank.change(offered_until=later, next_attempt_at=later, wait_reason="backoff")
    updates()
    assert (bank.item.offered_until, bank.connection.next_attempt_at, bank.connection.wait_reason) == (None, None, "")


@pytest.mark.parametrize("reason", ["rate_limit", "configuration"])
def test_waits_that_a_provider_imposed_stay(bank, updates, woken, reason):
    later = timezone.now() + timedelta(hours=1)
    bank.change(next_attempt_at=later, wait_reason=reason)
    updates()
    assert (bank.connection.next_attempt_at, bank.connection.wait_reason, bank.dirty_seq) == (later, reason, 4)


@pytest.mark.parametrize("code", ["INITIAL_UPDATE", "HISTORICAL_UPDATE", "DEFAULT_UPDATE"])
@pytest.mark.parametrize("synced_at, dirty_seq", [(None, 4), (timezone.now(), 3)])
def test_legacy_codes_mark_only_what_was_never_synced(bank, updates, woken, code, synced_at, dirty_seq):
    bank.change(last_synced_at=synced_at)
    event = updates(webhook_code=code, new_transactions=7)
    assert (event.status, bank.dirty_seq) == ("received", dirty_seq)
    assert woken == ["sync.tasks.dispatch" if dirty_seq == 4 else "webhooks.tasks.sweep"]


@pytest.mark.parametrize(
    "body",
    [
        {"webhook_type": "ITEM", "webhook_code": "NEW_ACCOUNTS_AVAILABLE"},
        {"webhook_type": "HOLDINGS", "webhook_code": "X"},
        {},
    ],
)
def test_other_kinds_are_kept_and_mark_nothing(bank, deliver, woken, body):
    assert deliver(body | {"item_id": bank.item_id}).status_code == 200
    assert (WebhookEvent.objects.get().status, bank.dirty_seq, woken) == ("received", 3, ["webhooks.tasks.sweep"])


def test_unknown_item_is_kept_without_workspace(deliver, woken):
    assert deliver(UPDATES | {"item_id": "not-yet"}).status_code == 200
    event = WebhookEvent.objects.get()
    assert (event.workspace_id, event.connection_id, event.is_marked, event.status) == (None, None, False, "received")
    assert woken == ["webhooks.tasks.sweep"]


def test_item_of_the_other_environment_is_another_item(bank, updates, woken):
    event = updates(environment="production")
    assert (event.connection_id, bank.dirty_seq) == (None, 3)


def test_webhook_that_names_no_environment_finds_its_item(bank, updates, woken):
    event = updates(environment=None)
    assert (event.environment, event.connection_id, bank.dirty_seq) == ("", bank.connection_id, 4)


def test_removed_item_is_not_marked(bank, updates, woken):
    bank.change(removed_at=timezone.now())
    updates()
    assert bank.dirty_seq == 3


def test_switched_off_webhooks_are_kept_and_ignored(bank, updates, woken, alice):
    alice.workspace.webhooks_enabled = False
    alice.workspace.save()
    event = updates()
    assert (event.status, event.note, bank.dirty_seq, woken) == ("ignored", inbox.DISABLED, 3, [])
    assert bank.item.last_webhook_at is None  # the safety net still looks at it


@pytest.mark.parametrize("raw", [b"", b"not json", b"[1]", b"\xff\xfe", b'{"a": "\\ud800"}'])
def test_verified_body_that_cannot_be_read_is_kept_all_the_same(deliver, woken, raw):
    assert deliver(raw).status_code == 200
    event = WebhookEvent.objects.get()
    assert (bytes(event.body), event.payload, event.event_type) == (raw, None, "")


def test_nul_characters_do_not_lose_a_webhook(bank, deliver, woken):
    raw = json.dumps(UPDATES | {"item_id": bank.item_id, "environment": "sandbox", "x": "a\0b"}).encode()
    assert deliver(raw, **{"User-Agent": "Plaid\0 Webhooks"}).status_code == 200
    assert (WebhookEvent.objects.get().payload["x"], bank.dirty_seq) == ("ab", 4)


def test_absurd_nesting_does_not_lose_a_webhook(bank, deliver, woken):
    nested = b"[" * 1000 + b"]" * 1000
    raw = json.dumps(UPDATES | {"item_id": bank.item_id}).encode()[:-1] + b', "x": ' + nested + b"}"
    assert deliver(raw).status_code == 200
    assert (WebhookEvent.objects.get().payload, bank.dirty_seq) == (None, 4)


LINK = {"webhook_type": "LINK", "webhook_code": "SESSION_FINISHED"}
TOKENS = {"link_token": "link-sandbox-x", "public_tokens": ["public-sandbox-y"], "note": "public-sandbox-z"}


@pytest.mark.parametrize("is_enabled", [True, False])
@pytest.mark.parametrize("kind", [LINK, UPDATES, {}])
def test_tokens_are_never_in_the_row(bank, deliver, woken, alice, kind, is_enabled):
    alice.workspace.webhooks_enabled = is_enabled
    alice.workspace.save()
    assert deliver(kind | TOKENS | {"item_id": bank.item_id}).status_code == 200
    assert "sandbox-" not in whole_row()
    assert WebhookEvent.objects.get().payload == json.loads(bytes(WebhookEvent.objects.get().body))


@pytest.mark.parametrize("raw", [b"public-sandbox-y", b'["public-sandbox-y"]', b'\xff "link-production-y" \xfe'])
def test_tokens_in_what_cannot_be_read_are_not_kept_either(deliver, woken, raw):
    assert deliver(raw).status_code == 200
    assert "-y" not in whole_row()


@pytest.mark.parametrize("depth", [260, 1000])
def test_tokens_below_absurd_nesting_are_not_kept_either(deliver, woken, depth):
    raw = b'{"x": ' + b"[" * depth + b'"access-sandbox-y"' + b"]" * depth + b"}"
    assert deliver(raw).status_code == 200
    assert "sandbox-y" not in whole_row()


def whole_row() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT e::text || convert_from(body, 'LATIN1') FROM webhooks_webhookevent e")
        return cursor.fetchone()[0]


# --- duplicates: the same bytes within the same minute, where nothing says when they were signed ---
@pytest.fixture
def same_minute():
    """Early enough in it for a test."""
    if (left_s := 60 - time.time() % 60) < 5:
        time.sleep(left_s)


def test_duplicate_of_a_waiting_event_changes_nothing(bank, updates, deliver, woken, same_minute):
    first = updates()
    answer = deliver(UPDATES | {"item_id": bank.item_id})
    assert answer.json() == {"id": str(first.pk), "status": "duplicate"}
    again = WebhookEvent.objects.get()
    assert (again.received_at, again.status, again.deliveries) == (first.received_at, "received", 2)
    assert again.last_received_at > first.received_at
    assert (bank.dirty_seq, woken) == (4, ["sync.tasks.dispatch"])


@pytest.mark.parametrize("status", ["processed", "ignored", "failed"])
def test_duplicate_of_an_ended_event_marks_dirty_and_stays_ended(bank, updates, woken, same_minute, status):
    first = updates()
    ended(first, status)
    again = updates()
    assert (again.pk, again.status, again.deliveries) == (first.pk, status, 2)
    assert (again.processed_at, again.received_at) == (WebhookEvent.objects.get().processed_at, first.received_at)
    assert (bank.dirty_seq, woken) == (4, ["sync.tasks.dispatch"] * 2)


def test_news_of_a_bank_that_waits_to_be_read_is_counted_once(bank, updates, woken):
    """Whoever claims it then reads all of it."""
    for number in range(3):
        updates(number=number)
    assert (bank.dirty_seq, len(woken)) == (4, 3)


def test_duplicate_of_an_ended_item_webhook_has_the_bank_read(bank, deliver, woken, same_minute):
    body = {"webhook_type": "ITEM", "webhook_code": "LOGIN_REPAIRED", "item_id": bank.item_id}
    deliver(body)
    assert bank.dirty_seq == 3
    ended(WebhookEvent.objects.get())
    deliver(body)
    assert bank.dirty_seq == 4


def test_duplicate_of_an_ended_legacy_code_marks_nothing_once_synced(bank, updates, woken, same_minute):
    ended(updates(webhook_code="DEFAULT_UPDATE"))
    updates(webhook_code="DEFAULT_UPDATE")
    assert bank.dirty_seq == 3


def test_duplicate_is_true_news_where_the_item_is_clean_already(bank, updates, woken, same_minute):
    """The sync was faster than the inbox."""
    updates()
    bank.change(synced_seq=4)
    updates()
    assert (bank.dirty_seq, woken) == (5, ["sync.tasks.dispatch"] * 2)


@pytest.mark.parametrize("lease_s", [60, -60])
@pytest.mark.parametrize("number", [0, 1])
def test_it_is_true_news_where_somebody_reads_the_item_now(bank, updates, woken, same_minute, lease_s, number):
    """Their last page may have been read before it; and who slept through the lease may still wake up and finish."""
    updates(number=0)
    bank.change(lease_token=uuid4(), lease_expires_at=timezone.now() + timedelta(seconds=lease_s))
    updates(number=number)
    assert bank.dirty_seq == 5


def test_duplicate_learns_of_its_item(alice, updates, bank, woken, same_minute):
    unknown = updates(item_id="item-2")
    assert unknown.connection_id is None
    later = link(alice, "item-2")
    again = updates(item_id="item-2")
    assert (again.connection_id, again.is_marked, later.dirty_seq) == (later.connection_id, False, 4)


@pytest.mark.parametrize(
    "first, second, is_same",
    [
        (Verified("jwt", "sandbox", "k", 1_800_000_000), Verified("jwt", "sandbox", "k", 1_800_000_000), True),
        (Verified("jwt", "sandbox", "k", 1_800_000_000), Verified("jwt", "sandbox", "k", 1_800_000_001), False),
        (Verified("hmac"), Verified("hmac"), True),
    ],
)
def test_identity_is_the_body_and_when_it_was_signed(first, second, is_same):
    now = timezone.now()
    assert (inbox.dedupe_key(b"x", first, now) == inbox.dedupe_key(b"x", second, now)) is is_same
    assert inbox.dedupe_key(b"x", first, now) != inbox.dedupe_key(b"y", first, now)


def test_identity_of_an_unsigned_moment_is_the_minute_in_which_it_came():
    at = datetime(2026, 5, 12, 14, 3, 0, tzinfo=UTC)
    keys = {inbox.dedupe_key(b"x", Verified("hmac"), at + timedelta(seconds=second)) for second in (0, 59)}
    assert len(keys) == 1
    assert inbox.dedupe_key(b"x", Verified("hmac"), at + timedelta(seconds=60)) not in keys


# --- refused ---
def test_unsigned_webhook_is_refused_and_not_kept(bank, db):
    answer = Client().post("/webhook/plaid", {"item_id": bank.item_id}, content_type="application/json")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (401, "webhook_unverified")
    assert answer["Content-Type"] == "application/problem+json"
    assert (WebhookEvent.objects.count(), bank.dirty_seq) == (0, 3)
    recorded = ErrorEvent.objects.get(correlation_id=problem["correlation_id"])
    assert (recorded.path, recorded.operator_detail, recorded.provider) == ("/webhook/plaid", "no signature", "plaid")


def test_refusals_are_counted_by_the_hour(bank, deliver):
    for _ in range(3):
        assert deliver(UPDATES, **{"X-Plaid-Signature": "0" * 64}).status_code == 401
    found = WebhookRefusal.objects.aggregate(count=Sum("count"))["count"]
    last = WebhookRefusal.objects.latest("last_at")
    assert (found, last.provider, last.last_reason) == (3, "plaid", "the HMAC does not fit the body")
    assert (last.hour.minute, last.hour.second) == (0, 0)


def test_many_refusals_are_one_alert_until_an_hour_has_few(bank, deliver, settings):
    settings.WEBHOOK_REFUSALS_ALERT = 3

    def refuse(times: int) -> list[str]:
        for _ in range(times):
            assert deliver(UPDATES, **{"X-Plaid-Signature": "0" * 64}).status_code == 401
        return open_alerts()

    def open_alerts() -> list[str]:
        events_dispatch(deadline=time.monotonic() + 10)
        return list(Alert.objects.filter(recovered_at=None).values_list("subject", flat=True))

    def an_hour_later() -> int:
        for many in WebhookRefusal.objects.order_by("hour"):
            WebhookRefusal.objects.filter(pk=many.pk).update(hour=many.hour - timedelta(hours=1))
        return refusals.refusals_end()

    assert refuse(2) == []
    assert refuse(3) == ["webhooks:plaid"]
    assert "the HMAC does not fit the body" in Alert.objects.get().text
    assert an_hour_later() == 0
    assert refuse(3) == ["webhooks:plaid"]
    assert (Alert.objects.get().connection, Alert.objects.get().occurrences) == (None, 2)
    assert (an_hour_later(), an_hour_later(), an_hour_later()) == (0, 1, 0)
    assert open_alerts() == []
    assert refuse(3) == ["webhooks:plaid"]
    settings.WEBHOOK_REFUSALS_ALERT = 0
    an_hour_later()
    assert WebhookRefusal.objects.filter(told_at__isnull=False).count() == 3
    refuse(4)
    assert WebhookRefusal.objects.filter(told_at__isnull=False).count() == 3


def test_refusal_that_cannot_be_counted_is_one_all_the_same(bank, deliver, monkeypatch):
    monkeypatch.setattr(refusals, "_COUNT", "SELECT nonsense")
    with transaction.atomic():
        answer = deliver(UPDATES, **{"X-Plaid-Signature": "0" * 64})
        transaction.set_rollback(True)
    assert answer.status_code == 401


def test_wrong_hmac_is_refused(bank, deliver):
    assert deliver(UPDATES | {"item_id": bank.item_id}, **{"X-Plaid-Signature": "0" * 64}).status_code == 401
    assert WebhookEvent.objects.count() == 0


def test_oversize_body_is_refused(deliver, settings):
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    answer = deliver(b" " * (limit + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")
    assert deliver(b" " * limit).status_code == 200
    assert WebhookEvent.objects.count() == 1


@pytest.mark.parametrize("method", ["get", "put", "delete", "patch"])
def test_only_post_is_answered(db, method):
    response = getattr(Client(), method)("/webhook/plaid")
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    assert response.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize("error", [DatabaseError, OperationalError])
def test_webhook_that_cannot_be_kept_is_to_be_sent_again(bank, deliver, monkeypatch, error):
    def refuse(**_kwargs):
        raise error("away")

    monkeypatch.setattr(inbox, "receive", refuse)
    answer = deliver(UPDATES | {"item_id": bank.item_id})
    assert (answer.status_code, answer.json()["code"], answer["Retry-After"]) == (503, "not_ready", "30")


def test_key_that_cannot_be_had_asks_for_another_delivery(bank, servers, settings, deliver):
    """Port 9 of the test settings: nothing listens there."""
    import jwt
    from cryptography.hazmat.primitives.asymmetric import ec

    settings.PLAID_WEBHOOK_SECRET = ""
    key = ec.generate_private_key(ec.SECP256R1())
    token = jwt.encode({"iat": 1}, key, algorithm="ES256", headers={"kid": "unheard-of"})
    answer = Client().post(
        "/webhook/plaid", b"{}", content_type="application/json", headers={"Plaid-Verification": token}
    )
    assert (answer.status_code, answer["Retry-After"]) == (503, "30")
    assert WebhookEvent.objects.count() == 0
