"""Whatever happens to a connection, in whatever order and however often: it stands where an independent reading of the
design's table says, and what follows from its state holds.

The events come through the services that really move it; Plaid is the simulator. The oracle knows the table alone.
"""

import contextlib
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, note
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from connections import errors
from connections.errors import Conflict
from connections.models import Connection, Credential, DomainEvent, PlaidItem, RetiredPlaidItem
from connections.services import dormancy, lifecycle
from connections.services.disconnecting import connection_disconnect, disconnects_finish
from connections.services.pausing import connection_pause, connection_resume
from connections.services.plaid_items import relink_completed
from connections.services.plaid_removal import retired_items_remove

pytestmark = pytest.mark.django_db(transaction=True)

EXAMPLES = hypothesis_settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], print_blob=True
)
ALIVE = {"active", "failed", "needs_reauth"}
# event → {where it stands: where it goes}; what is not named changes nothing.
TABLE = {
    "login_required": {"active": "needs_reauth", "failed": "needs_reauth"},
    "permanent_failure": {"active": "failed"},
    "synced": dict.fromkeys(("failed", "pending_cleanup"), "active"),
    "repaired": dict.fromkeys(("needs_reauth", "failed", "pending_cleanup"), "active"),
    "pause": dict.fromkeys(ALIVE, "paused"),
    "resume": {"paused": "active"},
    "unused": dict.fromkeys(ALIVE, "pending_cleanup"),
    "used": {"pending_cleanup": "active"},
    "grace_over": {"pending_cleanup": "disconnecting"},
    "disconnect": dict.fromkeys((*ALIVE, "paused", "pending_cleanup"), "disconnecting"),
    "plaid_fails": {},
    "plaid_removes": {"disconnecting": "disconnected"},
}


class Life:
    """One bank, its real connection, and where the table says that it stands."""

    def __init__(self, bank, person) -> None:
        self.bank, self.person, self.expected = bank, person, "active"
        self.pk = bank.connection.pk

    @property
    def row(self) -> Connection:
        return Connection.objects.get(pk=self.pk)

    def do(self, event: str) -> None:
        note(event)
        getattr(self, event)()
        self.expected = TABLE[event].get(self.expected, self.expected)
        self.check()

    @transaction.atomic
    def _fail(self, error: errors.CausewayError) -> None:
        """As the end of a claimed run does: only where it may be claimed, or a webhook tells of it."""
        row = self.row
        if not row.is_closed:
            lifecycle.record_failure(row, error)
            row.save()

    def login_required(self) -> None:
        self._fail(errors.NeedsReauth())

    def permanent_failure(self) -> None:
        self._fail(errors.PermanentError())

    def synced(self) -> None:
        self.bank.sync()

    def repaired(self) -> None:
        relink_completed(connection=self.row)

    def pause(self) -> None:
        with contextlib.suppress(Conflict):
            connection_pause(connection_id=self.pk, actor=self.person.user)

    def resume(self) -> None:
        with contextlib.suppress(Conflict):
            connection_resume(connection_id=self.pk, actor=self.person.user)

    def unused(self) -> None:
        long_ago = timezone.now() - timedelta(days=365)
        Connection.objects.filter(pk=self.pk).update(created_at=long_ago, last_used_at=None, last_sync_at=long_ago)
        dormancy.dormant_notice()

    def used(self) -> None:
        dormancy.connection_use(self.row)

    def grace_over(self) -> None:
        PlaidItem.objects.exclude(cleanup_notified_at=None).update(
            cleanup_notified_at=timezone.now() - timedelta(days=365)
        )
        dormancy.dormant_remove()

    def disconnect(self) -> None:
        connection_disconnect(connection_id=self.pk, reason="asked for", actor=self.person.user)

    def plaid_fails(self) -> None:
        self.bank.fault("html", path="/item/remove", status=502)
        self._remove()
        self.bank.simulator.control("DELETE", "faults")

    def plaid_removes(self) -> None:
        self._remove()
        disconnects_finish()

    def _remove(self) -> None:
        RetiredPlaidItem.objects.update(next_attempt_at=timezone.now())
        retired_items_remove()

    def check(self) -> None:
        row = self.row
        assert row.status == self.expected
        is_gone_there = self.bank.simulator.control("GET", f"items/{self.bank.plaid_id}")["removed"]
        has_token = Credential.objects.filter(connection=row).exists()
        assert (row.status == "disconnected") == is_gone_there == (not has_token)
        told = DomainEvent.objects.filter(connection=row)
        assert told.filter(type="ConnectionDisconnected").count() == is_gone_there
        assert RetiredPlaidItem.objects.filter(connection=row).count() == row.is_closed
        assert sorted(told.values_list("sequence", flat=True)) == list(range(1, told.count() + 1))


def live(link, person, events: list[str]) -> None:
    life = Life(link(transactions=1, accounts=1), person)
    for event in events:
        life.do(event)
    life.do("disconnect")
    life.do("plaid_fails")
    life.do("plaid_removes")
    assert life.expected == "disconnected"
    for event in TABLE:
        life.do(event)


@pytest.fixture
def quick(settings, simulator):
    settings.PLAID_SYNC_PER_ITEM_MINUTE = settings.PLAID_SYNC_PER_CLIENT_MINUTE = 10**6
    settings.PLAID_ACCOUNTS_PER_ITEM_MINUTE = 10**6
    simulator.control("POST", "limits", {"enabled": False})


@hypothesis_settings(EXAMPLES, max_examples=20)
@given(events=st.lists(st.sampled_from(sorted(TABLE)), max_size=12))
def test_a_connection_stands_where_the_table_says_and_ends_once(link, alice, quick, events):
    live(link, alice, events)


@pytest.mark.long
@hypothesis_settings(EXAMPLES, max_examples=500)
@given(events=st.lists(st.sampled_from(sorted(TABLE)), max_size=30))
def test_a_connection_stands_where_the_table_says_at_length(link, alice, quick, events):
    live(link, alice, events)
