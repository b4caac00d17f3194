"""Drafts and changes of connections over the API: what is taken, what is refused and where, and what is shown of secrets."""

from typing import Any

import pytest

from connections.models import Connection, Credential, DomainEvent, SecurityEvent
from connections.providers import PROVIDERS, provider
from tests.connections.api.scene import assert_problem, make_bank

pytestmark = pytest.mark.django_db

URL = "/api/v1/connections"
KEY, SECRET = "ck_" + "0a" * 20, "cs_" + "1b" * 20
SHOP = {
    "provider": "woocommerce",
    "name": "Corner shop",
    "environment": "production",
    "config": {"store_url": "https://Shop.example.com/store/"},
    "credentials": {"consumer_key": KEY, "consumer_secret": SECRET},
}
STORE = {"provider": "supabase", "config": {"kind": "rest", "project_url": "https://abcd.supabase.co"}}
SECRETS = (KEY, SECRET)


def post(person, body: dict[str, Any], **headers: str):
    return person.api.post(URL, body, format="json", **headers)


def patch(person, connection_id, body: dict[str, Any]):
    return person.api.patch(f"{URL}/{connection_id}", body, format="json")


@pytest.fixture
def draft(alice) -> dict[str, Any]:
    response = post(alice, SHOP)
    assert response.status_code == 201, response.content
    return response.json()


def activated(draft: dict[str, Any]) -> Connection:
    """As if it had been verified and activated."""
    connection = Connection.objects.get(pk=draft["id"])
    connection.status = "active"
    connection.good = {
        "config": connection.config,
        "environment": connection.environment,
        "version": connection.config_version,
        "credentials": [str(row.pk) for row in connection.credentials.all()],
    }
    connection.save()
    return connection


def errors_of(response) -> dict[str, list[str]]:
    return assert_problem(response, 400, "validation_failed")["errors"]


# --- drafts ---
def test_a_draft_is_made_and_its_secrets_are_shown_as_fingerprints_only(alice, draft):
    assert (draft["status"], draft["provider"], draft["name"]) == ("draft", "woocommerce", "Corner shop")
    assert (draft["config"], draft["config_version"]) == ({"store_url": "https://shop.example.com/store"}, 1)
    shown = draft["credentials"]
    assert set(shown) == {"consumer_key", "consumer_secret"}
    assert {frozenset(each) for each in shown.values()} == {frozenset({"fingerprint", "last_four", "updated_at"})}
    assert shown["consumer_key"]["last_four"] == KEY[-4:]
    for response in (
        alice.api.get(f"{URL}/{draft['id']}"),
        alice.api.get(URL),
        patch(alice, draft["id"], {"name": "x"}),
    ):
        assert not any(secret.encode() in response.content for secret in SECRETS)
    stored = Credential.objects.get(name="consumer_key")
    assert stored.reveal() == KEY
    assert KEY.encode() not in bytes(stored.ciphertext)


def test_a_draft_is_on_record_without_its_secrets_and_told_once(alice, draft):
    event = SecurityEvent.objects.get(action="connection_created")
    assert (event.actor_id, event.object_id) == (alice.user.pk, draft["id"])
    assert event.details["fields"] == ["consumer_key", "consumer_secret", "store_url"]
    assert DomainEvent.objects.get(type="ConnectionCreated").payload["provider"] == "woocommerce"


def test_the_same_key_makes_one_draft(alice):
    answers = [post(alice, SHOP, HTTP_IDEMPOTENCY_KEY="k1").json()["id"] for _ in range(2)]
    assert answers[0] == answers[1]
    assert Connection.objects.count() == 1


def test_a_draft_may_wait_for_what_a_hand_over_brings(alice, settings):
    settings.QUICKBOOKS_CLIENT_ID = settings.QUICKBOOKS_CLIENT_SECRET = "set"
    shop = post(alice, {"provider": "woocommerce", "config": {"store_url": "http://127.0.0.1:8100/shop"}})
    books = post(alice, {"provider": "quickbooks"})
    assert (shop.status_code, books.status_code) == (201, 201)
    assert (shop.json()["credentials"], books.json()["config"]) == ({}, {})
    assert books.json()["name"] == "QuickBooks Online"


def test_a_bank_is_not_made_here_and_the_answer_says_where(alice):
    response = post(alice, {"provider": "plaid", "config": {}})
    assert "plaid/link-token" in errors_of(response)["provider"][0]
    assert "plaid/link-token" in response.json()["remediation"]


def test_a_provider_without_keys_says_so(alice, settings):
    settings.QUICKBOOKS_CLIENT_ID = ""
    assert_problem(post(alice, {"provider": "quickbooks"}), 503, "provider_not_configured")


def test_defaults_are_filled_in_and_what_does_not_apply_is_refused(alice):
    made = post(alice, STORE | {"credentials": {"secret_key": "sb_secret_0123456789abcdef"}}).json()
    assert made["config"] == {"kind": "rest", "project_url": "https://abcd.supabase.co", "schema": "public"}
    mixed = STORE | {"credentials": {"secret_key": "sb_secret_0123456789abcdef", "dsn": "postgresql://u:p@h/d"}}
    assert errors_of(post(alice, mixed)) == {"credentials.dsn": ["This applies only where kind is postgres."]}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"config": {}}, "config.store_url"),
        ({"config": {"store_url": ""}}, "config.store_url"),
        ({"config": {"store_url": 5}}, "config.store_url"),
        ({"config": {"store_url": ["https://a.example"]}}, "config.store_url"),
        ({"config": {"store_url": "shop.example.com"}}, "config.store_url"),
        ({"config": {"store_url": "ftp://shop.example.com"}}, "config.store_url"),
        ({"config": {"store_url": "https://u:p@shop.example.com"}}, "config.store_url"),
        ({"config": {"store_url": "https://shop.example.com/?a=1"}}, "config.store_url"),
        ({"config": {"store_url": "https://shop.example.com:99999"}}, "config.store_url"),
        ({"config": {"store_url": "https://shop.example.com/a b"}}, "config.store_url"),
        ({"config": {"store_url": "https://shop.example.com/" + "a" * 3000}}, "config.store_url"),
        ({"config": SHOP["config"] | {"stor_url": "x"}}, "config.stor_url"),
        ({"config": SHOP["config"] | {"consumer_key": KEY}}, "config.consumer_key"),
        ({"config": "https://shop.example.com"}, "config"),
        ({"config": []}, "config"),
        ({"credentials": {"consumer_key": KEY}}, "credentials.consumer_secret"),
        ({"credentials": {"consumer_key": SECRET, "consumer_secret": SECRET}}, "credentials.consumer_key"),
        ({"credentials": {"consumer_key": KEY, "consumer_secret": f"{SECRET} {KEY}"}}, "credentials.consumer_secret"),
        ({"credentials": {"consumer_key": KEY, "consumer_secret": 7}}, "credentials.consumer_secret"),
        ({"credentials": {"store_url": "https://a.example"}}, "credentials.store_url"),
        ({"credentials": 5}, "credentials"),
        ({"name": 5}, "name"),
        ({"name": ""}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"environment": "staging"}, "environment"),
        ({"provider": "stripe"}, "provider"),
        ({"secrets": {}}, "secrets"),
    ],
)
def test_what_cannot_be_used_is_named_by_its_path_and_not_repeated(alice, change, path):
    response = post(alice, SHOP | change)
    errors = errors_of(response)
    assert set(errors) == {path}, errors
    assert all(sentence.endswith(".") for sentence in errors[path])
    assert not any(secret.encode() in response.content for secret in SECRETS)
    assert Connection.objects.count() == Credential.objects.count() == 0


@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        ({"secret_key": "sb_publishable_abc"}, "publishable"),
        ({"secret_key": "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.x"}, "service_role"),
        ({}, "required"),
    ],
)
def test_a_key_that_cannot_write_is_refused_before_anything_is_asked(alice, credentials, said):
    assert said in errors_of(post(alice, STORE | {"credentials": credentials}))["credentials.secret_key"][0]


def test_every_provider_declares_fields_that_people_understand():
    for key in PROVIDERS:
        fields = provider(key).fields
        assert len({field.name for field in fields}) == len(fields)
        for field in fields:
            assert field.label, field.name
            assert field.help.endswith("."), field.name
            assert bool(field.choices) == (field.kind == "choice"), field.name
            assert field.default == "" or not (field.is_required or field.is_secret), field.name


# --- changes ---
def test_a_new_name_changes_nothing_else(alice, draft):
    connection = activated(draft)
    answer = patch(alice, connection.pk, {"name": "Corner shop 2"}).json()
    assert (answer["name"], answer["status"], answer["config_version"]) == ("Corner shop 2", "active", 1)
    renamed = SecurityEvent.objects.get(action="connection_renamed")
    assert renamed.details == {"was": "Corner shop", "now": "Corner shop 2"}


@pytest.mark.parametrize("status", ["draft", "verified", "active", "paused", "failed", "needs_reauth"])
def test_new_settings_make_a_draft_and_what_was_active_is_kept(alice, draft, status):
    connection = activated(draft)
    Connection.objects.filter(pk=connection.pk).update(status=status, error_code="provider_error", failure_count=3)
    change = {"config": {"store_url": "https://other.example.com"}, "credentials": {"consumer_key": "ck_" + "2c" * 20}}
    answer = patch(alice, connection.pk, change).json()
    assert (answer["status"], answer["config_version"], answer["error"]) == ("draft", 2, None)
    assert answer["config"] == {"store_url": "https://other.example.com"}
    connection.refresh_from_db()
    assert connection.good["config"] == {"store_url": "https://shop.example.com/store"}
    kept = {(row.name, row.is_superseded): row.reveal() for row in connection.credentials.all()}
    assert kept == {
        ("consumer_key", True): KEY,
        ("consumer_key", False): "ck_" + "2c" * 20,
        ("consumer_secret", False): SECRET,
    }
    changed = SecurityEvent.objects.get(action="connection_configured")
    assert changed.details == {"fields": ["store_url", "consumer_key"], "version": 2}


def test_of_several_changes_the_newest_holds_and_the_one_that_was_active_is_kept(alice, draft):
    connection = activated(draft)
    for digits in ("2c", "3d", "4e"):
        patch(alice, connection.pk, {"credentials": {"consumer_key": "ck_" + digits * 20}})
    keys = {row.is_superseded: row.reveal() for row in connection.credentials.filter(name="consumer_key")}
    assert keys == {True: KEY, False: "ck_" + "4e" * 20}
    connection.refresh_from_db()
    assert connection.config_version == 4


def test_equal_values_change_nothing(alice, draft):
    activated(draft)
    answer = patch(alice, draft["id"], {name: SHOP[name] for name in ("config", "credentials", "environment")}).json()
    assert (answer["status"], answer["config_version"]) == ("active", 1)
    assert not SecurityEvent.objects.filter(action="connection_configured").exists()


def test_a_new_environment_is_on_record_and_takes_away_what_was_granted_in_the_other(alice, draft):
    connection = activated(draft)
    granted = Credential(workspace=connection.workspace, connection=connection, name="refresh_token")
    granted.seal("granted-in-production")
    granted.save()
    answer = patch(alice, connection.pk, {"environment": "sandbox"}).json()
    assert (answer["environment"], answer["status"], answer["config_version"]) == ("sandbox", "draft", 2)
    assert SecurityEvent.objects.get(action="environment_changed").details == {"was": "production", "now": "sandbox"}
    assert set(connection.credentials.values_list("name", flat=True)) == {"consumer_key", "consumer_secret"}


def test_another_kind_drops_what_does_not_apply_any_more(alice):
    made = post(alice, STORE | {"credentials": {"secret_key": "sb_secret_0123456789abcdef"}}).json()
    change = {"config": {"kind": "postgres"}, "credentials": {"dsn": "postgresql://u:p@db.example.com/postgres"}}
    answer = patch(alice, made["id"], change).json()
    assert answer["config"] == {"kind": "postgres", "schema": "public"}
    assert set(answer["credentials"]) == {"dsn"}
    assert Credential.objects.count() == 1


def test_null_takes_a_secret_away_and_a_required_one_is_asked_for(alice, draft):
    both = {"consumer_key": None, "consumer_secret": None}
    assert patch(alice, draft["id"], {"credentials": both}).json()["credentials"] == {}
    patch(alice, draft["id"], {"credentials": SHOP["credentials"]})
    refused = patch(alice, draft["id"], {"credentials": {"consumer_secret": None}})
    assert set(errors_of(refused)) == {"credentials.consumer_secret"}
    assert Credential.objects.count() == 2


def test_a_bank_can_be_renamed_and_nothing_else(alice):
    bank = make_bank(alice)
    assert patch(alice, bank.pk, {"name": "Mine", "environment": "sandbox"}).json()["name"] == "Mine"
    for change in ({"environment": "production"}, {"config": {"a": "b"}}, {"credentials": {"access_token": "x"}}):
        assert "plaid/link-token" in str(errors_of(patch(alice, bank.pk, change)))
    bank.refresh_from_db()
    assert (bank.status, bank.config_version) == ("active", 1)


@pytest.mark.parametrize("status", ["disconnecting", "disconnected"])
def test_what_is_over_is_not_configured_any_more(alice, draft, status):
    Connection.objects.filter(pk=draft["id"]).update(status=status)
    change = {"config": {"store_url": "https://other.example.com"}}
    assert_problem(patch(alice, draft["id"], change), 409, "connection_not_active")


def test_a_refused_change_changes_nothing(alice, draft):
    response = patch(alice, draft["id"], {"name": "New", "config": {"store_url": "nonsense"}})
    assert set(errors_of(response)) == {"config.store_url"}
    assert Connection.objects.get(pk=draft["id"]).name == "Corner shop"
