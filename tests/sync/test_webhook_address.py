"""Webhooks come to us, also of Items that another system linked, or we under another address."""

from datetime import timedelta

import pytest
from django.utils import timezone

from connections.models import Connection, PlaidItem
from connections.providers.plaid.client import PlaidClient
from connections.services.plaid_items import credential_of
from connections.services.plaid_webhook_address import is_reachable, webhook_address_set, webhook_url
from sync.engine import Outcome
from tests.sync.test_probe import make_due, probe

pytestmark = pytest.mark.django_db(transaction=True)

OLD = "http://127.0.0.1:9/old"  # nobody listens there
UPDATE = "/item/webhook/update"


@pytest.fixture
def moved(settings):
    """Our address since the bank was linked."""
    settings.PLAID_OWN_WEBHOOKS, settings.PUBLIC_URL = True, "http://127.0.0.1:9/new"
    return webhook_url()


@pytest.fixture
def elsewhere(link, moved, settings):
    """Linked by another system."""
    settings.PLAID_OWN_WEBHOOKS = False
    bank = link(webhook=OLD)
    settings.PLAID_OWN_WEBHOOKS = True
    return bank


def address(bank) -> str | None:
    return bank.simulator.control("GET", f"items/{bank.plaid_id}")["webhook"]


def updates(bank) -> int:
    log = bank.simulator.control("GET", f"log?item_id={bank.plaid_id}")["requests"]
    return sum(row["path"] == UPDATE for row in log)


def read_due() -> None:
    PlaidItem.objects.update(details_at=None)


def day_passes() -> None:
    PlaidItem.objects.update(webhook_asked_at=timezone.now() - timedelta(days=1, minutes=1))
    read_due()


@pytest.mark.parametrize("before", [OLD, None])
def test_the_daily_reading_tells_plaid_our_address(link, moved, settings, before):
    settings.PLAID_OWN_WEBHOOKS = False
    bank = link(webhook=before)
    settings.PLAID_OWN_WEBHOOKS = True
    read_due()
    assert bank.sync() == Outcome.SYNCED
    assert address(bank) == bank.item.webhook_url == moved


def test_an_item_that_has_our_address_is_left_alone(link, moved):
    bank = link(webhook=moved)
    read_due()
    bank.sync()
    assert updates(bank) == 0


def test_plaid_is_asked_once_a_day_even_where_it_refuses(elsewhere, moved):
    bank = elsewhere
    bank.fault("html", UPDATE, times=1)
    for _ in range(2):
        read_due()
        assert bank.sync() == Outcome.SYNCED
    assert (updates(bank), address(bank)) == (1, OLD)
    day_passes()
    assert bank.sync() == Outcome.SYNCED
    assert (updates(bank), address(bank)) == (2, moved)


def test_a_login_that_needs_its_owner_is_moved_by_its_probe(elsewhere, moved, settings):
    bank, settings.PLAID_OWN_WEBHOOKS = elsewhere, False
    bank.sync()
    bank.control("state", login_required=True)
    bank.sync()
    make_due()
    settings.PLAID_OWN_WEBHOOKS = True
    assert probe() == 0
    assert address(bank) == moved


@pytest.mark.parametrize("why", ["switched off", "not reachable", "disconnected"])
def test_where_webhooks_shall_not_come_they_stay(elsewhere, moved, settings, why):
    bank, client = elsewhere, PlaidClient("sandbox")
    if why == "switched off":
        settings.PLAID_OWN_WEBHOOKS = False
    elif why == "not reachable":
        settings.PLAID_SANDBOX_URL, settings.PUBLIC_URL = "https://sandbox.plaid.com", "http://10.0.0.7"
    else:
        Connection.objects.update(status="disconnected")
    token = credential_of(bank.connection).reveal()
    item = PlaidItem.objects.select_related("connection").get()
    assert not webhook_address_set(item=item, client=client, access_token=token, told=OLD)
    assert (address(bank), updates(bank), bank.item.webhook_asked_at) == (OLD, 0, None)


@pytest.mark.parametrize(
    ("ours", "plaid", "expected"),
    [
        ("https://hub.example.org", "https://sandbox.plaid.com", True),
        ("http://127.0.0.1:8000", "https://sandbox.plaid.com", False),
        ("http://localhost:8000", "https://sandbox.plaid.com", False),
        ("http://192.168.1.20", "https://sandbox.plaid.com", False),
        ("http://[::1]:8000", "https://sandbox.plaid.com", False),
        ("http://hub.local", "https://sandbox.plaid.com", False),
        ("http://hub", "https://sandbox.plaid.com", False),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8100/plaid", True),
    ],
)
def test_plaid_is_given_no_address_that_it_cannot_call(settings, ours, plaid, expected):
    settings.PUBLIC_URL, settings.PLAID_SANDBOX_URL = ours, plaid
    assert is_reachable("sandbox") is expected
