"""The shop's past, from a seed: what it sells, who buys, and any order of it at any time again, the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from . import woocommerce_blanks as blanks
from .woocommerce_money import ZERO, Taxes, add_up, coupon_taxes, discount, number, text
from .woocommerce_rows import Row
from .woocommerce_shapes import CUSTOMER_ADDRESS, address

if TYPE_CHECKING:
    from .woocommerce_store import Store

Json = dict[str, Any]
FIRST_PRODUCT = 100
FIRST_CUSTOMER = 2  # user 1 is the shop's owner
ORDER_STRIDE = 3  # an order's id and two for its refunds
ITEM_STRIDE = 32  # ids of what is in one order
DELETED_PRODUCT = 99  # on many a line, and nowhere else

PLACES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "CA": (("Edmonton", "AB", "T5A 0A1"), ("Calgary", "AB", "T2P 1J9"), ("Toronto", "ON", "M5V 2T6")),
    "US": (("Portland", "OR", "97201"), ("Boston", "MA", "02108"), ("Austin", "TX", "78701")),
    "GB": (("Leeds", "", "LS1 4AP"), ("Cardiff", "", "CF10 1EP")),
    "DE": (("Köln", "DE-NW", "50667"), ("Leipzig", "DE-SN", "04109")),
    "JP": (("Osaka", "JP27", "530-0001"),),
}
RATES: dict[str, tuple[Json, ...]] = {
    "CA": (
        {"country": "CA", "rate": "5.0000", "name": "GST", "priority": 1},
        {"country": "CA", "state": "AB", "rate": "7.2500", "name": "LOCAL", "priority": 2, "shipping": False},
        {"country": "CA", "state": "ON", "rate": "8.0000", "name": "PST", "priority": 2},
        {"country": "CA", "rate": "0.0000", "name": "ZERO", "priority": 1, "class": "zero-rate"},
    ),
    "US": (
        {"country": "US", "state": "MA", "rate": "6.2500", "name": "MA Sales Tax", "priority": 1, "shipping": False},
        {"country": "US", "state": "TX", "rate": "6.2500", "name": "TX Sales Tax", "priority": 1},
        {"country": "US", "state": "TX", "rate": "2.0000", "name": "Austin", "priority": 2},
    ),
    "GB": ({"country": "GB", "rate": "20.0000", "name": "VAT", "priority": 1},),
    "DE": (
        {"country": "DE", "rate": "19.0000", "name": "MwSt.", "priority": 1},
        {"country": "DE", "rate": "7.0000", "name": "MwSt. erm.", "priority": 1, "class": "reduced-rate"},
    ),
    "JP": ({"country": "JP", "rate": "10.0000", "name": "消費税", "priority": 1},),
}
GOODS = (
    "Mug", "Salt &amp; Pepper Set", "Café Crème ☕", "Wool Blanket", "Tea Towel “Überlauf”", "Enamel Pot 2 l",
    "Candle &#8211; Cedar", "Notebook A5", "Rain Coat", "Linen Apron", "🎁 Gift Wrap", "Oak Board", "Bread Knife 8″",
    "Jam &lt;Plum&gt;", "日本茶 Sencha", "Garden Gloves", "Wool Socks", "Honey 250 g", "Kettle", "Cast Iron Pan",
)  # fmt: skip
FIRST_NAMES = ("Zoë", "Amir", "Grace", "Jürgen", "Mei", "Siobhán", "Tomás", "Ada", "Nguyễn", "Olu", "Ana", "D'Arcy")
LAST_NAMES = ("O'Neil", "Müller", "Smith", "Nakamura", "García", "van den Berg", "Łukasz", "Brown", "Ó Briain", "Roy")
COUPONS = (
    ("ten", {"amount": "10.00", "discount_type": "percent"}),
    ("five-off", {"amount": "5.00", "discount_type": "fixed_cart"}),
    ("each-one", {"amount": "0.50", "discount_type": "fixed_product"}),
)
METHODS = (
    ("stripe", "Credit card"), ("stripe", "Credit card"), ("paypal", "PayPal"), ("bacs", "Direct bank transfer"),
    ("cod", "Cash on delivery"),
)  # fmt: skip
PAID = frozenset({"processing", "completed", "refunded"})
WORDS = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"


def mix(seed: int, number: int, salt: int = 0) -> int:
    """64 well-mixed bits for (seed, number): fast, so that a hundred thousand rows have their dates at once."""
    value = (seed * 0x9E3779B97F4A7C15 + number * 0xBF58476D1CE4E5B9 + salt * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return value ^ (value >> 31)


@dataclass(frozen=True, slots=True)
class Article:
    """What can stand on an order's line."""

    product_id: int
    variation_id: int
    name: str
    parent_name: str | None
    price: Decimal
    sku: str
    tax_class: str
    is_taxable: bool
    options: tuple[tuple[str, str], ...] = ()


class Seed:
    """One shop's past. `ends_at`: when it was made; `orders`, `products`, `customers`: how many, over `days`."""

    def __init__(self, store: Store, *, seed: int, orders: int, products: int, customers: int, days: int, ends_at: int):
        self.store = store
        self.seed = seed
        self.orders, self.products, self.customers = orders, products, customers
        self.ends_at = ends_at
        self.begins_at = ends_at - days * 86400
        self.first_order = FIRST_PRODUCT + products * 5 + 100
        self.articles: list[Article] = []
        self.taxes: Taxes

    @property
    def first_free_id(self) -> int:
        return self.first_order + self.orders * ORDER_STRIDE

    @property
    def first_free_item(self) -> int:
        return (self.first_free_id + 1) * ITEM_STRIDE

    def load(self) -> None:
        """Put everything into the store's tables; orders, refunds and customers without bodies."""
        tables = self.store.tables
        tables["taxes"].load(self._taxes())
        tables["coupons"].load(self._coupons())
        products, variations = self._goods()
        tables["products"].load(products)
        tables["variations"].load(variations)
        tables["customers"].load(self._customers())
        self.taxes = self.store.taxes()  # as they were then: later rates do not change old orders
        self.articles = [article for row in products for article in self.store.articles_of(row)]
        tables["orders"].load(self._orders())
        tables["refunds"].load(self._refunds())

    # --- what there is ---

    def _taxes(self) -> Iterator[Row]:
        for place, rate in enumerate(RATES.get(self.store.country, ())):
            yield Row(place + 1, self.begins_at, self.begins_at, body=blanks.tax(order=place) | rate)

    def _coupons(self) -> Iterator[Row]:
        for place, (code, more) in enumerate(COUPONS):
            row_id = FIRST_PRODUCT + self.products * 5 + place
            yield Row(row_id, self.begins_at, self.begins_at, "publish", name=code, body=blanks.coupon(code, **more))

    def _goods(self) -> tuple[list[Row], list[Row]]:
        products: list[Row] = []
        variations: list[Row] = []
        for place in range(self.products):
            row = self._product(place)
            products.append(row)
            if row.body is not None and row.body["type"] == "variable":
                variations += self._variations(place, row)
        return products, variations

    def _product(self, place: int) -> Row:
        bits = mix(self.seed, place, 1)
        name = GOODS[place % len(GOODS)] + (f" No. {place // len(GOODS) + 1}" if place >= len(GOODS) else "")
        slug = f"product-{place + 1}"
        body = blanks.product(name, slug, sku=f"SKU-{place + 1:04}" if bits % 12 else "", meta_data=[])
        body["regular_price"] = self._price(bits >> 8)
        if bits % 7 == 1:
            body["sale_price"] = text(number(body["regular_price"]) * Decimal("0.8"), self.store.decimals)
        if place % 5 == 4:
            body |= {"type": "variable", "sale_price": "", "attributes": [_colours()]}
        if bits % 3 == 0:
            body |= {"manage_stock": True, "stock_quantity": 20 + bits % 200}
        if bits % 17 == 5:
            body["tax_status"] = "none"
        row_id, created = FIRST_PRODUCT + place * 5, self.begins_at + place
        return Row(row_id, created, created + bits % 86400, "publish", name=name, body=body)

    def _variations(self, place: int, parent: Row) -> Iterator[Row]:
        for number_, colour in enumerate(COLOURS):
            bits = mix(self.seed, place, 10 + number_)
            option = {"id": 0, "name": "Colour", "slug": "Colour", "option": colour}
            body = blanks.variation(name=colour, attributes=[option], sku=f"SKU-{place + 1:04}-{number_ + 1}")
            body |= {"regular_price": self._price(bits), "menu_order": number_ + 1}
            row_id = parent.id + 1 + number_
            yield Row(row_id, parent.created, parent.modified, "publish", parent.id, colour, body)

    def _price(self, bits: int) -> str:
        cents = 199 + bits % 9800
        return text(Decimal(cents) / 100 if self.store.decimals else Decimal(cents), self.store.decimals)

    def _customers(self) -> Iterator[Row]:
        yield Row(1, self.begins_at, self.begins_at, "administrator", name="admin")
        for place in range(self.customers):
            bits = mix(self.seed, place, 2)
            created = self.begins_at + bits % max(1, self.ends_at - self.begins_at)
            role = "subscriber" if bits % 40 == 3 else "customer"
            yield Row(
                FIRST_CUSTOMER + place, created, created + (bits >> 20) % 86400, role, name=f"customer{place + 1}"
            )

    def customer(self, row: Row) -> Json:
        rng = random.Random(mix(self.seed, row.id, 3))
        person = self._person(rng, row.name)
        return {
            "email": "admin@shop.example" if row.id == 1 else person["email"],
            "first_name": person["first_name"],
            "last_name": person["last_name"],
            "username": row.name,
            "billing": address(person, "email", "phone", names=CUSTOMER_ADDRESS),
            "shipping": address(person if rng.random() < 0.5 else {}, "phone", names=CUSTOMER_ADDRESS),
            "is_paying_customer": rng.random() < 0.7,
            "meta_data": [],
            "_never_modified": rng.random() < 0.1,
        }

    def _person(self, rng: random.Random, name: str) -> Json:
        city, state, postcode = rng.choice(PLACES.get(self.store.country, PLACES["US"]))
        return {
            "first_name": rng.choice(FIRST_NAMES),
            "last_name": rng.choice(LAST_NAMES),
            "company": "Smith &amp; Sons" if rng.random() < 0.05 else "",
            "address_1": f"{rng.randint(1, 300)} Main St",
            "city": city,
            "state": state,
            "postcode": postcode,
            "country": self.store.country,
            "email": f"{name}@mail.example",
            "phone": f"+1555{rng.randint(1000000, 9999999)}",
        }

    # --- orders ---

    def _orders(self) -> Iterator[Row]:
        span = max(1, self.ends_at - self.begins_at - 1)
        for place in range(self.orders):
            bits = mix(self.seed, place, 4)
            row_id = self.first_order + place * ORDER_STRIDE
            created = self.begins_at + span * place // self.orders + bits % max(1, span // self.orders)
            lag = (bits >> 24) % (3 * 86400)
            owner = FIRST_CUSTOMER + (bits >> 16) % self.customers if self.customers and bits % 10 >= 3 else 0
            yield Row(row_id, created, min(created + lag, self.ends_at), self._status(row_id), owner)

    def _status(self, order_id: int) -> str:
        draw = mix(self.seed, order_id, 5) % 1000
        if self.refunds_of(order_id)[:1] == ["full"]:
            return "refunded"
        for status, below in STATUSES:
            if draw < below:
                return status
        return "completed"

    def refunds_of(self, order_id: int) -> list[str]:
        """What was refunded of this order: kinds, at most two."""
        if mix(self.seed, order_id, 5) % 1000 < 200:
            return []  # never paid
        draw = mix(self.seed, order_id, 6) % 100
        if draw < 3:
            return ["full"]
        if draw < 6:
            return ["lines"]
        return ["amount"] if draw < 8 else ["lines", "amount"] if draw < 9 else []

    def _refunds(self) -> Iterator[Row]:
        for row in self.store.tables["orders"].rows.values():
            for place, kind in enumerate(self.refunds_of(row.id)):
                yield Row(row.id + 1 + place, row.modified, row.modified, "completed", row.id, kind)

    def order(self, row: Row) -> Json:
        """The order's body as it was made, whatever became of the products since."""
        rng = random.Random(mix(self.seed, row.id, 7))
        items = iter(range(row.id * ITEM_STRIDE, (row.id + 1) * ITEM_STRIDE))
        customer = self._buyer(rng, row)
        key = "wc_order_" + "".join(rng.choices(WORDS, k=13))
        billing = address(customer, "email", "phone")
        has_shipping = rng.random() < 0.8
        shipping = address(customer if has_shipping else {}, "phone")
        body = blanks.order(
            self.store.currency, includes_tax=self.store.prices_include_tax, key=key, billing=billing, shipping=shipping
        )
        self._fill(body, rng, items, has_shipping=has_shipping)
        method, title = rng.choice(METHODS)
        body |= {"payment_method": method, "payment_method_title": title, "created_via": "checkout"}
        if row.status in PAID:
            body["date_paid"] = row.created
            body["transaction_id"] = f"txn_{row.id}" if method in ("stripe", "paypal") else ""
        if row.status == "completed":
            body["date_completed"] = row.modified
        if rng.random() < 0.1:
            body["customer_note"] = rng.choice(("Please ring &amp; wait", "Merci 🙏", "Leave at door"))
        return body

    def _buyer(self, rng: random.Random, row: Row) -> Json:
        if row.owner:
            name = f"customer{row.owner - FIRST_CUSTOMER + 1}"
            return self.customer(Row(row.owner, 0, 0, name=name))["billing"]
        return self._person(rng, f"guest{row.id}")

    def _fill(self, body: Json, rng: random.Random, items: Iterator[int], *, has_shipping: bool) -> None:
        places = self.store.decimals
        for _turn in range(rng.choice((1, 1, 2, 2, 3, 4))):
            body["line_items"].append(self._line(rng, next(items), body))
        if has_shipping:
            cost = Decimal(rng.choice(("4.99", "7.50", "12.00")))
            body["shipping_lines"].append(blanks.shipping_line(next(items), "Flat rate", round(cost, places)))
        if rng.random() < 0.08:
            fee = Decimal(rng.choice(("2.50", "14.70", "-1.00")))
            body["fee_lines"].append(
                blanks.fee_line(next(items), "Gift wrap" if fee > 0 else "Loyalty", round(fee, places))
            )
        if rng.random() < 0.12:
            place = rng.randrange(len(COUPONS))
            coupon = blanks.coupon(COUPONS[place][0], **COUPONS[place][1])
            coupon_id = FIRST_PRODUCT + self.products * 5 + place
            line = blanks.coupon_line(next(items), next(items), coupon_id, coupon)
            discount(body, coupon, line, places)
            body["coupon_lines"].append(line)
        add_up(body, self.taxes, lambda: next(items))
        coupon_taxes(body, places)

    def _line(self, rng: random.Random, item_id: int, body: Json) -> Json:
        quantity = rng.choice((1, 1, 1, 2, 3))
        if not self.articles or rng.random() < 0.03:
            is_nothing = rng.random() < 0.5
            line = blanks.line_item(
                item_id, "Summer Lamp (discontinued)", 0 if is_nothing else DELETED_PRODUCT, quantity
            )
            line["subtotal"] = line["total"] = round(Decimal("19.90"), self.store.decimals) * quantity
            return line | {"sku": None if is_nothing else ""}
        article = self.articles[int(len(self.articles) * rng.random() ** 2)]
        return line_for(self.taxes, item_id, article, quantity, body)

    def refund(self, row: Row) -> Json:
        """The body of a refund: everything, one line in part, or an amount without lines."""
        parent = self.store.tables["orders"].rows[row.owner]
        order = self.order(parent)
        items = iter(range(row.id * ITEM_STRIDE, (row.id + 1) * ITEM_STRIDE))
        if row.name == "amount" or not order["line_items"]:
            amount = round(order["total"] / 20, self.store.decimals)
            return refund_body(amount, "goodwill", (), order, self.store, items)
        if row.name == "full":
            lines = [(line, line["quantity"], line["total"], taxes_of(line)) for line in order["line_items"]]
            return refund_body(order["total"], "returned", lines, order, self.store, items, is_full=True)
        line = order["line_items"][0]
        share = round(line["total"] / line["quantity"], self.store.decimals)
        taxes = {rate: round(tax / line["quantity"], self.store.decimals) for rate, tax in taxes_of(line).items()}
        amount = share + sum(taxes.values(), ZERO)
        return refund_body(amount, "one broken", [(line, 1, share, taxes)], order, self.store, items)


STATUSES = (("pending", 50), ("on-hold", 90), ("cancelled", 130), ("failed", 160), ("checkout-draft", 180), ("trash", 200),
            ("processing", 400))  # fmt: skip
COLOURS = ("Red", "Blue &amp; White", "Grün 🌿")


def _colours() -> Json:
    return {
        "id": 0, "name": "Colour", "slug": "Colour", "position": 0, "visible": True, "variation": True, "options": list(COLOURS),
    }  # fmt: skip


def line_for(taxes: Taxes, item_id: int, article: Article, quantity: int, body: Json) -> Json:
    """A line of this article at its price, net of tax."""
    price = article.price
    if body["prices_include_tax"] and article.is_taxable:
        where = body["shipping"] if body["shipping"].get("country") else body["billing"]
        price = taxes.without(price * quantity, taxes.for_address(where, article.tax_class))
    else:
        price *= quantity
    line = blanks.line_item(item_id, article.name, article.product_id, quantity, variation_id=article.variation_id)
    line |= {"subtotal": price, "total": price, "sku": article.sku, "tax_class": article.tax_class}
    line |= {"parent_name": article.parent_name}
    if not article.is_taxable:
        line["_is_taxable"] = False
    line["meta_data"] = [
        {"id": item_id * 8 + place, "key": key, "value": value, "display_key": key, "display_value": value,}
        for place, (key, value) in enumerate(article.options)
    ]  # fmt: skip
    return line


def taxes_of(line: Json) -> dict[int, Decimal]:
    return {tax["id"]: number(tax["total"]) for tax in line["taxes"]}


def refund_body(
    amount: Decimal, reason: str, lines: Any, order: Json, store: Store, items: Iterator[int], *, is_full: bool = False
) -> Json:
    """A refund of `lines`: (line of the order, quantity, net total, tax by rate id), all positive."""
    by_rate: dict[int, Decimal] = {}
    shown = []
    for line, quantity, total, taxes in lines:
        shown.append(_refunded(line, quantity, total, taxes, store, items))
        for rate_id, tax in taxes.items():
            by_rate[rate_id] = by_rate.get(rate_id, ZERO) + tax
    known = {line["rate_id"]: line for line in order["tax_lines"]}
    tax_lines = [
        known[rate_id] | {"id": next(items), "tax_total": -tax, "shipping_tax_total": ZERO}
        for rate_id, tax in by_rate.items()
        if rate_id in known
    ]
    kind = {"id": next(items), "key": "_refund_type", "value": "full" if is_full else "partial"}
    return {
        "amount": amount,
        "reason": reason,
        "refunded_by": 1,
        "refunded_payment": False,
        "meta_data": [kind],
        "line_items": [line for line in shown if "product_id" in line],
        "shipping_lines": [line for line in shown if "method_id" in line],
        "tax_lines": tax_lines,
        "fee_lines": [line for line in shown if "amount" in line],
    }


def _refunded(
    line: Json, quantity: int, total: Decimal, taxes: dict[int, Decimal], store: Store, items: Iterator[int]
) -> Json:
    places, tax = store.decimals, sum(taxes.values(), ZERO)
    origin = str(line["id"])
    meta = {"key": "_refunded_item_id", "value": origin, "display_key": "_refunded_item_id", "display_value": origin}
    shown = line | {"id": next(items), "total": -total, "total_tax": -tax, "meta_data": [{"id": next(items)} | meta]}
    shown["taxes"] = [
        {"id": rate, "total": text(-part, places), "subtotal": text(-part, places)} for rate, part in taxes.items()
    ]
    if "quantity" in line:
        shown |= {"quantity": -quantity, "subtotal": -total, "subtotal_tax": -tax}
    return shown
