"""Writes of the REST API: create, change, delete and batch, for every kind of object."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import woocommerce_blanks as blanks
from . import woocommerce_hooks as hooks
from .woocommerce_errors import WooError, invalid, missing
from .woocommerce_money import number
from .woocommerce_orders import Orders
from .woocommerce_rows import Row
from .woocommerce_shapes import CUSTOMER_ADDRESS, HOOKS, address

if TYPE_CHECKING:
    from .woocommerce_routes import Call
    from .woocommerce_store import Store

Json = dict[str, Any]
MAX_BATCH = 100
NO_TRASH = {"customers": "Customers", "webhooks": "Webhooks", "taxes": "Taxes", "variations": "", "refunds": "Refunds"}
NOUN = {"orders": "shop_order", "products": "product", "variations": "product_variation", "customers": "customer",
        "coupons": "shop_coupon", "taxes": "tax", "webhooks": "shop_webhook"}  # fmt: skip
FACES = {"orders": "Order", "products": "Product", "coupons": "Coupon"}
PRODUCT_STATUSES = ("draft", "pending", "private", "publish", "future", "trash")
HOOK_STATUSES = ("active", "paused", "disabled")
COMPUTED = frozenset({"id", "price", "on_sale", "purchasable", "permalink", "status", "variations", "_links", "meta_data",
                      "date_created", "date_modified", "total_sales", "price_html", "related_ids"})  # fmt: skip


def desk(call: Call) -> Orders:
    return Orders(call.store, call.announce)


# --- orders ---


def _create_order(call: Call, given: Json) -> Row:
    return desk(call).place(given)


def _update_order(call: Call, row: Row, given: Json) -> Row:
    return desk(call).edit(row, given)


def create_refund(call: Call) -> Json:
    call.require("create")
    row = desk(call).refund(call.ids[0], call.body())
    return _created(call, "refunds", row, f"/orders/{call.ids[0]}/refunds/{row.id}")


def delete_refund(call: Call) -> Json:
    from .woocommerce_routes import row_of

    call.require("delete")
    row = row_of(call, "refunds", call.ids[1])
    _refuse_trash(call, "refunds", is_forced=call.parameters.flag("force"))
    shown = call.store.shown("refunds", row)
    desk(call).delete_refund(row)
    return shown


# --- products and variations ---


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"&#?\w+;", "", text).lower()).strip("-") or "product"


def _fill_goods(call: Call, table: str, body: Json, given: Json, row_id: int) -> None:
    """Take over the fields that may be written. Raises WooError."""
    for name, value in given.items():
        if name in body and name not in COMPUTED:
            body[name] = value
    for name in ("regular_price", "sale_price"):
        body[name] = str(body[name] or "")
        try:
            number(body[name])
        except ValueError as error:
            raise invalid({name: ("rest_invalid_type", f"{name} is not of type string.")}) from error
    sku = body["sku"]
    if sku and given.get("sku") and (twin := _with_sku(call.store, sku, row_id)):
        message = "Invalid or duplicated SKU."
        raise WooError(400, "product_invalid_sku", message, resource_id=twin, unique_sku=f"{sku}-1")
    if body["manage_stock"] is True and body["stock_quantity"] is not None:
        body["stock_status"] = "instock" if number(body["stock_quantity"]) > 0 else "outofstock"
    body["meta_data"] = desk(call).meta(body["meta_data"], given.get("meta_data"))
    if table == "products" and body["name"]:
        body["slug"] = given.get("slug") or body["slug"] or _slug(body["name"])


def _with_sku(store: Store, sku: str, but: int) -> int | None:
    for table in ("products", "variations"):
        for row in store.tables[table].rows.values():
            if row.id != but and row.status != "trash" and (row.body or {})["sku"] == sku:
                return row.id
    return None


def _product_status(given: Json, default: str) -> str:
    status = given.get("status", default)
    if status not in PRODUCT_STATUSES:
        raise invalid({"status": ("rest_not_in_enum", f"status is not one of {', '.join(PRODUCT_STATUSES)}.")})
    return status


def _create_product(call: Call, given: Json) -> Row:
    store = call.store
    body = blanks.product("", "", average_rating="0")
    _fill_goods(call, "products", body, given, 0)
    slugs = {(row.body or {})["slug"] for row in store.tables["products"].rows.values()}
    stem, count = body["slug"] or "product", 2
    while body["slug"] in slugs:
        body["slug"], count = f"{stem}-{count}", count + 1
    now = store.now()
    row = Row(store.new_id(), now, now, _product_status(given, "publish"), name=str(body["name"]), body=body)
    store.put("products", row)
    call.announce(store, "product.created", row.id)
    return row


def _update_product(call: Call, row: Row, given: Json) -> Row:
    body = dict(row.body or {})
    _fill_goods(call, "products", body, given, row.id)
    status = _product_status(given, row.status)
    new = replace(row, modified=call.store.now(), status=status, name=str(body["name"]), body=body)
    call.store.put("products", new)
    call.announce(call.store, "product.updated", row.id)
    return new


def _create_variation(call: Call, given: Json) -> Row:
    store = call.store
    body = blanks.variation()
    _fill_goods(call, "variations", body, given, 0)
    body["name"] = ", ".join(str(one.get("option", "")) for one in body["attributes"])
    now = store.now()
    row = Row(store.new_id(), now, now, "publish", call.ids[0], body["name"], body)
    store.put("variations", row)
    _bump_parent(call, row.owner)
    call.announce(store, "product.created", row.id)
    return row


def _update_variation(call: Call, row: Row, given: Json) -> Row:
    body = dict(row.body or {})
    _fill_goods(call, "variations", body, given, row.id)
    new = replace(row, modified=call.store.now(), status=_product_status(given, row.status), body=body)
    call.store.put("variations", new)
    _bump_parent(call, row.owner)
    call.announce(call.store, "product.updated", row.id)
    return new


def _bump_parent(call: Call, product_id: int) -> None:
    if parent := call.store.tables["products"].rows.get(product_id):
        call.store.put("products", replace(parent, modified=call.store.now()))
        call.announce(call.store, "product.updated", product_id)


# --- customers ---


def email_of(row: Row) -> str:
    """Without making the whole customer."""
    if row.body is not None:
        return row.body["email"]
    return "admin@shop.example" if row.id == 1 else f"{row.name}@mail.example"


def _check_email(call: Call, given: Json, but: int) -> None:
    email = str(given.get("email", ""))
    if "@" not in email:
        raise invalid({"email": ("rest_invalid_email", "Invalid email address.")})
    rows = call.store.tables["customers"].rows.values()
    if any(row.id != but and email_of(row).lower() == email.lower() for row in rows):
        if but:
            raise WooError(400, "woocommerce_rest_customer_invalid_email", "Email address is invalid.")
        message = (
            'An account is already registered with your email address. <a href="#" class="showlogin">Please log in.</a>'
        )
        raise WooError(400, "registration-error-email-exists", message)


def _create_customer(call: Call, given: Json) -> Row:
    store = call.store
    if not given.get("email"):
        raise missing("email")
    _check_email(call, given, 0)
    username = given.get("username") or str(given["email"]).partition("@")[0].lower()
    if any(row.name == username for row in store.tables["customers"].rows.values()):
        if given.get("username"):
            message = "An account is already registered with that username. Please choose another."
            raise WooError(400, "registration-error-username-exists", message)
        username = f"{username}{store.next_user}"
    body: Json = {"email": given["email"], "first_name": "", "last_name": "", "username": username}
    body |= {"billing": {}, "shipping": {}, "is_paying_customer": False, "meta_data": []}
    _fill_customer(call, body, given)
    now = store.now()
    row = Row(store.new_user(), now, now, "customer", name=username, body=body)
    store.put("customers", row)
    call.announce(store, "customer.created", row.id)
    return row


def _fill_customer(call: Call, body: Json, given: Json) -> None:
    body |= {name: given[name] for name in ("email", "first_name", "last_name") if name in given}
    body["billing"] = address(body["billing"] | (given.get("billing") or {}), "email", "phone", names=CUSTOMER_ADDRESS)
    body["shipping"] = address(body["shipping"] | (given.get("shipping") or {}), "phone", names=CUSTOMER_ADDRESS)
    body["meta_data"] = desk(call).meta(body["meta_data"], given.get("meta_data"))


def _update_customer(call: Call, row: Row, given: Json) -> Row:
    if "email" in given:
        _check_email(call, given, row.id)
    if given.get("username") and given["username"] != row.name:
        raise WooError(400, "woocommerce_rest_customer_invalid_argument", "Username isn't editable.")
    body = dict(call.store.body("customers", row))
    body.pop("_never_modified", None)
    _fill_customer(call, body, given)
    new = replace(row, modified=call.store.now(), body=body)
    call.store.put("customers", new)
    call.announce(call.store, "customer.updated", row.id)
    return new


# --- coupons, taxes ---


def _create_coupon(call: Call, given: Json) -> Row:
    store = call.store
    code = str(given.get("code") or "").lower()
    if not code:
        raise missing("code")
    _check_code(store, code, 0)
    body = _coupon_body(blanks.coupon(code), given)
    now = store.now()
    row = Row(store.new_id(), now, now, given.get("status", "publish"), name=code, body=body)
    store.put("coupons", row)
    call.announce(store, "coupon.created", row.id)
    return row


def _check_code(store: Store, code: str, but: int) -> None:
    rows = store.tables["coupons"].rows.values()
    if any(row.name == code and row.id != but and row.status != "trash" for row in rows):
        raise WooError(400, "woocommerce_rest_coupon_code_already_exists", "The coupon code already exists")


def _coupon_body(body: Json, given: Json) -> Json:
    body = body | {name: value for name, value in given.items() if name in body and name not in ("id", "meta_data")}
    body["code"] = str(body["code"]).lower()
    body["amount"] = f"{number(body['amount']):.2f}"
    return body


def _update_coupon(call: Call, row: Row, given: Json) -> Row:
    body = _coupon_body(row.body or {}, given)
    _check_code(call.store, body["code"], row.id)
    new = replace(row, modified=call.store.now(), name=body["code"], body=body)
    call.store.put("coupons", new)
    call.announce(call.store, "coupon.updated", row.id)
    return new


def _tax_body(body: Json, given: Json) -> Json:
    body = body | {name: value for name, value in given.items() if name in body}
    body["rate"] = f"{number(body['rate']):.4f}"
    return body | {
        "priority": int(body["priority"]),
        "compound": bool(body["compound"]),
        "shipping": bool(body["shipping"]),
    }


def _create_tax(call: Call, given: Json) -> Row:
    store, now = call.store, call.store.now()
    row = Row(store.new_small(), now, now, body=_tax_body(blanks.tax(), given))
    store.put("taxes", row)
    return row


def _update_tax(call: Call, row: Row, given: Json) -> Row:
    new = replace(row, body=_tax_body(row.body or {}, given))
    call.store.put("taxes", new)
    return new


# --- webhooks ---


def _check_hook(given: Json) -> None:
    topic = str(given.get("topic", ""))
    if "topic" in given and topic not in HOOKS and not topic.startswith("action."):
        raise WooError(
            400, "woocommerce_rest_shop_webhook_invalid_topic", "Webhook topic is required and must be valid."
        )
    if given.get("status", "active") not in HOOK_STATUSES:
        raise invalid({"status": ("rest_not_in_enum", "status is not one of active, paused, and disabled.")})
    url = str(given.get("delivery_url", "http://"))
    if not url.startswith(("http://", "https://")):
        message = "Webhook delivery URL must be a valid URL starting with http:// or https://."
        raise WooError(400, "woocommerce_rest_shop_webhook_invalid_delivery_url", message)


def _create_hook(call: Call, given: Json) -> Row:
    store = call.store
    if lacking := [name for name in ("topic", "delivery_url") if not given.get(name)]:
        raise missing(*lacking)
    _check_hook(given)
    secret = str(given.get("secret") or secrets.token_urlsafe(37))
    body = {"name": given.get("name") or "Webhook created on the shop's clock", "topic": given["topic"], "_failures": 0}
    body |= {"delivery_url": given["delivery_url"], "secret": secret}
    now, row_id = store.now(), store.new_small()
    row = Row(row_id, now, now, given.get("status", "active"), name=body["name"], body=body)
    store.put("webhooks", row)
    if row.status == "active":
        call.after.append(lambda: hooks.ping(store, row_id, body["delivery_url"]))
    return row


def _update_hook(call: Call, row: Row, given: Json) -> Row:
    _check_hook(given)
    names = ("name", "topic", "delivery_url", "secret")
    body = (row.body or {}) | {name: given[name] for name in names if given.get(name)}
    new = replace(row, status=given.get("status", row.status), modified=call.store.now(), name=body["name"], body=body)
    call.store.put("webhooks", new)
    return new


# --- what all have in common ---

CREATE: dict[str, Callable[[Call, Json], Row]] = {
    "orders": _create_order,
    "products": _create_product,
    "variations": _create_variation,
    "customers": _create_customer,
    "coupons": _create_coupon,
    "taxes": _create_tax,
    "webhooks": _create_hook,
}
UPDATE: dict[str, Callable[[Call, Row, Json], Row]] = {
    "orders": _update_order,
    "products": _update_product,
    "variations": _update_variation,
    "customers": _update_customer,
    "coupons": _update_coupon,
    "taxes": _update_tax,
    "webhooks": _update_hook,
}


def _create(call: Call, table: str, given: Json) -> Row:
    if given.get("id"):
        message = f"Cannot create existing {FACES.get(table, table).lower()}."
        raise WooError(400, f"woocommerce_rest_{NOUN[table]}_exists", message)
    if table == "variations" and call.ids[0] not in call.store.tables["products"].rows:
        raise WooError(404, "woocommerce_rest_product_invalid_id", "Invalid ID.")
    try:
        return CREATE[table](call, given)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise invalid({"body": ("rest_invalid_type", f"body is not of type object: {error}")}) from error


def _change(call: Call, table: str, row_id: int, given: Json) -> Row:
    from .woocommerce_routes import row_of

    row = row_of(call, table, row_id, is_write=True)
    try:
        return UPDATE[table](call, row, given)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        raise invalid({"body": ("rest_invalid_type", f"body is not of type object: {error}")}) from error


def _refuse_trash(call: Call, table: str, *, is_forced: bool) -> None:
    if table in NO_TRASH and not is_forced and table != "variations":
        raise WooError(501, "woocommerce_rest_trash_not_supported", f"{NO_TRASH[table]} do not support trashing.")


def remove(call: Call, table: str, row_id: int, *, is_forced: bool) -> Json:
    """Trash or destroy one object. Returns it as it was."""
    from .woocommerce_routes import row_of

    row = row_of(call, table, row_id)
    _refuse_trash(call, table, is_forced=is_forced)
    store, shown = call.store, call.store.shown(table, row, is_edit=True)
    if not is_forced and table != "variations":
        if row.status == "trash":
            raise WooError(410, "woocommerce_rest_already_trashed", f"The {FACES[table]} has already been deleted.")
        if table == "orders":
            desk(call).trash(row)
        else:
            store.put(table, replace(row, status="trash", body=(row.body or {}) | {"_was": row.status}))
            call.announce(store, f"{NOUN[table].removeprefix('shop_')}.deleted", row_id)
        return shown
    _destroy(call, table, row)
    return shown


def _destroy(call: Call, table: str, row: Row) -> None:
    store = call.store
    if table == "orders":
        desk(call).destroy(row)
        return
    for variation_id in list(store.tables["variations"].owned.get(row.id, [])) if table == "products" else []:
        store.drop("variations", variation_id)
    store.drop(table, row.id)
    if table == "variations":
        _bump_parent(call, row.owner)
    if table == "customers":
        call.announce(store, "customer.deleted", row.id)


def _created(call: Call, table: str, row: Row, path: str) -> Json:
    call.status = 201
    call.headers.append(("Location", f"{call.store.rest_url}/wc/v3{path}"))
    return call.picked(call.store.shown(table, row, is_edit=True))


def creates(table: str) -> Callable[[Call], Json]:
    def answer(call: Call) -> Json:
        given = call.body()
        call.require("create")
        row = _create(call, table, given)
        path = f"/products/{row.owner}/variations/{row.id}" if table == "variations" else f"/{table}/{row.id}"
        return _created(call, table, row, path)

    return answer


def updates(table: str) -> Callable[[Call], Json]:
    def answer(call: Call) -> Json:
        given = call.body()
        call.require("edit")
        row = _change(call, table, call.ids[-1], given)
        return call.picked(call.store.shown(table, row, places=call.places(), is_edit=True))

    return answer


def deletes(table: str) -> Callable[[Call], Json]:
    def answer(call: Call) -> Json:
        is_forced = call.parameters.flag("force") or str(call.body().get("force", "")).lower() in ("true", "1")
        call.parameters.check()
        call.require("delete")
        return call.picked(remove(call, table, call.ids[-1], is_forced=is_forced))

    return answer


def batches(table: str) -> Callable[[Call], Json]:
    """Each item for itself: a failed one stands in its place with its error, and the answer is 200."""

    def answer(call: Call) -> Json:
        given = call.body()
        call.require("batch")
        lists = {name: given.get(name) or [] for name in ("create", "update", "delete")}
        if any(not isinstance(entries, list) for entries in lists.values()):
            raise invalid({"create": ("rest_invalid_type", "create is not of type array.")})
        if sum(map(len, lists.values())) > MAX_BATCH:
            message = f"Unable to accept more than {MAX_BATCH} items for this request."
            raise WooError(413, "woocommerce_rest_request_entity_too_large", message)
        return {
            name: [_one(call, table, name, entry) for entry in entries] for name, entries in lists.items() if entries
        }

    return answer


def _one(call: Call, table: str, verb: str, entry: Any) -> Json:
    row_id = entry if verb == "delete" else entry.get("id", 0) if isinstance(entry, dict) else 0
    try:
        if verb == "delete":
            return remove(call, table, int(entry), is_forced=True)
        if not isinstance(entry, dict):
            raise invalid({"body": ("rest_invalid_type", "body is not of type object.")})
        row = _create(call, table, entry) if verb == "create" else _change(call, table, int(row_id), entry)
        return call.store.shown(table, row, is_edit=True)
    except WooError as error:
        return {"id": row_id or 0, "error": {"code": error.code, "message": error.message, "data": error.data}}
