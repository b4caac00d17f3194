"""How a shop adds up: taxes by rate, rounded by line or at the end, and totals that agree to the cent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

ZERO = Decimal(0)
TAX_PLACES = 6  # what is kept where rounding happens at the end
MONEY = frozenset(
    {
        "total", "total_tax", "subtotal", "subtotal_tax", "discount_total", "discount_tax", "shipping_total",
        "shipping_tax", "cart_tax", "tax_total", "shipping_tax_total",
    }
)  # fmt: skip


def number(value: Any) -> Decimal:
    """Whatever stands for an amount in a body. Raises ValueError."""
    if value in ("", None):
        return ZERO
    try:
        amount = Decimal(str(value))
    except ArithmeticError as error:
        raise ValueError(f"{value} is not a number") from error
    if not amount.is_finite():
        raise ValueError(f"{value} is not a number")
    return amount


def rounded(amount: Decimal, places: int) -> Decimal:
    return amount.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def text(amount: Decimal | int | str, places: int) -> str:
    """The amount as it stands in an answer."""
    if isinstance(amount, str):
        return amount
    shown = f"{rounded(Decimal(amount), places):f}"
    return shown[1:] if shown.startswith("-") and not shown.strip("-0.") else shown


def bare(amount: Decimal) -> str:
    """Without the zeros at its end, as coupons show theirs."""
    return f"{amount.normalize():f}" if amount else "0"


@dataclass(frozen=True, slots=True)
class Taxes:
    """The shop's tax settings. `rates`: the bodies of its tax table, in order."""

    rates: tuple[dict[str, Any], ...]
    decimals: int
    rounds_at_subtotal: bool
    country: str
    state: str

    def for_address(
        self, address: dict[str, Any], tax_class: str, *, is_shipping: bool = False
    ) -> list[dict[str, Any]]:
        """The rates that apply, at most one a priority. Without an address the shop's own counts."""
        country = address.get("country") or self.country
        state = address.get("state") or ("" if address.get("country") else self.state)
        found: dict[int, dict[str, Any]] = {}
        for rate in self.rates:
            fits = rate["country"] in ("", country) and rate["state"] in ("", state)
            is_meant = rate["class"] == (tax_class or "standard") and (rate["shipping"] or not is_shipping)
            if fits and is_meant:
                found.setdefault(rate["priority"], rate)
        return list(found.values())

    def on(self, amount: Decimal, rates: Iterable[dict[str, Any]]) -> dict[int, Decimal]:
        """Tax by rate id. A compound rate also taxes the taxes before it."""
        taxes: dict[int, Decimal] = {}
        for rate in rates:
            base = amount + sum(taxes.values()) if rate["compound"] else amount
            taxes[rate["id"]] = self._kept(base * number(rate["rate"]) / 100)
        return taxes

    def without(self, gross: Decimal, rates: list[dict[str, Any]]) -> Decimal:
        """The net amount of a price that includes the taxes."""
        return rounded(gross / (1 + sum((number(rate["rate"]) for rate in rates), ZERO) / 100), self.decimals)

    def _kept(self, tax: Decimal) -> Decimal:
        return rounded(tax, TAX_PLACES if self.rounds_at_subtotal else self.decimals)

    def shown(self, tax: Decimal) -> str:
        """A tax in a line's `taxes`: all its digits where rounding happens at the end."""
        return bare(tax) if self.rounds_at_subtotal else text(tax, self.decimals)


def rate_code(rate: dict[str, Any]) -> str:
    parts = (rate["country"], rate["state"], rate["name"] or "TAX", str(rate["priority"]))
    return "-".join(part.upper() for part in parts if part)


def percent(rate: dict[str, Any]) -> int | float:
    value = number(rate["rate"])
    return int(value) if value == value.to_integral_value() else float(value)


def add_up(order: dict[str, Any], taxes: Taxes, new_item: Any) -> None:
    """Write taxes, tax lines and totals into `order`, from its lines' subtotals and totals. `new_item()`: an item id."""
    address = order["shipping"] if order["shipping"].get("country") else order["billing"]
    by_rate: dict[int, Decimal] = {}
    shipping_by_rate: dict[int, Decimal] = {}
    for line in order["line_items"]:
        rates = taxes.for_address(address, line["tax_class"]) if line.get("_is_taxable", True) else []
        _tax_line(line, taxes, rates, by_rate)
    for fee in order["fee_lines"]:
        rates = taxes.for_address(address, fee["tax_class"]) if fee["tax_status"] == "taxable" else []
        _tax_plain(fee, taxes, rates, by_rate)
    for line in order["shipping_lines"]:
        rates = taxes.for_address(address, "", is_shipping=True) if line["tax_status"] == "taxable" else []
        _tax_plain(line, taxes, rates, shipping_by_rate)
    order["tax_lines"] = _tax_lines(order, taxes, by_rate, shipping_by_rate, new_item)
    _totals(order, taxes, by_rate, shipping_by_rate)


def _tax_line(line: dict[str, Any], taxes: Taxes, rates: list[dict[str, Any]], by_rate: dict[int, Decimal]) -> None:
    before, after = taxes.on(line["subtotal"], rates), taxes.on(line["total"], rates)
    line["taxes"] = [{"id": r, "total": taxes.shown(after[r]), "subtotal": taxes.shown(before[r])} for r in after]
    line["subtotal_tax"], line["total_tax"] = sum(before.values(), ZERO), sum(after.values(), ZERO)
    for rate_id, tax in after.items():
        by_rate[rate_id] = by_rate.get(rate_id, ZERO) + tax


def _tax_plain(line: dict[str, Any], taxes: Taxes, rates: list[dict[str, Any]], by_rate: dict[int, Decimal]) -> None:
    found = taxes.on(line["total"], rates)
    line["taxes"] = [{"id": rate_id, "total": taxes.shown(tax), "subtotal": ""} for rate_id, tax in found.items()]
    line["total_tax"] = sum(found.values(), ZERO)
    for rate_id, tax in found.items():
        by_rate[rate_id] = by_rate.get(rate_id, ZERO) + tax


def _tax_lines(
    order: dict[str, Any], taxes: Taxes, cart: dict[int, Decimal], shipping: dict[int, Decimal], new_item: Any
) -> list[dict[str, Any]]:
    known = {line["rate_id"]: line["id"] for line in order.get("tax_lines", [])}
    lines = []
    for rate in taxes.rates:
        rate_id = rate["id"]
        if rate_id in cart or rate_id in shipping:
            lines.append(
                {
                    "id": known.get(rate_id) or new_item(),
                    "rate_code": rate_code(rate),
                    "rate_id": rate_id,
                    "label": rate["name"] or "Tax",
                    "compound": rate["compound"],
                    "tax_total": rounded(cart.get(rate_id, ZERO), taxes.decimals),
                    "shipping_tax_total": rounded(shipping.get(rate_id, ZERO), taxes.decimals),
                    "rate_percent": percent(rate),
                    "meta_data": [],
                }
            )
    return lines


def _totals(order: dict[str, Any], taxes: Taxes, cart: dict[int, Decimal], shipping: dict[int, Decimal]) -> None:
    places, lines = taxes.decimals, order["line_items"]
    order["discount_total"] = sum((line["subtotal"] - line["total"] for line in lines), ZERO)
    order["discount_tax"] = rounded(sum((line["subtotal_tax"] - line["total_tax"] for line in lines), ZERO), places)
    order["shipping_total"] = sum((line["total"] for line in order["shipping_lines"]), ZERO)
    order["cart_tax"] = rounded(sum(cart.values(), ZERO), places)
    order["shipping_tax"] = rounded(sum(shipping.values(), ZERO), places)
    order["total_tax"] = order["cart_tax"] + order["shipping_tax"]
    goods = sum((line["total"] for line in lines), ZERO) + sum((fee["total"] for fee in order["fee_lines"]), ZERO)
    order["total"] = goods + order["shipping_total"] + order["total_tax"]


def discount(order: dict[str, Any], coupon: dict[str, Any], line: dict[str, Any], decimals: int) -> None:
    """Take the coupon off the lines' totals and write its `coupon_lines` entry `line`."""
    lines, amount = order["line_items"], number(coupon["amount"])
    before = sum((item["total"] for item in lines), ZERO)
    left = min(rounded(amount, decimals), before) if coupon["discount_type"] == "fixed_cart" else ZERO
    for place, item in enumerate(lines):
        if coupon["discount_type"] == "percent":
            off = rounded(item["total"] * amount / 100, decimals)
        elif coupon["discount_type"] == "fixed_product":
            off = min(item["total"], rounded(amount, decimals) * item["quantity"])
        else:
            share = rounded(amount * item["total"] / before, decimals) if before else ZERO
            off = min(left if place == len(lines) - 1 else min(share, left), item["total"])
            left -= off
        item["total"] -= off
    line["discount"] = bare(before - sum((item["total"] for item in lines), ZERO))
    line["_off"] = before


def coupon_taxes(order: dict[str, Any], decimals: int) -> None:
    """Spread the order's discount tax over its coupons, the last takes the rest. Call after `add_up`."""
    left = order["discount_tax"]
    for place, line in enumerate(order["coupon_lines"]):
        off, whole = number(line["discount"]), order["discount_total"]
        is_last = place == len(order["coupon_lines"]) - 1
        share = left if is_last or not whole else rounded(order["discount_tax"] * off / whole, decimals)
        line["discount_tax"] = text(share, decimals)
        left -= share
        line.pop("_off", None)
