"""Many of QuickBooks' records at once: queries, batches, changes, and the capabilities that are made of them."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice

import pytest

from connections.errors import DuplicateRecord, RejectedRecord, StaleObject, TemporaryError
from connections.models import Connection, MeteredCalls
from connections.providers.base import TargetRecord
from connections.providers.quickbooks import pulling, reference_data, verification, writing
from connections.providers.quickbooks.batch import BatchItem, frozen
from connections.providers.quickbooks.company import client_of
from connections.providers.quickbooks.query import count, select, where
from tests.contract.quickbooks import PRODUCTION, Company, access_to, customer, item, key, line

pytestmark = pytest.mark.django_db


@pytest.fixture
def access(company):
    return access_to(company)


# --- queries ---
@pytest.mark.parametrize("name", ["O'Neil", "back\\slash", "quote' OR DisplayName LIKE '%", "Ünï+cödé & 100%", "\\'"])
def test_any_name_is_found_again_and_nothing_else(company, name):
    books = company.client()
    made = books.create("Customer", customer(DisplayName=name), request_id=key())
    found = books.query(select("Customer", where("DisplayName", "=", name))).records
    assert [row["Id"] for row in found] == [made["Id"]]


def test_a_query_counts_pages_and_finds_nothing(company):
    books = company.client()
    total = books.count("Customer")
    first = books.query(select("Customer", order_by="Id", limit=5)).records
    second = books.query(select("Customer", order_by="Id", limit=5, start=6)).records
    assert (len(first), len({row["Id"] for row in [*first, *second]})) == (5, 10)
    empty = books.query(select("Customer", where("DisplayName", "=", "nobody")))
    assert (list(empty.records), empty.total, empty.told_at is not None) == ([], None, True)
    gone = books.create("Customer", customer(), request_id=key())
    books.update("Customer", gone["Id"], gone["SyncToken"], {"Active": False}, request_id=key())
    assert books.count("Customer") == total + 1
    assert books.query(count("Customer", with_inactive=False)).total <= total


# --- batches ---
def test_a_batch_has_an_answer_for_each_member(company):
    books = company.client()
    ana = books.create("Customer", customer(), request_id=key())
    results = books.batch(
        [
            BatchItem("create", "Customer", customer()),
            BatchItem("create", "Customer", customer(DisplayName=ana["DisplayName"])),
            BatchItem("update", "Customer", {"Id": ana["Id"], "SyncToken": "77", "sparse": True, "Notes": "x"}),
            BatchItem("query", query=select("Customer", where("Id", "=", ana["Id"]))),
            BatchItem("create", "Item", {"Type": "Service"}),
        ],
        request_id=key()[:36],
    )
    assert results[0].record["Id"]
    assert [type(result.error) for result in results[1:3]] == [DuplicateRecord, StaleObject]
    assert [row["Id"] for row in results[3].rows] == [ana["Id"]]
    assert isinstance(results[4].error, RejectedRecord)


def test_a_batch_whose_answer_was_lost_is_done_once(company):
    books = company.client()
    made = frozen([BatchItem("create", "Customer", customer()) for _ in range(25)], request_id=key()[:36])
    before = books.count("Customer")
    company.fault("batch", kind="commit_then_drop")
    with pytest.raises(TemporaryError):
        books.batch_send(made)
    results = books.batch_send(made)
    assert len({result.record["Id"] for result in results}) == 25
    assert books.count("Customer") == before + 25


@pytest.mark.parametrize(("items", "length"), [(0, 10), (26, 10), (1, 37), (1, 0)])
def test_a_batch_beyond_the_limits_is_not_made(items, length):
    with pytest.raises(ValueError, match="batch"):
        frozen([BatchItem("query", query="x")] * items, request_id="x" * length)


# --- changes ---
def test_changes_tell_what_was_made_changed_and_deleted(company):
    books = company.client()
    ana, shirt = books.create("Customer", customer(), request_id=key()), books.create("Item", item(), request_id=key())
    sale = {"CustomerRef": {"value": ana["Id"]}, "Line": [line(shirt["Id"])]}
    kept, gone = (books.create("Invoice", sale, request_id=key()) for _ in range(2))
    books.delete("Invoice", gone["Id"], gone["SyncToken"], request_id=key())
    told = books.changes(["Customer", "Invoice"], datetime.now(UTC) - timedelta(hours=1))
    found = {row["Id"]: row for row in told.records["Invoice"]}
    assert (found[gone["Id"]]["status"], found[kept["Id"]]["TotalAmt"]) == ("Deleted", 40)
    assert ana["Id"] in {row["Id"] for row in told.records["Customer"]}


# --- Pulls ---
def pulled(access, entity, position=None):
    pages = list(pulling.pull(access, entity, position or {}))
    assert [page.has_more for page in pages] == [True] * (len(pages) - 1) + [False]
    return [record for page in pages for record in page.records], pages[-1].position


def truth(company, *kinds):
    found = set()
    for kind in kinds:
        rows = company.client().query(select(kind)).records
        found |= {(kind, row["Id"], row["SyncToken"]) for row in rows}
    return found


@pytest.mark.parametrize("size", [1000, 7])
def test_everything_is_pulled_once_and_then_only_what_changed(company, access, monkeypatch, size):
    monkeypatch.setattr(pulling, "page_size", size)
    found, position = pulled(access, "orders")
    told = {(*record.external_id.split(":"), record.version) for record in found}
    assert told == truth(company, "Invoice", "SalesReceipt")
    books = company.client()
    ana, shirt = books.create("Customer", customer(), request_id=key()), books.create("Item", item(), request_id=key())
    sale = {"CustomerRef": {"value": ana["Id"]}, "Line": [line(shirt["Id"])]}
    made, gone = (books.create("Invoice", sale, request_id=key()) for _ in range(2))
    books.delete("Invoice", gone["Id"], gone["SyncToken"], request_id=key())
    company.log()
    found, _position = pulled(access, "orders", position)
    news = {record.external_id: record for record in found}
    assert news[f"Invoice:{gone['Id']}"].is_removed
    assert news[f"Invoice:{made['Id']}"].payload["TotalAmt"] == Decimal(40)
    assert len(company.log()) == 1


def fill_a_second(books) -> str:
    """A second in which more customers were changed than three small pages hold."""
    for _attempt in range(5):
        results = books.batch([BatchItem("create", "Customer", customer()) for _ in range(25)], request_id=key()[:36])
        times = Counter(result.record["MetaData"]["LastUpdatedTime"] for result in results)
        second, size = times.most_common(1)[0]
        if size > 21:
            return second
    raise AssertionError("no batch within one second")


def test_a_second_that_fills_pages_is_read_whole(company, access, monkeypatch):
    fill_a_second(company.client())
    monkeypatch.setattr(pulling, "page_size", 7)
    pages = list(islice(pulling.pull(access, "customers", {}), 200))
    assert not pages[-1].has_more
    found = {("Customer", record.external_id, record.version) for page in pages for record in page.records}
    assert found == truth(company, "Customer")


def test_within_a_second_nothing_is_lost_either_when_some_of_it_moves(company, access, monkeypatch):
    second = fill_a_second(company.client())
    monkeypatch.setattr(pulling, "page_size", 7)
    before = {number for _kind, number, _version in truth(company, "Customer")}
    found, touched = set(), 0
    for page in islice(pulling.pull(access, "customers", {}), 200):
        found |= {record.external_id for record in page.records}
        mine = [record for record in page.records if record.payload["MetaData"]["LastUpdatedTime"] == second]
        for record in mine[:3] if touched < 9 else []:
            company.control(
                "POST", f"companies/{company.realm}/touch", {"entity": "Customer", "id": record.external_id}
            )
            touched += 1
    assert touched >= 6
    assert before <= found


def test_a_pull_goes_on_from_any_of_its_pages(company, access, monkeypatch):
    monkeypatch.setattr(pulling, "page_size", 7)
    pages = pulling.pull(access, "customers", {})
    first = next(pages)
    rest, _position = pulled(access, "customers", first.position)
    told = {record.external_id for record in [*first.records, *rest]}
    assert told == {number for _kind, number, _version in truth(company, "Customer")}


def test_what_is_changed_during_a_pull_pushes_nothing_out_of_it(company, access, monkeypatch):
    monkeypatch.setattr(pulling, "page_size", 7)
    before = {number for _kind, number, _version in truth(company, "Customer")}
    found = set()
    for page in pulling.pull(access, "customers", {}):
        found |= {record.external_id for record in page.records}
        for record in list(page.records)[:5]:
            company.control(
                "POST", f"companies/{company.realm}/touch", {"entity": "Customer", "id": record.external_id}
            )
    assert before <= found


def test_records_are_fetched_as_they_are_now(company, access):
    [number] = [row["Id"] for row in company.client().query(select("Invoice", limit=1)).records]
    there, gone = pulling.fetch(access, "orders", [f"Invoice:{number}", "SalesReceipt:999999"])
    assert (there.external_id, there.is_removed, gone.external_id, gone.is_removed) == (
        f"Invoice:{number}", False, "SalesReceipt:999999", True,
    )  # fmt: skip


def test_all_ids_are_told(company, access, monkeypatch):
    monkeypatch.setattr(pulling, "page_size", 7)
    found = {number for some in pulling.ids(access, "customers") for number in some}
    assert found == {number for _kind, number, _version in truth(company, "Customer")}
    assert list(pulling.ids(access, "customers", since=datetime.now(UTC) + timedelta(days=1))) == []


# --- Upserts ---
def record(kind, values, number="", version="", operation="upsert", name="1"):
    return TargetRecord(kind, name, values, external_id=number, version=version, operation=operation)


def test_records_are_written_each_with_what_became_of_it(company, access):
    [ana, taken] = writing.upsert(
        access, "customers", [record("Customer", customer(), name="a"), record("Customer", customer(Notes="x" * 2001), name="b")],
        idempotency_key="k1",
    )  # fmt: skip
    if ana.key == "b":
        ana, taken = taken, ana
    assert (ana.outcome, taken.outcome, list(taken.error.fields)) == ("created", "failed", ["Notes"])
    [shirt] = writing.upsert(access, "products", [record("Item", item(Sku="A"))], idempotency_key="k2")
    [shirt] = writing.upsert(
        access, "products", [record("Item", {"UnitPrice": Decimal(5)}, shirt.external_id, shirt.version)], idempotency_key="k3"
    )  # fmt: skip
    assert (shirt.outcome, shirt.payload["Sku"]) == ("updated", "A")
    sale = {"CustomerRef": {"value": ana.external_id}, "Line": [line(shirt.external_id)], "PrivateNote": "order 1"}
    [made] = writing.upsert(access, "orders", [record("SalesReceipt", sale)], idempotency_key="k4")
    assert (made.total, made.external_id.partition(":")[0]) == (Decimal(40), "SalesReceipt")
    [gone] = writing.upsert(
        access, "orders", [record("orders", {}, made.external_id, made.version, "void")], idempotency_key="k5"
    )
    assert (gone.outcome, gone.total) == ("removed", 0)
    [away] = writing.upsert(
        access, "products", [record("Item", {}, shirt.external_id, operation="delete")], idempotency_key="k6"
    )
    assert (away.outcome, away.payload["Active"]) == ("removed", False)


def test_the_same_key_writes_once_and_finds_what_it_made(company, access):
    values = customer()
    first, second = (
        next(iter(writing.upsert(access, "customers", [record("Customer", values)], idempotency_key="same")))
        for _ in range(2)
    )
    assert first.external_id == second.external_id
    assert writing.find(access, record("Customer", values)).external_id == first.external_id
    assert writing.find(access, record("Customer", customer())) is None


def test_a_form_without_a_number_is_found_by_its_marker(company, access):
    books = company.client()
    ana, shirt = books.create("Customer", customer(), request_id=key()), books.create("Item", item(), request_id=key())
    sale = {
        "CustomerRef": {"value": ana["Id"]},
        "Line": [line(shirt["Id"])],
        "TxnDate": "2026-11-02",
        "PrivateNote": "mine",
    }
    made = books.create("SalesReceipt", sale, request_id=key())
    assert writing.find(access, record("SalesReceipt", sale)).external_id == f"SalesReceipt:{made['Id']}"
    assert writing.find(access, record("SalesReceipt", sale | {"PrivateNote": "other"})) is None
    noted = {"PrivateNote": "mine\nAsked Ana about it."}
    books.update("SalesReceipt", made["Id"], made["SyncToken"], noted, request_id=key())
    assert writing.find(access, record("SalesReceipt", sale)).external_id == f"SalesReceipt:{made['Id']}"


def test_an_older_version_comes_back_as_stale(company, access):
    made = company.client().create("Customer", customer(), request_id=key())
    company.control("POST", f"companies/{company.realm}/touch", {"entity": "Customer", "id": made["Id"]})
    [written] = writing.upsert(
        access, "customers", [record("Customer", {"Notes": "n"}, made["Id"], made["SyncToken"])], idempotency_key="s"
    )
    assert isinstance(written.error, StaleObject)


# --- reference data ---
def test_lists_are_read_once_until_they_are_forgotten(company, access):
    reference_data.forget(access)
    names = {row["Id"]: row["Name"] for row in reference_data.listed(access, "Account")}
    assert names["41"] == "Card Clearing"
    company.log()
    reference_data.listed(access, "Account")
    assert company.log() == []
    reference_data.listed(access, "Account", is_fresh=True)
    reference_data.forget(access)
    for kind in reference_data.KINDS:
        reference_data.listed(access, kind)
    assert len(company.log()) == 1 + len(reference_data.KINDS)


# --- Verifies ---
def checks(access):
    return {check.name: check for check in verification.verify(access)}


def test_a_company_that_works_passes_and_is_remembered(company, access, settings):
    settings.QUICKBOOKS_WEBHOOK_VERIFIER = "v"
    before = company.client().count("Customer")
    found = checks(access)
    assert {name for name, check in found.items() if check.status == "failed"} == set()
    assert {"reachable", "authentication", "company", "permission_read", "permission_write", "clock_skew", "webhook"} <= set(found)  # fmt: skip
    assert access.facts["preferences"]["automated_sales_tax"] is True
    assert access.facts["company_name"]
    assert company.client().count("Customer") == before


def test_what_a_company_has_switched_off_is_a_warning(company, access):
    company.state(
        preferences={
            "SalesFormsPrefs": {"CustomTxnNumbers": False},
            "AccountingInfoPrefs": {"BookCloseDate": "2025-12-31"},
            "TaxPrefs": {"UsingSalesTax": False},
        }
    )
    found = checks(access)
    for name in ("document_numbers", "closing_date", "sales_tax"):
        assert found[name].status == "warning", name
    assert not any(check.status == "failed" for check in found.values())


@pytest.mark.parametrize(
    ("break_it", "failed"),
    [
        (lambda company: company.state(suspended=True), "company"),
        (lambda company: company.fault("companyinfo", kind="error", status=403, code="3100", form="lower"), "environment"),
        (lambda company: company.fault("companyinfo", kind="error", status=401, code="3201", form="lower"), "authentication"),
        (lambda company: company.fault("companyinfo", kind="error", status=503, code="0"), "reachable"),
        (lambda company: company.fault("query", kind="error", status=400, code="5020", times=9), "permission_read"),
        (lambda company: company.fault("customer", kind="error", status=400, code="5020"), "permission_write"),
        (lambda company: company.fault("preferences", kind="error", status=400, code="5020"), "preferences"),
    ],
)  # fmt: skip
def test_what_does_not_work_is_named(company, access, break_it, failed):
    break_it(company)
    found = checks(access)
    assert [name for name, check in found.items() if check.status == "failed"] == [failed]
    assert found[failed].cause
    assert found[failed].remediation


@pytest.mark.parametrize(
    ("environment", "lack", "open_"), [("sandbox", "production", "real"), ("production", "development", "sandbox")]
)
@pytest.mark.parametrize("fault", [{"code": "3100", "form": "lower"}, {"body": "Forbidden"}])
def test_keys_of_the_other_environment_are_told_in_clear_words(
    company, access, settings, environment, lack, open_, fault
):
    settings.QUICKBOOKS_PRODUCTION_URL = settings.QUICKBOOKS_SANDBOX_URL
    company.fault("companyinfo", kind="error", status=403, **fault)
    found = checks(replace(access, environment=environment))["environment"]
    assert found.status == "failed"
    assert f"{lack} keys open {open_} companies only" in found.cause
    assert "sign in again" in found.remediation


def test_a_connection_without_a_company_says_what_to_do(access):
    access.facts.clear()
    assert [(name, check.status) for name, check in checks(access).items()] == [("authentication", "failed")]


def test_a_clock_that_is_wrong_is_a_warning(company, access):
    company.state(clock_offset_s=3600)
    assert checks(access)["clock_skew"].status == "warning"


# --- metering ---
def test_reads_are_counted_by_company_and_month(intuit, alice):
    shop = Company(intuit, PRODUCTION, "production")
    connection = Connection.objects.create(
        workspace=alice.workspace, owner=alice.user, provider="quickbooks", name="Books", environment="production"
    )
    access = access_to(shop, connection.pk)
    [made] = writing.upsert(access, "customers", [record("Customer", customer())], idempotency_key="m")
    list(pulling.fetch(access, "customers", [made.external_id]))
    with pytest.raises(RejectedRecord):
        client_of(access).read("Customer", "999999")
    used = MeteredCalls.objects.get()
    assert (used.account, used.environment, used.metered, used.free) == (PRODUCTION, "production", 1, 1)
    assert used.month == datetime.now(UTC).date().replace(day=1)
