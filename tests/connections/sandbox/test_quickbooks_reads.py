"""Queries, change data capture, batches: what a client reads, and how fast."""

from __future__ import annotations

import time

import pytest

from .quickbooks import Company, QuickBooks, codes


@pytest.fixture
def books(quickbooks: QuickBooks) -> Company:
    return quickbooks.company(customers=120, items=30, invoices=12)


# --- the query language ---


def test_pages_are_one_based_and_hold_a_hundred_unless_asked(books: Company):
    page = books.query("SELECT * FROM Customer")
    assert (len(page["Customer"]), page["startPosition"], page["maxResults"]) == (100, 1, 100)
    rest = books.query("select * from Customer startposition 101 maxresults 1000")
    assert (len(rest["Customer"]), rest["startPosition"], rest["maxResults"]) == (20, 101, 20)
    assert books.query("SELECT * FROM Customer STARTPOSITION 121") == {}
    assert books.query("SELECT COUNT(*) FROM Customer") == {"totalCount": 120}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM",
        "SELECT * FROM Customer WHERE",
        "SELECT * FROM Customer WHERE DisplayName = 'O'Hara'",
        "SELECT * FROM Customer WHERE DisplayName != 'a'",
        "SELECT * FROM Customer WHERE DisplayName = 'a' OR DisplayName = 'b'",
        "SELECT * FROM Customer WHERE DisplayName = unquoted",
        "SELECT * FROM Customer MAXRESULTS",
        "DELETE FROM Customer",
        "",
    ],
)
def test_broken_grammar_is_a_parse_error(books: Company, statement: str):
    assert books.query_refused(statement) == ["4000"]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM customer",
        "SELECT * FROM Unicorn",
        "SELECT * FROM Customer WHERE displayname = 'a'",
        "SELECT * FROM SalesReceipt WHERE PrivateNote = 'marker'",
        "SELECT * FROM Customer ORDERBY Notes",
        "SELECT * FROM Customer MAXRESULTS 1001",
        "SELECT * FROM Customer STARTPOSITION 0",
        "SELECT * FROM Customer WHERE MetaData.LastUpdatedTime > 'yesterday'",
        "SELECT * FROM Customer WHERE MetaData.LastUpdatedTime > '2026-11-01T00:00:00 08:00'",
    ],
)
def test_names_and_values_that_cannot_be_are_invalid(books: Company, statement: str):
    assert books.query_refused(statement) == ["4001"]


@pytest.mark.parametrize("name", ["O'Hara & Sons", "back\\slash", "quote\\'both", "100% Ümläut", "a,b (c)"])
def test_quotes_and_backslashes_are_escaped(books: Company, name: str):
    made = books.customer(DisplayName=name)
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    assert books.ids(f"SELECT * FROM Customer WHERE DisplayName = '{escaped}'") == [made["Id"]]
    assert books.ids(f"SELECT * FROM Customer WHERE DisplayName IN ('{escaped}', 'x')") == [made["Id"]]


def test_where_compares_and_combines(books: Company):
    assert books.ids("SELECT * FROM Customer WHERE PrimaryEmailAddr = 'customer7@example.com'") == ["7"]
    assert books.ids("SELECT * FROM Customer WHERE Id IN ('3', '1', '900')") == ["1", "3"]
    assert books.ids("SELECT * FROM Customer WHERE DisplayName LIKE '%Diaz' AND Id <= '3'") == ["1", "2", "3"]
    assert books.ids("SELECT * FROM Customer WHERE GivenName LIKE 'An_'") == []
    sku = books.query("SELECT *, Sku FROM Item WHERE Id = '4'")["Item"][0]["Sku"]
    assert books.ids(f"SELECT * FROM Item WHERE Sku = '{sku}'") == ["4"]
    open_ones = books.query("SELECT * FROM Invoice WHERE Balance > '0' ORDERBY TotalAmt DESC")["Invoice"]
    amounts = [one["TotalAmt"] for one in open_ones]
    assert len(amounts) == 6
    assert amounts == sorted(amounts, reverse=True)
    first = books.read("Invoice", "1")
    customer = first["CustomerRef"]["value"]
    statement = f"SELECT * FROM Invoice WHERE TxnDate = '{first['TxnDate']}' AND CustomerRef = '{customer}'"
    assert "1" in books.ids(statement)


def test_only_active_names_unless_asked(books: Company):
    books.made("Customer", {"Id": "5", "SyncToken": "0", "sparse": True, "Active": False})
    assert "5" not in books.ids("SELECT * FROM Customer WHERE Id IN ('4', '5')")
    assert books.ids("SELECT * FROM Customer WHERE Id IN ('4', '5') AND Active IN (true, false)") == ["4", "5"]
    assert books.ids("SELECT * FROM Customer WHERE Active = false") == ["5"]
    assert books.query("SELECT COUNT(*) FROM Customer")["totalCount"] == 119


def test_changes_are_found_by_time_in_order(books: Company):
    upper = books.get("preferences").json()["time"]
    made = books.customer()
    stamp = made["MetaData"]["LastUpdatedTime"]
    since = "SELECT * FROM Customer WHERE MetaData.LastUpdatedTime"
    assert books.ids(f"{since} >= '{stamp}' ORDERBY MetaData.LastUpdatedTime ASC") == [made["Id"]]
    assert books.ids(f"{since} > '{stamp}'") == []
    assert made["Id"] not in books.ids(f"{since} < '{stamp}' MAXRESULTS 1000")
    assert stamp[:19] >= upper[:19]
    page = books.query(f"{since} > '2026-01-01' ORDERBY MetaData.LastUpdatedTime MAXRESULTS 1000")["Customer"]
    times = [one["MetaData"]["LastUpdatedTime"] for one in page]
    assert len(page) == 121
    assert times == sorted(times)
    assert len(set(times)) < len(times), "several share a second, as in life"


def test_statement_may_be_posted_as_text(books: Company):
    text = {"Content-Type": "application/text"}
    answer = books.request("POST", "query", content="SELECT COUNT(*) FROM Item", headers=text)
    assert answer.json()["QueryResponse"] == {"totalCount": 30}
    assert codes(books.request("POST", "query", json={"q": 1})) == ["500"]


def test_single_objects_can_be_queried_and_read(books: Company):
    assert books.query("SELECT * FROM CompanyInfo")["CompanyInfo"][0]["Country"] == "US"
    assert books.query("SELECT * FROM Preferences")["Preferences"][0]["TaxPrefs"]["PartnerTaxEnabled"] is True
    assert books.get(f"companyinfo/{books.realm}").json()["CompanyInfo"]["CompanyName"]


def test_minor_version_and_accept_are_not_to_be_forgotten(books: Company):
    assert codes(books.get("preferences", minorversion=None)) == ["2020"]
    assert codes(books.get("preferences", minorversion="65")) == ["2170"]
    answer = books.request("GET", "preferences", headers={"Accept": "*/*"})
    assert answer.headers["content-type"] == "application/xml"
    assert b"<Preferences>" in answer.content


def test_hundred_thousand_objects_are_paged_without_reading_them_all(quickbooks: QuickBooks):
    books = quickbooks.company(customers=100_000, items=1, invoices=0, salesreceipts=0, payments=0, bills=0)
    last = books.query("SELECT * FROM Customer STARTPOSITION 99001 MAXRESULTS 1000")["Customer"]
    assert last[-1]["Id"] == "100000"
    since = last[0]["MetaData"]["LastUpdatedTime"]
    began = time.monotonic()
    for _turn in range(10):
        found = books.ids(
            f"SELECT * FROM Customer WHERE MetaData.LastUpdatedTime >= '{since}' "
            "ORDERBY MetaData.LastUpdatedTime MAXRESULTS 10"
        )
        books.ids("SELECT * FROM Customer WHERE PrimaryEmailAddr = 'customer77777@example.com'")
    assert len(found) == 10
    assert time.monotonic() - began < 5, "reading all of them takes longer, each time"


# --- change data capture ---


def test_cdc_tells_changes_and_deletions(books: Company):
    receipt = books.made("SalesReceipt", books.sale(10))
    since = receipt["MetaData"]["LastUpdatedTime"]
    books.made("SalesReceipt", {"Id": receipt["Id"], "SyncToken": "0"}, operation="delete")
    kept = books.made("SalesReceipt", books.sale(20))
    answer = books.get("cdc", entities="SalesReceipt,Vendor", changedSince=since).json()
    found, nothing = answer["CDCResponse"][0]["QueryResponse"]
    assert nothing == {}
    assert [(one["Id"], one.get("status")) for one in found["SalesReceipt"]] == [
        (kept["Id"], None),
        (receipt["Id"], "Deleted"),
    ]
    stub = found["SalesReceipt"][1]
    assert set(stub) == {"domain", "status", "Id", "MetaData"}
    assert receipt["Id"] not in books.ids("SELECT * FROM SalesReceipt MAXRESULTS 1000")


def test_cdc_looks_back_thirty_days_and_knows_its_entities(books: Company):
    assert codes(books.get("cdc", entities="Customer", changedSince="2020-01-01")) == ["2170"]
    assert codes(books.get("cdc", entities="TaxCode", changedSince="2099-01-01")) == ["2170"]
    assert codes(books.get("cdc", entities="Customer")) == ["2020"]


def test_cdc_holds_a_thousand_objects(books: Company):
    since = books.customer()["MetaData"]["LastUpdatedTime"]
    for number in range(35):
        items = [
            {"bId": str(one), "operation": "create", "PaymentMethod": {"Name": f"M {number} {one}"}}
            for one in range(30)
        ]
        assert books.post("batch", {"BatchItemRequest": items}).status_code == 200
    shown = books.get("cdc", entities="PaymentMethod,Customer", changedSince=since).json()
    first, second = shown["CDCResponse"][0]["QueryResponse"]
    assert len(first["PaymentMethod"]) == 1000
    assert second == {}


# --- batch ---


def batch(books: Company, *items: dict, **params: str) -> dict[str, dict]:
    answer = books.post("batch", {"BatchItemRequest": list(items)}, **params)
    assert answer.status_code == 200, answer.text
    return {one["bId"]: one for one in answer.json()["BatchItemResponse"]}


def test_batch_items_succeed_and_fail_each_for_itself(books: Company):
    receipt = books.made("SalesReceipt", books.sale(10))
    stale = {"Id": receipt["Id"], "SyncToken": "7"}
    shown = batch(
        books,
        {"bId": "a", "operation": "create", "Customer": {"DisplayName": "Batch A"}},
        {"bId": "b", "operation": "create", "Customer": {"DisplayName": "Batch A"}},
        {"bId": "c", "operation": "delete", "SalesReceipt": stale},
        {"bId": "d", "Query": "SELECT COUNT(*) FROM Customer WHERE DisplayName LIKE 'Batch%'"},
        {"bId": "e", "operation": "update", "optionsData": "void", "SalesReceipt": stale | {"SyncToken": "0"}},
        {"bId": "f", "operation": "dance", "Customer": {}},
    )
    assert shown["a"]["Customer"]["DisplayName"] == "Batch A"
    assert [shown[key]["Fault"]["Error"][0]["code"] for key in "bcf"] == ["6240", "5010", "500"]
    assert shown["d"]["QueryResponse"] == {"totalCount": 0}, "queries do not see what the batch made"
    assert shown["e"]["SalesReceipt"]["TotalAmt"] == 0


def test_batch_item_cannot_use_what_another_made(books: Company):
    next_id = str(int(books.customer()["Id"]) + 1)
    body = books.sale(10, customer="1")
    shown = batch(
        books,
        {"bId": "1", "operation": "create", "Customer": {"DisplayName": "New one"}},
        {"bId": "2", "operation": "create", "SalesReceipt": body | {"CustomerRef": {"value": next_id}}},
    )
    assert shown["1"]["Customer"]["Id"] == next_id
    assert shown["2"]["Fault"]["Error"][0]["code"] == "2500"


def test_batch_replays_as_a_whole(books: Company):
    items = [
        {"bId": "1", "operation": "create", "Customer": {"DisplayName": "Whole"}},
        {"bId": "2", "operation": "create", "Customer": {}},
    ]
    first = batch(books, *items, requestid="b-1")
    assert batch(books, *items, requestid="b-1") == first
    assert len(books.ids("SELECT * FROM Customer WHERE DisplayName = 'Whole'")) == 1


def test_batch_has_limits(books: Company):
    item = {"operation": "create", "Customer": {"DisplayName": "x"}}

    def refused(items: list[dict], **params: str) -> list[str]:
        return codes(books.post("batch", {"BatchItemRequest": items}, **params))

    assert refused([item | {"bId": str(number)} for number in range(31)]) == ["2050"]
    assert refused([item | {"bId": "1"}] * 2) == ["2010"]
    assert refused([item]) == ["2020"]
    assert refused([]) == ["2020"]
    assert refused([item | {"bId": "1"}], requestid="r" * 37) == ["2050"]
    assert refused([item | {"bId": "b" * 11}], requestid="r") == ["2050"]
