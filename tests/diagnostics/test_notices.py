"""People hear beforehand of what happens unless they act: owners by mail, operators through their channels."""

import time
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connection as database
from django.db import transaction
from django.utils import timezone

from connections.errors import NeedsReauth
from connections.models import Account, Connection, Credential, PlaidItem
from connections.models.connection import Status
from connections.services import event_dispatch, lifecycle
from connections.services.consent import notices_record
from connections.services.disconnecting import connection_disconnect
from connections.services.dormancy import connection_use, dormant_notice
from connections.services.plaid_items import relink_completed
from diagnostics.models import Alert, AlertDelivery
from diagnostics.services import alert_delivery
from tests.connections.api.scene import make_bank
from tests.diagnostics.mailbox import Mailbox
from tests.diagnostics.test_alerts import Sink

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def sink(settings):
    made = Sink()
    settings.ALERT_URLS = [made.url]
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def mailbox(settings):
    made = Mailbox()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", made.port
    settings.EMAIL_IS_SET, settings.DEFAULT_FROM_EMAIL = True, "Causeway <causeway@example.org>"
    yield made
    made.close()


@pytest.fixture
def bank(alice) -> Connection:
    alice.user.email, alice.user.first_name = "alice@example.org", "Alice"
    alice.user.save()
    return make_bank(alice, name="First Bank", last_sync_at=timezone.now())


def tell() -> None:
    event_dispatch.events_dispatch(deadline=time.monotonic() + 10)
    alert_delivery.alerts_send(deadline=time.monotonic() + 20)


def consent_ends_in(days: float) -> None:
    Connection.objects.update(reauth_due_at=timezone.now() + timedelta(days=days))
    notices_record()
    tell()


def login_ends(bank: Connection) -> None:
    with transaction.atomic():
        locked = Connection.objects.select_for_update(no_key=True).get(pk=bank.pk)
        lifecycle.record_failure(locked, NeedsReauth(code="bank_sign_in_required"))
        locked.save()
    tell()


def test_an_end_of_consent_reaches_operators_and_owner_once_a_notice(bank, sink, mailbox):
    for days in (13, 6.9, 6.8, 0.9):
        consent_ends_in(days)
    assert len(sink.got) == 3
    assert all("consent ends on" in title and "First Bank" in title for title in sink.titles)
    assert len(mailbox.got) == 3
    due = timezone.now() + timedelta(days=0.9)
    assert "sign in again before" in mailbox.subjects[-1]
    assert str(due.year) in mailbox.subjects[-1]
    assert mailbox.got[0]["To"] == "alice@example.org"
    assert Alert.objects.get(recovered_at=None).cause == "consent_ends_1"


def test_a_renewed_consent_ends_the_alert_and_nobody_is_mailed_about_that(bank, sink, mailbox):
    consent_ends_in(6)
    relink_completed(connection=bank)
    notices_record()
    tell()
    assert sink.titles[-1].startswith("Recovered: ")
    assert len(mailbox.got) == 1
    assert not Alert.objects.filter(recovered_at=None).exists()
    consent_ends_in(6)
    assert (len(sink.got), len(mailbox.got)) == (3, 2)


def test_a_trouble_that_passes_leaves_the_end_of_consent_open(bank, sink, mailbox):
    consent_ends_in(6)
    Connection.objects.update(status=Status.PAUSED)
    paused = Connection.objects.get()
    with transaction.atomic():
        lifecycle.apply(paused, lifecycle.Event.RESUMED)
        paused.save()
    tell()
    assert Alert.objects.get().recovered_at is None
    connection_disconnect(connection_id=bank.pk, reason="Enough")
    Connection.objects.update(status=Status.DISCONNECTED)
    notices_record()
    tell()
    assert Alert.objects.get().recovered_at


def test_a_consent_that_the_bank_renewed_without_a_word_is_closed_by_syncs_that_go_on(bank, sink, mailbox):
    consent_ends_in(0.5)
    passed = timezone.now() - timedelta(days=3)
    Connection.objects.update(reauth_due_at=passed, last_sync_at=passed + timedelta(days=1))
    notices_record()
    tell()
    assert Alert.objects.get().recovered_at is None
    Connection.objects.update(last_sync_at=timezone.now())
    notices_record()
    tell()
    assert Alert.objects.get().recovered_at


def test_a_bank_about_to_be_removed_is_told_with_its_day_and_kept_by_a_look(bank, sink, mailbox, settings):
    long_ago = timezone.now() - timedelta(days=100)
    Connection.objects.update(created_at=long_ago, last_sync_at=long_ago, last_used_at=None)
    assert dormant_notice() == 1
    tell()
    noticed_at = PlaidItem.objects.get().cleanup_notified_at
    day = timezone.localtime(noticed_at + timedelta(days=14), ZoneInfo("America/Edmonton"))
    assert f"on {day:%-d %B %Y}" in mailbox.subjects[0]
    assert "open it once" in mailbox.text()
    assert "will be removed on" in sink.titles[0]
    connection_use(Connection.objects.get())
    tell()
    assert sink.titles[1].startswith("Recovered: ")
    assert len(mailbox.got) == 1


def test_a_login_that_ended_is_mailed_to_its_owner_with_what_to_do(bank, sink, mailbox, settings):
    settings.PUBLIC_URL = "https://money.example.org"
    login_ends(bank)
    (message,) = mailbox.got
    text = mailbox.text()
    assert message["Subject"] == "First Bank: Sign in again"
    assert "Hello Alice" in text
    assert "Your transactions are safe" in text
    assert "Sign in at your bank again. Start here:" in text
    assert "https://money.example.org" in text
    assert "bank_sign_in_required" not in text
    assert Alert.objects.get().correlation_id in text


@pytest.mark.parametrize("name", ["Smith & Sons <bank>", "Two\nlines: Bcc: x@example.org"])
def test_a_name_is_written_as_it_is_and_adds_no_header(bank, mailbox, name):
    Connection.objects.update(name=name)
    login_ends(bank)
    assert " ".join(name.split()) in mailbox.subjects[0]
    assert mailbox.got[0]["Bcc"] is None


@pytest.mark.parametrize("who", ["no address", "left", "inactive", "no mail server"])
def test_without_an_owner_to_write_to_operators_are_told_all_the_same(bank, alice, sink, mailbox, settings, who):
    if who == "no address":
        type(alice.user).objects.update(email="")
    elif who == "left":
        alice.membership.delete()
    elif who == "inactive":
        type(alice.user).objects.update(is_active=False)
    else:
        settings.EMAIL_IS_SET = False
    login_ends(bank)
    assert (len(sink.got), len(mailbox.got)) == (1, 0)
    assert AlertDelivery.objects.count() == 1


def test_a_mail_server_that_is_away_delays_the_mail_and_no_alert(bank, alice, sink, mailbox):
    other = make_bank(alice, name="Second Bank")
    mailbox.answers["MAIL"] = "451 later"
    login_ends(bank)
    login_ends(other)
    assert (len(sink.got), len(mailbox.got)) == (2, 0)
    waiting = AlertDelivery.objects.filter(channel="owner")
    assert {delivery.sent_at or delivery.given_up_at for delivery in waiting} == {None}
    assert "alice" not in " ".join(delivery.last_error for delivery in waiting)
    mailbox.answers.clear()
    waiting.update(next_attempt_at=timezone.now())
    tell()
    tell()
    assert len(mailbox.got) == 2


def test_one_refusal_lets_all_other_mail_wait_for_the_server(alice, bank, mailbox):
    mailbox.answers["MAIL"] = "451 later"
    for number in range(5):
        login_ends(make_bank(alice, name=f"Bank {number}"))
    AlertDelivery.objects.update(next_attempt_at=timezone.now(), attempts=0)
    alert_delivery.alerts_send(deadline=time.monotonic() + 20)
    assert sum(AlertDelivery.objects.values_list("attempts", flat=True)) == 1


def test_an_address_that_does_not_exist_is_given_up_at_once(bank, mailbox):
    mailbox.answers["RCPT"] = "550 alice@example.org is unknown"
    login_ends(bank)
    delivery = AlertDelivery.objects.get()
    assert delivery.given_up_at
    assert "550" in delivery.last_error
    assert "alice@" not in delivery.last_error


def test_a_mail_that_a_dead_notifier_held_is_sent_by_the_next_under_the_same_id(bank, mailbox):
    login_ends(bank)
    AlertDelivery.objects.update(sent_at=None, next_attempt_at=timezone.now())  # its commit was lost
    tell()
    assert len(mailbox.got) == 2
    assert len({message["Message-ID"] for message in mailbox.got}) == 1


def test_what_is_over_before_it_was_told_is_not_mailed(bank, mailbox):
    mailbox.answers["MAIL"] = "451 later"
    login_ends(bank)
    relink_completed(connection=bank)
    mailbox.answers.clear()
    AlertDelivery.objects.update(next_attempt_at=timezone.now())
    tell()
    assert mailbox.got == []
    assert "over before" in AlertDelivery.objects.get().last_error


def test_no_token_and_no_balance_is_in_a_mail(bank, mailbox):
    account = Account.objects.create(
        workspace=bank.workspace, connection=bank, name="Current", balance_current="98765.43", mask="9876"
    )
    credential = Credential(workspace=bank.workspace, connection=bank, name="access_token")
    credential.seal("access-sandbox-canary")
    PlaidItem.objects.update(last_sync_error="access-sandbox-canary")
    login_ends(bank)
    consent_ends_in(1)
    assert len(mailbox.got) == 2
    for message in mailbox.got:
        assert not {word for word in ("98765", "canary", account.mask) if word in message.as_string()}


def test_mail_leaves_a_real_worker_by_email_url(bank, mailbox, process):
    process("worker", EMAIL_URL=mailbox.url, EMAIL_FROM="causeway@example.org")
    process("beat", EMAIL_URL=mailbox.url, EMAIL_FROM="causeway@example.org")
    with transaction.atomic():
        locked = Connection.objects.select_for_update(no_key=True).get(pk=bank.pk)
        lifecycle.record_failure(locked, NeedsReauth(code="bank_sign_in_required"))
        locked.save()
    deadline = time.monotonic() + 60
    while not mailbox.got and time.monotonic() < deadline:
        time.sleep(0.2)
    assert mailbox.subjects == ["First Bank: Sign in again"]
    assert mailbox.got[0]["From"] == "causeway@example.org"
    database.close()
