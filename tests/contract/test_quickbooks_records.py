"""Every operation on QuickBooks' records, by our client against the simulated service."""

from decimal import Decimal

import pytest

from connections.errors import DuplicateRecord, RejectedRecord, StaleObject, TemporaryError
from connections.providers.quickbooks.client import request_id
from tests.contract.quickbooks import CLEARING, customer, item, key, line

pytestmark = pytest.mark.usefixtures("servers")


@pytest.fixture
def books(company):
    return company.client()


@pytest.fixture
def shirt(books) -> str:
    return books.create("Item", item(), request_id=key())["Id"]


@pytest.fixture
def ana(books) -> str:
    return books.create("Customer", customer(), request_id=key())["Id"]


def sale(ana: str, shirt: str, **fields) -> dict:
    made = {"CustomerRef": {"value": ana}, "Line": [line(shirt)], "TxnDate": "2026-11-02", "PrivateNote": "order 1"}
    return made | fields


def test_a_customer_is_made_read_changed_and_made_inactive(books):
    made = books.create("Customer", customer(DisplayName="O'Neil \\ Söhne", Notes="77"), request_id=key())
    assert books.read("Customer", made["Id"])["DisplayName"] == "O'Neil \\ Söhne"
    changed = books.update("Customer", made["Id"], made["SyncToken"], {"CompanyName": "Söhne"}, request_id=key())
    assert (changed["CompanyName"], changed["Notes"]) == ("Söhne", "77")
    gone = books.update("Customer", made["Id"], changed["SyncToken"], {"Active": False}, request_id=key())
    assert gone["Active"] is False


def test_an_item_keeps_what_its_update_does_not_name(books):
    """Items know no sparse update: a field that is left out would be blanked."""
    made = books.create("Item", item(Sku="SH-1", Description="Soft"), request_id=key())
    changed = books.update("Item", made["Id"], made["SyncToken"], {"UnitPrice": Decimal("21.12345")}, request_id=key())
    assert (changed["Sku"], changed["Description"], changed["UnitPrice"]) == ("SH-1", "Soft", Decimal("21.12345"))


def test_a_vendor_and_their_bill_live_and_the_bill_dies(books):
    vendor = books.create("Vendor", {"DisplayName": "Weavers", "AcctNum": "9"}, request_id=key())
    vendor = books.update("Vendor", vendor["Id"], vendor["SyncToken"], {"CompanyName": "W"}, request_id=key())
    assert vendor["AcctNum"] == "9"
    detail = {"AccountRef": {"value": "60"}}
    bought = {"Amount": Decimal("12.50"), "DetailType": "AccountBasedExpenseLineDetail"}
    lines = [bought | {"AccountBasedExpenseLineDetail": detail}]
    bill = books.create(
        "Bill", {"VendorRef": {"value": vendor["Id"]}, "Line": lines, "DocNumber": "B1"}, request_id=key()
    )
    bill = books.update("Bill", bill["Id"], bill["SyncToken"], {"PrivateNote": "seen"}, request_id=key())
    assert (bill["TotalAmt"], bill["DocNumber"], bill["PrivateNote"]) == (Decimal("12.5"), "B1", "seen")
    assert books.delete("Bill", bill["Id"], bill["SyncToken"], request_id=key())["status"] == "Deleted"
    with pytest.raises(RejectedRecord) as refused:
        books.read("Bill", bill["Id"])
    assert refused.value.provider_code == "610"


def test_a_sales_receipt_is_made_to_the_cent_and_voided(books, ana, shirt):
    made = books.create(
        "SalesReceipt",
        sale(ana, shirt, DocNumber="WC-1", DepositToAccountRef=CLEARING, TxnTaxDetail={"TotalTax": Decimal("0.00")}),
        request_id=key(),
    )
    assert (made["TotalAmt"], type(made["TotalAmt"])) == (Decimal("40.00"), Decimal)
    changed = books.update("SalesReceipt", made["Id"], made["SyncToken"], {"PrivateNote": "x"}, request_id=key())
    assert len(changed["Line"]) == len(made["Line"])
    voided = books.void("SalesReceipt", made["Id"], changed["SyncToken"], request_id=key())
    assert voided["TotalAmt"] == 0


def test_an_invoice_is_paid_and_the_payment_voided(books, ana, shirt):
    invoice = books.create("Invoice", sale(ana, shirt), request_id=key())
    linked = [{"Amount": Decimal("40.00"), "LinkedTxn": [{"TxnId": invoice["Id"], "TxnType": "Invoice"}]}]
    values = {"CustomerRef": {"value": ana}, "TotalAmt": Decimal("40.00"), "Line": linked, "PaymentRefNum": "ch_1"}
    payment = books.create("Payment", values, request_id=key())
    assert books.read("Invoice", invoice["Id"])["Balance"] == 0
    payment = books.update("Payment", payment["Id"], payment["SyncToken"], {"PrivateNote": "p"}, request_id=key())
    assert (payment["PaymentRefNum"], payment["TotalAmt"]) == ("ch_1", 40)
    books.void("Payment", payment["Id"], payment["SyncToken"], request_id=key())
    owed = books.read("Invoice", invoice["Id"])
    assert owed["Balance"] == 40
    assert books.void("Invoice", invoice["Id"], owed["SyncToken"], request_id=key())["TotalAmt"] == 0


def test_refunds_and_credits_are_made_changed_and_deleted(books, ana, shirt):
    refund = books.create("RefundReceipt", sale(ana, shirt, DepositToAccountRef=CLEARING), request_id=key())
    refund = books.update("RefundReceipt", refund["Id"], refund["SyncToken"], {"PrivateNote": "r"}, request_id=key())
    assert (refund["PrivateNote"], refund["TotalAmt"]) == ("r", 40)
    credit = books.create("CreditMemo", sale(ana, shirt), request_id=key())
    credit = books.update("CreditMemo", credit["Id"], credit["SyncToken"], {"PrivateNote": "c"}, request_id=key())
    assert (credit["PrivateNote"], credit["TotalAmt"]) == ("c", 40)
    for entity, record in (("RefundReceipt", refund), ("CreditMemo", credit)):
        assert books.delete(entity, record["Id"], record["SyncToken"], request_id=key())["status"] == "Deleted"


@pytest.mark.parametrize("entity", ["RefundReceipt", "CreditMemo", "Bill", "Customer"])
def test_what_cannot_be_voided_is_refused_before_anything_is_sent(company, entity):
    with pytest.raises(RejectedRecord):
        company.client().void(entity, "1", "0", request_id=key())
    assert company.log() == []


def test_lists_are_not_deleted(company):
    with pytest.raises(RejectedRecord):
        company.client().delete("Customer", "1", "0", request_id=key())
    assert company.log() == []


def test_a_newer_version_is_not_overwritten(books, ana):
    read = books.read("Customer", ana)
    books.update("Customer", ana, read["SyncToken"], {"Notes": "theirs"}, request_id=key())
    with pytest.raises(StaleObject) as stale:
        books.update("Customer", ana, read["SyncToken"], {"Notes": "ours"}, request_id=key())
    assert (stale.value.provider_code, stale.value.code) == ("5010", "record_changed")
    assert stale.value.request_id
    assert books.read("Customer", ana)["Notes"] == "theirs"


def test_a_whole_update_on_an_older_version_is_refused_too(books, shirt):
    read = books.read("Item", shirt)
    books.update("Item", shirt, read["SyncToken"], {"Sku": "new"}, request_id=key())
    with pytest.raises(StaleObject):
        books.update("Item", shirt, read["SyncToken"], {"Sku": "old"}, request_id=key(), current=read)


def test_a_taken_name_is_a_duplicate_and_names_who_has_it_where_told(company, books, ana):
    name = books.read("Customer", ana)["DisplayName"]
    with pytest.raises(DuplicateRecord) as clash:
        books.create("Vendor", {"DisplayName": name}, request_id=key())
    assert (clash.value.provider_code, clash.value.code) == ("6240", "record_exists")
    company.state(clash_names_id=True)
    with pytest.raises(DuplicateRecord) as clash:
        books.create("Customer", customer(DisplayName=name), request_id=key())
    assert clash.value.existing_id == ana


def test_a_taken_number_is_a_duplicate_that_names_the_other_one(books, ana, shirt):
    first = books.create("SalesReceipt", sale(ana, shirt, DocNumber="WC-7"), request_id=key())
    with pytest.raises(DuplicateRecord) as clash:
        books.create("SalesReceipt", sale(ana, shirt, DocNumber="WC-7"), request_id=key())
    assert (clash.value.provider_code, clash.value.existing_id) == ("6140", first["Id"])
    assert clash.value.existing_entity == "SalesReceipt"
    twin = books.create("SalesReceipt", sale(ana, shirt, DocNumber="WC-7"), request_id=key(), allow_same_number=True)
    assert twin["Id"] != first["Id"]


def test_a_repeat_under_the_same_request_id_makes_nothing_new(company, books, ana, shirt):
    same = request_id("c1", "SalesReceipt", "1234", "create", 1)
    answers = [books.create("SalesReceipt", sale(ana, shirt), request_id=same) for _ in range(3)]
    assert len({answer["Id"] for answer in answers}) == 1


def test_a_write_whose_answer_was_lost_is_made_once(company, books, ana, shirt):
    same = key()
    company.fault("salesreceipt", kind="commit_then_drop")
    with pytest.raises(TemporaryError):
        books.create("SalesReceipt", sale(ana, shirt, DocNumber="LOST"), request_id=same)
    again = books.create("SalesReceipt", sale(ana, shirt, DocNumber="LOST"), request_id=same)
    assert again["DocNumber"] == "LOST"
    [entry] = [one for one in company.log() if one.get("replayed")]
    assert entry["request_id"] == same


def test_every_request_names_its_version_and_every_write_its_id(company, books, ana, shirt):
    books.count("Customer")
    books.preferences()
    log = company.log()
    assert len(log) >= 4
    assert all(entry["status"] == 200 for entry in log)  # the simulator refuses a request without its minor version
    writes = [entry for entry in log if entry.get("writes")]
    assert len(writes) == 2
    assert all(entry["request_id"] for entry in writes)
    assert all(entry["intuit_tid"] for entry in log)


def test_a_request_id_that_is_too_long_is_not_sent(company, books):
    with pytest.raises(ValueError, match="50"):
        books.create("Customer", customer(), request_id="x" * 51)
    assert company.log() == []
