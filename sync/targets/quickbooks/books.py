"""What has to be known of a company and chosen by a person before an order can become one of its documents. Values only.

Ids are QuickBooks' own, as text; those of rates, gateways and classes are the shop's. "" and () mean: not chosen, not known.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Literal

ANY = "*"  # the gateway of those that have no entry of their own

DiscountRule = Literal["line", "net"]
DocumentRule = Literal["by_payment", "invoices", "receipts"]
GuestRule = Literal["by_email", "one_customer"]
ItemRule = Literal["create", "fallback"]
ClosedRule = Literal["hold", "next_open_day"]
AmountRefundRule = Literal["flag", "hold"]

OWED = frozenset({"on-hold", "processing", "completed", "refunded"})
IGNORED = frozenset({"pending", "failed", "draft", "new", "checkout-draft", "auto-draft", "trash"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """kind: QuickBooks' AccountType."""

    account_id: str
    kind: str = ""
    currency: str = ""
    is_active: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """Where money that came this way lies until it is paid out. currency: "" for all that have no entry of their own."""

    gateway: str
    account_id: str
    payment_method_id: str = ""
    currency: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BookRate:
    """One rate within a tax code of the company, in percent."""

    rate_id: str
    percent: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxCode:
    """rates: those of its sales side."""

    code_id: str
    name: str = ""
    rates: tuple[BookRate, ...] = ()
    is_active: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopRate:
    """One tax rate of the shop, as far as it is known before an order has it."""

    rate_id: str
    label: str = ""
    percent: Decimal | None = None
    is_compound: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxRule:
    """Lines that are taxed with exactly these rates of the shop have this code.

    parts: (the shop's rate, the code's rate), where the code has several: which of them takes whose tax.
    """

    shop_rates: frozenset[str]
    code_id: str
    parts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Taxes:
    """The mapping of taxes. untaxed: the code of lines without any rate; by_class: where a class of theirs has its own."""

    rules: tuple[TaxRule, ...] = ()
    untaxed: str = ""
    by_class: Mapping[str, str] = field(default_factory=dict)
    codes: Mapping[str, TaxCode] = field(default_factory=dict)

    def rule(self, rates: frozenset[str]) -> TaxRule | None:
        return next((rule for rule in self.rules if rule.shop_rates == rates), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """shipping: "" has QuickBooks' own shipping line, where sales forms have one; tip likewise, else the fee item."""

    fallback: str = ""
    shipping: str = ""
    discount: str = ""
    fee: str = ""
    rounding: str = ""
    refund: str = ""
    gift_card: str = ""
    tip: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """The source. charges_tax: None where nobody knows. gateways, rates: all that it has."""

    site: str = ""
    currency: str = ""
    timezone: str = ""
    charges_tax: bool | None = None
    prices_include_tax: bool = False
    gateways: tuple[str, ...] = ()
    rates: tuple[ShopRate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a person chooses; the defaults are what most accountants would.

    discount_rule: "line" keeps gross sales and shows what was taken off, "net" shows what was left.
    document_rule: "by_payment" has a receipt for what is paid and an invoice for what is owed.
    one_customer: by currency, who stands for all guests. gift_cards: products (ids or SKUs) that are sold as such, and
    names of fees that are redeemed ones; tips: names of fees. In small letters.
    """

    number_prefix: str = ""
    refund_prefix: str = "R"
    discount_rule: DiscountRule = "line"
    document_rule: DocumentRule = "by_payment"
    guest_rule: GuestRule = "by_email"
    item_rule: ItemRule = "create"
    closed_rule: ClosedRule = "hold"
    amount_refunds: AmountRefundRule = "flag"
    one_customer: Mapping[str, str] = field(default_factory=dict)
    rounding_limit: Decimal = Decimal("0.05")
    owed_statuses: frozenset[str] = OWED
    ignored_statuses: frozenset[str] = IGNORED
    gift_cards: frozenset[str] = frozenset()
    tips: frozenset[str] = frozenset()
    with_customer_note: bool = False
    may_overwrite_customers: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """country: "US" for the United States. automated_tax: True set up, False offered and not set up, None classic tax."""

    country: str = ""
    home_currency: str = ""
    is_multicurrency: bool = False
    has_own_numbers: bool = False
    allows_shipping: bool = False
    allows_tips: bool = False
    uses_sales_tax: bool = False
    automated_tax: bool | None = None
    applies_credit: bool = False
    closed_on: date | None = None
    start_on: date | None = None
    income_account: str = ""
    cost_account: str = ""
    accounts: Mapping[str, Account] = field(default_factory=dict)
    gateways: tuple[Gateway, ...] = ()
    items: Items = Items()
    taxes: Taxes = Taxes()
    shop: Shop = Shop()
    options: Options = Options()

    @property
    def is_american(self) -> bool:
        return self.country.strip().upper() in ("US", "USA", "UNITED STATES")

    def gateway(self, name: str, currency: str) -> Gateway | None:
        """Its own in that currency, its own, that of all others."""
        found = {(one.gateway, one.currency): one for one in self.gateways}
        places = ((name, currency), (name, ""), (ANY, currency), (ANY, ""))
        return next((found[place] for place in places if place in found), None)
