"""A public token becomes a connection once, or leaves a trace that says why not. Over HTTP, against the simulator."""

import threading
from datetime import timedelta

import pytest
from django.db import connection as database
from django.utils import timezone

from connections.errors import Conflict, NeedsReauth, OutcomeUnknown, RateLimited, RequestError
from connections.models import Account, Connection, Credential, PlaidExchange, PlaidItem, RetiredPlaidItem
from connections.models.connection import Status, Wait
from connections.services import plaid_exchange
from connections.services.plaid_exchange import exchanges_sweep, public_token_exchange
from connections.services.plaid_items import credential_of, details_fetch, relink_completed

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def item(simulator):
    return simulator.control("POST", "items", {"transactions": 10, "accounts": 2, "life": False})


@pytest.fixture
def exchange(alice, item):
    def call(**changes):
        given = {
            "user": alice.user,
            "workspace_id": alice.workspace.pk,
            "public_token": item["public_token"],
            "environment": "sandbox",
        }
        return public_token_exchange(**(given | changes))

    return call


def test_the_token_is_sealed_and_the_item_waits_for_its_first_sync(exchange, item):
    connection = exchange()
    assert (connection.status, connection.provider) == (Status.ACTIVE, "plaid")
    found = PlaidItem.objects.get(connection=connection)
    assert found.item_id == item["item_id"]
    assert found.is_dirty
    assert found.institution_name == "First Platypus Bank"
    assert found.institution_logo
    assert Account.objects.filter(connection=connection).count() == 2
    assert credential_of(connection).reveal().startswith("access-sandbox-")
    done = PlaidExchange.objects.get()
    assert (done.status, done.connection) == ("completed", connection)
    assert done.request_id


def test_no_secret_stands_in_the_database_in_clear(exchange, item):
    exchange()
    token = Credential.objects.get().reveal()
    with database.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (table,) in cursor.fetchall():
            cursor.execute(
                f"SELECT count(*) FROM {table} t WHERE t::text LIKE ANY(%s)",
                [[f"%{token}%", f"%{item['public_token']}%"]],
            )
            assert cursor.fetchone() == (0,), table


def test_the_same_token_twice_makes_one_connection(exchange):
    connection = exchange()
    with pytest.raises(Conflict) as caught:
        exchange()
    assert caught.value.code == "public_token_used"
    assert caught.value.extra == {"connection_id": str(connection.pk)}
    assert Connection.objects.count() == 1


def test_two_at_once_make_one_connection(exchange, simulator):
    simulator.control("POST", "faults", {"path": "/item/public_token/exchange", "kind": "latency", "seconds": 0.5})
    codes = []

    def call():
        try:
            exchange()
            codes.append("made")
        except Conflict as error:
            codes.append(error.code)
        finally:
            database.close()

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == ["exchange_in_progress", "made"]
    assert Connection.objects.count() == 1


@pytest.mark.parametrize(
    ("kind", "options"),
    [("commit_then_drop", {}), ("hang", {"seconds": 3}), ("html", {"status": 502}), ("truncated", {})],
)
def test_a_lost_answer_leaves_a_visible_trace_and_is_not_repeated(exchange, simulator, settings, kind, options):
    settings.PLAID_TIMEOUT_S = 0.5
    simulator.control("POST", "faults", {"path": "/item/public_token/exchange", "kind": kind, **options})
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            exchange()
    lost = PlaidExchange.objects.get()
    assert (lost.status, lost.connection) == ("unknown", None)
    assert not Connection.objects.exists()
    calls = [r for r in simulator.control("GET", "log")["requests"] if r["path"] == "/item/public_token/exchange"]
    assert len(calls) <= 1  # a request that hangs is logged when it ends


def test_a_process_that_died_in_between_is_found(alice):
    PlaidExchange.objects.create(workspace=alice.workspace, user=alice.user, environment="sandbox", digest="d")
    assert exchanges_sweep() == 0
    PlaidExchange.objects.update(started_at=timezone.now() - timedelta(hours=1))
    assert exchanges_sweep() == 1
    assert PlaidExchange.objects.get().status == "unknown"


def test_a_refused_token_may_be_tried_again(exchange, simulator):
    simulator.control(
        "POST",
        "faults",
        {
            "path": "/item/public_token/exchange",
            "kind": "error",
            "status": 429,
            "error_type": "RATE_LIMIT_EXCEEDED",
            "error_code": "RATE_LIMIT",
        },
    )
    with pytest.raises(RateLimited):
        exchange()
    assert PlaidExchange.objects.get().status == "refused"
    assert exchange().status == Status.ACTIVE


def test_a_token_refused_to_one_is_free_for_another(exchange, charlie, item):
    """Sent in the wrong place first, it still works where it belongs."""
    made_up = "public-sandbox-00000000-0000-0000-0000-000000000001"
    for person in (None, charlie, charlie):
        changes = {"user": person.user, "workspace_id": person.workspace.pk} if person else {}
        with pytest.raises(RequestError) as caught:
            exchange(public_token=made_up, **changes)
        assert caught.value.code == "invalid_public_token"
    assert PlaidExchange.objects.filter(status="refused").count() == 3


def test_an_unknown_token_is_the_users_to_mend(exchange):
    with pytest.raises(RequestError) as caught:
        exchange(public_token="public-sandbox-00000000-0000-0000-0000-000000000000")
    assert caught.value.code == "invalid_public_token"
    assert caught.value.__cause__ is not caught.value


def test_a_token_of_the_other_environment_never_reaches_plaid(exchange, simulator):
    with pytest.raises(RequestError) as caught:
        exchange(environment="production")
    assert caught.value.code == "wrong_environment"
    assert simulator.control("GET", "log")["requests"] == []


def test_the_same_accounts_are_not_billed_twice_unless_wanted(exchange, simulator):
    exchange()
    accounts = [{"name": a.name, "mask": a.mask} for a in Account.objects.all()]
    metadata = {"institution": {"institution_id": "ins_109508", "name": "First Platypus Bank"}, "accounts": accounts}
    again = simulator.control("POST", "items", {"transactions": 10, "accounts": 2, "life": False})["public_token"]
    with pytest.raises(Conflict) as caught:
        exchange(public_token=again, metadata=metadata)
    assert caught.value.code == "duplicate_item"
    exchange(public_token=again, metadata=metadata, allow_duplicate=True)
    assert Connection.objects.count() == 2


def test_accounts_that_cannot_be_read_yet_do_not_undo_the_connection(exchange, simulator):
    simulator.control("POST", "faults", {"path": "/accounts/get", "kind": "html", "status": 502, "times": 3})
    connection = exchange()
    assert connection.status == Status.ACTIVE
    assert not Account.objects.exists()


def test_relinking_the_same_item_keeps_its_cursor(exchange, simulator, item):
    connection = exchange()
    PlaidItem.objects.update(cursor="kept", synced_seq=1)
    Connection.objects.update(status=Status.NEEDS_REAUTH, error_code="bank_sign_in_required")
    again = simulator.control("POST", f"items/{item['item_id']}/public_token", {})["public_token"]
    exchange(public_token=again, connection=connection)
    found = PlaidItem.objects.get()
    connection.refresh_from_db()
    assert (found.cursor, found.is_dirty, found.reauth_needed_at) == ("kept", True, None)
    assert (connection.status, connection.error_code) == (Status.ACTIVE, "")


# --- what proves that nothing happened ---
@pytest.mark.parametrize(
    ("error_type", "error_code"),
    [("API_ERROR", "INTERNAL_SERVER_ERROR"), ("API_ERROR", "PLANNED_MAINTENANCE"), ("NEW_ERROR", "NEW_CODE")],
)
def test_an_error_that_proves_nothing_leaves_the_outcome_unknown(exchange, simulator, error_type, error_code):
    fault = {"kind": "error", "status": 500, "error_type": error_type, "error_code": error_code}
    simulator.control("POST", "faults", {"path": "/item/public_token/exchange"} | fault)
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            exchange()
    assert PlaidExchange.objects.get().status == "unknown"


# --- after the answer nothing is lost ---
def age() -> None:
    """As if every exchange had begun long ago."""
    PlaidExchange.objects.update(started_at=timezone.now() - timedelta(hours=1), next_attempt_at=None)


def requests(simulator, path: str) -> int:
    return sum(row["path"] == path for row in simulator.control("GET", "log")["requests"])


@pytest.mark.parametrize("error", [ValueError("odd"), KeyError("odd"), RecursionError(), NeedsReauth()])
def test_no_trouble_with_the_details_undoes_the_connection(exchange, monkeypatch, error):
    def broken(*_args):
        raise error

    monkeypatch.setattr(plaid_exchange.PlaidClient, "accounts_get", broken)
    assert exchange().status == Status.ACTIVE
    assert PlaidItem.objects.get().details_at is None


def test_a_token_is_kept_before_anything_can_go_wrong(exchange, monkeypatch, simulator):
    with monkeypatch.context() as patched:
        patched.setattr(plaid_exchange, "_new_connection", lambda *_: 1 / 0)
        with pytest.raises(OutcomeUnknown) as caught:
            exchange()
    assert "finished by itself" in caught.value.detail
    kept = PlaidExchange.objects.get()
    assert (kept.status, kept.connection) == ("started", None)
    assert kept.reveal().startswith("access-sandbox-")
    with pytest.raises(Conflict, match="exchange_in_progress"):
        exchange()
    assert exchanges_sweep() == 0  # it may still be under way
    assert not Connection.objects.exists()
    token = kept.reveal()
    age()
    assert exchanges_sweep() == 0
    kept.refresh_from_db()
    connection = Connection.objects.get()
    assert (kept.status, kept.connection, kept.ciphertext, kept.key_id) == ("completed", connection, None, "")
    assert credential_of(connection).reveal() == token
    assert Account.objects.filter(connection=connection).count() == 2
    assert requests(simulator, "/item/public_token/exchange") == 1
    exchanges_sweep()
    assert Connection.objects.count() == 1


def test_what_cannot_be_recovered_yet_is_shown_and_tried_again_later(exchange, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(plaid_exchange, "_new_connection", lambda *_: 1 / 0)
        with pytest.raises(OutcomeUnknown):
            exchange()
        age()
        exchanges_sweep()
    stuck = PlaidExchange.objects.get()
    assert (stuck.status, stuck.error_code, stuck.attempts) == ("unknown", "internal_error", 1)
    assert stuck.next_attempt_at
    age()
    exchanges_sweep()
    assert PlaidExchange.objects.get().status == "completed"


@pytest.mark.parametrize(
    "odd", [{"item_id": None}, {"item_id": 7}, {"item_id": "x" * 500}, {"item_id": "a\0b"}, {"request_id": "r\0" * 200}]
)
def test_an_odd_answer_costs_neither_token_nor_connection(exchange, monkeypatch, item, odd):
    told = plaid_exchange.PlaidClient.public_token_exchange
    monkeypatch.setattr(plaid_exchange.PlaidClient, "public_token_exchange", lambda *given: told(*given) | odd)
    assert exchange().status == Status.ACTIVE
    assert PlaidItem.objects.get().item_id == item["item_id"]
    assert len(PlaidExchange.objects.get().request_id) <= 64


def test_without_any_item_id_the_token_waits(exchange, simulator):
    fault = {"kind": "missing_field", "field": "item_id"}
    simulator.control("POST", "faults", {"path": "/item/public_token/exchange"} | fault)
    simulator.control("POST", "faults", {"path": "/item/get", "kind": "html", "status": 502})
    with pytest.raises(OutcomeUnknown):
        exchange()
    age()
    exchanges_sweep()
    assert Connection.objects.get().status == Status.ACTIVE


@pytest.mark.parametrize(
    "metadata", [{"institution": "x", "accounts": 7}, {"institution": {"name": ["n"]}}, {"accounts": [1]}]
)
def test_odd_metadata_is_no_metadata(exchange, metadata):
    exchange(metadata=metadata)
    assert Connection.objects.get().name == "First Platypus Bank"


# --- the same bank twice ---
def offered(**institution) -> dict:
    return {
        "institution": {"institution_id": "ins_109508", "name": "First Platypus Bank"} | institution,
        "accounts": [{"name": "Checking", "mask": "0000"}, {"name": "Savings", "mask": "1111"}],
    }


def another(simulator) -> str:
    return simulator.control("POST", "items", {"transactions": 5, "accounts": 2, "life": False})["public_token"]


def test_two_logins_of_one_bank_at_once_bill_once(exchange, simulator):
    simulator.control("POST", "faults", {"path": "/item/public_token/exchange", "kind": "latency", "seconds": 0.5})
    codes = []

    def call(token):
        try:
            exchange(metadata=offered(), **token)
            codes.append("made")
        except Conflict as error:
            codes.append(error.code)
        finally:
            database.close()

    threads = [threading.Thread(target=call, args=[token]) for token in ({}, {"public_token": another(simulator)})]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == ["exchange_in_progress", "made"]
    assert requests(simulator, "/item/public_token/exchange") == 1


def test_a_duplicate_is_seen_before_its_accounts_were_read(exchange, simulator):
    simulator.control("POST", "faults", {"path": "/accounts/get", "kind": "html", "status": 502, "times": 3})
    connection = exchange(metadata=offered())
    with pytest.raises(Conflict) as caught:
        exchange(metadata=offered(), public_token=another(simulator))
    assert (caught.value.code, caught.value.extra) == ("duplicate_item", {"connection_id": str(connection.pk)})
    Connection.objects.update(status=Status.DISCONNECTED)
    assert exchange(metadata=offered(), public_token=another(simulator)).status == Status.ACTIVE


def test_an_exchange_that_died_long_ago_stands_in_nobodys_way(exchange, simulator, alice):
    PlaidExchange.objects.create(
        workspace=alice.workspace,
        user=alice.user,
        environment="sandbox",
        digest="d",
        accounts_digest=plaid_exchange._accounts_digest(offered()),
    )
    age()
    assert exchange(metadata=offered()).status == Status.ACTIVE


# --- re-links ---
def test_a_new_item_puts_the_old_one_down_for_removal(exchange, simulator, item):
    connection = exchange()
    old_token = credential_of(connection).reveal()
    exchange(public_token=another(simulator), connection=connection)
    retired = RetiredPlaidItem.objects.get()
    assert (retired.item_id, retired.connection, retired.status) == (item["item_id"], connection, "pending")
    assert (retired.reveal(), retired.environment) == (old_token, "sandbox")
    assert credential_of(connection).reveal() != old_token
    assert PlaidItem.objects.get().details_at  # read at once


def test_the_same_item_again_is_not_put_down(exchange, simulator, item):
    connection = exchange()
    again = simulator.control("POST", f"items/{item['item_id']}/public_token", {})["public_token"]
    exchange(public_token=again, connection=connection)
    assert not RetiredPlaidItem.objects.exists()


def test_the_same_item_without_naming_its_connection_is_a_re_link(exchange, simulator, item):
    connection = exchange()
    again = simulator.control("POST", f"items/{item['item_id']}/public_token", {})["public_token"]
    assert exchange(public_token=again) == connection


def test_a_key_that_is_lost_does_not_keep_a_bank_from_being_re_linked(exchange, simulator, settings):
    connection = exchange()
    settings.ENCRYPTION_KEYS = {"newer": b"n" * 32}
    exchange(public_token=another(simulator), connection=connection)
    retired = RetiredPlaidItem.objects.get()
    assert retired.ciphertext is None
    assert "dashboard" in retired.last_error


def test_a_re_link_of_what_was_disconnected_meanwhile_leaves_no_paid_item(exchange, simulator, item, monkeypatch):
    connection = exchange()
    told = plaid_exchange.PlaidClient.public_token_exchange

    def disconnected_meanwhile(*given):
        Connection.objects.update(status=Status.DISCONNECTED)
        return told(*given)

    monkeypatch.setattr(plaid_exchange.PlaidClient, "public_token_exchange", disconnected_meanwhile)
    with pytest.raises(Conflict, match="connection_not_active"):
        exchange(public_token=another(simulator), connection=connection)
    assert RetiredPlaidItem.objects.get().item_id != item["item_id"]
    assert PlaidItem.objects.get().item_id == item["item_id"]
    assert PlaidExchange.objects.latest("started_at").ciphertext is None


@pytest.mark.parametrize("wait", [Wait.RATE_LIMIT, Wait.CONFIGURATION])
def test_a_repair_does_not_shorten_the_providers_wait(exchange, wait):
    connection = exchange()
    until = timezone.now() + timedelta(minutes=5)
    Connection.objects.update(next_attempt_at=until, wait_reason=wait, error_code="x", failure_count=2)
    relink_completed(connection=connection)
    connection.refresh_from_db()
    assert (connection.next_attempt_at, connection.wait_reason) == (until, wait)
    assert (connection.error_code, connection.failure_count) == ("", 0)


def test_a_repair_ends_a_back_off(exchange):
    connection = exchange()
    Connection.objects.update(next_attempt_at=timezone.now() + timedelta(minutes=5), wait_reason=Wait.BACKOFF)
    relink_completed(connection=connection)
    connection.refresh_from_db()
    assert (connection.next_attempt_at, connection.wait_reason) == (None, Wait.NONE)
    assert PlaidItem.objects.get().details_at is None


# --- details ---
@pytest.fixture
def again(exchange):
    """Read the details of the connection once more."""
    connection = exchange()
    token = credential_of(connection).reveal()
    return lambda: details_fetch(connection=Connection.objects.get(pk=connection.pk), access_token=token)


def test_a_bank_without_a_logo_is_not_asked_for_it_again(again, simulator):
    PlaidItem.objects.update(institution_logo="")
    before = requests(simulator, "/institutions/get_by_id")
    assert again()
    assert requests(simulator, "/institutions/get_by_id") == before


def test_a_bank_without_a_name_is_asked_for_it(again, simulator):
    PlaidItem.objects.update(institution_name="", details_at=None)
    fault = {"kind": "html", "status": 502}
    simulator.control("POST", "faults", {"path": "/institutions/get_by_id"} | fault)
    assert again()  # /item/get says the name, too
    assert PlaidItem.objects.get().institution_name == "First Platypus Bank"
    assert PlaidItem.objects.get().details_at


def test_a_deadline_beyond_reason_is_none(again, simulator, item):
    simulator.control("POST", f"items/{item['item_id']}/state", {"consent_expiration_time": "9999-12-31T23:59:59Z"})
    assert again()
    assert Connection.objects.get().reauth_due_at is None
    simulator.control("POST", f"items/{item['item_id']}/state", {"consent_expiration_time": "2030-01-01T00:00:00Z"})
    assert again()
    assert Connection.objects.get().reauth_due_at.year == 2030
    assert PlaidItem.objects.get().consent_expires_at.year == 2030


def test_a_notice_stays_until_the_login_is_repaired(again, simulator):
    noticed = timezone.now() + timedelta(days=7)
    PlaidItem.objects.update(consent_expires_at=noticed)
    Connection.objects.update(reauth_due_at=noticed)
    assert again()
    assert Connection.objects.get().reauth_due_at == noticed
    relink_completed(connection=Connection.objects.get())
    assert (Connection.objects.get().reauth_due_at, PlaidItem.objects.get().consent_expires_at) == (None, None)


def test_a_name_that_a_person_gave_stays(again):
    Connection.objects.update(name="Household")
    assert again()
    assert Connection.objects.get().name == "Household"


def test_news_that_comes_while_details_are_read_keeps_them_due(again, monkeypatch):
    told = plaid_exchange.PlaidClient.item_get

    def news_meanwhile(*given):
        PlaidItem.objects.update(dirty_seq=99, details_at=None)
        return told(*given)

    monkeypatch.setattr(plaid_exchange.PlaidClient, "item_get", news_meanwhile)
    assert again()
    assert PlaidItem.objects.get().details_at is None
