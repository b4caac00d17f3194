"""Objects as the REST API shows them: the same names, in the same order, as the recorded answers."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from . import woocommerce_dates as dates
from .woocommerce_money import MONEY, ZERO, number, text

if TYPE_CHECKING:
    from .woocommerce_rows import Row
    from .woocommerce_store import Store

Json = dict[str, Any]
ALL_VERBS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
ADDRESS = ("first_name", "last_name", "company", "address_1", "address_2", "city", "state", "postcode", "country")
CUSTOMER_ADDRESS = (*ADDRESS[:6], "postcode", "country", "state")
SYMBOLS = {"USD": "$", "CAD": "$", "AUD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "CHF": "CHF", "INR": "₹"}
ENTITIES = {"$": "&#36;", "€": "&euro;", "£": "&pound;", "¥": "&yen;", "₹": "&#8377;"}
NOT_PAID = frozenset({"pending", "failed"})
EDITABLE = frozenset({"pending", "on-hold", "auto-draft"})
PATHS = {"orders": "orders", "products": "products", "customers": "customers", "coupons": "coupons",
         "taxes": "taxes", "webhooks": "webhooks"}  # fmt: skip


def symbol(currency: str) -> str:
    return SYMBOLS.get(currency, currency)


def address(given: Json, *tail: str, names: tuple[str, ...] = ADDRESS) -> Json:
    return {name: str(given.get(name) or "") for name in (*names, *tail)}


def links(store: Store, path: str, row_id: int, verbs: list[str] | None = None) -> Json:
    base = f"{store.rest_url}/wc/v3/{path}"
    own = {"href": f"{base}/{row_id}", "targetHints": {"allow": verbs or ALL_VERBS}}
    return {"self": [own], "collection": [{"href": base}]}


def stamps(store: Store, row: Row) -> Json:
    """Creation and change, site time and UTC."""
    return {
        "date_created": dates.local(row.created, store.zone),
        "date_created_gmt": dates.gmt(row.created),
        "date_modified": dates.local(row.modified, store.zone),
        "date_modified_gmt": dates.gmt(row.modified),
    }


def _lines(lines: list[Json], places: int) -> list[Json]:
    return [
        {
            name: text(value, places) if name in MONEY else value
            for name, value in line.items()
            if not name.startswith("_")
        }
        for line in lines
    ]


def _items(lines: list[Json], places: int) -> list[Json]:
    shown = _lines(lines, places)
    for line, raw in zip(shown, lines, strict=True):
        line["price"] = _price(raw)
    return shown


def _price(line: Json) -> int | float:
    """The price of one: the only money that is a number on the wire, with every digit that the division has."""
    quantity = Decimal(line["quantity"] or 1)
    each = number(line["total"]) / quantity
    return int(each) if each == each.to_integral_value() else float(each)


def order(store: Store, row: Row, body: Json, places: int) -> Json:
    """`body` is what the shop keeps; refunds are looked up."""
    zone, home = store.zone, store.home
    pay = f"{home}/checkout/order-pay/{row.id}/?pay_for_order=true&key={body['order_key']}"
    total = text(body["total"], places)
    has_to_pay = row.status in NOT_PAID and number(total) > 0
    return {
        "id": row.id,
        "parent_id": body["parent_id"],
        "status": row.status,
        "currency": body["currency"],
        "version": store.version,
        "prices_include_tax": body["prices_include_tax"],
        "date_created": dates.local(row.created, zone),
        "date_modified": dates.local(row.modified, zone),
        **{
            name: text(body[name], places)
            for name in ("discount_total", "discount_tax", "shipping_total", "shipping_tax", "cart_tax")
        },
        "total": total,
        "total_tax": text(body["total_tax"], places),
        "customer_id": row.owner,
        "order_key": body["order_key"],
        "billing": body["billing"],
        "shipping": body["shipping"],
        "payment_method": body["payment_method"],
        "payment_method_title": body["payment_method_title"],
        "transaction_id": body["transaction_id"],
        "customer_ip_address": "",
        "customer_user_agent": "",
        "created_via": body["created_via"],
        "customer_note": body["customer_note"],
        "date_completed": dates.local(body["date_completed"], zone),
        "date_paid": dates.local(body["date_paid"], zone),
        "cart_hash": "",
        "number": body.get("number") or str(row.id),
        "meta_data": body["meta_data"],
        "line_items": _items(body["line_items"], places),
        "tax_lines": _lines(body["tax_lines"], places),
        "shipping_lines": _lines(body["shipping_lines"], places),
        "fee_lines": _lines(body["fee_lines"], places),
        "coupon_lines": body["coupon_lines"],
        "refunds": [_refund_in_order(store, refund_id, places) for refund_id in store.refund_ids(row.id)],
        "payment_url": pay,
        "is_editable": row.status in EDITABLE,
        "needs_payment": has_to_pay,
        "needs_processing": bool(body["line_items"]),
        "date_created_gmt": dates.gmt(row.created),
        "date_modified_gmt": dates.gmt(row.modified),
        "date_completed_gmt": dates.gmt(body["date_completed"]),
        "date_paid_gmt": dates.gmt(body["date_paid"]),
        "currency_symbol": symbol(body["currency"]),
        "_links": _order_links(store, row),
    }


def _order_links(store: Store, row: Row) -> Json:
    shown = links(store, "orders", row.id)
    if row.owner:
        shown["customer"] = [{"href": f"{store.rest_url}/wc/v3/customers/{row.owner}"}]
    href = f"{store.rest_url}/wc/v3/orders/{row.id}/actions/email_templates"
    return shown | {"email_templates": [{"embeddable": True, "href": href}]}


def _refund_in_order(store: Store, refund_id: int, places: int) -> Json:
    body = store.body("refunds", store.tables["refunds"].rows[refund_id])
    tax = sum((number(line["total_tax"]) for name in LINE_LISTS for line in body[name]), ZERO)
    return {
        "id": refund_id,
        "reason": body["reason"],
        "total": text(-body["amount"], places),
        "total_tax": text(tax, places),
    }


LINE_LISTS = ("line_items", "shipping_lines", "fee_lines")


def refund(store: Store, row: Row, body: Json, places: int, *, has_parent: bool = False) -> Json:
    base = f"{store.rest_url}/wc/v3/orders/{row.owner}"
    own = {"href": f"{base}/refunds/{row.id}", "targetHints": {"allow": ["GET", "DELETE"]}}
    return {
        "id": row.id,
        **({"parent_id": row.owner} if has_parent else {}),
        "date_created": dates.local(row.created, store.zone),
        "date_created_gmt": dates.gmt(row.created),
        "amount": text(body["amount"], places),
        "reason": body["reason"],
        "refunded_by": body["refunded_by"],
        "refunded_payment": body["refunded_payment"],
        "meta_data": body["meta_data"],
        "line_items": _items(body["line_items"], places),
        "shipping_lines": _lines(body["shipping_lines"], places),
        "tax_lines": _lines(body["tax_lines"], places),
        "fee_lines": _lines(body["fee_lines"], places),
        "_links": {"self": [own], "collection": [{"href": f"{base}/refunds"}], "up": [{"href": base}]},
    }


def product(store: Store, row: Row, body: Json, *, is_edit: bool = False) -> Json:
    head = {"id": row.id, "name": body["name"], "slug": body["slug"]}
    head["permalink"] = f"{store.home}/product/{body['slug']}/"
    shown = head | stamps(store, row) | {"type": body["type"], "status": row.status} | body
    shown["price"] = body["sale_price"] or body["regular_price"]
    shown["on_sale"] = bool(body["sale_price"])
    shown["purchasable"] = bool(shown["price"])
    if body["type"] == "variable":
        prices = [number(price) for price in store.variation_prices(row.id)]
        shown["price"] = f"{min(prices):f}" if prices else ""
        shown["purchasable"], shown["regular_price"] = bool(prices), ""
        shown["variations"] = list(store.tables["variations"].owned.get(row.id, []))
        shown["has_options"] = True
    shown["price_html"] = _price_html(store, shown["price"])
    if is_edit:
        shown["permalink_template"] = f"{store.home}/product/%pagename%/"
        shown["generated_slug"] = body["slug"]
    return shown | {"_links": links(store, "products", row.id)}


def _price_html(store: Store, price: str) -> str:
    if not price:
        return ""
    sign = ENTITIES.get(symbol(store.currency), symbol(store.currency))
    inner = f'<span class="woocommerce-Price-currencySymbol" translate="no">{sign}</span>{text(number(price), store.decimals)}'
    return f'<span class="woocommerce-Price-amount amount"><bdi>{inner}</bdi></span>'


def variation(store: Store, row: Row, body: Json) -> Json:
    shown = {"id": row.id, "type": "variation"} | stamps(store, row) | {"status": row.status} | body
    shown["parent_id"] = row.owner
    shown["permalink"] = f"{store.home}/product/{store.slug_of(row.owner)}/"
    shown["price"] = body["sale_price"] or body["regular_price"]
    shown["on_sale"], shown["purchasable"] = bool(body["sale_price"]), bool(shown["price"])
    path = f"products/{row.owner}/variations"
    up = [{"href": f"{store.rest_url}/wc/v3/products/{row.owner}"}]
    return shown | {"_links": links(store, path, row.id) | {"up": up}}


def customer(store: Store, row: Row, body: Json) -> Json:
    digest = hashlib.sha256(body["email"].strip().lower().encode()).hexdigest()
    shown: Json = {"id": row.id} | stamps(store, row)
    if body.get("_never_modified"):
        shown["date_modified"] = shown["date_modified_gmt"] = None
    return shown | {
        "email": body["email"],
        "first_name": body["first_name"],
        "last_name": body["last_name"],
        "role": row.status,
        "username": body["username"],
        "billing": body["billing"],
        "shipping": body["shipping"],
        "is_paying_customer": body["is_paying_customer"],
        "avatar_url": f"https://secure.gravatar.com/avatar/{digest}?s=96&d=mm&r=g",
        "meta_data": body["meta_data"],
        "_links": links(store, "customers", row.id),
    }


def coupon(store: Store, row: Row, body: Json) -> Json:
    head = {"id": row.id, "code": body["code"], "amount": body["amount"], "status": row.status}
    return head | stamps(store, row) | body | {"_links": links(store, "coupons", row.id)}


def tax(store: Store, row: Row, body: Json) -> Json:
    return {"id": row.id} | body | {"_links": links(store, "taxes", row.id)}


def webhook(store: Store, row: Row, body: Json) -> Json:
    resource, _dot, event = body["topic"].partition(".")
    shown = {"id": row.id, "name": body["name"], "status": row.status, "topic": body["topic"]}
    shown |= {"resource": resource, "event": event, "hooks": HOOKS.get(body["topic"], [event])}
    shown |= {"delivery_url": body["delivery_url"]} | stamps(store, row)
    return shown | {"_links": links(store, "webhooks", row.id)}


HOOKS = {
    "order.created": ["woocommerce_new_order"],
    "order.updated": ["woocommerce_update_order", "woocommerce_order_refunded"],
    "order.deleted": ["wp_trash_post", "woocommerce_trash_order"],
    "order.restored": ["untrashed_post", "woocommerce_untrash_order"],
    "product.created": ["woocommerce_process_product_meta", "woocommerce_new_product", "woocommerce_new_product_variation"],
    "product.updated": [
        "woocommerce_process_product_meta", "woocommerce_update_product", "woocommerce_update_product_variation",
    ],
    "product.deleted": ["wp_trash_post"],
    "product.restored": ["untrashed_post"],
    "product.published": ["publish_product", "untrashed_post"],
    "customer.created": ["user_register", "woocommerce_created_customer", "woocommerce_new_customer"],
    "customer.updated": ["profile_update", "woocommerce_update_customer"],
    "customer.deleted": ["delete_user"],
    "coupon.created": ["woocommerce_process_shop_coupon_meta", "woocommerce_new_coupon"],
    "coupon.updated": ["woocommerce_process_shop_coupon_meta", "woocommerce_update_coupon"],
    "coupon.deleted": ["wp_trash_post"],
    "coupon.restored": ["untrashed_post"],
}  # fmt: skip
