"""What is missing before orders may go into the books is named, each thing by itself; what is there is not."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from sync.targets.quickbooks import Books, books_of, gaps
from sync.targets.quickbooks.books import Account, Gateway, Items, Options, Shop, ShopRate, Taxes
from tests.sync.targets.quickbooks.shops import CA, CLASSIC, GB, QUEBEC, SHOP_RATES, US, rule
from tests.sync.targets.quickbooks.test_documents import chosen

D = Decimal
VAT = ShopRate(rate_id="1", label="VAT", percent=D(20))


def codes(books: Books) -> set[str]:
    found = gaps(books)
    assert all(gap.field and gap.detail and gap.remediation for gap in found)
    return {gap.code for gap in found}


@pytest.mark.parametrize("books", [US, CLASSIC, GB, CA, QUEBEC])
def test_a_company_that_everything_was_chosen_for_has_no_gap(books):
    assert gaps(books) == []


def test_of_a_company_that_nobody_has_looked_at_everything_is_missing():
    assert codes(Books(shop=Shop(charges_tax=True))) == {
        "company_unknown",
        "income_account_missing",
        "fallback_item_missing",
        "discount_item_missing",
        "fee_item_missing",
        "rounding_item_missing",
        "refund_item_missing",
        "shipping_item_missing",
        "gateway_account_missing",
        "sales_tax_off",
        "timezone_missing",
        "start_date_missing",
    }


def us(**more) -> Books:
    return replace(US, **more)


def gb(**taxes) -> Books:
    return replace(GB, taxes=replace(GB.taxes, **taxes))


def shop(books: Books = US, **more) -> Books:
    return replace(books, shop=replace(books.shop, **more))


ONLY_STRIPE = us(gateways=(Gateway(gateway="stripe", account_id="41"),))


@pytest.mark.parametrize(
    "books, code, field",
    [
        (us(items=replace(US.items, shipping=""), allows_shipping=False), "shipping_item_missing", "items.shipping"),
        (us(items=replace(US.items, gift_card="")), "gift_card_item_missing", "items.gift_card"),
        (us(accounts={"41": Account(account_id="41", kind="Income"), "79": Account(account_id="79"), "80": Account(account_id="80")}), "account_kind", "gateways.stripe"),
        (us(accounts={"41": Account(account_id="41", is_active=False), "79": Account(account_id="79"), "80": Account(account_id="80")}), "account_unusable", "gateways.stripe"),
        (us(gateways=(Gateway(gateway="stripe", account_id=""),)), "gateway_account_missing", "gateways.stripe"),
        (shop(ONLY_STRIPE, gateways=("stripe", "bacs")), "gateway_account_missing", "gateways.bacs"),
        (us(automated_tax=False), "sales_tax_not_set_up", "company.sales_tax"),
        (us(uses_sales_tax=False), "sales_tax_off", "company.sales_tax"),
        (shop(CLASSIC, rates=(VAT,)), "tax_rate_unmapped", "tax.rules"),
        (shop(GB, rates=(VAT, ShopRate(rate_id="9"))), "tax_rate_unmapped", "tax.rules"),
        (gb(untaxed=""), "tax_untaxed_missing", "tax.untaxed"),
        (gb(untaxed="2"), "tax_percent_differs", "tax.untaxed"),
        (gb(by_class={"zero-rate": "8"}), "tax_code_unusable", "tax.by_class.zero-rate"),
        (gb(rules=(rule("8", "1"),)), "tax_code_unusable", "tax.rules.0"),
        (shop(gb(rules=(rule("3", "1"),)), rates=(VAT,)), "tax_percent_differs", "tax.rules.0"),
        (replace(CA, taxes=replace(CA.taxes, rules=(rule("3", "12", "13"),))), "tax_part_unmapped", "tax.rules.0.parts"),
        (shop(timezone="Mars/Olympus"), "timezone_missing", "timezone"),
        (us(start_on=None), "start_date_missing", "start_date"),
        (us(closed_on=date(2026, 1, 1)), "start_date_closed", "start_date"),
        (shop(currency="EUR"), "currency_not_kept", "company.multicurrency"),
        (chosen(guest_rule="one_customer"), "guest_customer_missing", "guests.customers"),
        (chosen(number_prefix="a-long-prefix"), "prefix_too_long", "number_prefix"),
        (chosen(rounding_limit=D(5)), "rounding_limit", "rounding_limit"),
    ],
)  # fmt: skip
def test_each_thing_that_is_missing_is_named_where_it_is_chosen(books, code, field):
    assert (code, field) in {(gap.code, gap.field) for gap in gaps(books)}


def test_what_is_not_needed_is_not_asked_for():
    assert codes(shop(replace(US, uses_sales_tax=False), charges_tax=False)) == set()
    assert codes(us(closed_on=date(2025, 12, 31))) == set()
    assert codes(shop(US, rates=(VAT,))) == set(), "the United States' own engine asks for no code"
    assert codes(shop(gateways=("stripe", "bacs"))) == set(), "one account stands for all others"
    assert (
        codes(shop(QUEBEC, rates=tuple(rate for rate in SHOP_RATES if rate.rate_id in ("11", "12", "13", "14"))))
        == set()
    )


# --- what is known and what is chosen, as JSON ---
FACTS = {
    "country": "GB",
    "preferences": {
        "home_currency": "GBP", "multicurrency": False, "own_numbers": True, "sales_tax": True, "shipping": True,
        "automated_sales_tax": None, "books_closed_on": "2025-12-31", "gratuity": False, "applies_credit": False,
    },
}  # fmt: skip
CHOSEN = {
    "accounts": {"income": "79", "cost": "80"},
    "items": {"fallback": "1", "shipping": "2", "discount": "3", "fee": "4", "rounding": "5", "refund": "6"},
    "gateways": {"stripe": [{"account": "41"}, {"account": "42", "currency": "EUR"}], "*": {"account": "41"}},
    "tax": {"rules": [{"rates": [1], "code": "2", "parts": {}}], "untaxed": "5", "by_class": {"zero-rate": "5"}},
    "timezone": "Europe/London",
    "start_date": "2026-01-01",
    "guests": {"rule": "one_customer", "customers": {"GBP": "9"}},
    "document_rule": "invoices",
    "rounding_limit": "0.02",
    "tips": ["Trinkgeld", "TIP"],
    "owed_statuses": ["on-hold", "workshop"],
}
CODES = [
    {
        "Id": "2",
        "Name": "20.0% S",
        "Active": True,
        "SalesTaxRateList": {"TaxRateDetail": [{"TaxRateRef": {"value": "1"}}]},
    },
    {"Id": "5", "Name": "Exempt", "SalesTaxRateList": {"TaxRateDetail": [{"TaxRateRef": {"value": "7"}}]}},
    {"Id": "6", "Name": "Unknown", "SalesTaxRateList": {"TaxRateDetail": [{"TaxRateRef": {"value": "8"}}]}},
]
PERCENTS = [{"Id": "1", "RateValue": D(20)}, {"Id": "7", "RateValue": 0}]


def test_books_are_read_from_what_the_company_tells_and_a_person_chose():
    accounts = [{"Id": number, "AccountType": kind} for number, kind in (("41", "Bank"), ("42", "Bank"), ("79", "Income"), ("80", "Expense"))]  # fmt: skip
    books = books_of(FACTS, CHOSEN, accounts=accounts, tax_codes=CODES, tax_rates=PERCENTS)
    assert gaps(books) == []
    assert (books.closed_on, books.start_on) == (date(2025, 12, 31), date(2026, 1, 1))
    assert (books.has_own_numbers, books.automated_tax, books.is_american) == (True, None, False)
    assert books.gateway("stripe", "EUR").account_id == "42"
    assert books.gateway("stripe", "GBP").account_id == books.gateway("bacs", "EUR").account_id == "41"
    assert books.options.document_rule == "invoices"
    assert books.options.rounding_limit == D("0.02")
    assert books.options.tips == {"trinkgeld", "tip"}
    assert books.options.owed_statuses == {"on-hold", "workshop"}
    assert books.options.one_customer == {"GBP": "9"}
    assert books.taxes.rule(frozenset({"1"})).code_id == "2"
    assert books.taxes.codes["6"].rates == (), "a rate of unknown percentage cannot be used"


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        dict.fromkeys(set(CHOSEN) - {"rounding_limit"}, 5),
        {name: ["x", None] for name in CHOSEN},
        {name: {"a": {"b": None}} for name in CHOSEN},
        {"start_date": "soon", "rounding_limit": "NaN", "tax": {"rules": [{"rates": []}, "x", {"rates": {"a": 1}}]}},
    ],
)
def test_choices_that_are_none_show_as_gaps_and_break_nothing(chosen):
    books = books_of({"preferences": None}, chosen)
    assert (books.items, books.taxes.rules, books.options.rounding_limit) == (Items(), (), Options().rounding_limit)
    assert {"start_date_missing", "rounding_item_missing"} <= codes(books)
    assert isinstance(books.taxes, Taxes)
