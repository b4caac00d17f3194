"""The REST API wc/v3: from a path to what the shop answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import woocommerce_lists as lists
from . import woocommerce_shapes as shapes
from . import woocommerce_status as status_pages
from .woocommerce_errors import WooError, cannot, no_route
from .woocommerce_rows import Row

if TYPE_CHECKING:
    from .woocommerce_auth import Key
    from .woocommerce_store import Store

Json = dict[str, Any]
PREFIX = "/wc/v3"
ALLOW = {"list": "GET, POST", "one": "GET, POST, PUT, PATCH, DELETE", "batch": "POST, PUT, PATCH", "read": "GET"}


@dataclass(slots=True)
class Call:
    """One call, its caller known (or nobody). `ids`: the numbers in the path."""

    store: Store
    key: Key | None
    method: str
    path: str
    parameters: lists.Parameters
    raw_body: bytes
    content_type: str
    announce: Callable[[Store, str, int], None]
    ids: tuple[int, ...] = ()
    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    after: list[Callable[[], Any]] = field(default_factory=list)  # done once the store is free again

    def require(self, verb: str) -> None:
        """Raises WooError where the caller's user may not do it."""
        if self.key is None or not self.key.is_capable:
            raise cannot(verb, is_known=self.key is not None)

    def body(self) -> Json:
        """The request's body, JSON or form; query parameters where there is none. Raises WooError."""
        if not self.raw_body.strip():
            return dict(self.parameters.pairs)
        if "json" not in self.content_type:
            return dict(lists.Parameters(self.raw_body.decode("utf-8", "replace")).pairs)
        try:
            body = json.loads(self.raw_body)
        except ValueError as error:
            message = "Invalid JSON body passed."
            raise WooError(
                400, "rest_invalid_json", message, json_error_code=4, json_error_message="Syntax error"
            ) from error
        if not isinstance(body, dict):
            raise WooError(400, "rest_invalid_json", "Invalid JSON body passed.", json_error_code=4)
        return body

    def places(self) -> int:
        return self.parameters.whole("dp", self.store.decimals) if self.parameters.has("dp") else self.store.decimals

    def picked(self, shown: Json, *, is_list: bool = False) -> Json:
        fields = self.parameters.texts("_fields")
        return lists.pick(shown, fields, is_list=is_list) if fields else shown


def row_of(call: Call, table: str, row_id: int, *, is_write: bool = False) -> Row:
    """Raises WooError: 404 on reading, 400 on changing."""
    row = call.store.tables[table].rows.get(row_id)
    if row is None:
        code, message = INVALID_ID[table]
        raise WooError(400 if is_write else 404, code, message)
    return row


INVALID_ID = {
    "orders": ("woocommerce_rest_shop_order_invalid_id", "Invalid ID."),
    "refunds": ("woocommerce_rest_invalid_order_refund_id", "Invalid order refund ID."),
    "products": ("woocommerce_rest_product_invalid_id", "Invalid ID."),
    "variations": ("woocommerce_rest_product_variation_invalid_id", "Invalid ID."),
    "customers": ("wc_user_invalid_id", "Invalid resource ID."),
    "coupons": ("woocommerce_rest_shop_coupon_invalid_id", "Invalid ID."),
    "taxes": ("woocommerce_rest_invalid_id", "Invalid resource ID."),
    "webhooks": ("woocommerce_rest_shop_webhook_invalid_id", "Invalid ID."),
}


# --- reading ---


def listed(call: Call, table: str, path: str, pool: list[int] | None = None) -> list[Json]:
    """One page of a table, with its headers."""
    store, parameters = call.store, call.parameters
    wanted, page, per_page = lists.wanted_from(parameters, table, store)
    wanted.pool = pool
    lists.narrow(wanted, parameters, table, store)
    lists.sort_rows(wanted, table, store, parameters)
    parameters.choice("context", ("view", "edit"), "view")
    places = call.places()
    parameters.check()
    call.require("view_list")
    limit = store.settings["memory_limit_per_page"]
    if limit and per_page > limit:
        raise MemoryError
    total, rows = store.tables[table].find(wanted)
    call.headers += lists.paging_headers(store, path, parameters, table, total, page, per_page)
    return [call.picked(_shown(call, table, row, places, path), is_list=True) for row in rows]


def _shown(call: Call, table: str, row: Row, places: int, path: str = "") -> Json:
    if table == "refunds" and path.endswith("v3/refunds"):
        body = call.store.body(table, row)
        return shapes.refund(call.store, row, body, places, has_parent=True)
    is_edit = call.parameters.text("context") == "edit"
    return call.store.shown(table, row, places=places, is_edit=is_edit)


def shown_one(call: Call, table: str, row: Row) -> Json:
    call.require("view")
    places = call.places()
    call.parameters.check()
    return call.picked(_shown(call, table, row, places))


def get_list(table: str) -> Callable[[Call], Any]:
    return lambda call: listed(call, table, call.path)


def get_one(table: str) -> Callable[[Call], Any]:
    def answer(call: Call) -> Json:
        call.require("view")
        return shown_one(call, table, row_of(call, table, call.ids[-1]))

    return answer


def get_order_refunds(call: Call) -> list[Json]:
    """An order that does not exist has none, says the shop."""
    return listed(call, "refunds", call.path, pool=list(call.store.refund_ids(call.ids[0])))


def get_order_refund(call: Call) -> Json:
    row_of(call, "orders", call.ids[0])
    row = row_of(call, "refunds", call.ids[1])
    if row.owner != call.ids[0]:
        raise WooError(404, *INVALID_ID["refunds"])
    return shown_one(call, "refunds", row)


def get_product_variations(call: Call) -> list[Json]:
    row_of(call, "products", call.ids[0])
    return listed(call, "variations", call.path, pool=list(call.store.tables["variations"].owned.get(call.ids[0], [])))


def get_variation(call: Call) -> Json:
    row = row_of(call, "variations", call.ids[1])
    if row.owner != call.ids[0]:
        raise WooError(
            404, "woocommerce_rest_product_variation_invalid_parent", "Parent product does not match current variation."
        )
    return shown_one(call, "variations", row)


def get_status(call: Call) -> Json:
    call.require("view_list")
    return call.picked(status_pages.system_status(call.store), is_list=True)


Route = tuple[re.Pattern[str], dict[str, Callable[[Call], Any]], str]


def _routes() -> list[Route]:
    from . import woocommerce_writes as writes

    found: list[Route] = []

    def add(path: str, allow: str, **verbs: Callable[[Call], Any]) -> None:
        found.append((re.compile(path.replace("#", r"(\d+)")), verbs, ALLOW[allow]))

    for table in ("orders", "products", "customers", "coupons", "taxes", "webhooks"):
        change = writes.updates(table)
        add(f"/{table}", "list", GET=get_list(table), POST=writes.creates(table))
        add(
            f"/{table}/#",
            "one",
            GET=get_one(table),
            PUT=change,
            PATCH=change,
            POST=change,
            DELETE=writes.deletes(table),
        )
        batch = writes.batches(table)
        add(f"/{table}/batch", "batch", POST=batch, PUT=batch, PATCH=batch)
    add("/orders/#/refunds", "list", GET=get_order_refunds, POST=writes.create_refund)
    add("/orders/#/refunds/#", "one", GET=get_order_refund, DELETE=writes.delete_refund)
    add("/refunds", "read", GET=get_list("refunds"))
    add("/variations", "read", GET=get_list("variations"))
    change = writes.updates("variations")
    add("/products/#/variations", "list", GET=get_product_variations, POST=writes.creates("variations"))
    add("/products/#/variations/batch", "batch", POST=writes.batches("variations"))
    add(
        "/products/#/variations/#", "one",
        GET=get_variation, PUT=change, PATCH=change, POST=change, DELETE=writes.deletes("variations"),
    )  # fmt: skip
    add("/system_status", "read", GET=get_status)
    return found


_known: list[Route] = []


def find(method: str, path: str) -> tuple[Callable[[Call], Any], tuple[int, ...], str]:
    """The handler for a path below /wc/v3, the ids in it, and what it allows. Raises WooError."""
    if not _known:
        _known.extend(_routes())
    for pattern, verbs, allow in _known:
        if match := pattern.fullmatch(path):
            handler = verbs.get("GET" if method == "HEAD" else method)
            if handler is None:
                break
            return handler, tuple(int(one) for one in match.groups()), allow
    raise no_route()
