"""Connections are added, changed, tested and activated in the console, by forms made of what their providers declare."""

import re
import time

import pytest
from django.test import Client
from django.urls import reverse

from connections.models import Connection, Credential, SecurityEvent, Verification
from connections.services.errands import errands_run
from connections.services.verifying import verifications_run
from connections.services.workspaces import operations_group
from tests.connections.corner import KEY
from tests.e2e import rows

pytestmark = pytest.mark.django_db(transaction=True)

ADD = "admin:connections_connection_add"


@pytest.fixture
def console(bob) -> Client:
    bob.user.groups.add(operations_group())
    client = Client()
    client.force_login(bob.user)
    return client


def page(client: Client, connection: Connection) -> str:
    return client.get(reverse("admin:connections_connection_change", args=[connection.pk])).content.decode()


def do(client: Client, connection: Connection, verb: str, **answer: str) -> str:
    url = reverse("admin:connections_connection_verb", args=[connection.pk, verb])
    return client.post(url, answer, follow=True).content.decode()


def settings_of(connection: Connection) -> str:
    return reverse("admin:connections_connection_settings", args=[connection.pk])


def test_the_provider_is_chosen_first_and_what_cannot_be_added_says_why(console, settings):
    settings.QUICKBOOKS_CLIENT_ID = ""
    text = console.get(reverse(ADD)).content.decode()
    for key in ("woocommerce", "supabase"):
        assert f'href="?provider={key}"' in text
    assert 'href="?provider=plaid"' not in text
    assert "at the bank itself" in text
    assert "QUICKBOOKS_CLIENT_ID" in text
    for key in ("quickbooks", "plaid", "nonsense"):
        assert "To what?" in console.get(reverse(ADD), {"provider": key}).content.decode()


def test_a_shop_is_added_tested_activated_and_disconnected_from_the_console(console, alice, corner):
    url = f"{reverse(ADD)}?provider=woocommerce"
    form = {"workspace": alice.workspace.pk, "owner": "alice", "name": "Corner", "environment": "production"}
    assert console.post(url, form | {"config.store_url": ""}).status_code == 400
    form |= {"config.store_url": corner.url, "credentials.consumer_key": KEY}
    made = console.post(url, form, follow=True)
    shop = Connection.objects.get()
    assert "is a draft. Test it, then activate it." in made.content.decode()
    assert (shop.owner_id, shop.status, shop.config) == (alice.user.pk, "draft", {"store_url": corner.url})
    assert "is being asked" in do(console, shop, "verify")
    assert "data-look-again" in page(console, shop)
    verifications_run(deadline=time.monotonic() + 10)
    text = page(console, shop)
    for words in ("Verified", "authentication", "It is old.", "Update it.", " ms", "Activate", "Test connection"):
        assert words in text, words
    assert "data-look-again" not in text
    assert "Corner is active." in do(console, shop, "activate")
    errands_run(deadline=time.monotonic() + 10)
    assert corner.webhooks
    assert (
        "webhooks"
        in console.get(reverse("admin:connections_connection_verb", args=[shop.pk, "disconnect"])).content.decode()
    )
    do(console, shop, "disconnect", answer="Corner")
    corner.status = 503
    Connection.objects.update(errand_at="2020-01-01T00:00Z")
    errands_run(deadline=time.monotonic() + 10)
    assert "How do you know that nothing is left there?" in page(console, shop)
    do(console, shop, "settle", answer="the shop is gone")
    assert "Disconnected" in page(console, shop)
    assert SecurityEvent.objects.get(action="connection_settled").details == {"reason": "the shop is gone"}
    assert not Credential.objects.exists()


def test_what_is_refused_is_said_beside_its_field_and_the_secret_is_not_sent_back(console, alice):
    url = f"{reverse(ADD)}?provider=supabase"
    form = {
        "workspace": alice.workspace.pk,
        "owner": "alice",
        "environment": "production",
        "config.kind": "rest",
        "config.project_url": "nonsense",
        "config.schema": "public",
        "credentials.secret_key": "sb_publishable_0123456789",
        "credentials.dsn": "postgresql://u:hunter2secret@db.example.com/x",
        "credentials.ca_pem": "typed-into-the-wrong-field",
    }
    response = console.post(url, form)
    text = response.content.decode()
    assert response.status_code == 400
    assert 'id="id_config.project_url_error"' in text
    assert 'id="id_credentials.secret_key_error"' in text
    assert 'id="id_credentials.dsn_error"' not in text
    for secret in ("sb_publishable_0123456789", "hunter2secret", "typed-into-the-wrong-field"):
        assert secret not in text
    assert not Connection.objects.exists()


@pytest.mark.parametrize("owner", ["vera", "charlie", "nobody", ""])
def test_only_a_member_of_the_workspace_can_be_given_a_connection(console, alice, vera, charlie, owner):
    form = {"workspace": alice.workspace.pk, "owner": owner, "environment": "production"}
    response = console.post(
        f"{reverse(ADD)}?provider=woocommerce", form | {"config.store_url": "https://shop.example.com"}
    )
    assert response.status_code == 400
    assert not Connection.objects.exists()


def test_settings_show_that_a_secret_is_there_and_replace_it(console, alice, workspace, bob):
    shop = rows.shop(workspace, alice.user)
    text = console.get(settings_of(shop)).content.decode()
    row = shop.credentials.get(name="consumer_key")
    assert f"…{row.last_four}" in text
    assert row.fingerprint in text
    assert rows.SECRET not in text
    form = {"name": "Corner shop", "environment": "production", "config.store_url": "https://shop.example.com"}
    console.post(settings_of(shop), form)
    shop.refresh_from_db()
    assert shop.config_version == 1  # nothing differs
    console.post(settings_of(shop), form | {"credentials.consumer_key": KEY})
    shop.refresh_from_db()
    assert (shop.config_version, shop.credentials.get(name="consumer_key").reveal()) == (2, KEY)
    assert shop.credentials.get(name="consumer_secret").reveal() == rows.SECRET
    changed = SecurityEvent.objects.get(action="connection_configured")
    assert (changed.actor_id, changed.details["fields"]) == (bob.user.pk, ["consumer_key"])


def test_an_optional_secret_can_be_taken_away(console, alice, workspace):
    store = Connection.objects.create(
        workspace=workspace,
        owner=alice.user,
        provider="supabase",
        name="Store",
        config={"kind": "postgres", "schema": "public"},
    )
    for name in ("dsn", "ca_pem"):
        credential = Credential(workspace=workspace, connection=store, name=name)
        credential.seal(rows.SECRET)
        credential.save()
    form = {"name": "Store", "environment": "production", "config.kind": "postgres", "config.schema": "public"}
    console.post(settings_of(store), form | {"remove.ca_pem": "on"})
    assert list(store.credentials.values_list("name", flat=True)) == ["dsn"]


def test_buttons_are_there_where_they_do_something(console, alice, workspace):
    shop = rows.shop(workspace, alice.user, environment="sandbox")
    usual = {"Test connection", "Change settings", "Disconnect"}
    expected = {
        "draft": usual | {"Sign in at the provider"},
        "verified": usual | {"Activate", "Sign in at the provider"},
        "active": usual | {"Pause", "Sign in at the provider"},
        "needs_reauth": usual | {"Reconnect", "Pause"},
        "failed": usual | {"Reconnect", "Pause"},
        "paused": usual | {"Resume", "Sign in at the provider"},
        "disconnected": set(),
    }
    for status, labels in expected.items():
        Connection.objects.filter(pk=shop.pk).update(status=status)
        assert sorted(verbs(console, shop)) == sorted(labels), status


def verbs(console, connection: Connection) -> list[str]:
    return [verb["verb"].label for verb in verbs_of(console, connection)]


def verbs_of(console, connection: Connection) -> list[dict]:
    url = reverse("admin:connections_connection_change", args=[connection.pk])
    return console.get(url).context["verbs"]


@pytest.mark.parametrize("environment", ["sandbox", "production"])
def test_a_shop_that_refuses_its_keys_is_reconnected_by_approval_where_that_works_else_by_hand(
    console, alice, workspace, environment
):
    """Over plain http a real shop hands nothing over."""
    shop = rows.shop(workspace, alice.user, environment=environment, status="needs_reauth")
    (url,) = [verb["url"] for verb in verbs_of(console, shop) if verb["verb"].label == "Reconnect"]
    if environment == "production":
        assert url == settings_of(shop)
        assert "Sign in at the provider" not in verbs(console, shop)
    else:
        assert console.post(url).headers["Location"].startswith("https://shop.example.com/wc-auth/v1/authorize?")
    assert "WooCommerce does not let us in any more: reconnect it." in page(console, shop)


@pytest.mark.parametrize("key", ["woocommerce", "quickbooks"])
def test_a_draft_without_access_is_sent_to_the_provider_first(console, alice, workspace, key):
    config = {"store_url": "https://shop.example.com"} if key == "woocommerce" else {}
    form = {"workspace": alice.workspace.pk, "owner": "alice", "name": "New", "environment": "sandbox"}
    form |= {f"config.{name}": value for name, value in config.items()}
    text = console.post(f"{reverse(ADD)}?provider={key}", form, follow=True).content.decode()
    assert "New is a draft. Give it access, then activate it." in text
    made = Connection.objects.get()
    assert "A draft without access. Sign in at" in text
    assert [verb["verb"].label for verb in verbs_of(console, made) if verb["verb"].is_primary] == [
        "Sign in at the provider"
    ]


def test_what_is_no_bank_shows_nothing_of_banks(console, alice, workspace):
    shop = rows.shop(workspace, alice.user, status="active")
    text = page(console, shop)
    assert "Ready for flows." in text
    for words in (r"Bank login\b(?!s)", "Consent ends", "connection__id__exact=[^>]*>Subscriptions", "Redirect URI"):
        assert not re.search(words, text), words
    assert f"/admin/webhooks/webhookevent/?connection__id__exact={shop.pk}" in text


def test_who_may_only_look_adds_and_changes_nothing(bob, alice, workspace):
    from django.contrib.auth.models import Permission

    bob.user.user_permissions.add(Permission.objects.get(codename="view_connection"))
    client = Client()
    client.force_login(bob.user)
    shop = rows.shop(workspace, alice.user)
    for method in (client.get, client.post):
        assert method(reverse(ADD)).status_code == 403
        assert method(settings_of(shop)).status_code == 403
    do(client, shop, "verify")
    assert not Verification.objects.exists()


def test_a_bank_has_no_settings_to_change(console, alice, workspace):
    bank = rows.connection(workspace, alice.user)
    assert console.get(settings_of(bank)).status_code == 404
