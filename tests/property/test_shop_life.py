"""Whatever is done to a configured connection, in whatever order: it stands where an independent reading of the design's
table says, it is never active with settings that did not pass, and its secrets are gone once it is.

The events come through the services that really move it; its provider is asked over HTTP. The oracle knows the table alone.
"""

import contextlib
import time

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, note
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from connections import errors
from connections.errors import Conflict
from connections.models import Connection, Credential, DomainEvent, Verification
from connections.services import lifecycle
from connections.services.activating import connection_activate
from connections.services.configuring import connection_change, connection_draft
from connections.services.disconnecting import connection_disconnect, disconnects_finish
from connections.services.errands import errands_run
from connections.services.pausing import connection_pause, connection_resume
from connections.services.verifying import verification_request, verifications_run
from tests.connections.corner import KEY, OTHER_KEY

pytestmark = pytest.mark.django_db(transaction=True)

ALIVE = ("active", "failed", "needs_reauth")
OPEN = ("draft", "verified", "paused", *ALIVE)
TABLE = {
    "verify_passes": {"draft": "verified", "needs_reauth": "active"},
    "verify_fails": {"verified": "draft"},
    "activate": {"verified": "active"},
    "rename": {},
    "reconfigure": dict.fromkeys(OPEN, "draft"),
    "fail": {"active": "failed"},
    "lock_out": {"active": "needs_reauth", "failed": "needs_reauth"},
    "pause": dict.fromkeys(ALIVE, "paused"),
    "resume": {"paused": "active"},
    "set_up": {},
    "disconnect": dict.fromkeys(OPEN, "disconnecting"),
    "clear_away": {"disconnecting": "disconnected"},
}


class Life:
    """One shop, its real connection, where the table says that it stands, and which settings have passed last."""

    def __init__(self, corner, person) -> None:
        self.corner, self.person, self.expected = corner, person, "draft"
        corner.keys = {KEY, OTHER_KEY}
        made = connection_draft(
            user=person.user,
            workspace_id=person.workspace.pk,
            provider_key="woocommerce",
            environment="sandbox",
            config={"store_url": corner.url},
            credentials={"consumer_key": KEY},
        )
        self.pk, self.passed = made.pk, 0

    @property
    def row(self) -> Connection:
        return Connection.objects.get(pk=self.pk)

    def do(self, event: str) -> None:
        note(event)
        with contextlib.suppress(Conflict):
            getattr(self, event)()
        self.expected = TABLE[event].get(self.expected, self.expected)
        self.check()

    def _verify(self) -> None:
        verification_request(connection_id=self.pk, actor=self.person.user)
        verifications_run(deadline=time.monotonic() + 20)

    def verify_passes(self) -> None:
        self._verify()
        self.passed = self.row.config_version

    def verify_fails(self) -> None:
        self.corner.status = 503
        try:
            self._verify()
            self.passed = 0
        finally:
            self.corner.status = 0

    def activate(self) -> None:
        connection_activate(connection_id=self.pk, actor=self.person.user)

    def rename(self) -> None:
        connection_change(connection_id=self.pk, actor=self.person.user, name=f"Shop {timezone.now()}")

    def reconfigure(self) -> None:
        now = Credential.objects.filter(connection_id=self.pk, name="consumer_key", is_superseded=False).first()
        key = OTHER_KEY if now and now.reveal() == KEY else KEY
        connection_change(connection_id=self.pk, actor=self.person.user, credentials={"consumer_key": key})

    def _trouble(self, error: errors.CausewayError) -> None:
        from django.db import transaction

        with transaction.atomic():
            row = self.row
            if row.status in ALIVE:
                lifecycle.record_failure(row, error)
                row.save()

    def fail(self) -> None:
        self._trouble(errors.PermanentError())

    def lock_out(self) -> None:
        self._trouble(errors.NeedsReauth())

    def pause(self) -> None:
        connection_pause(connection_id=self.pk, actor=self.person.user)

    def resume(self) -> None:
        connection_resume(connection_id=self.pk, actor=self.person.user)

    def set_up(self) -> None:
        if self.row.errand == "activated":
            errands_run(deadline=time.monotonic() + 20)

    def disconnect(self) -> None:
        connection_disconnect(connection_id=self.pk, reason="asked for", actor=self.person.user)

    def clear_away(self) -> None:
        if self.row.status == "disconnecting":
            errands_run(deadline=time.monotonic() + 20)
            disconnects_finish()

    def check(self) -> None:
        row = self.row
        assert row.status == self.expected
        good = row.good or {}
        if row.status in ("active", "paused", "failed", "needs_reauth"):
            assert good["version"] == row.config_version  # what works is what was verified and activated
        if row.status == "verified":
            assert self.passed == row.config_version
        assert not Verification.objects.filter(status="running").exists()
        secrets = Credential.objects.filter(connection=row)
        assert (row.status == "disconnected") == (not secrets.exists())
        if row.status == "disconnected":
            assert self.corner.webhooks == {}
        elif good:  # what was last activated is still there, whatever the draft says
            kept = set(map(str, secrets.values_list("pk", flat=True)))
            assert set(good["credentials"]) <= kept
        told = DomainEvent.objects.filter(connection=row)
        assert sorted(told.values_list("sequence", flat=True)) == list(range(1, told.count() + 1))


def live(corner, person, events: list[str]) -> None:
    corner.webhooks.clear()
    life = Life(corner, person)
    for event in [*events, "disconnect", "clear_away", *TABLE]:
        life.do(event)
    assert life.expected == "disconnected"


EXAMPLES = hypothesis_settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], print_blob=True
)


@hypothesis_settings(EXAMPLES, max_examples=25)
@given(events=st.lists(st.sampled_from(sorted(TABLE)), max_size=14))
def test_a_shop_stands_where_the_table_says_and_is_never_active_unproved(corner, alice, events):
    live(corner, alice, events)


@pytest.mark.long
@hypothesis_settings(EXAMPLES, max_examples=600)
@given(events=st.lists(st.sampled_from(sorted(TABLE)), max_size=40))
def test_a_shop_stands_where_the_table_says_at_length(corner, alice, events):
    live(corner, alice, events)
