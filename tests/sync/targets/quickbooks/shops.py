"""Orders and refunds as shops tell them: a little WooCommerce with its own arithmetic, and companies to book them in.

Everything follows from a seed. The arithmetic is the shop's (net amounts, taxes by rate, rounded by line or in the end),
written without ours, so that an error in one of them does not hide in both.
"""

import random
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from connections.providers.base import SourceRecord
from sync.canonical import Order, Refund
from sync.sources import canonical_of
from sync.targets.quickbooks.books import (
    Account,
    BookRate,
    Books,
    Gateway,
    Items,
    Options,
    Shop,
    ShopRate,
    TaxCode,
    Taxes,
    TaxRule,
)

D = Decimal
NONE = D(0)
ITEMS = Items(
    fallback="1", shipping="2", discount="3", fee="4", rounding="5", refund="6", gift_card="7"
)  # ids that every company of the simulator has
RATES = {
    "1": ("VAT", D(20), False),
    "2": ("Reduced", D(5), False),
    "3": ("Zero", D(0), False),
    "11": ("HST", D(13), False),
    "12": ("GST", D(5), False),
    "13": ("PST", D(7), False),
    "14": ("QST", D("9.5"), True),
    "21": ("Texas", D("6.25"), False),
    "22": ("Austin", D(2), False),
    "99": ("Nobody's", D(3), False),
}
SHOP_RATES = tuple(
    ShopRate(rate_id=rate, label=label, percent=percent, is_compound=compound)
    for rate, (label, percent, compound) in RATES.items()
)


def code(code_id: str, name: str, *rates: tuple[str, str]) -> TaxCode:
    return TaxCode(
        code_id=code_id, name=name, rates=tuple(BookRate(rate_id=one, percent=D(percent)) for one, percent in rates)
    )


def rule(code_id: str, *rates: str, parts: tuple[tuple[str, str], ...] = ()) -> TaxRule:
    return TaxRule(shop_rates=frozenset(rates), code_id=code_id, parts=parts)


def books(country: str, currency: str, taxes: Taxes | None = None, **more: Any) -> Books:
    """A company that everything has been chosen for."""
    made = Books(
        country=country,
        home_currency=currency,
        has_own_numbers=True,
        allows_shipping=True,
        uses_sales_tax=True,
        start_on=date(2026, 1, 1),
        income_account="79",
        cost_account="80",
        accounts={
            "41": Account(account_id="41", kind="Other Current Asset", currency=currency),
            "79": Account(account_id="79", kind="Income", currency=currency),
            "80": Account(account_id="80", kind="Cost of Goods Sold", currency=currency),
        },
        gateways=(
            Gateway(gateway="stripe", account_id="41", payment_method_id="3"),
            Gateway(gateway="*", account_id="41"),
        ),
        items=ITEMS,
        taxes=taxes or Taxes(),
        shop=Shop(site="shop.example.com", currency=currency, timezone="America/Edmonton", charges_tax=True),
        options=Options(number_prefix="WC-", gift_cards=frozenset({"gift card"}), tips=frozenset({"tip"})),
    )
    return replace(made, **more)


US = books("US", "USD", automated_tax=True)
CLASSIC = books("US", "USD", Taxes(rules=(rule("2", "21", "22"), rule("3", "21"))))
GB = books(
    "GB",
    "GBP",
    Taxes(
        rules=(rule("2", "1"), rule("3", "2"), rule("4", "3")),
        untaxed="5",
        by_class={"zero-rate": "4"},
        codes={
            one.code_id: one
            for one in (
                code("2", "20.0% S", ("1", "20")),
                code("3", "5.0% R", ("3", "5")),
                code("4", "0.0% Z", ("5", "0")),
                code("5", "Exempt", ("7", "0")),
            )
        },
    ),
)
CA_CODES = (
    code("2", "HST ON", ("1", "13")),
    code("3", "GST/PST BC", ("3", "5"), ("4", "7")),
    code("4", "Exempt", ("6", "0")),
)
CA_RULES = (rule("2", "11"), rule("3", "12", "13", parts=(("12", "3"), ("13", "4"))))
CA = books(
    "CA",
    "CAD",
    Taxes(rules=CA_RULES, untaxed="4", codes={one.code_id: one for one in CA_CODES}),
    is_multicurrency=True,
)
QUEBEC = replace(
    CA,
    taxes=Taxes(
        rules=(*CA_RULES, rule("5", "12", "14"), rule("6", "12")),
        untaxed="4",
        codes={
            one.code_id: one for one in (*CA_CODES, code("5", "GST/QST", ("8", "14.975")), code("6", "GST", ("3", "5")))
        },
    ),
)


# --- a shop ---
@dataclass(frozen=True)
class Kind:
    """One sort of shop. classes: tax class → the rates that meet on such a line."""

    name: str
    books: Books
    currency: str
    places: int
    classes: dict[str, tuple[str, ...]]


KINDS = (
    Kind("us", US, "USD", 2, {"": ("21", "22"), "reduced-rate": ("21",), "exempt": ()}),
    Kind("classic", CLASSIC, "USD", 2, {"": ("21", "22"), "exempt": ()}),
    Kind("gb", GB, "GBP", 2, {"": ("1",), "reduced-rate": ("2",), "zero-rate": ("3",), "exempt": ()}),
    Kind("ca", CA, "CAD", 2, {"": ("12", "13"), "ontario": ("11",), "exempt": ()}),
    Kind("quebec", QUEBEC, "CAD", 2, {"": ("12", "14"), "gst": ("12",), "exempt": ()}),
    Kind("yen", CA, "JPY", 0, {"": ("11",), "exempt": ()}),
    Kind("dinar", CA, "KWD", 3, {"": ("11",), "exempt": ()}),
    Kind("euro", GB, "EUR", 2, {"": ("1",)}),  # which the company does not keep
    Kind("unmapped", GB, "GBP", 2, {"": ("1", "99"), "reduced-rate": ("2",)}),
)


@dataclass
class Case:
    """One order, and why it may be held, if there is a reason; without one it must be written."""

    seed: int
    kind: Kind
    books: Books
    payload: dict[str, Any]
    reasons: set[str] = field(default_factory=set)

    @property
    def order(self) -> Order:
        found = canonical_of("woocommerce", SourceRecord("orders", str(self.payload["id"]), self.payload), {})
        assert isinstance(found, Order), self.payload
        return found

    def refund(self, payload: dict[str, Any]) -> Refund:
        payload = payload | {"parent_id": self.payload["id"]}
        record = SourceRecord("refunds", str(payload["id"]), payload)
        found = canonical_of("woocommerce", record, {"currency": self.kind.currency})
        assert isinstance(found, Refund), payload
        return found


def back(made: Case, refund_id: int, goodwill: Decimal = NONE) -> Refund:
    """The first line of an order taken back, and something given for nothing in particular."""
    line = made.payload["line_items"][0]
    unit = D(1).scaleb(-made.kind.places)
    names = ("subtotal", "total", "total_tax", "subtotal_tax")
    taken = {name: f"-{line[name]}" if D(line[name]) else line[name] for name in names}
    taxes = [{"id": tax["id"], "total": f"-{tax['total']}", "subtotal": f"-{tax['total']}"} for tax in line["taxes"]]
    meta = [{"key": "_refunded_item_id", "value": str(line["id"])}]
    return made.refund(
        {
            "id": refund_id,
            "amount": str((D(line["total"]) + D(line["total_tax"]) + goodwill).quantize(unit, ROUND_HALF_UP)),
            "reason": "broken",
            "date_created_gmt": "2026-11-23T10:00:00",
            "date_created": "2026-11-23T03:00:00",
            "line_items": [line | taken | {"quantity": -line["quantity"], "taxes": taxes, "meta_data": meta}],
        }
    )


class Maker:
    """Makes one order after another as the shop would."""

    def __init__(self, seed: int, kind: Kind):
        self.rng = random.Random(f"books {seed} {kind.name}")
        self.kind = kind
        self.unit = D(1).scaleb(-kind.places)
        self.is_inclusive = self.rng.random() < 0.3
        self.rounds_at_the_end = self.rng.random() < 0.3
        self.by_rate: dict[str, list[D]] = {}

    def rounded(self, amount: D) -> D:
        return amount.quantize(self.unit, ROUND_HALF_UP)

    def text(self, amount: D) -> str:
        return f"{self.rounded(amount):f}"

    def amount(self, low: int, high: int) -> D:
        """Of so many units of two decimals, as long as the currency has any."""
        return self.rounded(D(self.rng.randrange(low, high)) / 100 * (100 if self.kind.places == 0 else 1))

    def percent(self, rates: tuple[str, ...]) -> D:
        plain = sum((RATES[rate][1] for rate in rates if not RATES[rate][2]), D(0)) / 100
        compound = sum((RATES[rate][1] for rate in rates if RATES[rate][2]), D(0)) / 100
        return (1 + plain) * (1 + compound) - 1

    def taxes(self, net: D, rates: tuple[str, ...]) -> list[tuple[str, D]]:
        found: list[tuple[str, D]] = []
        for rate in sorted(rates, key=lambda one: RATES[one][2]):
            percent, on = RATES[rate][1] / 100, net
            if RATES[rate][2]:
                on += sum((tax for _rate, tax in found), D(0))
            tax = on * percent
            found.append((rate, tax if self.rounds_at_the_end else self.rounded(tax)))
        for rate, tax in found:
            self.by_rate.setdefault(rate, []).append(tax)
        return found

    def line(self, number: int, share: D) -> dict[str, Any]:
        """share: of the price that a coupon leaves."""
        tax_class = self.rng.choice(list(self.kind.classes))
        rates, quantity = self.kind.classes[tax_class], self.rng.choice((1, 1, 1, 2, 3, 7, 12, 144, 3000))
        gross = self.amount(0, 9000) if self.rng.random() < 0.95 else D(0)
        subtotal = self.kept(gross * quantity / (1 + self.percent(rates)) if self.is_inclusive else gross * quantity)
        total = self.kept(subtotal * share)
        taxes = self.taxes(total, rates)
        before = sum((tax for _rate, tax in Maker.taxes(_Quiet(self), subtotal, rates)), D(0))
        deleted, sku = self.rng.random() < 0.1, f"SKU-{number}" if self.rng.random() < 0.7 else ""
        return {
            "id": 100 + number,
            "name": self.rng.choice(("Mug", "Blue shirt - L", 'Pipe 3/4": brass', "Ärmel  \t mit Tab", "")) or "Box",
            "product_id": 0 if deleted else 40 + number,
            "variation_id": 70 + number if self.rng.random() < 0.2 and not deleted else 0,
            "quantity": quantity,
            "tax_class": tax_class,
            "subtotal": f"{subtotal:f}",
            "subtotal_tax": self.shown(before),
            "total": f"{total:f}",
            "total_tax": self.shown(sum((tax for _rate, tax in taxes), D(0))),
            "taxes": [{"id": int(rate), "total": self.shown(tax), "subtotal": self.shown(tax)} for rate, tax in taxes],
            "meta_data": [],
            "sku": sku,
            "price": 0,
        }

    def kept(self, amount: D) -> D:
        """What a line comes to: a shop that rounds in the end keeps fractions of cents until then."""
        return amount.quantize(D("0.000001"), ROUND_HALF_UP) if self.rounds_at_the_end else self.rounded(amount)

    def shown(self, tax: D) -> str:
        """Taxes of a line may have more decimals than money has."""
        return f"{tax.quantize(D('0.000001'), ROUND_HALF_UP):f}" if self.rounds_at_the_end else self.text(tax)

    def plain(self, number: int, name: str, net: D, rates: tuple[str, ...]) -> dict[str, Any]:
        taxes = self.taxes(net, rates)
        return {
            "id": 200 + number,
            "method_title": name,
            "name": name,
            "tax_class": "",
            "total": self.text(net),
            "total_tax": self.text(sum((tax for _rate, tax in taxes), D(0))),
            "taxes": [{"id": int(rate), "total": self.shown(tax), "subtotal": ""} for rate, tax in taxes],
            "meta_data": [],
        }

    def order(self, order_id: int) -> dict[str, Any]:
        rng = self.rng
        share = rng.choice((D(1), D(1), D(1), D("0.9"), D("0.667"), D(0)))
        lines = [self.line(number, share) for number in range(rng.randrange(1, 6))]
        net = sum((D(line["total"]) for line in lines), D(0))
        some = rng.choice(list(self.kind.classes.values()))
        shipping = [self.plain(n, f"Post {n}", self.amount(0, 2000), some) for n in range(rng.choice((0, 1, 1, 2)))]
        fees = (
            [self.plain(50, rng.choice(("Wrap", "Tip", "Gift card")), self.amount(1, 900), ())]
            if rng.random() < 0.3
            else []
        )
        if rng.random() < 0.2 and net > 20:
            fees.append(self.plain(51, "Loyalty", -self.rounded(net / 10), some))
        net += sum((D(one["total"]) for one in (*shipping, *fees)), D(0))
        by_rate = {rate: self.rounded(sum(taxes, D(0))) for rate, taxes in self.by_rate.items()}
        tax = sum(by_rate.values(), D(0))
        is_guest, is_custom = rng.random() < 0.4, rng.random() < 0.2
        paid = rng.random() < 0.85
        mail = f"kunde{rng.randrange(50)}@example.com" if rng.random() < 0.95 else ""
        return {
            "id": order_id,
            "number": f"2026/SHOP-NORTH-{order_id:09}" if is_custom else str(order_id),
            "status": rng.choice(("processing", "completed")) if paid else "on-hold",
            "currency": self.kind.currency,
            "prices_include_tax": self.is_inclusive,
            "date_created": "2026-11-21T21:24:32",
            "date_created_gmt": "2026-11-22T04:24:32",
            "date_modified_gmt": "2026-11-22T04:24:32",
            "date_paid": "2026-11-21T21:30:00" if paid else None,
            "date_paid_gmt": "2026-11-22T04:30:00" if paid else None,
            "discount_total": self.text(sum((D(one["subtotal"]) - D(one["total"]) for one in lines), D(0))),
            "shipping_total": self.text(sum((D(one["total"]) for one in shipping), D(0))),
            "total": self.text(net + tax),
            "total_tax": self.text(tax),
            "customer_id": 0 if is_guest else rng.randrange(1, 40),
            "billing": {
                "first_name": "Zoë",
                "last_name": "O'Neil",
                "address_1": "1 St",
                "city": "Austin",
                "state": "TX",
                "postcode": "73301",
                "country": "US",
                "email": mail,
                "phone": "+1 (555) 010-0199 ext. 12345",
            },
            "shipping": {},
            "payment_method": rng.choice(("stripe", "bacs", "cod")),
            "payment_method_title": "Card",
            "transaction_id": rng.choice(("", "pi_3QABCDEF0123456789abcdefXYZ")),
            "customer_note": "Please ring twice.",
            "line_items": lines,
            "shipping_lines": shipping,
            "fee_lines": fees,
            "coupon_lines": [{"id": 1, "code": "fall", "discount": "1", "discount_tax": "0"}] if share != 1 else [],
            "tax_lines": [
                {
                    "rate_id": int(rate),
                    "rate_code": rate,
                    "label": RATES[rate][0],
                    "compound": RATES[rate][2],
                    "tax_total": self.text(amount),
                    "shipping_tax_total": "0",
                    "rate_percent": RATES[rate][1],
                }
                for rate, amount in by_rate.items()
            ],
            "refunds": [],
        }


class _Quiet:
    """A maker that forgets the taxes it is asked about."""

    def __init__(self, maker: Maker):
        self.by_rate: dict[str, list[D]] = {}
        self.rounds_at_the_end, self.rounded = maker.rounds_at_the_end, maker.rounded


def case(seed: int, kinds: tuple[Kind, ...] = KINDS) -> Case:
    """The order of a seed; some are spoilt, as plugins spoil them."""
    rng = random.Random(seed)
    kind = kinds[seed % len(kinds)]
    maker = Maker(seed, kind)
    payload = maker.order(1000 + seed)
    options = replace(kind.books.options, discount_rule=rng.choice(("line", "line", "net")))
    made = Case(seed, kind, replace(kind.books, options=options), payload)
    total = D(payload["total"])
    if kind.places == 2 and rng.random() < 0.1:
        payload["total"] = str(total + rng.choice((D("0.01"), D("-0.02"), D("0.05"))))
        if total <= D("0.05"):
            made.reasons |= {"total_negative"}
    elif rng.random() < 0.05:
        payload["total"] = str(total + 10)  # a plugin's own total
        made.reasons |= {"parts_differ"}
    made.reasons |= _reasons(made)
    return made


def _reasons(made: Case) -> set[str]:
    """Why this order may be held. Told by the payload alone."""
    payload, kind = made.payload, made.kind
    found = set()
    if kind.name == "euro":
        found.add("currency_not_kept")
    if any(
        tax["id"] == 99
        for line in payload["line_items"] + payload["shipping_lines"] + payload["fee_lines"]
        for tax in line["taxes"]
    ):
        found.add("tax_rate_unmapped")
    if kind.places == 3:
        found.add("amount_too_fine")
    if D(payload["total"]) < 0:
        found.add("total_negative")
    if kind.name == "classic":
        taxed = {tax["id"] for line in payload["line_items"] + payload["shipping_lines"] + payload["fee_lines"]
                 for tax in line["taxes"] if D(tax["total"])}  # fmt: skip
        if taxed - {21, 22} or taxed == {22}:
            found.add("tax_rate_unmapped")
    if kind.books.is_american and not any(
        D(line["total_tax"]) or D(line.get("subtotal_tax", 0))
        for line in payload["line_items"] + payload["shipping_lines"] + payload["fee_lines"]
    ):
        found.add("tax_unexplained")  # fractions of cents that come to one in the end
    return found
