"""Tax and currency: what a transaction comes to, in each of the ways a company can be set up."""

from __future__ import annotations

import pytest

from .quickbooks import Company, QuickBooks, line

TEXAS = {"Line1": "1 Main St", "City": "Austin", "CountrySubDivisionCode": "TX", "PostalCode": "73301"}
OREGON = TEXAS | {"City": "Portland", "CountrySubDivisionCode": "OR"}


@pytest.fixture
def american(quickbooks: QuickBooks) -> Company:
    """Automated Sales Tax, in Texas: 8.25 %."""
    return quickbooks.company(preset="us_ast")


@pytest.fixture
def british(quickbooks: QuickBooks) -> Company:
    return quickbooks.company(preset="gb_vat")


# --- the United States ---


def test_automated_tax_follows_the_destination_and_the_subtotal(american: Company):
    sale = american.sale("0.34", "0.34", "0.34", code="TAX")
    made = american.made("SalesReceipt", sale | {"ShipAddr": TEXAS})
    assert (made["TxnTaxDetail"]["TotalTax"], made["TotalAmt"]) == (0.08, 1.10), "by line it would be 0.09"
    assert american.made("SalesReceipt", sale | {"ShipAddr": OREGON})["TotalAmt"] == 1.02
    assert american.made("SalesReceipt", sale)["TotalAmt"] == 1.10, "without an address: the company's own"


def test_only_taxable_lines_are_taxed(american: Company):
    sale = american.sale(100, code="TAX")
    sale["Line"].append(line(50, american.item()["Id"], "NON"))
    assert american.made("Invoice", sale)["TxnTaxDetail"]["TotalTax"] == 8.25
    assert american.refused("Invoice", sale | {"Line": [line(1, american.item()["Id"], "2")]}) == ["6100"]


def test_explicit_total_tax_is_honoured_and_a_code_is_not_asked(american: Company):
    sale = american.sale(100, code="TAX", TxnTaxDetail={"TotalTax": "2.97", "TxnTaxCodeRef": {"value": "3"}})
    made = american.made("SalesReceipt", sale)
    assert (made["TxnTaxDetail"]["TotalTax"], made["TotalAmt"]) == (2.97, 102.97)
    note = {"Id": made["Id"], "SyncToken": "0", "sparse": True, "PrivateNote": "x"}
    assert american.made("SalesReceipt", note)["TotalAmt"] == 102.97
    lines = note | {"SyncToken": "1", "Line": sale["Line"]}
    assert american.made("SalesReceipt", lines)["TotalAmt"] == 108.25, "new lines without tax are taxed anew"


def test_tax_of_a_company_that_did_not_set_it_up(american: Company):
    sale = american.sale(100, code="TAX")
    american.prefer("TaxPrefs", PartnerTaxEnabled=False)
    assert american.made("SalesReceipt", sale)["TotalAmt"] == 100
    american.prefer("TaxPrefs", UsingSalesTax=False)
    made = american.made("SalesReceipt", sale | {"TxnTaxDetail": {"TotalTax": 5}})
    assert made["TotalAmt"] == 100, "a tax that was sent is dropped"
    assert "TxnTaxDetail" not in made


def test_manual_tax_needs_its_code(quickbooks: QuickBooks):
    books = quickbooks.company(preset="us_manual")
    sale = books.sale(100, code="TAX")
    assert books.made("SalesReceipt", sale | {"TxnTaxDetail": {"TotalTax": 5}})["TotalAmt"] == 100
    texas = {"TxnTaxCodeRef": {"value": "2"}}
    made = books.made("SalesReceipt", sale | {"TxnTaxDetail": texas})
    assert [one["Amount"] for one in made["TxnTaxDetail"]["TaxLine"]] == [6.25, 2]
    assert books.made("SalesReceipt", sale | {"TxnTaxDetail": texas | {"TotalTax": 8.24}})["TotalAmt"] == 108.24


def test_discount_lowers_the_total_and_on_request_the_tax(american: Company):
    sale = american.sale(100, code="TAX")
    off = {"DetailType": "DiscountLineDetail", "DiscountLineDetail": {"PercentBased": True, "DiscountPercent": 10}}
    sale["Line"].append(off)
    assert american.made("SalesReceipt", sale)["TotalAmt"] == 98.25
    assert american.made("SalesReceipt", sale | {"ApplyTaxAfterDiscount": True})["TotalAmt"] == 97.43
    assert american.refused("SalesReceipt", sale | {"Line": [*sale["Line"], off]}) == ["6090"]
    american.prefer("SalesFormsPrefs", AllowDiscount=False)
    assert american.refused("SalesReceipt", sale) == ["6090"]


def test_shipping_and_tips_are_items_where_they_are_turned_on(american: Company):
    sale = american.sale(10)
    sale["Line"].append(line(6, "SHIPPING_ITEM_ID"))
    assert american.made("SalesReceipt", sale)["TotalAmt"] == 16
    american.prefer("SalesFormsPrefs", AllowShipping=False)
    assert american.refused("SalesReceipt", sale) == ["5030"]
    assert american.refused("SalesReceipt", sale | {"Line": [line(2, "GRATUITY_ITEM_ID")]}) == ["5030"]


# --- elsewhere ---


def test_vat_wants_a_code_on_every_line(british: Company):
    sale = british.sale(100, code="2")
    made = british.made("Invoice", sale)
    assert (made["TotalAmt"], made["TxnTaxDetail"]["TotalTax"]) == (120, 20)
    assert made["GlobalTaxCalculation"] == "TaxExcluded"
    item = british.item()["Id"]
    assert british.refused("Invoice", sale | {"Line": [line(1, item, None)]}) == ["6000"]
    assert british.refused("Invoice", sale | {"Line": [line(1, item, "TAX")]}) == ["2500"]
    assert british.made("Invoice", sale | {"GlobalTaxCalculation": "NotApplicable"})["TotalAmt"] == 100


def test_vat_of_inclusive_amounts_is_the_difference_told(british: Company):
    item = british.item()["Id"]
    lines = [line("8.33", item, "2", TaxInclusiveAmt="10.00"), line("8.33", item, "2", TaxInclusiveAmt="10.00")]
    made = british.made("SalesReceipt", british.sale(1) | {"Line": lines, "GlobalTaxCalculation": "TaxInclusive"})
    assert (made["TotalAmt"], made["TxnTaxDetail"]["TotalTax"]) == (20, 3.34)
    excluded = british.made("SalesReceipt", british.sale(1) | {"Line": lines})
    assert excluded["TxnTaxDetail"]["TotalTax"] == 3.33


def test_old_tax_stays_where_it_was_sent_along(british: Company):
    made = british.made("Invoice", british.sale(100, code="2"))
    lines = [one for one in made["Line"] if one["DetailType"] == "SalesItemLineDetail"]
    lines[0]["Amount"] = 200
    body = {"Id": made["Id"], "SyncToken": "0", "sparse": True, "Line": lines}
    stuck = british.made("Invoice", body | {"TxnTaxDetail": made["TxnTaxDetail"]})
    assert stuck["TotalAmt"] == 220
    assert british.made("Invoice", body | {"SyncToken": "1"})["TotalAmt"] == 240


def test_override_names_the_rates_of_its_lines(british: Company):
    def taxed(rate: str) -> dict:
        return {"TaxLine": [{"Amount": "19.99", "TaxLineDetail": {"TaxRateRef": {"value": rate}}}]}

    sale = british.sale(100, code="2")
    assert british.made("Invoice", sale | {"TxnTaxDetail": taxed("1")})["TotalAmt"] == 119.99
    assert british.refused("Invoice", sale | {"TxnTaxDetail": taxed("3")}) == ["6000"]


def test_codes_of_two_rates_tax_twice(quickbooks: QuickBooks):
    books = quickbooks.company(preset="ca_multi")
    made = books.made("SalesReceipt", books.sale(100, code="3", CurrencyRef={"value": "CAD"}))
    assert [one["Amount"] for one in made["TxnTaxDetail"]["TaxLine"]] == [5, 7]
    assert made["TotalAmt"] == 112


# --- currency ---


def test_one_currency_refuses_another(american: Company):
    sale = american.sale(10)
    assert american.made("SalesReceipt", sale)["CurrencyRef"] == {"value": "USD"}
    assert american.refused("SalesReceipt", sale | {"CurrencyRef": {"value": "EUR"}}) == ["6000"]
    assert american.refused("Customer", {"DisplayName": "Eu", "CurrencyRef": {"value": "EUR"}}) == ["6000"]


def test_many_currencies_want_one_named_and_the_customers_own(quickbooks: QuickBooks):
    books = quickbooks.company(preset="ca_multi")
    euro = books.customer(CurrencyRef={"value": "EUR"})
    sale = books.sale(100, code="4", customer=euro["Id"])
    assert books.refused("Invoice", sale) == ["2020"]
    assert books.refused("Invoice", sale | {"CurrencyRef": {"value": "CAD"}}) == ["6000"]
    made = books.made("Invoice", sale | {"CurrencyRef": {"value": "EUR"}, "ExchangeRate": "1.5"})
    assert (made["TotalAmt"], made["HomeTotalAmt"], made["HomeBalance"]) == (100, 150, 150)
    moved = {"Id": euro["Id"], "SyncToken": "0", "sparse": True, "CurrencyRef": {"value": "CAD"}}
    assert books.made("Customer", moved)["CurrencyRef"] == {"value": "EUR"}, "it is fixed"


def test_credit_is_applied_by_a_payment_of_nothing(american: Company):
    customer = american.customer(Taxable=False)["Id"]
    invoice = american.made("Invoice", american.sale(100, customer=customer))
    memo = american.made("CreditMemo", american.sale(30, customer=customer))
    assert memo["RemainingCredit"] == 30
    assert american.read("Customer", customer)["Balance"] == 70
    links = [
        {"Amount": 30, "LinkedTxn": [{"TxnId": invoice["Id"], "TxnType": "Invoice"}]},
        {"Amount": 30, "LinkedTxn": [{"TxnId": memo["Id"], "TxnType": "CreditMemo"}]},
    ]
    american.made("Payment", {"CustomerRef": {"value": customer}, "TotalAmt": 0, "Line": links})
    assert american.read("Invoice", invoice["Id"])["Balance"] == 70
    assert american.read("CreditMemo", memo["Id"])["RemainingCredit"] == 0
    assert american.read("Customer", customer)["Balance"] == 70
    other = {"CustomerRef": {"value": american.customer()["Id"]}, "TotalAmt": 5}
    assert american.refused("Payment", other | {"Line": links[:1]}) == ["6000"]


@pytest.mark.parametrize("preset", ["us_ast", "us_manual", "gb_vat", "ca_multi"])
def test_seeded_books_add_up(quickbooks: QuickBooks, preset: str):
    books = quickbooks.company(preset=preset)
    owed: dict[str, float] = {}
    for invoice in books.truth("Invoice").values():
        lines = sum(one["Amount"] for one in invoice["Line"] if one["DetailType"] == "SalesItemLineDetail")
        assert invoice["TotalAmt"] == pytest.approx(lines + invoice["TxnTaxDetail"]["TotalTax"])
        customer = invoice["CustomerRef"]["value"]
        owed[customer] = owed.get(customer, 0) + invoice["Balance"]
    for customer in books.truth("Customer").values():
        assert customer["Balance"] == pytest.approx(owed.get(customer["Id"], 0))
    again = quickbooks.company(preset=preset)
    assert again.truth("Invoice") == books.truth("Invoice")
