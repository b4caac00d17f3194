"""Orders and refunds change hands: placed, edited, paid, refunded, trashed and brought back."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from . import woocommerce_blanks as blanks
from .woocommerce_errors import WooError, invalid
from .woocommerce_lists import ORDER_STATUSES
from .woocommerce_money import ZERO, add_up, coupon_taxes, discount, number, text
from .woocommerce_rows import Row
from .woocommerce_seed import Article, line_for, refund_body
from .woocommerce_shapes import address

if TYPE_CHECKING:
    from .woocommerce_store import Store

Json = dict[str, Any]
Announce = Callable[["Store", str, int], None]
PAID = frozenset({"processing", "completed"})
REDUCES_STOCK = PAID | {"on-hold"}
PAYS_BACK = frozenset({"stripe", "paypal"})  # gateways that can
PLAIN = (
    "customer_note",
    "payment_method",
    "payment_method_title",
    "transaction_id",
    "created_via",
    "currency",
    "parent_id",
    "number",
)
WORDS = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"


class Orders:
    """The shop's order desk. `at`: the second at which things happen; None: now. Call with the store's lock."""

    def __init__(self, store: Store, announce: Announce, at: int | None = None):
        self.store = store
        self.announce = announce
        self.at = at

    @property
    def now(self) -> int:
        return self.store.now() if self.at is None else self.at

    @property
    def rows(self) -> dict[int, Row]:
        return self.store.tables["orders"].rows

    # --- orders ---

    def place(self, given: Json, *, row_id: int | None = None) -> Row:
        """A new order. Raises WooError."""
        store = self.store
        status, customer_id = self._status(given, "pending"), self._customer(given, 0)
        key = "wc_order_" + "".join(random.choices(WORDS, k=13))
        billing = address(given.get("billing") or {}, "email", "phone")
        shipping = address(given.get("shipping") or {}, "phone")
        body = blanks.order(
            store.currency, includes_tax=store.prices_include_tax, key=key, billing=billing, shipping=shipping
        )
        body |= {name: given[name] for name in PLAIN if name in given}
        self._lines(body, given)
        body["meta_data"] = self.meta([], given.get("meta_data"))
        self._add_up(body, given)
        if given.get("set_paid"):
            status = "processing" if status == "pending" else status
        row = Row(store.new_id() if row_id is None else row_id, self.now, self.now, status, customer_id, body=body)
        self._paid(row, body)
        store.put("orders", row)
        self._sell(row)
        self.announce(store, "order.created", row.id)
        self.announce(store, "order.updated", row.id)
        return row

    def edit(self, row: Row, given: Json) -> Row:
        """The order as `given` changes it, its date too. Raises WooError."""
        body = copy.deepcopy(self.store.body("orders", row))
        status, customer_id = self._status(given, row.status), self._customer(given, row.owner)
        body |= {name: given[name] for name in PLAIN if name in given}
        for name, tail in (("billing", ("email", "phone")), ("shipping", ("phone",))):
            body[name] = address(body[name] | (given.get(name) or {}), *tail)
        body["meta_data"] = self.meta(body["meta_data"], given.get("meta_data"))
        if any(name in given for name in ("line_items", "shipping_lines", "fee_lines", "coupon_lines")):
            self._lines(body, given)
            self._add_up(body, given)
        if given.get("set_paid") and status in ("pending", "on-hold", "failed"):
            status = "processing"
        new = replace(row, status=status, owner=customer_id, modified=self.now, body=body)
        self._paid(new, body)
        self.store.put("orders", new)
        if status == "refunded" and row.status != "refunded":
            self._refund_rest(new)
        self._sell(new)
        self.announce(self.store, "order.updated", row.id)
        return self.rows[row.id]

    def touch(self, row: Row) -> Row:
        new = replace(row, modified=self.now, body=self.store.body("orders", row))
        self.store.put("orders", new)
        return new

    def trash(self, row: Row) -> None:
        body = self.store.body("orders", row) | {"_was": row.status}
        self.store.put("orders", replace(row, status="trash", body=body))
        self.announce(self.store, "order.deleted", row.id)

    def untrash(self, row: Row) -> None:
        body = dict(self.store.body("orders", row))
        self.store.put("orders", replace(row, status=body.pop("_was", "pending"), modified=self.now, body=body))
        self.announce(self.store, "order.restored", row.id)

    def destroy(self, row: Row) -> None:
        """Gone, and nobody is told."""
        for refund_id in list(self.store.refund_ids(row.id)):
            self.store.drop("refunds", refund_id)
        self.store.drop("orders", row.id)

    def _status(self, given: Json, default: str) -> str:
        status = given.get("status", default)
        if status not in ORDER_STATUSES[1:]:
            raise invalid({"status": ("rest_not_in_enum", f"status is not one of {', '.join(ORDER_STATUSES[2:])}.")})
        return status

    def _customer(self, given: Json, default: int) -> int:
        customer_id = int(given.get("customer_id", default) or 0)
        if customer_id and "customer_id" in given and customer_id not in self.store.tables["customers"].rows:
            raise WooError(400, "woocommerce_rest_invalid_customer_id", "Customer ID is invalid.")
        return customer_id

    def _paid(self, row: Row, body: Json) -> None:
        if row.status in PAID and body["date_paid"] is None:
            body["date_paid"] = self.now
        if row.status == "completed" and body["date_completed"] is None:
            body["date_completed"] = self.now

    def _sell(self, row: Row) -> None:
        """What is sold leaves the stock, once; that changes the product."""
        body = row.body or {}
        if row.status not in REDUCES_STOCK or body.get("_is_sold"):
            return
        body["_is_sold"] = True
        self.store.put("orders", row)
        for line in body["line_items"]:
            self.move_stock(line["product_id"], -line["quantity"])

    def move_stock(self, product_id: int, change: int) -> None:
        product = self.store.tables["products"].rows.get(product_id)
        if product is None or product.body is None or not product.body["manage_stock"]:
            return
        left = (product.body["stock_quantity"] or 0) + change
        stock = {"stock_quantity": left, "stock_status": "instock" if left > 0 else "outofstock"}
        body = product.body | stock | {"total_sales": product.body["total_sales"] + max(0, -change)}
        self.store.put("products", replace(product, modified=self.now, body=body))
        self.announce(self.store, "product.updated", product_id)

    # --- what is on it ---

    def meta(self, known: list[Json], given: Any) -> list[Json]:
        """Entries are merged by id or key; a null value removes one."""
        entries = [dict(entry) for entry in known]
        for new in given or []:
            found = next((e for e in entries if e["id"] == new.get("id") or e["key"] == new.get("key")), None)
            if found is not None and new.get("value") is None and "value" in new:
                entries.remove(found)
            elif found is not None:
                found |= {name: new[name] for name in ("key", "value") if name in new}
            elif new.get("value") is not None:
                entries.append({"id": self.store.new_item(), "key": new.get("key", ""), "value": new["value"]})
        return entries

    def _lines(self, body: Json, given: Json) -> None:
        """Add, change and remove lines; one with an id changes, with quantity 0 or a null name it goes."""
        for entry in given.get("line_items") or []:
            self._line_item(body, entry)
        for name, make in (("shipping_lines", self._shipping_line), ("fee_lines", self._fee_line)):
            for entry in given.get(name) or []:
                known = next((line for line in body[name] if line["id"] == entry.get("id")), None)
                if known is not None:
                    known |= {k: v for k, v in entry.items() if k in known and k != "total"}
                    known["total"] = self._money(entry.get("total", known["total"]), name)
                else:
                    body[name].append(make(entry))

    def _line_item(self, body: Json, entry: Json) -> None:
        known = next((line for line in body["line_items"] if line["id"] == entry.get("id")), None)
        if known is None and entry.get("id"):
            raise WooError(
                400, "woocommerce_rest_invalid_item_id", "Order item ID provided is not associated with order."
            )
        if known is not None and entry.get("quantity", 1) in (0, None):
            body["line_items"].remove(known)
            return
        if known is None:
            article = self._article(entry)
            known = line_for(self.store.taxes(), self.store.new_item(), article, int(entry.get("quantity") or 1), body)
            known["name"] = entry.get("name") or known["name"]
            body["line_items"].append(known)
        elif "quantity" in entry:
            each = {name: number(known[name]) / known["quantity"] for name in ("subtotal", "total")}
            known |= {name: amount * int(entry["quantity"]) for name, amount in each.items()}
            known["quantity"] = int(entry["quantity"])
        for name in ("subtotal", "total"):
            if name in entry:
                known[name] = self._money(entry[name], "line_items")
        known["meta_data"] = self.meta(known["meta_data"], entry.get("meta_data"))

    def _article(self, entry: Json) -> Article:
        store = self.store
        row = store.tables["products"].rows.get(int(entry.get("product_id") or 0))
        if row is None and entry.get("sku"):
            rows = store.tables["products"].rows.values()
            row = next((one for one in rows if (one.body or {})["sku"] == entry["sku"]), None)
        if row is None and entry.get("product_id"):
            raise WooError(400, "woocommerce_rest_invalid_product_id", "Invalid product ID.")
        if row is None and not entry.get("name"):
            raise WooError(400, "woocommerce_rest_required_product_reference", "Product ID or SKU is required.")
        if row is None:
            return Article(0, 0, str(entry["name"]), None, number(entry.get("total", 0)), "", "", is_taxable=True)
        articles = store.articles_of(row)
        meant = [article for article in articles if article.variation_id == int(entry.get("variation_id") or 0)]
        return (meant or articles)[0]

    def _shipping_line(self, entry: Json) -> Json:
        total = self._money(entry.get("total", "0"), "shipping_lines")
        more = {name: entry[name] for name in ("method_id", "instance_id") if name in entry}
        return blanks.shipping_line(self.store.new_item(), entry.get("method_title", ""), total, **more)

    def _fee_line(self, entry: Json) -> Json:
        total = self._money(entry.get("total", "0"), "fee_lines")
        more = {name: entry[name] for name in ("tax_class", "tax_status") if name in entry}
        return blanks.fee_line(self.store.new_item(), entry.get("name", ""), total, **more)

    @staticmethod
    def _money(given: Any, name: str) -> Decimal:
        try:
            return number(given)
        except ValueError as error:
            raise invalid({name: ("rest_invalid_type", f"{name}[0][total] is not of type string.")}) from error

    def _add_up(self, body: Json, given: Json) -> None:
        store = self.store
        for entry in given.get("coupon_lines") or []:
            coupon = self._coupon(str(entry.get("code", "")))
            line = blanks.coupon_line(
                store.new_item(), store.new_item(), coupon.id, {"code": coupon.name} | (coupon.body or {})
            )
            discount(body, coupon.body or {}, line, store.decimals)
            body["coupon_lines"].append(line)
        add_up(body, store.taxes(), store.new_item)
        coupon_taxes(body, store.decimals)

    def _coupon(self, code: str) -> Row:
        rows = self.store.tables["coupons"].rows.values()
        found = next((row for row in rows if row.name.lower() == code.lower() and row.status == "publish"), None)
        if found is None:
            message = f'Coupon "{code}" cannot be applied because it does not exist.'
            raise WooError(400, "woocommerce_rest_invalid_coupon", message)
        return found

    # --- refunds ---

    def refunded(self, order_id: int) -> Decimal:
        """How much of the order was paid back."""
        rows = self.store.tables["refunds"].rows
        amounts = (
            number(self.store.body("refunds", rows[row_id])["amount"]) for row_id in self.store.refund_ids(order_id)
        )
        return sum(amounts, ZERO)

    def refund(self, order_id: int, given: Json, *, row_id: int | None = None) -> Row:
        """A new refund. Its errors carry a bare number as data, and so come with status 500."""
        store = self.store
        row = self.rows.get(order_id)
        if row is None:
            raise WooError(500, "woocommerce_rest_invalid_order_id", "Invalid order ID.", bare=404)
        body = store.body("orders", row)
        left = number(body["total"]) - self.refunded(order_id)
        lines = self._refund_lines(body, given.get("line_items") or [])
        default = sum((total + sum(taxes.values(), ZERO) for _line, _quantity, total, taxes in lines), ZERO)
        amount = self._amount(given, default, left)
        pays_back = given.get("api_refund", True) not in (False, "false", "0", 0)
        if pays_back and body["payment_method"] not in PAYS_BACK:
            raise _refused("The payment gateway for this order does not support automatic refunds.")
        is_whole = amount == number(body["total"])
        items = iter(store.new_item, None)
        made = refund_body(amount, str(given.get("reason") or ""), lines, body, store, items, is_full=is_whole)
        made |= {"refunded_payment": pays_back}
        new = Row(store.new_id() if row_id is None else row_id, self.now, self.now, "completed", order_id, "api", made)
        store.put("refunds", new)
        self._after_refund(row, lines, given, is_all=amount >= left)
        return new

    def _amount(self, given: Json, default: Decimal, left: Decimal) -> Decimal:
        try:
            amount = number(given["amount"]) if given.get("amount") not in (None, "") else default
        except ValueError as error:
            raise invalid({"amount": ("rest_invalid_type", "amount is not of type string.")}) from error
        if amount < 0:
            text_ = "Refund amount must be greater than zero."
            raise WooError(500, "woocommerce_rest_invalid_order_refund", text_, bare=400)
        if amount > left:
            raise _refused("Invalid refund amount.")
        return amount

    def _refund_lines(self, body: Json, given: list[Json]) -> list[tuple[Json, int, Decimal, dict[int, Decimal]]]:
        known = {line["id"]: line for name in ("line_items", "shipping_lines", "fee_lines") for line in body[name]}
        lines = []
        for entry in given:
            if int(entry.get("id") or 0) not in known:
                raise _refused("Invalid line item.")
            taxes = {int(tax["id"]): number(tax.get("refund_total")) for tax in entry.get("refund_tax") or []}
            lines.append(
                (known[int(entry["id"])], int(entry.get("quantity") or 0), number(entry.get("refund_total")), taxes)
            )
        return lines

    def _after_refund(self, row: Row, lines: Any, given: Json, *, is_all: bool) -> None:
        """The order changes with its refund; when nothing is left to pay back it is `refunded`."""
        status = "refunded" if is_all and row.status != "refunded" else row.status
        new = replace(row, status=status, modified=self.now, body=self.store.body("orders", row))
        self.store.put("orders", new)
        if given.get("api_restock", True):
            for line, quantity, _total, _taxes in lines:
                if quantity and "product_id" in line:
                    self.move_stock(line["product_id"], quantity)
        self.announce(self.store, "order.updated", row.id)

    def _refund_rest(self, row: Row) -> None:
        """Somebody set the status by hand: the shop makes the refund that belongs to it."""
        left = number((row.body or {})["total"]) - self.refunded(row.id)
        if left > 0:
            self.refund(
                row.id,
                {"amount": text(left, self.store.decimals), "reason": "Order fully refunded.", "api_refund": False},
            )

    def delete_refund(self, refund: Row) -> None:
        """The order does not show that it had one."""
        self.store.drop("refunds", refund.id)


def _refused(message: str) -> WooError:
    return WooError(500, "woocommerce_rest_cannot_create_order_refund", message, bare=500)
