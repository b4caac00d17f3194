"""Wrong keys and maintenance stop everybody, and are nobody's failure."""

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from connections.errors import KeysRefused
from connections.models import Connection, PlaidItem, PlaidLink, ProviderPause
from connections.services import event_dispatch, plaid_links, provider_pauses
from connections.services.disconnecting import connection_disconnect
from connections.services.plaid_probe import items_probe
from connections.services.plaid_removal import retired_items_remove
from connections.services.token_rotation import access_token_rotate
from connections.services.verifying import verifications_run
from diagnostics.models import Alert
from sync import engine
from sync.models import RunStatus, SyncRun
from sync.services.dispatch import items_offer
from tests.connections.services.test_plaid_links import finish_in_browser

pytestmark = pytest.mark.django_db(transaction=True)
KEYS = {"status": 400, "error_type": "INVALID_INPUT", "error_code": "INVALID_API_KEYS"}


@pytest.fixture
def banks(link):
    """Three synced Items, all with news, at a Plaid that refuses our keys."""
    made = [link(transactions=5) for _ in range(3)]
    for bank in made:
        assert bank.turn() == engine.Outcome.SYNCED
        bank.add(name="News")
        bank.dirty()
    made[0].simulator.control("POST", "faults", {"path": "*", "kind": "error", "times": 1000, **KEYS})
    return made


def probe() -> int:
    ProviderPause.objects.update(next_probe_at=timezone.now())
    return provider_pauses.providers_probe()


def tell() -> None:
    event_dispatch.events_dispatch(deadline=time.monotonic() + 10)


def calls(bank) -> int:
    return len(bank.simulator.control("GET", "log")["requests"])


def test_the_first_refusal_lets_everybody_rest_and_touches_no_connection(banks):
    states = list(Connection.objects.order_by("pk").values("pk", "status", "error_code", "failure_count"))
    before = calls(banks[0])
    assert [bank.turn() for bank in banks] == [engine.Outcome.WAITS, engine.Outcome.NOTHING, engine.Outcome.NOTHING]
    assert calls(banks[0]) == before + 1
    assert items_offer().small == []
    assert list(Connection.objects.order_by("pk").values("pk", "status", "error_code", "failure_count")) == states
    assert not SyncRun.objects.filter(status=RunStatus.FAILED).exists()


def test_one_alert_about_the_installation_opens_and_closes_by_itself(banks):
    for bank in banks:
        bank.turn()
    tell()
    alert = Alert.objects.get()
    assert (alert.connection, alert.cause, alert.recovered_at) == (None, "provider_misconfigured", None)
    assert probe() == 0
    banks[0].simulator.control("DELETE", "faults")
    assert probe() == 1
    tell()
    assert Alert.objects.get().recovered_at
    for bank in banks:
        assert bank.turn() == engine.Outcome.SYNCED
        bank.assert_equal_to_source()


def rest_once(work) -> None:
    """`work` meets the refusal: all rests and one alert is open, about no connection; asked once more, it asks nobody."""
    work()
    assert ProviderPause.objects.get().code == "provider_misconfigured"
    tell()
    assert Alert.objects.get(recovered_at=None).connection is None
    work()


def mend(bank) -> None:
    bank.simulator.control("DELETE", "faults")
    assert probe() == 1


def test_a_removal_that_is_refused_lets_everybody_rest_and_is_asked_for_afterwards(banks):
    for bank in banks[:2]:
        connection_disconnect(connection_id=bank.connection.pk, reason="asked for")
    before = calls(banks[0])
    rest_once(retired_items_remove)
    assert calls(banks[0]) == before + 1
    ending = Connection.objects.filter(status="disconnecting")
    assert set(ending.values_list("error_code", "failure_count")) == {("", 0)}
    mend(banks[0])
    assert retired_items_remove() == 2
    assert Connection.objects.filter(status="disconnected").count() == 2


def test_asking_after_a_stopped_login_lets_everybody_rest_and_goes_on_afterwards(banks):
    long_ago = timezone.now() - timedelta(days=2)
    Connection.objects.exclude(pk=banks[2].connection.pk).update(status="needs_reauth")
    PlaidItem.objects.update(reauth_needed_at=long_ago)
    before = calls(banks[0])
    rest_once(lambda: items_probe(deadline=time.monotonic() + 20))
    assert calls(banks[0]) == before + 1
    mend(banks[0])
    assert items_probe(deadline=time.monotonic() + 20) == 2


def test_a_hosted_link_that_was_finished_while_keys_were_refused_is_not_lost(banks, alice):
    banks[0].simulator.control("DELETE", "faults")
    asked = {"user": alice.user, "workspace_id": alice.workspace.pk, "environment": "sandbox", "is_hosted": True}
    link = plaid_links.link_create(**asked)
    finish_in_browser(link.hosted_link_url)
    for path in ("/link/token/get", "/item/public_token/exchange"):
        PlaidLink.objects.update(next_poll_at=timezone.now())
        banks[0].simulator.control("POST", "faults", {"path": path, "kind": "error", "times": 1, **KEYS})
        rest_once(lambda: plaid_links.link_poll(link.link_id) if plaid_links.links_due() else None)
        assert PlaidLink.objects.get().status == "open"
        mend(banks[0])
        tell()
    plaid_links.link_poll(link.link_id)
    assert PlaidLink.objects.get().status == "finished"
    assert Connection.objects.count() == 4


def link_token(bank, person) -> None:
    body = {"connection_id": str(bank.connection.pk)}
    answer = person.api.post("/api/v1/plaid/link-token", body, format="json")
    assert answer.json()["code"] == "provider_misconfigured"


def exchange(bank, person) -> None:
    made = bank.simulator.control("POST", "items", {"life": False})
    body = {"public_token": made["public_token"], "environment": "sandbox"}
    answer = person.api.post("/api/v1/plaid/exchange-token", body, format="json")
    assert answer.json()["code"] == "provider_misconfigured"


def rotate(bank, person) -> None:
    with pytest.raises(KeysRefused):
        access_token_rotate(connection_id=bank.connection.pk, actor=person.user)


def verify(bank, person) -> None:
    assert person.api.post(f"/api/v1/connections/{bank.connection.pk}/verify").status_code == 202
    verifications_run(deadline=time.monotonic() + 20)


@pytest.mark.parametrize("ask", [link_token, exchange, rotate, verify])
def test_a_persons_own_call_that_is_refused_lets_everybody_rest(banks, alice, ask):
    states = list(Connection.objects.order_by("pk").values("pk", "status", "error_code", "failure_count"))
    ask(banks[0], alice)
    assert ProviderPause.objects.get().code == "provider_misconfigured"
    tell()
    assert (Alert.objects.get().connection, Alert.objects.get().recovered_at) == (None, None)
    assert items_offer().small == []
    assert list(Connection.objects.order_by("pk").values("pk", "status", "error_code", "failure_count")) == states
    mend(banks[0])
    tell()
    assert Alert.objects.get().recovered_at


def test_an_outage_of_the_probe_proves_nothing(banks):
    banks[0].turn()
    banks[0].simulator.control("DELETE", "faults")
    banks[0].simulator.control("POST", "faults", {"path": "*", "kind": "reset", "times": 5})
    assert probe() == 0
    assert ProviderPause.objects.exists()


def test_probes_become_rarer_and_two_at_once_ask_once(banks):
    banks[0].turn()
    before = calls(banks[0])
    stale = ProviderPause.objects.get()
    ProviderPause.objects.update(next_probe_at=timezone.now())
    provider_pauses._probe(stale)
    provider_pauses._probe(stale)
    assert calls(banks[0]) == before + 1
    assert ProviderPause.objects.get().next_probe_at > timezone.now()


def test_the_other_environment_goes_on(banks):
    ProviderPause.objects.create(provider="plaid", environment="production", code="provider_misconfigured")
    banks[0].simulator.control("DELETE", "faults")
    assert banks[0].turn() == engine.Outcome.SYNCED


def test_a_refresh_says_whose_turn_it_is(banks, alice):
    banks[0].turn()
    answer = alice.api.post(f"/api/v1/connections/{banks[1].connection.pk}/refresh")
    assert answer.status_code == 503
    assert answer.json()["code"] == "provider_misconfigured"
    assert "operator" in answer.json()["remediation"]


def test_work_goes_on_by_itself_once_the_keys_are_right(banks, process):
    process("worker", BACKOFF_BASE_S="0.5", HOUSEKEEPING_S="1")
    process("beat", HOUSEKEEPING_S="1")
    deadline = time.monotonic() + 60
    while not ProviderPause.objects.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    banks[0].simulator.control("DELETE", "faults")
    while any(bank.item.is_dirty for bank in banks) and time.monotonic() < deadline + 60:
        time.sleep(0.2)
    for bank in banks:
        bank.assert_equal_to_source()
