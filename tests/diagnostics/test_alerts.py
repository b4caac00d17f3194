"""Operators are told once of each trouble, and once of its end, however often the notifier dies."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.core import checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from connections.events import EventType, event_record
from connections.models import Connection
from connections.services import event_dispatch
from diagnostics.models import Alert, AlertDelivery
from diagnostics.services import alert_delivery, alerts
from diagnostics.services.channels import channels, unusable

pytestmark = pytest.mark.django_db(transaction=True)


class Sink:
    """An HTTP endpoint that takes alerts; `status` is what it answers."""

    def __init__(self) -> None:
        self.got: list[dict] = []
        self.status, self.location = 200, ""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"json://operator:s3cret-password@127.0.0.1:{self.server.server_port}/hook/t0ken-in-path?+X-Key=t0ken-in-header"

    def handler(sink):  # noqa: N805 - the class below has a self of its own
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if sink.status == 200:
                    sink.got.append(json.loads(body))
                self.send_response(sink.status)
                if sink.location:
                    self.send_header("Location", sink.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args):
                pass

        return Handler

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.got]


@pytest.fixture
def sink(settings):
    made = Sink()
    settings.ALERT_URLS = [made.url]
    yield made
    made.server.shutdown()
    made.server.server_close()


def connected(alice, name: str = "First Bank") -> Connection:
    owned = {"workspace": alice.workspace, "owner": alice.user}
    return Connection.objects.create(provider="plaid", name=name, status="active", environment="sandbox", **owned)


@pytest.fixture
def connection(alice) -> Connection:
    return connected(alice)


def tell(connection: Connection, type_: EventType, **payload) -> None:
    from django.db import transaction

    with transaction.atomic():
        event_record(type_, connection_id=connection.pk, payload=payload)
    event_dispatch.events_dispatch(deadline=time.monotonic() + 10)


def send() -> int:
    return alert_delivery.alerts_send(deadline=time.monotonic() + 20)


def test_one_alert_a_connection_and_cause_until_it_recovers(connection, sink):
    for _ in range(3):
        tell(connection, EventType.SYNC_FAILED, code="provider_error", status="failed")
    assert send() == 1
    assert send() == 0
    assert Alert.objects.get().occurrences == 3
    assert connection.name in sink.titles[0]
    tell(connection, EventType.SYNC_SUCCEEDED, recovered=True)
    assert send() == 1
    assert sink.titles[1].startswith("Recovered: ")
    tell(connection, EventType.SYNC_FAILED, code="provider_error", status="failed")
    assert send() == 1
    assert Alert.objects.filter(recovered_at=None).count() == 1
    assert Alert.objects.count() == 2


def test_another_cause_is_another_alert_and_one_recovery_ends_both(connection, sink):
    tell(connection, EventType.SYNC_FAILED, code="provider_error", status="failed")
    tell(connection, EventType.REAUTH_REQUIRED, code="reauth_required")
    assert send() == 2
    tell(connection, EventType.CONNECTION_ACTIVATED, was="needs_reauth")
    assert send() == 2
    assert not Alert.objects.filter(recovered_at=None).exists()


def test_a_failure_that_is_tried_again_alarms_nobody(connection, sink):
    """Two failures in a row, a bank that is down for an hour: the connection is still active."""
    tell(connection, EventType.SYNC_FAILED, code="bank_unavailable", status="active", failures=2)
    tell(connection, EventType.SYNC_SUCCEEDED, recovered=False)
    assert send() == 0
    assert not Alert.objects.exists()


def test_a_channel_that_is_down_gets_the_alert_when_it_is_back(connection, sink):
    sink.status = 503
    tell(connection, EventType.SYNC_FAILED, code="provider_error", status="failed")
    assert send() == 0
    waiting = AlertDelivery.objects.get()
    assert (waiting.sent_at, waiting.given_up_at) == (None, None)
    assert waiting.attempts >= 1
    tell(connection, EventType.SYNC_SUCCEEDED, recovered=True)
    sink.status = 200
    deadline = time.monotonic() + 20
    AlertDelivery.objects.update(next_attempt_at=waiting.alert.opened_at)
    while len(sink.got) < 2 and time.monotonic() < deadline:
        send()
        time.sleep(0.1)
        AlertDelivery.objects.filter(sent_at=None).update(next_attempt_at=waiting.alert.opened_at)
    assert [title.startswith("Recovered") for title in sink.titles] == [False, True]


@pytest.mark.parametrize("wish", ["", "&redirect=yes"])
def test_a_redirect_leads_an_alert_nowhere(connection, sink, settings, wish):
    """Whoever answers a channel could else have it reach whatever this server reaches."""
    elsewhere = Sink()
    settings.ALERT_URLS = [sink.url + wish]
    sink.status, sink.location = 307, elsewhere.url.replace("json://operator:s3cret-password@", "http://")
    tell(connection, EventType.SYNC_FAILED, code="provider_error", status="failed")
    send()
    delivery = AlertDelivery.objects.get()
    assert (elsewhere.got, delivery.sent_at, delivery.attempts) == ([], None, 1)
    elsewhere.server.shutdown()
    elsewhere.server.server_close()


def test_what_a_dead_notifier_held_is_sent_by_the_next(connection, sink, settings):
    tell(connection, EventType.SYNC_FAILED, code="provider_error", status="failed")
    held = alert_delivery._claim()  # and then its process is killed
    assert held is not None
    assert send() == 0
    AlertDelivery.objects.update(next_attempt_at=held.alert.opened_at)  # SEND_S later
    assert send() == 1


def test_two_notifiers_send_each_message_once(alice, sink):
    for number in range(10):
        other = connected(alice, f"Bank {number}")
        tell(other, EventType.SYNC_FAILED, code="provider_error", status="failed")

    def work():
        from django.db import connection as database

        send()
        database.close()

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(sink.got) == len(set(sink.titles)) == 10


def test_a_channel_that_is_gone_is_given_up_visibly(connection, sink, settings):
    tell(connection, EventType.SYNC_FAILED, code="provider_error", status="failed")
    settings.ALERT_URLS = []
    assert send() == 0
    assert "no longer" in AlertDelivery.objects.get(given_up_at__isnull=False).last_error


def test_no_secret_of_a_channel_is_kept_or_shown(connection, sink):
    sink.status = 401
    tell(connection, EventType.SYNC_FAILED, code="provider_error", status="failed")
    send()
    delivery = AlertDelivery.objects.get()
    kept = f"{delivery.channel} {delivery.channel_name} {delivery.last_error} {channels()}"
    assert delivery.last_error
    assert delivery.channel_name.startswith("json://127.0.0.1:")
    assert not {secret for secret in ("s3cret-password", "t0ken-in-path", "t0ken-in-header") if secret in kept}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("mailtos://ops:s3cret@smtp.example.com?from=a@example.com&to=b@example.com", "mailtos://smtp.example.com:587"),
        ("gotifys://alerts.example.com/t0kent0ken", "gotifys://alerts.example.com"),
        ("workflows://hooks.example.com:443/w0rkflow/s1gnature", "workflows://hooks.example.com:443"),
        ("json://ops:with-an-@sign@hooks.example.com/path", "json://"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops", "slack://"),
        ("ntfy://a-topic-that-nobody-guesses", "ntfy://"),
        ("ntfys://t0ken@ntfy.example.com/topic", "ntfys://"),
    ],
)
def test_a_channel_is_named_without_what_lets_anybody_in(url, name, settings):
    settings.ALERT_URLS = [url]
    (channel,) = channels().values()
    assert channel.name == f"{name} ({channel.fingerprint[:6]})"


def test_old_alerts_are_forgotten_and_open_ones_stay(connection, sink):
    tell(connection, EventType.SYNC_FAILED, code="provider_error", status="failed")
    assert alert_delivery.alerts_purge() == 0
    alerts.alerts_close(subject=f"connection:{connection.pk}")
    Alert.objects.update(recovered_at=Alert.objects.get().opened_at - 2 * alert_delivery.KEPT_FOR)
    assert alert_delivery.alerts_purge() == 1
    assert not AlertDelivery.objects.exists()


def test_an_unusable_channel_is_told_at_the_start_without_its_secrets(settings):
    settings.ALERT_URLS = ["json://localhost", "syslog://", "slack://only-one-part-of-the-token", "nonsense"]
    assert unusable(settings.ALERT_URLS) == [
        "ALERT_URLS: entry 2 has the scheme 'syslog', which is not allowed.",
        "ALERT_URLS: entry 3 (slack://…) is not a complete address of that kind.",
        "ALERT_URLS: entry 4 has the scheme 'none', which is not allowed.",
    ]
    with pytest.raises(SystemCheckError, match="entry 2"):
        call_command("check", tag=[checks.Tags.security])


def test_an_unusable_channel_does_not_silence_the_others(connection, sink, settings):
    settings.ALERT_URLS = ["slack://only-one-part-of-the-token", *settings.ALERT_URLS]
    tell(connection, EventType.SYNC_FAILED, code="provider_error", status="failed")
    assert send() == 1


def test_a_bank_that_fails_for_good_reaches_the_operators(link, sink, process):
    """From Plaid's answer through run, event and handler to the channel, by real processes."""
    bank = link(transactions=5)
    bank.fault("error", status=400, error_type="ITEM_ERROR", error_code="ITEM_NOT_FOUND", times=100)
    process("worker", ALERT_URLS=sink.url)
    process("beat", ALERT_URLS=sink.url)
    deadline = time.monotonic() + 40
    while not sink.got and time.monotonic() < deadline:
        time.sleep(0.2)
    assert Alert.objects.get().connection_id == bank.connection.pk
    assert bank.connection.name in sink.titles[0]


def test_an_item_that_plaid_keeps_is_alerted_until_it_is_removed(connection, sink):
    for attempts in (3, 4):
        tell(connection, EventType.REMOVAL_FAILED, item_id="item-1", attempts=attempts, code="provider_unavailable")
    tell(connection, EventType.ITEM_REMOVED, item_id="item-2", attempts=1)
    tell(connection, EventType.CONNECTION_ACTIVATED, was="failed")
    alert = Alert.objects.get()
    assert (alert.cause, alert.occurrences, alert.recovered_at) == ("removal_failed", 2, None)
    tell(connection, EventType.ITEM_REMOVED, item_id="item-1", attempts=5)
    assert Alert.objects.get().recovered_at
