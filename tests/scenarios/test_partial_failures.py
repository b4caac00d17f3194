"""Partial failures"""

import json

import pytest
from django.test import Client

from connections.models import Connection, ProviderPause
from sync.models import SyncFailure

DOWN = {"kind": "html", "status": 503, "path": "*"}


def bad(bank, transaction_id: str, **wrong) -> dict:
    """A record that cannot be stored; sent again without `wrong` it can."""
    sound = {"account_id": bank.account_ids[0], "amount": 7.25, "date": "2026-11-02", "name": "Odd", "pending": False}
    fields = sound | {"transaction_id": transaction_id, "iso_currency_code": "USD"} | wrong
    return {"op": "raw_fragment", "transaction_id": transaction_id, "json": json.dumps(fields)}


def open_failures() -> list[tuple[str, str]]:
    return list(SyncFailure.objects.filter(resolved_at=None).order_by("id").values_list("external_id", "reason"))


@pytest.fixture
def banks(town, alice, dave):
    """Alice has two banks, Dave one; his is at the same institution as her first."""
    hers = town.at_api(alice)
    made = [town.link(hers), town.link(hers, institution_id="ins_910002")]
    return [*made, town.link(town.at_api(dave))]


def test_records_that_cannot_be_stored_make_a_partial_run_of_their_bank_only(town, banks):
    """The rest of the page is here, the run says partial and balances, the records are set aside with their reasons."""
    odd, *others = banks
    odd.ops(
        bad(odd, "no-date", date=None), bad(odd, "nul", name="a\0b"), {"op": "add", "transaction": {"name": "Fine"}}
    )
    for bank in banks:
        bank.news()
    assert town.work() == ["synced"] * 3
    run = odd.runs[0]
    assert (run["status"], run["records_fetched"], run["records_created"], run["records_failed"]) == (
        "partial",
        4,
        2,
        2,
    )
    assert (run["ledger_balanced"], run["errors"][0]["code"]) == (True, "record_rejected")
    assert set(open_failures()) == {("no-date", "date is not a date"), ("nul", "a text holds a NUL character")}
    assert odd.is_current
    assert odd.status == "active"
    assert {bank.runs[0]["status"] for bank in others} == {"succeeded"}
    assert odd.owner.get("integrations/health")["failed_records_open"] == 2


def test_set_aside_records_are_listed_for_operations_staff(town, banks, bob):
    """The console lists them as open, with the record and the reason."""
    odd = banks[0]
    odd.ops(bad(odd, "no-date", date=None))
    odd.refresh()
    town.work()
    bob.user.is_superuser = True
    bob.user.save()
    client = Client()
    client.force_login(bob.user)
    page = client.get("/admin/sync/syncfailure/").content.decode()
    assert "no-date" in page
    assert "date is not a date" in page


def test_a_record_that_arrives_whole_settles_its_failure(town, banks):
    """The source mends it: the transaction is here, the failure resolved, nobody had to act."""
    odd = banks[0]
    odd.ops(bad(odd, "mended", date=None))
    odd.refresh()
    town.work()
    odd.ops(bad(odd, "mended"))
    odd.refresh()
    assert town.work() == ["synced"]
    assert odd.runs[0]["status"] == "succeeded"
    assert odd.transactions()["mended"]["amount"] == "7.25"
    assert open_failures() == []
    assert SyncFailure.objects.get().resolution == "arrived whole"


def test_a_record_that_the_source_takes_back_settles_its_failure(town, banks):
    """It was never stored and does not exist any more: nothing is left that anybody could mend."""
    odd = banks[0]
    odd.ops(bad(odd, "withdrawn", date=None))
    odd.refresh()
    town.work()
    assert [name for name, _ in open_failures()] == ["withdrawn"]
    odd.ops({"op": "remove", "transaction_id": "withdrawn"})
    odd.refresh()
    assert town.work() == ["synced"]
    assert odd.runs[0]["records_skipped"] == 1
    assert open_failures() == []
    assert SyncFailure.objects.get().resolution == "removed at the source"


def test_one_institution_that_is_down_stops_its_banks_and_no_others(town, banks):
    """Both logins at that institution wait with the reason, nobody is asked to act, and both catch up when it is back."""
    hers, other, his = banks
    for bank in (hers, his):
        bank.is_down(times=2)
    for bank in banks:
        bank.news()
    assert sorted(town.work()) == ["failed", "failed", "synced"]
    assert other.is_current
    assert [bank.error for bank in banks] == ["bank_unavailable", "", "bank_unavailable"]
    town.retry_now()
    assert town.work() == ["failed", "failed"]
    town.retry_now()
    assert town.work() == ["synced", "synced"]
    assert all(bank.is_current and bank.status == "active" and not bank.error for bank in banks)


def test_plaid_away_delays_every_bank_and_loses_nothing(town, banks):
    """Everybody's sync fails, rows stay, webhooks are still taken, and every bank comes back by itself."""
    before = [bank.transactions() for bank in banks]
    town.simulator.control("POST", "faults", DOWN | {"times": 1000})
    for bank in banks:
        bank.news()
    assert town.work() == ["failed"] * 3
    assert [bank.transactions() for bank in banks] == before
    assert {bank.error for bank in banks} == {"provider_unavailable"}
    assert banks[0].owner.refused("POST", "plaid/link-token", {}) == (503, "provider_unavailable")
    town.simulator.control("DELETE", "faults")
    town.retry_now()
    assert town.work() == ["synced"] * 3
    assert all(bank.is_current for bank in banks)


def test_refused_keys_fail_nobody(town, banks):
    """Wrong keys of this installation: everybody rests, no connection changes, a refresh says who has to act."""
    refused = {"kind": "error", "status": 400, "error_type": "INVALID_INPUT", "error_code": "INVALID_API_KEYS"}
    town.simulator.control("POST", "faults", refused | {"path": "*", "times": 1000})
    for bank in banks:
        bank.add()
        bank.refresh()
    town.work()
    assert {bank.status for bank in banks} == {"active"}
    assert {bank.error for bank in banks} == {""}
    assert banks[0].owner.refused("POST", f"{banks[0].path}/refresh", {}) == (503, "provider_misconfigured")
    town.simulator.control("DELETE", "faults")
    town.retry_now()
    assert town.work() == []
    ProviderPause.objects.update(next_probe_at="2000-01-01T00:00:00Z")
    assert town.job("safety-net")["providers_resumed"] == 1
    assert town.work() == ["synced"] * 3
    assert all(bank.is_current for bank in banks)


def test_an_update_that_breaks_in_its_middle_leaves_no_half(town, alice):
    """Page two of three fails: none of the update shows, the other bank is read, and the next try brings all of it."""
    me = town.at_api(alice)
    large, small = town.link(me, transactions=30), town.link(me, institution_id="ins_910002")
    before = large.transactions()
    large.ops(*({"op": "add", "transaction": {"name": f"Row {n}"}} for n in range(1_200)))
    large.fault("error", skip=1, times=2, status=500, error_type="API_ERROR", error_code="INTERNAL_SERVER_ERROR")
    large.refresh()
    small.news()
    assert sorted(town.work()) == ["failed", "synced"]
    assert (large.transactions(), small.is_current) == (before, True)
    large.simulator.control("DELETE", "faults")
    town.retry_now()
    assert town.work() == ["synced"]
    assert large.is_current
    assert len(large.truth) == 1_230


def test_a_removal_that_plaid_refuses_ends_one_bank_late_and_the_other_at_once(town, banks):
    """It is never reported gone while it is still billed; the error and the next try are shown."""
    stuck, quick, _his = banks
    stuck.fault("error", "/item/remove", status=500, error_type="API_ERROR", error_code="INTERNAL_SERVER_ERROR")
    for bank in (stuck, quick):
        bank.disconnect()
    town.job("cleanup")
    assert (quick.status, stuck.status, stuck.is_removed) == ("disconnected", "disconnecting", False)
    assert stuck.shown["next_attempt_at"]
    assert stuck.error
    Connection.objects.get(pk=stuck.id).retired_items.update(next_attempt_at="2000-01-01T00:00:00Z")
    assert town.job("cleanup")["items_removed"] == 1
    assert (stuck.status, stuck.is_removed, stuck.error) == ("disconnected", True, "")
