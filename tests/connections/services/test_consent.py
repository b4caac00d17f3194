"""Consents that end are noticed 14, 7 and 1 days ahead, each once."""

from datetime import timedelta

import pytest
from django.utils import timezone

from connections.models import Connection, DomainEvent
from connections.services.consent import notices_record
from tests.connections.api.scene import make_bank

pytestmark = pytest.mark.django_db


@pytest.fixture
def bank(alice) -> Connection:
    return make_bank(alice)


def ends_in(days: float, **fields) -> None:
    Connection.objects.update(reauth_due_at=timezone.now() + timedelta(days=days), **fields)


def told() -> list[int]:
    return [event.payload["days"] for event in DomainEvent.objects.filter(type="ReauthDue").order_by("sequence")]


def pass_days(days: float) -> None:
    """Time goes on: the end comes nearer, and the last notice was about the same end."""
    bank = Connection.objects.get()
    Connection.objects.update(reauth_due_at=bank.reauth_due_at - timedelta(days=days))
    if bank.reauth_noticed_on:
        Connection.objects.update(reauth_noticed_on=bank.reauth_noticed_on - timedelta(days=days))


def test_each_notice_is_given_once_as_its_day_comes(bank):
    ends_in(20.2)
    given = []
    for _ in range(22):
        given.append((notices_record(), notices_record()))
        pass_days(1)
    assert [number for number, notice in enumerate(given) if notice == (1, 0)] == [7, 14, 20]
    assert sum(map(sum, given)) == 3
    assert told() == [14, 7, 1]
    first = DomainEvent.objects.filter(type="ReauthDue").earliest("sequence")
    assert set(first.payload) == {"due_at", "days"}


@pytest.mark.parametrize(("left", "days"), [(13.9, 14), (5, 7), (0.4, 1)])
def test_what_is_learned_late_is_noticed_once(bank, left, days):
    ends_in(left)
    assert (notices_record(), notices_record()) == (1, 0)
    assert told() == [days]


def test_a_new_end_has_notices_of_its_own(bank):
    ends_in(0.5)
    notices_record()
    ends_in(180)
    assert notices_record() == 0
    ends_in(13)
    assert notices_record() == 1
    assert told() == [1, 14]


def test_the_same_day_told_with_another_time_is_the_same_end(bank):
    noon = timezone.now().replace(hour=12, minute=0) + timedelta(days=5)
    Connection.objects.update(reauth_due_at=noon)
    notices_record()
    Connection.objects.update(reauth_due_at=noon + timedelta(minutes=3))
    assert notices_record() == 0


@pytest.mark.parametrize("status", ["disconnecting", "disconnected"])
def test_nobody_is_bothered_about_a_bank_that_is_gone(bank, status):
    ends_in(1, status=status)
    assert notices_record() == 0


def test_what_is_over_or_unknown_is_not_noticed(bank):
    assert notices_record() == 0
    ends_in(-0.1)
    assert notices_record() == 0


def test_many_are_noticed_in_turns(bank, alice):
    for _ in range(4):
        make_bank(alice)
    ends_in(3)
    assert [notices_record(limit=2) for _ in range(4)] == [2, 2, 1, 0]
