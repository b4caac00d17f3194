"""What has to be chosen, switched on or corrected before orders may go into the books: each thing by itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from sync.canonical import ZERO
from sync.targets.quickbooks.books import ANY, Books, Gateway, TaxCode, TaxRule
from sync.targets.quickbooks.forms import CLEARING_KINDS
from sync.targets.quickbooks.taxing import PERCENT_TOLERANCE, effective
from sync.targets.quickbooks.texts import MAX_NUMBER, is_zone

MAX_LIMIT = Decimal(1)
MAX_PREFIX = 10


@dataclass(frozen=True, slots=True)
class Gap:
    """field: of the flow's options, as a path, or of the company (`company.…`)."""

    code: str
    field: str
    detail: str
    remediation: str


def gaps(books: Books) -> list[Gap]:
    """Everything that is missing; [] where a flow into these books may be active."""
    parts = (_company, _accounts, _items, _gateways, _taxes, _calendar, _currency, _choices)
    return [gap for part in parts for gap in part(books)]


def _company(books: Books) -> Iterator[Gap]:
    if not books.country or not books.home_currency:
        yield Gap(
            "company_unknown",
            "company",
            "The company's country and home currency are not known.",
            "Verify the connection to QuickBooks.",
        )


def _accounts(books: Books) -> Iterator[Gap]:
    if not books.income_account:
        yield Gap(
            "income_account_missing",
            "accounts.income",
            "No income account is chosen.",
            "Choose an account of type Income.",
        )
    for field, account_id, kinds in (
        ("accounts.income", books.income_account, {"Income", "Other Income"}),
        ("accounts.cost", books.cost_account, {"Cost of Goods Sold", "Expense"}),
    ):
        yield from _usable(books, field, account_id, frozenset(kinds))


def _usable(books: Books, field: str, account_id: str, kinds: frozenset[str]) -> Iterator[Gap]:
    """Of an account that is chosen. What the company's list does not tell is not held against it."""
    if not account_id or not books.accounts:
        return
    account = books.accounts.get(account_id)
    if account is None or not account.is_active:
        detail = f"The account {account_id} is not in the company, or is inactive."
        yield Gap("account_unusable", field, detail, "Choose another one, or make it active again in QuickBooks.")
    elif account.kind and account.kind not in kinds:
        detail = f"The account {account_id} is of type {account.kind}."
        yield Gap("account_kind", field, detail, f"Choose one of type {' or '.join(sorted(kinds))}.")


_ITEMS = {
    "fallback": "products that are not in the books",
    "discount": "what coupons take off",
    "fee": "fees",
    "rounding": "rounding differences",
    "refund": "refunds without items",
}


def _items(books: Books) -> Iterator[Gap]:
    for name, purpose in _ITEMS.items():
        if not getattr(books.items, name):
            yield _item(name, f"No item is chosen for {purpose}.")
    if not books.items.shipping and not books.allows_shipping:
        yield _item("shipping", "No item is chosen for shipping, and the company's sales forms have none.")
    if books.options.gift_cards and not books.items.gift_card:
        yield _item("gift_card", "Gift cards are named, and no item is chosen for them: they are owed, not earned.")


def _item(name: str, detail: str) -> Gap:
    advice = {
        "gift_card": "Choose an item whose account is a liability.",
        "shipping": "Choose one, or switch on shipping.",
    }
    return Gap(f"{name}_item_missing", f"items.{name}", detail, advice.get(name, "Choose one of the company's items."))


def _gateways(books: Books) -> Iterator[Gap]:
    chosen = {one.gateway: one for one in books.gateways}
    if not chosen:
        detail = "No account is chosen for the money that comes in."
        yield Gap(
            "gateway_account_missing", "gateways", detail, "Choose a clearing account for each of the shop's gateways."
        )
    for name in books.shop.gateways:
        if name not in chosen and ANY not in chosen and chosen:
            detail = f"No account is chosen for what comes through {name}."
            yield Gap(
                "gateway_account_missing",
                f"gateways.{name}",
                detail,
                "Choose its clearing account, or one for all others.",
            )
    for one in books.gateways:
        yield from _gateway(books, one)


def _gateway(books: Books, one: Gateway) -> Iterator[Gap]:
    field = f"gateways.{one.gateway}"
    if not one.account_id:
        yield Gap("gateway_account_missing", field, f"{one.gateway} has no account.", "Choose its clearing account.")
    yield from _usable(books, field, one.account_id, CLEARING_KINDS)


# --- taxes ---
def _taxes(books: Books) -> Iterator[Gap]:
    charges = books.shop.charges_tax if books.shop.charges_tax is not None else bool(books.shop.rates)
    if not books.uses_sales_tax:
        if charges:
            detail = "The shop charges tax, and sales tax is switched off in the company: it would be dropped."
            yield Gap(
                "sales_tax_off",
                "company.sales_tax",
                detail,
                "Set up sales tax in QuickBooks, and verify the connection.",
            )
        return
    if books.is_american:
        yield from _american(books, charges=charges)
        return
    yield from _untaxed(books)
    yield from _rates(books)
    for place, rule in enumerate(books.taxes.rules):
        yield from _rule(books, f"tax.rules.{place}", rule)


def _american(books: Books, *, charges: bool) -> Iterator[Gap]:
    if books.automated_tax is False and charges:
        detail = "Automated Sales Tax is offered to the company and was never set up."
        yield Gap("sales_tax_not_set_up", "company.sales_tax", detail, "Finish it in QuickBooks: Taxes › Sales tax.")
    if books.automated_tax is None:
        yield from _rates(books)


def _rates(books: Books) -> Iterator[Gap]:
    """Each rate by itself: which of them meet on one line, only orders tell."""
    for rate in books.shop.rates:
        if not any(rate.rate_id in rule.shop_rates for rule in books.taxes.rules):
            detail = f"No tax code is chosen for the shop's rate {rate.label or rate.rate_id} (rate {rate.rate_id})."
            yield Gap("tax_rate_unmapped", "tax.rules", detail, "Choose the company's tax code for it.")


def _untaxed(books: Books) -> Iterator[Gap]:
    if not books.taxes.untaxed:
        yield Gap(
            "tax_untaxed_missing",
            "tax.untaxed",
            "No tax code is chosen for lines without tax.",
            "Choose the company's code for zero-rated or exempt sales.",
        )
    fields = {"tax.untaxed": books.taxes.untaxed}
    fields |= {f"tax.by_class.{name}": code for name, code in books.taxes.by_class.items()}
    for field, code_id in fields.items():
        code = books.taxes.codes.get(code_id)
        if not code_id:
            continue
        if not _is_usable(code):
            yield _unusable(field, code_id)
        elif code and any(rate.percent for rate in code.rates):
            yield Gap("tax_percent_differs", field, f"{code.name or code_id} is not of 0 %.", "Choose a code of 0 %.")


def _rule(books: Books, field: str, rule: TaxRule) -> Iterator[Gap]:
    code = books.taxes.codes.get(rule.code_id)
    if code is None or not _is_usable(code):
        yield _unusable(field, rule.code_id)
        return
    ids, parts = {rate.rate_id for rate in code.rates}, dict(rule.parts)
    missing = sorted(rate for rate in rule.shop_rates if parts.get(rate) not in ids)
    if len(code.rates) > 1 and missing:
        detail = f"{code.name or code.code_id} has several rates, and none of them is chosen for {', '.join(missing)}."
        yield Gap(
            "tax_part_unmapped", f"{field}.parts", detail, "Say which of the code's rates takes which of the shop's."
        )
    known = {rate.rate_id: rate for rate in books.shop.rates}
    found = [known[rate] for rate in rule.shop_rates if rate in known]
    charged = effective(found) if len(found) == len(rule.shop_rates) else None
    kept = sum((rate.percent for rate in code.rates), ZERO)
    is_compound = any(rate.is_compound for rate in found) and len(code.rates) > 1
    if charged is not None and not is_compound and abs(charged - kept) > PERCENT_TOLERANCE:
        detail = f"The shop charges {charged:f} %, and {code.name or code.code_id} is {kept:f} %."
        yield Gap("tax_percent_differs", field, detail, "Choose a tax code of that percentage.")


def _is_usable(code: TaxCode | None) -> bool:
    return code is not None and code.is_active and bool(code.rates)


def _unusable(field: str, code_id: str) -> Gap:
    detail = f"The tax code {code_id} is not in the company, is inactive, or has no rate for sales."
    return Gap("tax_code_unusable", field, detail, "Choose another one.")


# --- days, money, choices ---
def _calendar(books: Books) -> Iterator[Gap]:
    if not is_zone(books.shop.timezone):
        detail = "The shop's time zone is not known: the day of an order would be a guess."
        yield Gap("timezone_missing", "timezone", detail, "Give it as a place, such as America/Edmonton.")
    if books.start_on is None:
        detail = "No start date is chosen: all old orders would go into the books."
        yield Gap("start_date_missing", "start_date", detail, "Choose the first day whose orders are to go there.")
    elif books.closed_on and books.start_on <= books.closed_on and books.options.closed_rule == "hold":
        detail = f"It starts on {books.start_on}, and the books are closed up to {books.closed_on}."
        yield Gap(
            "start_date_closed",
            "start_date",
            detail,
            "Start after that day, or have such records posted on the first open one.",
        )


def _currency(books: Books) -> Iterator[Gap]:
    shop, home = books.shop.currency, books.home_currency
    if shop and home and shop != home and not books.is_multicurrency:
        detail = f"The shop sells in {shop}, and the company keeps {home} only."
        yield Gap(
            "currency_not_kept",
            "company.multicurrency",
            detail,
            "Switch on multicurrency in QuickBooks; it stays on for good.",
        )


def _choices(books: Books) -> Iterator[Gap]:
    options = books.options
    if options.guest_rule == "one_customer" and not options.one_customer:
        detail = "One customer is to stand for all guests, and none is chosen."
        yield Gap("guest_customer_missing", "guests.customers", detail, "Choose a customer for each currency.")
    if max(len(options.number_prefix), len(options.refund_prefix)) > MAX_PREFIX:
        detail = f"A number has {MAX_NUMBER} characters in all; the prefix leaves too little of the order's."
        yield Gap("prefix_too_long", "number_prefix", detail, f"Use at most {MAX_PREFIX} characters.")
    if not 0 <= options.rounding_limit <= MAX_LIMIT:
        detail = f"{options.rounding_limit} is no rounding."
        yield Gap("rounding_limit", "rounding_limit", detail, f"Choose an amount from 0 to {MAX_LIMIT}.")
