"""Items of another system come over once, with their accounts and cursors. The command, over HTTP to the simulator."""

import csv
import io
import json
import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connection as database
from django.db import transaction
from django.utils import timezone

from connections.ids import uuid7
from connections.models import (
    Account,
    Connection,
    Credential,
    DomainEvent,
    PlaidItem,
    PlaidItemAccount,
    PlaidTokenRotation,
    ProviderPause,
    SecurityEvent,
)
from connections.models.connection import Status
from connections.services.plaid_exchange import public_token_exchange
from connections.services.plaid_items import credential_of, relink_completed
from sync.models import Transaction
from tests.conftest import Process, wait_until
from tests.factories import Person
from tests.plugin import HOME
from tests.sync.conftest import Bank

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass
class Ran:
    """One run of the command."""

    code: int
    out: str
    err: str
    report: dict[str, Any]

    @property
    def statuses(self) -> list[str]:
        return [row["status"] for row in self.report["rows"]]

    @property
    def reasons(self) -> list[str]:
        return [row["reason"] for row in self.report["rows"]]


@pytest.fixture
def made(simulator):
    """made(…) → an Item that another system linked: {item_id, access_token, account_ids}."""

    def make(**options) -> dict[str, Any]:
        asked = {"transactions": 10, "accounts": 2, "life": False, "webhook": "http://127.0.0.1:9/old"} | options
        return simulator.control("POST", "items", asked)

    return make


def exported(item: dict[str, Any], **fields) -> dict[str, Any]:
    return {"access_token": item["access_token"], "item_id": item["item_id"], "accounts": item["account_ids"]} | fields


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1))
    else:
        names = list(dict.fromkeys(name for row in rows for name in row)) or ["access_token"]
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(row | {"accounts": ";".join(row.get("accounts", []))} for row in rows)
    path.chmod(0o600)
    return path


@pytest.fixture
def run(alice, tmp_path, caplog):
    """run(rows, "--dry-run", …) → what it did. No token is in whatever it said."""
    caplog.set_level(logging.DEBUG)

    def call(rows: list[dict[str, Any]], *options: str, form: str = "json") -> Ran:
        path = write(tmp_path / f"export.{form}", rows)
        return of_file(path, *options, tokens=[str(row.get("access_token")) for row in rows])

    def of_file(path: Path, *options: str, tokens: list[str]) -> Ran:
        out, err, code, report = io.StringIO(), io.StringIO(), 0, tmp_path / "report.json"
        report.unlink(missing_ok=True)
        given = ["--file", str(path), "--workspace", "acme", "--owner", "alice", "--report", str(report), *options]
        try:
            call_command("import_plaid", *given, stdout=out, stderr=err)
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        said = out.getvalue() + err.getvalue() + report.read_text() + caplog.text
        assert not [token for token in tokens if len(token) > 20 and token in said]
        assert report.stat().st_mode & 0o777 == 0o600
        return Ran(code, out.getvalue(), err.getvalue(), json.loads(report.read_text()))

    call.of_file = of_file
    return call


def counts() -> dict[str, int]:
    return {model._meta.label: model._default_manager.count() for model in apps.get_models() if model._meta.managed}


def bank_of(simulator, item: dict[str, Any]) -> Bank:
    connection = Connection.objects.get(plaid_item__item_id=item["item_id"])
    return Bank(connection, simulator, item["item_id"], item["account_ids"])


def cursor_after(simulator, item: dict[str, Any]) -> str:
    """Read the Item to its end as the other system did."""
    from connections.providers.plaid.client import PlaidClient

    cursor, has_more = "", True
    while has_more:
        page = PlaidClient("sandbox", item_key=item["item_id"]).transactions_sync(item["access_token"], cursor)
        cursor, has_more = page.next_position, page.has_more
    return cursor


# --- what comes over ---
@pytest.mark.parametrize("form", ["csv", "json"])
def test_an_item_comes_over_with_its_accounts_and_waits_for_its_first_sync(run, made, alice, form):
    item = made()
    ran = run([exported(item, reference="legacy-1")], form=form)
    assert (ran.code, ran.statuses) == (0, ["created"])
    found = PlaidItem.objects.get(item_id=item["item_id"])
    assert found.is_dirty
    assert (found.institution_id, found.cursor, found.is_history_partial) == ("ins_109508", "", False)
    connection = found.connection
    assert (connection.status, connection.owner, connection.environment) == (Status.ACTIVE, alice.user, "sandbox")
    assert connection.name == "First Platypus Bank"
    assert credential_of(connection).reveal() == item["access_token"]
    mappings = PlaidItemAccount.objects.filter(item=found)
    assert {mapping.plaid_account_id for mapping in mappings} == set(item["account_ids"])
    assert set(Account.objects.values_list("status", flat=True)) == {"active"}
    (row,) = ran.report["rows"]
    assert (row["connection"], row["reference"]) == (str(connection.pk), "legacy-1")
    ours = {account["account_id"]: account["account"] for account in row["accounts"]["matched"]}
    assert ours == {mapping.plaid_account_id: str(mapping.account_id) for mapping in mappings}
    assert row["webhook"] == "elsewhere"


@pytest.mark.parametrize("own", [True, False])
def test_webhooks_of_what_came_over_are_moved_to_us_where_they_may(run, made, alice, simulator, settings, own):
    settings.PLAID_OWN_WEBHOOKS, settings.PUBLIC_URL = own, "http://127.0.0.1:9/new"
    item = made()
    dry = run([exported(item)], "--dry-run")
    assert dry.report["rows"][0]["webhook"] == "elsewhere"
    ran = run([exported(item)])
    told = "http://127.0.0.1:9/new/webhook/plaid" if own else "http://127.0.0.1:9/old"
    assert ran.report["rows"][0]["webhook"] == ("here" if own else "elsewhere")
    assert simulator.control("GET", f"items/{item['item_id']}")["webhook"] == told
    assert PlaidItem.objects.get().webhook_url == told
    before = len(simulator.control("GET", f"log?item_id={item['item_id']}")["requests"])
    assert run([exported(item)]).statuses == ["unchanged"]
    assert len(simulator.control("GET", f"log?item_id={item['item_id']}")["requests"]) == before


def test_what_came_over_is_told_and_on_record(run, made, alice):
    item = made()
    ran = run([exported(item)])
    assert [event.type for event in DomainEvent.objects.order_by("sequence")] == [
        "ConnectionCreated",
        "ConnectionActivated",
    ]
    event = SecurityEvent.objects.get()
    assert (event.action, event.actor, event.workspace) == ("connection_imported", None, alice.workspace)
    assert event.correlation_id == ran.report["correlation_id"] != ""
    assert event.details == {
        "change": "created",
        "environment": "sandbox",
        "item_id": item["item_id"],
        "is_from_cursor": False,
    }


def test_it_is_synced_by_the_ordinary_path(run, made, simulator):
    item = made()
    run([exported(item)])
    bank = bank_of(simulator, item)
    assert bank.turn() == "synced"
    bank.assert_equal_to_source()
    assert bank.item.details_at


def test_a_token_alone_is_enough(run, made):
    item = made()
    assert run([{"access_token": item["access_token"]}]).statuses == ["created"]
    assert PlaidItem.objects.get().item_id == item["item_id"]
    assert run([{"access_token": item["access_token"]}]).statuses == ["unchanged"]


# --- dry run ---
@pytest.mark.parametrize("options", [["--dry-run"], ["--dry-run", "--offline"]])
def test_a_dry_run_says_what_would_happen_and_changes_nothing(run, made, options):
    item, other = made(), made(institution_id="ins_910002")
    run([exported(item)])
    before = counts()
    ran = run([exported(item), exported(other), exported(other) | {"access_token": "access-sandbox-x"}], *options)
    assert counts() == before
    assert (ran.code, ran.statuses) == (1, ["unchanged", "created", "refused"])
    assert ran.report["is_dry_run"] is True
    assert "would be created" in ran.out
    assert "Nothing was changed." in ran.out
    assert ran.report["rows"][1]["accounts"]["is_checked"] is ("--offline" not in options)


def test_a_dry_run_offline_asks_nobody(run, made, simulator):
    item = made()
    run([exported(item)], "--dry-run", "--offline")
    assert simulator.control("GET", "log")["requests"] == []


def test_a_dry_run_asks_only_what_changes_nothing_at_plaid(run, made, simulator):
    run([exported(made())], "--dry-run")
    asked = [request["path"] for request in simulator.control("GET", "log")["requests"]]
    assert asked == ["/item/get", "/accounts/get"]


def test_nothing_is_written_without_asking(run):
    with pytest.raises(CommandError, match="--offline goes with --dry-run only"):
        run([], "--offline")


# --- again ---
def test_the_second_run_changes_and_asks_nothing(run, made, simulator):
    rows = [exported(made()), exported(made(institution_id="ins_910002"))]
    assert run(rows).statuses == ["created", "created"]
    before, asked = counts(), len(simulator.control("GET", "log")["requests"])
    ran = run(rows)
    assert (ran.code, ran.statuses) == (0, ["unchanged", "unchanged"])
    assert counts() == before
    assert len(simulator.control("GET", "log")["requests"]) == asked
    assert [row["accounts"]["found"] for row in ran.report["rows"]] == [2, 2]


def test_another_token_of_an_item_that_is_here_is_taken_only_where_asked_for(run, made, simulator):
    item = made()
    run([exported(item)])
    old = item["access_token"]
    status, answer = rotate(simulator, old)
    assert status == 200
    row = exported(item, access_token=answer["new_access_token"])
    assert run([row]).reasons == ["other_token"]
    assert credential_of(Connection.objects.get()).reveal() == old
    assert run([row], "--update-tokens", "--dry-run").statuses == ["token_updated"]
    assert credential_of(Connection.objects.get()).reveal() == old
    assert run([row], "--update-tokens").statuses == ["token_updated"]
    assert credential_of(Connection.objects.get()).reveal() == row["access_token"]
    assert run([row], "--update-tokens").statuses == ["unchanged"]
    assert SecurityEvent.objects.filter(details__change="token_updated").count() == 1
    assert bank_of(simulator, item).turn() == "synced"


def test_a_token_that_plaid_does_not_take_replaces_none(run, made, simulator):
    item = made()
    run([exported(item)])
    ran = run([exported(item, access_token="access-sandbox-0000-nobody")], "--update-tokens")
    assert (ran.code, ran.statuses, ran.reasons) == (1, ["refused"], ["bank_token_refused"])
    assert credential_of(Connection.objects.get()).reveal() == item["access_token"]


def test_a_new_token_ends_the_troubles_of_the_old_one(run, made, simulator):
    item = made()
    run([exported(item)])
    _, answer = rotate(simulator, item["access_token"])
    bank = bank_of(simulator, item)
    assert bank.turn() == "failed"
    assert run([exported(item, access_token=answer["new_access_token"])], "--update-tokens").code == 0
    assert Connection.objects.get().status == Status.ACTIVE
    assert bank.turn() == "synced"


def rotate(simulator, token: str) -> tuple[int, Any]:
    import httpx

    keys = {"PLAID-CLIENT-ID": "test-client-id", "PLAID-SECRET": "test-plaid-secret"}
    url = f"{simulator.url}/plaid/item/access_token/invalidate"
    response = httpx.post(url, json={"access_token": token}, headers=keys)
    return response.status_code, response.json()


# --- cursors ---
def test_after_a_given_cursor_only_the_news_arrives(run, made, simulator):
    item = made()
    cursor = cursor_after(simulator, item)
    ran = run([exported(item, cursor=cursor)])
    assert ran.report["rows"][0]["history"] == "from_cursor"
    bank = bank_of(simulator, item)
    assert bank.item.is_history_partial
    news = bank.add(name="News")
    assert bank.turn() == "synced"
    assert set(Transaction.objects.values_list("external_id", flat=True)) == {news}
    assert bank.item.is_history_partial
    assert run([exported(item, cursor=cursor)]).statuses == ["unchanged"]


def test_a_replay_brings_the_history_before_the_cursor(run, made, simulator):
    item = made()
    row = exported(item, cursor=cursor_after(simulator, item))
    run([row])
    bank = bank_of(simulator, item)
    bank.add(name="News")
    bank.turn()
    assert run([row], "--replay", "--dry-run").statuses == ["replayed"]
    ran = run([row], "--replay")
    assert (ran.statuses, ran.report["rows"][0]["history"]) == (["replayed"], "from_start")
    assert run([row], "--replay").statuses == ["unchanged"]  # under way
    assert bank.turn() == "synced"
    bank.assert_equal_to_source()
    assert Transaction.objects.count() == 11
    assert not bank.item.is_history_partial
    assert run([row], "--replay").statuses == ["unchanged"]


def test_with_replay_a_given_cursor_is_left_aside(run, made, simulator):
    item = made()
    run([exported(item, cursor=cursor_after(simulator, item))], "--replay")
    bank = bank_of(simulator, item)
    assert (bank.item.cursor, bank.item.is_history_partial) == ("", False)
    bank.turn()
    bank.assert_equal_to_source()


def test_a_sync_under_way_cannot_end_a_replay_before_it_begins(run, made, simulator):
    from sync import leases

    item = made()
    row = exported(item, cursor=cursor_after(simulator, item))
    run([row])
    held = leases.claim(PlaidItem.objects.get().pk)
    assert held
    run([row], "--replay")
    with pytest.raises(leases.LeaseLost):
        leases.fence(held, "cursor = 'later', ")
    bank = bank_of(simulator, item)
    assert bank.turn() == "synced"
    bank.assert_equal_to_source()


def test_a_cursor_that_plaid_disowns_ends_in_the_whole_history(run, made, simulator):
    item = made()
    cursor = cursor_after(simulator, item)
    simulator.control("POST", f"items/{item['item_id']}/state", {"disown_cursors": True})
    run([exported(item, cursor=cursor)])
    bank = bank_of(simulator, item)
    assert bank.turn() == "synced"
    bank.assert_equal_to_source()
    assert not bank.item.is_history_partial


# --- troubled logins ---
def test_a_login_that_is_broken_comes_over_as_one_that_needs_its_owner(run, made, simulator):
    item = made()
    simulator.control("POST", f"items/{item['item_id']}/state", {"login_required": True})
    ran = run([exported(item)])
    assert (ran.code, ran.statuses, ran.reasons) == (0, ["created"], ["bank_sign_in_required"])
    assert ran.report["rows"][0]["connection_status"] == "needs_reauth"
    assert ran.report["rows"][0]["accounts"]["is_checked"] is False
    assert ran.report["totals"]["items_with_accounts_unchecked"] == 1
    bank = bank_of(simulator, item)
    assert bank.connection.status == Status.NEEDS_REAUTH
    assert bank.item.reauth_needed_at
    assert PlaidItemAccount.objects.count() == 2
    assert DomainEvent.objects.filter(type="ReauthRequired").count() == 1


def test_a_bank_that_is_away_does_not_keep_its_items_from_coming(run, made, simulator):
    item = made()
    refuse(simulator, "/accounts/get", "INSTITUTION_ERROR", "INSTITUTION_DOWN")
    ran = run([exported(item)])
    assert (ran.code, ran.statuses) == (0, ["created"])
    assert ran.report["rows"][0]["accounts"]["is_checked"] is False
    assert bank_of(simulator, item).turn() == "synced"


def test_an_item_that_was_removed_at_plaid_is_refused(run, made, simulator):
    item = made()
    import httpx

    keys = {"PLAID-CLIENT-ID": "test-client-id", "PLAID-SECRET": "test-plaid-secret"}
    httpx.post(f"{simulator.url}/plaid/item/remove", json={"access_token": item["access_token"]}, headers=keys)
    ran = run([exported(item)])
    assert (ran.code, ran.statuses, ran.reasons) == (1, ["refused"], ["bank_revoked"])
    assert not Connection.objects.exists()


def refuse(simulator, path: str, kind: str, code: str, *, status: int = 400, times: int = 1, skip: int = 0) -> None:
    fault = {"path": path, "kind": "error", "status": status, "error_type": kind, "error_code": code}
    simulator.control("POST", "faults", fault | {"times": times, "skip": skip})


# --- completeness ---
def test_the_report_names_the_accounts_that_one_side_does_not_have(run, made):
    item = made()
    shared, unlisted = item["account_ids"]
    gone = {"account_id": "closed-long-ago", "name": "Old savings", "reference": "77"}
    ran = run([exported(item, accounts=[shared, gone])])
    accounts = ran.report["rows"][0]["accounts"]
    assert (accounts["in_export"], accounts["found"]) == (2, 2)
    assert [account["account_id"] for account in accounts["matched"]] == [shared]
    assert (accounts["missing"], accounts["unlisted"]) == ([gone], [unlisted])
    assert ran.report["totals"]["accounts"] == {
        "in_export": 2,
        "found": 2,
        "matched": 1,
        "missing": 1,
        "unlisted": 1,
    }
    assert "1 of the export not at the bank, 1 at the bank not in the export" in ran.out
    assert run([exported(item, accounts=[shared, gone])]).report["rows"][0]["accounts"]["missing"] == [gone]


# --- rows that are wrong ---
def test_each_bad_row_is_refused_by_name_and_the_others_come(run, made, charlie, vera):
    good, foreign, *others = (made(institution_id=f"ins_91000{number}") for number in range(1, 8))
    public_token_exchange(
        user=charlie.user,
        workspace_id=charlie.workspace.pk,
        public_token=foreign["public_token"],
        environment="sandbox",
    )
    rows = [
        exported(good) | {"access_token": ""},
        exported(others[0], environment="production"),
        exported(others[0], workspace="nowhere"),
        exported(others[1], owner="charlie"),
        exported(others[2], owner="vera"),
        exported(foreign),
        exported(good),
        exported(good),
        exported(others[3]) | {"access_token": "access-sandbox-1-2"} | {"item_id": good["item_id"]},
        exported(others[4], item_id="another"),
    ]
    ran = run(rows)
    assert ran.code == 1
    assert ran.reasons == [
        "invalid_row",
        "invalid_row",
        "unknown_workspace",
        "unknown_owner",
        "owner_may_not_link",
        "item_of_another_workspace",
        "",
        "twice_in_file",
        "twice_in_file",
        "item_id_differs",
    ]
    assert ran.statuses.count("created") == 1
    assert ran.err.count("refused") == 9
    assert Connection.objects.filter(owner__username="alice").count() == 1
    assert PlaidItem.objects.get(item_id=foreign["item_id"]).workspace == charlie.workspace


def test_an_item_that_was_disconnected_here_does_not_come_back(run, made):
    item = made()
    run([exported(item)])
    PlaidItem.objects.update(removed_at=timezone.now())
    Connection.objects.update(status=Status.DISCONNECTED)
    assert run([exported(item)]).reasons == ["item_removed"]


def test_an_item_that_a_relink_replaced_here_does_not_come_back(run, made, simulator, alice):
    item, newer = made(), made()
    run([exported(item)])
    public_token_exchange(
        user=alice.user,
        workspace_id=alice.workspace.pk,
        public_token=newer["public_token"],
        environment="sandbox",
        connection=Connection.objects.get(),
    )
    assert run([exported(item)]).reasons == ["item_removed"]


def test_an_item_of_somebody_else_in_the_workspace_stays_theirs(run, made, dave):
    item = made()
    run([exported(item, owner="dave")])
    assert run([exported(item)], "--update-tokens").reasons == ["item_of_another_person"]
    assert Connection.objects.get().owner == dave.user


def test_a_token_that_is_being_replaced_here_is_left_alone(run, made, simulator, alice):
    item = made()
    run([exported(item)])
    _, answer = rotate(simulator, item["access_token"])
    rotation = PlaidTokenRotation.objects.create(
        workspace=alice.workspace,
        connection=Connection.objects.get(),
        item_id=item["item_id"],
        lease_token=uuid7(),
    )
    row = exported(item, access_token=answer["new_access_token"])
    assert run([row], "--update-tokens").reasons == ["conflict"]
    assert credential_of(Connection.objects.get()).reveal() == item["access_token"]
    rotation.delete()
    assert run([row], "--update-tokens").statuses == ["token_updated"]


def test_a_login_whose_accounts_are_here_under_another_item_comes_only_where_asked_for(run, made, simulator):
    first, second = made(seed=7), made(seed=7)
    rename = {"account_id": "", "keep_id": True}
    for item in (first, second):
        for account, name in zip(item["account_ids"], ("Everyday", "Rainy days"), strict=True):
            change = {"rename_account": rename | {"account_id": account, "name": name}}
            simulator.control("POST", f"items/{item['item_id']}/state", change)
    ran = run([exported(first), exported(second)], "--dry-run")
    assert (ran.statuses, ran.reasons) == (["created", "refused"], ["", "duplicate_login"])
    ran = run([exported(first), exported(second)])
    assert (ran.statuses, ran.reasons) == (["created", "refused"], ["", "duplicate_login"])
    masks = set(Account.objects.values_list("name", "mask"))
    ran = run([exported(second)])
    assert ran.reasons == ["duplicate_login"]
    assert run([exported(second)], "--allow-duplicates").statuses == ["created"]
    assert set(Account.objects.values_list("name", "mask")) == masks


def test_others_than_the_owner_who_may_read_the_file_are_warned_of(run, made, tmp_path):
    item = made()
    path = write(tmp_path / "open.json", [exported(item)])
    path.chmod(0o640)
    assert "chmod 600" in run.of_file(path, "--dry-run", tokens=[item["access_token"]]).err
    path.chmod(0o600)
    assert "chmod 600" not in run.of_file(path, "--dry-run", tokens=[item["access_token"]]).err


def test_a_file_that_is_cut_off_does_not_look_complete(run, made, tmp_path):
    item = made()
    path = write(tmp_path / "cut.json", [exported(item), exported(made())])
    path.write_text(path.read_text()[:-40])
    ran = run.of_file(path, tokens=[item["access_token"]])
    assert (ran.code, ran.statuses) == (1, ["created", "refused"])
    assert "the rest of the file was not read" in ran.err


def test_a_report_does_not_take_the_exports_place(alice, tmp_path):
    path = write(tmp_path / "export.json", [])
    with pytest.raises(CommandError, match="name another file"):
        call_command("import_plaid", "--file", str(path), "--report", str(path))
    assert path.read_text() == "[]"


def test_a_login_that_is_repaired_later_shows_the_banks_accounts(run, made, simulator):
    item = made()
    simulator.control("POST", f"items/{item['item_id']}/state", {"login_required": True})
    shared, _ = item["account_ids"]
    run([exported(item, accounts=[shared, {"account_id": "gone", "name": "Old"}])])
    simulator.control("POST", f"items/{item['item_id']}/state", {"login_required": False})
    bank = bank_of(simulator, item)
    relink_completed(connection=bank.connection)
    assert bank.turn() == "synced"
    bank.assert_equal_to_source()
    found = PlaidItemAccount.objects.values_list("plaid_account_id", "account__status", "account__name")
    assert {(external_id, status) for external_id, status, _ in found} == {
        ("gone", "missing"),
        *((external_id, "active") for external_id in item["account_ids"]),
    }
    assert "Old" in {name for *_, name in found}


@pytest.mark.parametrize("name", ["absent.json", "report"])
def test_a_file_that_cannot_be_read_is_said_so(tmp_path, alice, name):
    with pytest.raises(CommandError, match=r"No such file|neither \.csv nor \.json"):
        call_command("import_plaid", "--file", str(tmp_path / name))


# --- Plaid's troubles ---
def test_a_rate_is_waited_for(run, made, simulator):
    fault = {"path": "/item/get", "kind": "html", "status": 429}
    simulator.control("POST", "faults", fault)
    assert run([exported(made())]).statuses == ["created"]


def test_a_row_that_plaid_did_not_answer_may_be_tried_again(run, made, simulator):
    rows = [exported(made()), exported(made(institution_id="ins_910002"))]
    simulator.control("POST", "faults", {"path": "/item/get", "kind": "reset", "times": 3})
    ran = run(rows)
    assert (ran.code, ran.statuses) == (1, ["failed", "created"])
    assert run(rows).statuses == ["created", "unchanged"]


def test_an_import_that_nobody_answers_stops(run, made, simulator):
    rows = [exported(made(institution_id=f"ins_91000{number}")) for number in range(1, 8)]
    simulator.control("POST", "faults", {"path": "*", "kind": "reset", "times": 100})
    ran = run(rows)
    assert (ran.code, ran.statuses) == (1, ["failed"] * 5)
    assert "line" in ran.report["stopped"]
    assert "Nothing after it was tried" in ran.err


def test_keys_that_plaid_refuses_stop_the_import(run, made, simulator):
    rows = [exported(made()), exported(made())]
    refuse(simulator, "/item/get", "INVALID_INPUT", "INVALID_API_KEYS")
    ran = run(rows)
    assert (ran.code, ran.statuses) == (1, [])
    assert not Connection.objects.exists()
    assert ProviderPause.objects.get().code == "provider_misconfigured"


def test_while_work_at_plaid_rests_nothing_is_asked(run, made, simulator):
    ProviderPause.objects.create(provider="plaid", environment="sandbox", code="provider_misconfigured")
    ran = run([exported(made())])
    assert (ran.code, ran.statuses) == (1, [])
    assert simulator.control("GET", "log")["requests"] == []


# --- all or nothing, and twice at once ---
def test_a_row_that_cannot_be_written_whole_is_not_written(run, made, owner_connection):
    """The database refuses the last of a row's inserts."""
    before = counts()
    owner_connection.execute(
        "CREATE FUNCTION refuse_insert() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN RAISE EXCEPTION 'no more room'; END$$"
    )
    owner_connection.execute(
        "CREATE TRIGGER refuse_insert BEFORE INSERT ON connections_securityevent "
        "FOR EACH ROW EXECUTE FUNCTION refuse_insert()"
    )
    try:
        with pytest.raises(CommandError, match="no more room"):
            run([exported(made())])
    finally:
        owner_connection.execute("DROP FUNCTION refuse_insert CASCADE")
    assert counts() == before


def test_two_imports_at_once_make_every_item_once(made, alice, simulator, tmp_path):
    rows = [exported(made(institution_id=f"ins_91000{number}")) for number in range(1, 8)]
    path = write(tmp_path / "export.json", rows)
    outs = [io.StringIO(), io.StringIO()]
    start, errors = threading.Barrier(2), []

    def work(out: io.StringIO) -> None:
        try:
            start.wait(10)
            call_command("import_plaid", "--file", str(path), "--workspace", "acme", "--owner", "alice", stdout=out)
        except BaseException as error:  # noqa: BLE001 - judged below
            errors.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=work, args=[out]) for out in outs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert PlaidItem.objects.count() == Connection.objects.count() == Credential.objects.count() == len(rows)
    assert sum(out.getvalue().count(": created") for out in outs) == len(rows)
    assert sum(out.getvalue().count("unchanged") for out in outs) >= len(rows)
    assert SecurityEvent.objects.count() == len(rows)


def test_an_item_that_somebody_else_is_just_importing_is_theirs(made, alice, dave, tmp_path):
    item = made()
    path = write(tmp_path / "export.json", [exported(item)])
    out, codes = io.StringIO(), []

    def work() -> None:
        try:
            given = ["--file", str(path), "--workspace", "acme", "--owner", "alice"]
            call_command("import_plaid", *given, stdout=out, stderr=io.StringIO())
        except SystemExit as exit_:
            codes.append(exit_.code)
        finally:
            database.close()

    thread = threading.Thread(target=work)
    with transaction.atomic():
        theirs = make_bank(dave, item_id=item["item_id"])
        thread.start()
        assert wait_until(is_somebody_waiting, 20)
    thread.join(30)
    assert (codes, "item_of_another_person" in out.getvalue()) == ([1], True)
    assert Connection.objects.get() == theirs


def is_somebody_waiting() -> bool:
    with database.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE NOT granted AND datname = current_database()"
        )
        return cursor.fetchone()[0] > 0


def make_bank(person: Person, *, item_id: str) -> Connection:
    facts = {"provider": "plaid", "name": "Bank", "status": Status.ACTIVE, "environment": "sandbox"}
    connection = Connection.objects.create(workspace=person.workspace, owner=person.user, **facts)
    PlaidItem.objects.create(workspace=person.workspace, connection=connection, item_id=item_id)
    return connection


def test_an_import_that_was_killed_is_run_again(run, made, simulator, tmp_path):
    rows = [exported(made(institution_id=f"ins_91000{number}")) for number in range(1, 8)]
    path = write(tmp_path / "export.csv", rows)
    simulator.control("POST", "faults", {"path": "*", "kind": "latency", "seconds": 0.2, "times": 100})
    command = ["manage", "import_plaid", "--file", str(path), "--workspace", "acme", "--owner", "alice"]
    report = tmp_path / "killed.json"
    process = Process("import", [*command, "--report", str(report)], HOME / "logs" / "import-killed.log")
    try:
        process.wait_until(lambda: PlaidItem.objects.count() >= 2)
    finally:
        process.kill()
    came = PlaidItem.objects.count()
    assert 2 <= came < len(rows)
    assert Connection.objects.count() == Credential.objects.count() == SecurityEvent.objects.count() == came
    assert PlaidItemAccount.objects.count() == 2 * came
    assert not report.exists()
    assert not [row for row in rows if row["access_token"] in process.output()]
    simulator.control("DELETE", "faults")
    ran = run(rows, form="csv")
    assert ran.statuses == ["unchanged"] * came + ["created"] * (len(rows) - came)
    assert wait_until(lambda: PlaidItem.objects.count() == len(rows), 5)
