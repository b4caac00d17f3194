"""The inbox in the console: found by filters, shown without secrets, replayed one by one or several at once."""

import pytest
from django.test import Client
from django.urls import reverse

from connections.services.workspaces import operations_group
from tests.connections.api.scene import make_bank, make_event
from tests.e2e import rows
from webhooks.models import WebhookEvent

pytestmark = pytest.mark.django_db
LIST = "admin:webhooks_webhookevent_changelist"


@pytest.fixture
def console(bob) -> Client:
    bob.user.groups.add(operations_group())
    client = Client()
    client.force_login(bob.user)
    return client


@pytest.fixture
def bank(alice):
    return make_bank(alice)


def test_event_is_replayed_from_its_page(console, bank):
    event = make_event(bank, status="failed", note="ValueError: …")
    page = reverse("admin:webhooks_webhookevent_change", args=[event.pk])
    assert "Replay" in console.get(page).content.decode()
    done = console.post(reverse("admin:webhooks_webhookevent_verb", args=[event.pk, "replay"]), follow=True)
    assert "waits to be processed again." in done.content.decode()
    again = WebhookEvent.objects.get()
    assert (again.status, again.replays) == ("received", 1)
    assert "do/replay" not in console.get(page).content.decode()  # it waits already


def test_several_are_replayed_at_once_and_counted(console, bank):
    events = [make_event(bank) for _ in range(3)]
    selected = {"action": "replay", "_selected_action": [event.pk for event in events[:2]]}
    page = console.post(reverse(LIST), selected, follow=True).content.decode()
    assert "Replay: done for 2 webhook events." in page
    assert WebhookEvent.objects.filter(status="received").count() == 2


def test_events_are_found_by_state_and_item(console, bank):
    make_event(bank)
    wanted = make_event(bank, status="ignored", item_id="item-7")
    for query in ({"status__exact": "ignored"}, {"q": "item-7"}):
        found = console.get(reverse(LIST), query).context["cl"].result_list
        assert [event.pk for event in found] == [wanted.pk]


def test_refusals_are_shown_by_the_hour(console):
    rows.refusal()
    page = console.get(reverse("admin:webhooks_webhookrefusal_changelist")).content.decode()
    assert "no signature" in page
