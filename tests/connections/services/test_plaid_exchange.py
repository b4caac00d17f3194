"""A public token becomes a connection once, or leaves a trace that says why not. Over HTTP, against the simulator."""

import threading
from datetime import timedelta

import pytest
from django.db import connection as database
from django.utils import timezone

from connections.errors import Conflict, OutcomeUnknown, RequestError
from connections.models import Account, Connection, Credential, PlaidExchange, PlaidItem
from connections.models.connection import Status
from connections.services.plaid_exchange import credential_of, exchanges_sweep, public_token_exchange

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
            "status": 500,
            "error_type": "API_ERROR",
            "error_code": "INTERNAL_SERVER_ERROR",
        },
    )
    with pytest.raises(Exception, match="provider_unavailable"):
        exchange()
    assert PlaidExchange.objects.get().status == "refused"
    assert exchange().status == Status.ACTIVE


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
