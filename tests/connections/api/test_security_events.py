"""GET security-events: who did what in the workspace, for those who answer for it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from connections.audit import Action
from connections.ids import oldest_id
from connections.models import SecurityEvent
from connections.services.audit import security_event_record
from tests.connections.api.scene import assert_problem

pytestmark = pytest.mark.django_db
URL = "/api/v1/security-events"


def record(person, action: Action = Action.SYNC_REQUESTED, **fields) -> SecurityEvent:
    security_event_record(action, actor=person.user, workspace_id=person.workspace.pk, subject=person.user, **fields)
    return SecurityEvent.objects.latest("pk")


def asked(person, **query) -> list[str]:
    return [row["id"] for row in person.api.get(URL, query).json()["results"]]


def test_operators_and_owners_read_their_own_workspace_newest_first(alice, bob, charlie):
    first, second = record(alice), record(bob, said="more")
    record(charlie)
    security_event_record(Action.KEYS_ROTATED, actor=None)
    for person in (alice, bob):
        assert asked(person) == [str(second.pk), str(first.pk)]
    row = alice.api.get(URL).json()["results"][0]
    assert row["actor"] == {"id": str(bob.user.pk), "username": "bob"}
    assert (row["action"], row["object_type"], row["details"]) == ("sync_requested", "user", {"said": "more"})


def test_members_and_viewers_may_not(dave, vera):
    for person in (dave, vera):
        assert_problem(person.api.get(URL), 403, "permission_denied")


def test_filters_narrow_the_list(alice, bob):
    early, late = record(alice, Action.CONNECTION_PAUSED), record(bob)
    assert asked(alice, action="connection_paused") == [str(early.pk)]
    assert asked(alice, actor="bob") == asked(alice, actor=str(bob.user.pk)) == [str(late.pk)]
    assert asked(alice, actor="nobody") == []
    hour = timedelta(hours=1)
    assert len(asked(alice, **{"from": (timezone.now() - hour).isoformat()})) == 2
    assert asked(alice, **{"from": (timezone.now() + hour).isoformat()}) == []
    assert asked(alice, to=(timezone.now() - hour).isoformat()) == []
    old = SecurityEvent(pk=oldest_id(timezone.now() - 2 * hour), action="signed_in", at=timezone.now() - 2 * hour)
    old.workspace = alice.workspace
    old.save(force_insert=True)
    assert asked(alice, to=(timezone.now() - hour).isoformat()) == [str(old.pk)]


@pytest.mark.parametrize("query", [{"action": "unheard_of"}, {"from": "yesterday"}, {"since": "2026-01-01T00:00:00Z"}])
def test_a_filter_that_cannot_be_meant_is_refused(alice, query):
    assert_problem(alice.api.get(URL, query), 400, "validation_failed")


def test_list_comes_in_pages_and_costs_the_same_whatever_its_length(alice, django_assert_num_queries):
    made = [str(record(alice).pk) for _ in range(5)]
    asked(alice)  # the token's first use is noted
    with django_assert_num_queries(5):  # token, memberships, role, rows, role
        page = alice.api.get(URL, {"page_size": 2}).json()
    rest = alice.api.get(page["next"]).json()
    assert [row["id"] for row in page["results"] + rest["results"]] == made[:0:-1]


def test_what_the_system_did_has_no_actor(alice):
    security_event_record(Action.PERSON_BOOTSTRAPPED, actor=None, workspace_id=alice.workspace.pk)
    assert alice.api.get(URL).json()["results"][0]["actor"] is None
