"""Companies that live, and a process that forgets nothing."""

from __future__ import annotations

import signal

import pytest

from .conftest import Receiver, Simulator
from .quickbooks import Company, QuickBooks

ENTITIES = ("Customer", "Vendor", "Item", "Invoice", "SalesReceipt", "Payment", "Bill")


def facts(books: Company) -> dict:
    return {entity: books.truth(entity) for entity in ENTITIES}


def test_books_tokens_and_replays_survive_kills(own_simulator: Simulator):
    provider = QuickBooks(own_simulator.origin)
    provider.control("limits", enabled=False)
    books = provider.company(preset="gb_vat", seed=3)
    made = books.post("customer", {"DisplayName": "Before"}, requestid="r-1").content
    receipt = books.made("SalesReceipt", books.sale(10, code="2"))
    books.made("SalesReceipt", {"Id": receipt["Id"], "SyncToken": "0"}, operation="delete")
    items = [{"bId": str(one), "operation": "create", "PaymentMethod": {"Name": f"Way {one}"}} for one in range(3)]
    batch = books.post("batch", {"BatchItemRequest": items}, requestid="r-2").content
    provider.control(f"companies/{books.realm}/advance", steps=20)
    books.prefer("AccountingInfoPrefs", BookCloseDate="2026-01-31")
    before, deleted = facts(books), books.get("cdc", entities="SalesReceipt", changedSince="2026-11-01").json()
    provider.http.close()
    own_simulator.stop(signal.SIGKILL)
    with (own_simulator.home / "simulators" / "quickbooks.jsonl").open("ab") as journal:
        journal.write(b'{"e":"write","realm":"torn')

    own_simulator.start()

    books.provider = again = QuickBooks(own_simulator.origin)
    again.control("limits", enabled=False)
    assert facts(books) == before
    assert books.post("customer", {"DisplayName": "Other"}, requestid="r-1").content == made
    assert books.post("batch", {"BatchItemRequest": items}, requestid="r-2").content == batch
    now = books.get("cdc", entities="SalesReceipt", changedSince="2026-11-01").json()
    assert now["CDCResponse"] == deleted["CDCResponse"]
    assert again.refresh(books.grant["refresh_token"]).status_code == 200
    assert books.refused("SalesReceipt", books.sale(1, code="2", TxnDate="2026-01-05")) == ["6210"]
    assert int(books.customer()["Id"]) > max(int(one) for one in before["Customer"])
    again.http.close()


def test_journal_is_private(own_simulator: Simulator):
    journal = own_simulator.home / "simulators" / "quickbooks.jsonl"
    assert journal.stat().st_mode & 0o077 == 0


def test_reset_brings_back_the_beginning(own_simulator: Simulator):
    provider = QuickBooks(own_simulator.origin)
    provider.control("limits", enabled=False)
    provider.company()
    Company(provider, "9341450000000001").customer(DisplayName="Gone")
    provider.control("reset")
    shown = provider.control("seed", "GET")
    assert [one["country"] for one in shown["companies"]] == ["US", "GB", "CA", "US", "US"]
    provider.control("limits", enabled=False)
    fresh = Company(provider, "9341450000000001")
    assert fresh.ids("SELECT * FROM Customer WHERE DisplayName = 'Gone'") == []
    provider.http.close()


@pytest.mark.parametrize("preset", ["us_ast", "us_manual", "gb_vat", "ca_multi"])
def test_life_keeps_books_that_add_up_and_is_the_same_again(quickbooks: QuickBooks, preset: str):
    books = quickbooks.company(preset=preset, seed=11)
    done = quickbooks.control(f"companies/{books.realm}/advance", steps=120)["done"]
    assert len(done) == 120
    assert {one.split("/")[0] for one in done} == set(ENTITIES)
    bills = books.truth("Bill").values()
    assert any(one["Balance"] == 0 and one["LinkedTxn"] for one in bills)
    owed: dict[str, float] = {}
    for invoice in books.truth("Invoice").values():
        owner = invoice["CustomerRef"]["value"]
        owed[owner] = owed.get(owner, 0) + invoice["Balance"]
    for customer in books.truth("Customer").values():
        assert customer["Balance"] == pytest.approx(owed.get(customer["Id"], 0))


def test_same_seed_lives_the_same_life(own_simulator: Simulator):
    provider = QuickBooks(own_simulator.origin)
    provider.control("limits", enabled=False)
    lives = []
    for _turn in range(2):
        provider.control("reset")
        lives.append(provider.control("companies/9341450000000002/advance", steps=40)["done"])
    assert lives[0] == lives[1]
    provider.http.close()


def test_connected_company_lives_by_itself(tmp_path, receiver: Receiver):
    simulator = Simulator(tmp_path, "--life-interval-s", "0.2")
    try:
        provider = QuickBooks(simulator.origin)
        client_id = provider.control("seed", "GET")["client_ids"]["sandbox"]
        provider.control(f"apps/{client_id}", webhook_url=receiver.url)
        books = Company(provider, "9341450000000001")
        receiver.wait(1)
        assert books.provider.control(f"companies/{books.realm}", "GET")["ticks"] > 0
        assert provider.control("companies/9341450000000002", "GET")["ticks"] == 0, "nobody is connected to it"
        provider.http.close()
    finally:
        simulator.stop()
