"""Orders as customers place them, drawn by Hypothesis: a body for the simulated shop, whose own engine does the sums.

Nothing here adds anything up. What a shop is asked to sell, to take off and to pay back is drawn; what that comes to is
what the shop says.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from connections import bodies
from tests.connections.sandbox.shops import Shop

Json = dict[str, Any]

# country, currency, decimals, prices include tax, where taxes are rounded
KINDS: tuple[Json, ...] = (
    {"country": "CA", "currency": "CAD", "prices_include_tax": False, "tax_rounding": "line"},
    {"country": "CA", "currency": "CAD", "prices_include_tax": True, "tax_rounding": "subtotal"},
    {"country": "DE", "currency": "EUR", "prices_include_tax": True, "tax_rounding": "line"},
    {"country": "JP", "currency": "JPY", "decimals": 0, "prices_include_tax": False, "tax_rounding": "line"},
    {"country": "US", "currency": "KWD", "decimals": 3, "prices_include_tax": False, "tax_rounding": "subtotal"},
)
PLACES = {"CA": ("AB", "ON"), "DE": ("DE-NW",), "JP": ("JP27",), "US": ("TX", "MA", "OR")}
RATES = (
    {"rate": "9.9750", "name": "Compound", "priority": 3, "compound": True},
    {"rate": "3.3333", "name": "Reduced", "priority": 1, "class": "reduced-rate"},
)


@dataclass(frozen=True)
class Till:
    """A shop, and what it sells: ids of products, each with those of its variations."""

    shop: Shop
    kind: Json
    goods: tuple[tuple[int, tuple[int, ...]], ...]
    customers: tuple[int, ...]

    @property
    def decimals(self) -> int:
        return self.kind.get("decimals", 2)

    def told(self, path: str, **query: Any) -> Any:
        """As our client reads it: exact numbers, money with all its decimals."""
        response = self.shop.call("GET", path, dp=6, **query)
        assert response.status_code == 200, response.text
        return bodies.from_json(response.content)


@contextmanager
def opened(origin: str, kind: Json) -> Iterator[Till]:
    shop = Shop(origin, {"orders": 0, "products": 10, "customers": 3} | kind)
    try:
        for rate in RATES:
            shop.post("/taxes", country=kind["country"], **rate)
        for number, tax_class in enumerate(("reduced-rate", "zero-rate")):
            shop.post("/products", name=f"Book {number}", regular_price="12.34", sku=f"B-{number}", tax_class=tax_class)
        goods = tuple((row["id"], tuple(row["variations"])) for row in shop.get("/products", per_page=100))
        yield Till(shop, kind, goods, tuple(shop.ids("/customers")))
    finally:
        shop.close()


def money(till: Till, low: str, high: str) -> st.SearchStrategy[str]:
    """An amount that the shop can ask for, as it is written."""
    return st.decimals(Decimal(low), Decimal(high), places=till.decimals).map(str)


@st.composite
def orders(draw: st.DrawFn, till: Till) -> Json:
    """Coupons, several and compound rates, odd quantities, variations, goods that are gone, fees of both signs, guests."""
    state = draw(st.sampled_from(PLACES[till.kind["country"]]))
    where = {"country": till.kind["country"], "state": state, "first_name": "Zoë", "last_name": "O'Neil", "city": "Ulm"}
    body: Json = {
        "status": draw(st.sampled_from(("pending", "on-hold", "processing", "completed", "cancelled"))),
        "billing": where | {"email": "z@x.test"},
        "payment_method": draw(st.sampled_from(("stripe", "bacs", ""))),
        "line_items": draw(st.lists(lines(till), min_size=1, max_size=5)),
        "shipping_lines": draw(st.lists(shipping(till), max_size=2)),
        "fee_lines": draw(st.lists(fees(till), max_size=2)),
        "coupon_lines": [{"code": code} for code in draw(st.lists(st.sampled_from(("ten", "five-off")), max_size=1))],
    }
    if draw(st.booleans()):
        body["customer_id"] = draw(st.sampled_from(till.customers))
    if draw(st.booleans()):
        body["number"] = f"WEB/{draw(st.integers(1, 9999))}"
    return body


@st.composite
def lines(draw: st.DrawFn, till: Till) -> Json:
    quantity = draw(st.integers(1, 7))
    if draw(st.integers(0, 5)) == 0:
        return {"name": "Lamp (discontinued)", "quantity": quantity, "total": draw(money(till, "0", "90"))}
    product, variations = draw(st.sampled_from(till.goods))
    line: Json = {"product_id": product, "quantity": quantity}
    if variations:
        line["variation_id"] = draw(st.sampled_from(variations))
    if draw(st.integers(0, 3)) == 0:  # a price of somebody's own, by hand
        line["subtotal"] = draw(money(till, "20", "99"))
        line["total"] = draw(money(till, "0", "20"))
    return line


@st.composite
def shipping(draw: st.DrawFn, till: Till) -> Json:
    return {"method_id": "flat_rate", "method_title": "Flat &amp; fast", "total": draw(money(till, "0", "15"))}


@st.composite
def fees(draw: st.DrawFn, till: Till) -> Json:
    status = draw(st.sampled_from(("taxable", "none")))
    return {"name": "Gift wrap", "total": draw(money(till, "-3", "9")), "tax_status": status}


@st.composite
def refunds(draw: st.DrawFn, order: Json) -> Json:
    """An amount for nothing, or some of the lines with some of their tax, and perhaps more than they come to."""
    body: Json = {"api_refund": False, "reason": draw(st.sampled_from(("", "broken &amp; bent")))}
    share = draw(st.sampled_from((Decimal("0.1"), Decimal("0.5"), Decimal(1))))
    places = 2 if order["currency"] not in ("JPY", "KWD") else {"JPY": 0, "KWD": 3}[order["currency"]]
    unit = Decimal(1).scaleb(-places)
    if draw(st.booleans()):
        return body | {"amount": str((Decimal(order["total"]) * share).quantize(unit))}
    body["line_items"] = [
        {
            "id": int(line["id"]),
            "quantity": draw(st.integers(0, int(line.get("quantity", 0)))),
            "refund_total": str((Decimal(line["total"]) * share).quantize(unit)),
            "refund_tax": [
                {"id": int(tax["id"]), "refund_total": str((Decimal(tax["total"] or 0) * share).quantize(unit))}
                for tax in line["taxes"]
            ],
        }
        for line in order["line_items"] + order["shipping_lines"]
    ]
    return body
