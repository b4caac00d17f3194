"""A shop's whole life over real HTTP: verified, activated, calling us, looked after, disconnected."""

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from connections.models import Connection, Credential
from connections.providers.woocommerce import hooks
from connections.services.errands import errands_run
from connections.services.shop_webhooks import webhooks_watch
from connections.services.verifying import verifications_run
from tests.connections.providers.woocommerce.conftest import open_shop, shop  # noqa: F401 - the fixtures
from webhooks.models import WebhookEvent
from webhooks.services import process

pytestmark = pytest.mark.django_db(transaction=True)
URL = "/api/v1/connections"


def soon() -> float:
    return time.monotonic() + 20


def run_errands() -> None:
    Connection.objects.exclude(errand="").update(errand_at=timezone.now())
    errands_run(deadline=soon())


@pytest.fixture
def active(alice, shop, live_web, settings) -> Connection:  # noqa: F811 - the fixture
    settings.PUBLIC_URL = live_web.url
    body = {
        "provider": "woocommerce",
        "config": {"store_url": shop.url},
        "credentials": {"consumer_key": shop.keys[0], "consumer_secret": shop.keys[1]},
    }
    made = alice.api.post(URL, body, format="json").json()["id"]
    alice.api.post(f"{URL}/{made}/verify", format="json")
    verifications_run(deadline=soon())
    assert alice.api.post(f"{URL}/{made}/activate", format="json").json()["status"] == "active"
    run_errands()
    return Connection.objects.get(pk=made)


def registered(shop) -> list[dict]:  # noqa: F811
    return shop.get("/webhooks", per_page=100)


def arrived(count: int) -> list[WebhookEvent]:
    ends_at = time.monotonic() + 20
    while time.monotonic() < ends_at:
        if len(found := list(WebhookEvent.objects.order_by("pk"))) >= count:
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def test_a_shop_is_connected_tells_what_changes_and_is_left_clean(alice, shop, active, live_web):  # noqa: F811
    assert {hook["delivery_url"] for hook in registered(shop)} == {f"{live_web.url}/webhook/woocommerce/{active.pk}"}
    assert {hook["topic"] for hook in registered(shop)} == set(hooks.TOPICS)

    [order] = shop.ops({"op": "place"})
    event = arrived(1)[0]
    assert (event.connection_id, event.event_type, event.payload["id"]) == (active.pk, "order", order)
    process.event_process(event.pk)
    event.refresh_from_db()
    assert event.note == f"orders {order}: kept for the next pull."

    alice.api.delete(f"{URL}/{active.pk}", {"confirmed": True}, format="json")
    run_errands()
    active.refresh_from_db()
    assert (active.status, registered(shop)) == ("disconnected", [])
    assert not Credential.objects.filter(connection=active).exists()


def test_a_webhook_that_the_shop_disabled_is_made_anew_within_the_hour(shop, active):  # noqa: F811
    first = registered(shop)[0]
    assert webhooks_watch(deadline=soon()) == 1
    shop.put(f"/webhooks/{first['id']}", status="disabled")
    assert webhooks_watch(deadline=soon()) == 0  # somebody has just looked
    later = (timezone.now() - timedelta(hours=2)).isoformat()
    active.refresh_from_db()
    Connection.objects.filter(pk=active.pk).update(facts=active.facts | {"webhooks_watched_at": later})
    assert webhooks_watch(deadline=soon()) == 1
    assert {hook["status"] for hook in registered(shop)} == {"active"}
    assert first["id"] not in [hook["id"] for hook in registered(shop)]


def test_a_shop_that_does_not_answer_keeps_no_other_from_being_looked_at(shop, active):  # noqa: F811
    shop.fault("reset", times=1)
    assert webhooks_watch(deadline=soon()) == 1
    assert Connection.objects.get(pk=active.pk).status == "active"
