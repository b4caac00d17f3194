"""Create, update, delete, void: the rules that a client of the real service meets."""

from __future__ import annotations

import pytest

from .quickbooks import Company, QuickBooks, line


@pytest.fixture
def books(quickbooks: QuickBooks) -> Company:
    return quickbooks.company(preset="us_ast", preferences={"TaxPrefs": {"UsingSalesTax": False}})


def test_customer_is_made_read_and_named_from_its_parts(books: Company):
    made = books.made("Customer", {"GivenName": "Zoë", "FamilyName": "O'Neil"})
    assert (made["DisplayName"], made["SyncToken"], made["Active"]) == ("Zoë O'Neil", "0", True)
    assert books.read("Customer", made["Id"]) == made


def test_update_wants_the_token_of_now(books: Company):
    made = books.customer(Notes="first")
    body = {"Id": made["Id"], "SyncToken": "0", "sparse": True, "Notes": "second"}
    assert books.made("Customer", body)["SyncToken"] == "1"
    assert books.refused("Customer", body) == ["5010"]
    assert books.refused("Customer", {"Id": made["Id"], "sparse": True}) == ["2020"]
    assert books.refused("Customer", {"Id": "99999", "SyncToken": "0", "sparse": True}) == ["610"]


def test_sparse_keeps_and_full_blanks(books: Company):
    made = books.customer(Notes="kept", GivenName="Ana")
    token = {"Id": made["Id"], "SyncToken": "0"}
    sparse = books.made("Customer", token | {"sparse": True, "CompanyName": "Acme"})
    assert (sparse["Notes"], sparse["CompanyName"]) == ("kept", "Acme")
    full = books.made("Customer", token | {"SyncToken": "1", "DisplayName": made["DisplayName"]})
    assert not {"Notes", "CompanyName", "GivenName"} & set(full)
    assert full["CurrencyRef"] == {"value": "USD"}
    assert full["Active"] is True


def test_sparse_is_not_listened_to_where_it_is_not_documented(books: Company):
    item = books.item(Sku="A-1")
    body = {"Id": item["Id"], "SyncToken": "0", "sparse": True, "Active": False}
    assert books.refused("Item", body) == ["2020", "2020"]


def test_name_is_unique_over_customers_and_vendors_whatever_its_case(books: Company):
    books.customer(DisplayName="Ana Diaz of Leeds")
    assert books.refused("Customer", {"DisplayName": "ana diaz OF leeds"}) == ["6240"]
    assert books.refused("Vendor", {"DisplayName": "Ana Diaz of Leeds"}) == ["6240"]
    assert books.refused("Customer", {}) == ["6080"]
    assert books.refused("Customer", {"DisplayName": "a:b"}) == ["6000"]


def test_inactive_name_carries_a_suffix_or_still_collides(books: Company):
    made = books.customer(DisplayName="Once Here")
    retire = {"Id": made["Id"], "SyncToken": "0", "sparse": True, "Active": False}
    assert books.made("Customer", retire)["DisplayName"] == "Once Here (deleted)"
    again = books.customer(DisplayName="Once Here")
    books.state(deleted_suffix=False)
    books.made("Customer", retire | {"Id": again["Id"]})
    assert books.refused("Customer", {"DisplayName": "Once Here"}) == ["6240"]


def test_every_wrong_field_is_told_at_once(books: Company):
    body = {"DisplayName": "x" * 501, "Colour": "red", "Active": "yes", "PrimaryEmailAddr": {"Address": "nobody"}}
    assert sorted(books.refused("Customer", body)) == ["2010", "2010", "2050", "2210"]
    assert books.refused("Item", {"Name": "A"}) == ["2020"]
    assert books.refused("Item", {"Name": "A", "Type": "Toy"}) == ["2170"]
    wrong = {"Name": "A", "Type": "Service", "IncomeAccountRef": {"value": "35"}}
    assert books.refused("Item", wrong) == ["6430"]
    assert books.refused("Item", wrong | {"IncomeAccountRef": {"value": "999"}}) == ["2500"]
    assert books.refused("TaxCode", {"Name": "x"}) == ["500"]


def test_receipt_adds_its_lines_up(books: Company):
    made = books.made("SalesReceipt", books.sale("40.00", "-4.00", "6.00", DocNumber="WC-1234"))
    assert (made["TotalAmt"], made["Balance"], made["SyncToken"]) == (42, 0, "0")
    assert [one["DetailType"] for one in made["Line"]][-1] == "SubTotalLineDetail"
    assert made["DepositToAccountRef"]["value"] == "4"
    assert "TxnTaxDetail" not in made


def test_amounts_must_agree_and_stay_above_nothing(books: Company):
    item = books.item()["Id"]
    body = books.sale(10)
    assert books.refused("SalesReceipt", body | {"Line": [line(10, item, Qty=3, UnitPrice="3.33")]}) == ["6070"]
    assert books.refused("SalesReceipt", body | {"Line": [line(-1, item)]}) == ["6000"]
    assert books.refused("SalesReceipt", body | {"Line": [line(1, "99999")]}) == ["2500"]
    assert books.refused("SalesReceipt", body | {"Line": []}) == ["2020"]
    assert books.refused("SalesReceipt", body | {"PaymentRefNum": "p" * 22}) == ["2050"]
    assert books.refused("SalesReceipt", body | {"DepositToAccountRef": {"value": "79"}}) == ["6430"]
    text = {"Amount": 5, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": {}}
    assert books.made("SalesReceipt", body | {"Line": [line(10, item), text]})["TotalAmt"] == 10


def test_given_lines_replace_all_lines(books: Company):
    made = books.made("Invoice", books.sale(10, 20))
    first = made["Line"][0]
    body = {"Id": made["Id"], "SyncToken": "0", "sparse": True}
    noted = books.made("Invoice", body | {"PrivateNote": "x"})
    assert noted["TotalAmt"] == 30
    changed = books.made("Invoice", body | {"SyncToken": "1", "Line": [first]})
    assert (changed["TotalAmt"], changed["Balance"], changed["PrivateNote"]) == (10, 10, "x")
    assert [one.get("Id") for one in changed["Line"]] == [first["Id"], None]


def test_document_numbers_are_unique_where_the_company_sets_them(books: Company):
    body = books.sale(10, DocNumber="WC-9")
    first = books.made("SalesReceipt", body)
    assert books.refused("SalesReceipt", body) == ["6140"]
    detail = books.post("salesreceipt", body).json()["Fault"]["Error"][0]["Detail"]
    assert f"DocNumber=WC-9 is assigned to TxnType=SalesReceipt with TxnId={first['Id']}" in detail
    books.made("SalesReceipt", body, include="allowduplicatedocnum")
    books.made("Invoice", body)
    without = {name: value for name, value in body.items() if name != "DocNumber"}
    assert "DocNumber" not in books.made("SalesReceipt", without)
    books.prefer("SalesFormsPrefs", CustomTxnNumbers=False)
    assert books.made("SalesReceipt", without)["DocNumber"].isdigit()
    assert books.made("SalesReceipt", body)["DocNumber"] == "WC-9"


def test_payment_settles_its_invoice_and_holds_it(books: Company):
    customer = books.customer()["Id"]
    invoice = books.made("Invoice", books.sale(100, customer=customer))
    assert books.read("Customer", customer)["Balance"] == 100
    link = [{"Amount": 60, "LinkedTxn": [{"TxnId": invoice["Id"], "TxnType": "Invoice"}]}]
    body = {"CustomerRef": {"value": customer}, "TotalAmt": 70, "Line": link}
    payment = books.made("Payment", body)
    assert payment["UnappliedAmt"] == 10
    after = books.read("Invoice", invoice["Id"])
    assert (after["Balance"], after["SyncToken"]) == (40, "1")
    assert after["LinkedTxn"] == [{"TxnId": payment["Id"], "TxnType": "Payment"}]
    assert books.read("Customer", customer)["Balance"] == 30
    assert books.read("Customer", customer)["SyncToken"] == "0"
    token = {"Id": invoice["Id"], "SyncToken": "1"}
    assert books.refused("Invoice", token, operation="delete") == ["6000"]
    assert books.refused("Payment", body) == ["6000"]
    books.made("Payment", {"Id": payment["Id"], "SyncToken": "0"}, operation="delete")
    assert books.read("Invoice", invoice["Id"])["Balance"] == 100
    assert books.read("Customer", customer)["Balance"] == 100


def test_void_keeps_the_record_and_delete_does_not(books: Company):
    invoice = books.made("Invoice", books.sale(10))
    token = {"Id": invoice["Id"], "SyncToken": "0"}
    voided = books.made("Invoice", token, operation="void")
    assert (voided["TotalAmt"], voided["Balance"], voided["PrivateNote"]) == (0, 0, "Voided")
    receipt = books.made("SalesReceipt", books.sale(10))
    sparse = {"Id": receipt["Id"], "SyncToken": "0", "sparse": True}
    assert books.made("SalesReceipt", sparse, operation="update", include="void")["TotalAmt"] == 0
    gone = books.made("SalesReceipt", sparse | {"SyncToken": "1"}, operation="delete")
    assert gone == {"Id": receipt["Id"], "status": "Deleted", "domain": "QBO"}
    assert books.get(f"salesreceipt/{receipt['Id']}").json()["Fault"]["Error"][0]["code"] == "610"
    assert books.refused("Customer", {"Id": "1", "SyncToken": "0"}, operation="delete") == ["500"]
    memo = books.made("CreditMemo", books.sale(10))
    assert books.refused("CreditMemo", {"Id": memo["Id"], "SyncToken": "0"}, operation="void") == ["500"]


def test_closed_books_refuse_every_write(books: Company):
    old = books.made("SalesReceipt", books.sale(10, TxnDate="2026-01-15"))
    books.prefer("AccountingInfoPrefs", BookCloseDate="2026-01-31")
    token = {"Id": old["Id"], "SyncToken": "0"}
    assert books.refused("SalesReceipt", books.sale(10, TxnDate="2026-01-31")) == ["6210"]
    assert books.refused("SalesReceipt", token | {"sparse": True, "PrivateNote": "x"}) == ["6210"]
    assert books.refused("SalesReceipt", token, operation="delete") == ["6210"]
    books.made("SalesReceipt", books.sale(10, TxnDate="2026-02-01"))
    open_one = books.made("SalesReceipt", books.sale(10, TxnDate="2026-02-01"))
    moved = {"Id": open_one["Id"], "SyncToken": "0", "sparse": True, "TxnDate": "2026-01-10"}
    assert books.refused("SalesReceipt", moved) == ["6210"]


def test_deposited_receipt_resists(books: Company):
    made = books.made("SalesReceipt", books.sale(10))
    books.provider.control(f"companies/{books.realm}/deposit", entity="SalesReceipt", ids=[made["Id"]])
    token = {"Id": made["Id"], "SyncToken": "1", "sparse": True}
    assert books.refused("SalesReceipt", token, operation="delete") == ["6540"]
    assert books.refused("SalesReceipt", token | {"Line": [line(11, books.item()["Id"])]}) == ["6540"]
    assert books.made("SalesReceipt", token | {"PrivateNote": "fine"})["LinkedTxn"][0]["TxnType"] == "Deposit"


def test_request_id_replays_the_first_answer_whatever_comes_with_it(books: Company):
    first = books.post("customer", {"DisplayName": "Replay One"}, requestid="r-1")
    again = books.post("customer", {"DisplayName": "Replay Two"}, requestid="r-1")
    assert again.content == first.content
    assert again.headers["intuit_tid"] != first.headers["intuit_tid"]
    assert books.query("SELECT COUNT(*) FROM Customer WHERE DisplayName LIKE 'Replay%'") == {"totalCount": 1}
    assert books.refused("Customer", {"DisplayName": "x"}, requestid="r" * 51) == ["2050"]
    writes = [row["writes"] for row in books.log(writes=1) if row.get("writes")]
    assert writes == [[{"entity": "Customer", "operation": "create", "id": first.json()["Customer"]["Id"]}]]
    books.provider.control(f"companies/{books.realm}/forget", request_ids=["r-1"])
    assert books.refused("Customer", {"DisplayName": "Replay One"}, requestid="r-1") == ["6240"]


def test_request_ids_belong_to_their_company(quickbooks: QuickBooks, books: Company):
    other = quickbooks.company()
    books.customer(DisplayName="Here")
    made = [one.made("Customer", {"DisplayName": "Same"}, requestid="shared")["Id"] for one in (books, other)]
    assert books.read("Customer", made[0])["DisplayName"] == other.read("Customer", made[1])["DisplayName"]
    assert made[0] != made[1]


def test_person_edits_by_hand_and_raises_the_token(books: Company):
    made = books.customer(Notes="ours")
    edited = books.edit("Customer", made["Id"], CompanyName="By hand")
    assert (edited["SyncToken"], edited["Notes"]) == ("1", "ours")
    body = {"Id": made["Id"], "SyncToken": "0", "sparse": True, "Notes": "late"}
    assert books.refused("Customer", body) == ["5010"]


def test_bills_keep_their_vendors_balance_and_numbers(books: Company):
    vendor = books.made("Vendor", {"DisplayName": "Cobalt of Hull"})["Id"]
    detail = {
        "DetailType": "AccountBasedExpenseLineDetail",
        "AccountBasedExpenseLineDetail": {"AccountRef": {"value": "60"}},
    }
    body = {"VendorRef": {"value": vendor}, "DocNumber": "B-1", "Line": [{"Amount": "80.50"} | detail]}
    made = books.made("Bill", body)
    assert (made["TotalAmt"], made["Balance"]) == (80.5, 80.5)
    assert books.read("Vendor", vendor)["Balance"] == 80.5
    assert books.refused("Bill", body) == ["6140"]
    detail["AccountBasedExpenseLineDetail"] = {}
    assert books.refused("Bill", body | {"Line": [{"Amount": 1} | detail], "DocNumber": "B-2"}) == ["2020"]
