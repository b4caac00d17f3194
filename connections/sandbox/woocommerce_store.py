"""One simulated shop: its settings, its keys, its tables, and every change to them, written down before it counts."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

from . import woocommerce_shapes as shapes
from .woocommerce_auth import Key
from .woocommerce_money import Taxes, number
from .woocommerce_rows import Row, Table
from .woocommerce_seed import Article, Seed

Json = dict[str, Any]
TABLES = ("orders", "refunds", "products", "variations", "customers", "coupons", "taxes", "webhooks")
RESOURCES = {"orders": "order", "products": "product", "customers": "customer", "coupons": "coupon"}
TLS = ("https", "proxy", "http")
CURRENCIES = {"CA": "CAD", "US": "USD", "GB": "GBP", "DE": "EUR", "JP": "JPY"}

SETTINGS: dict[str, Any] = {
    "title": "Demo Shop",
    "timezone": "America/Edmonton",
    "country": "CA",
    "state": "AB",
    "currency": None,  # None: the country's
    "decimals": None,  # None: the currency's
    "prices_include_tax": False,
    "tax_rounding": "line",  # or subtotal
    "permalinks": "pretty",  # or plain
    "tls": "https",  # what PHP thinks: https, proxy (TLS ends before it, and nobody tells it), http
    "home": None,  # its own idea of its address; None: as it is reached
    "version": "11.0.1",
    "wp_version": "7.0.4",
    "hpos": True,
    "life": False,
    "skew_s": 0,  # the store's clock minus ours
    "clock": None,  # an instant at which it stands still
    "delivery_delay_s": 0.2,  # until the scheduler runs; null: never by itself
    "approval": "callback_first",  # or return_first
    "allow_http_callback": True,  # loopback only
    "strip_authorization": False,
    "drop_paging_headers": False,
    "memory_limit_per_page": 0,  # above it a list dies for want of memory; 0: never
    "stale_s": 0,  # a page cache that answers GETs from memory for so long
    "woocommerce": True,  # false: WordPress without the plugin
}
FIXED = frozenset(
    {"country", "state", "currency", "decimals", "prices_include_tax", "tax_rounding"}
)  # old orders hang on them
SEEDED = {"seed": 1, "orders": 50, "products": 20, "customers": 20, "days": 90}


class Store:
    """`lock` guards everything in it. `record` writes an event to the journal."""

    def __init__(self, event: Json, record: Callable[[Json], None]):
        self.name: str = event["name"]
        self.store_id = str(uuid.uuid5(uuid.NAMESPACE_URL, self.name))
        self.settings: Json = SETTINGS | event["settings"]
        self.seeded: Json = SEEDED | event["seeded"]
        self.reached_at = ""
        self.lock = threading.RLock()
        self.tables = {name: Table() for name in TABLES}
        self.keys: dict[str, Key] = {}
        self.steps = 0
        self._record = record
        self._taxes: Taxes | None = None
        self._zone: ZoneInfo | None = None
        self.seed = Seed(self, ends_at=event["ends_at"], **self.seeded)
        self.seed.load()
        self.next_id, self.next_item = self.seed.first_free_id, self.seed.first_free_item
        self.next_user = 2 + self.seeded["customers"]
        self.next_small = 10  # taxes, webhooks, keys

    # --- settings ---

    @property
    def zone(self) -> ZoneInfo:
        if self._zone is None or self._zone.key != self.settings["timezone"]:
            self._zone = ZoneInfo(self.settings["timezone"])
        return self._zone

    @property
    def country(self) -> str:
        return self.settings["country"]

    @property
    def currency(self) -> str:
        return self.settings["currency"] or CURRENCIES.get(self.country, "USD")

    @property
    def decimals(self) -> int:
        given = self.settings["decimals"]
        return given if given is not None else 0 if self.currency == "JPY" else 2

    @property
    def prices_include_tax(self) -> bool:
        return self.settings["prices_include_tax"]

    @property
    def version(self) -> str:
        return self.settings["version"]

    @property
    def is_https(self) -> bool:
        return self.settings["tls"] == "https"

    @property
    def home(self) -> str:
        return (self.settings["home"] or self.reached_at).rstrip("/")

    @property
    def rest_url(self) -> str:
        return f"{self.home}/wp-json" if self.settings["permalinks"] == "pretty" else f"{self.home}/?rest_route="

    def now(self) -> int:
        """The shop's clock."""
        stands_at = self.settings["clock"]
        return int(stands_at if stands_at is not None else time.time() + self.settings["skew_s"])

    def taxes(self) -> Taxes:
        if self._taxes is None:
            rows = self.tables["taxes"].rows.values()
            rates = sorted(
                ({"id": row.id} | (row.body or {}) for row in rows), key=lambda r: (r["priority"], r["order"], r["id"])
            )
            rounds = self.settings["tax_rounding"] == "subtotal"
            self._taxes = Taxes(tuple(rates), self.decimals, rounds, self.country, self.settings["state"])
        return self._taxes

    # --- reading ---

    def body(self, table: str, row: Row) -> Json:
        """What the shop keeps of the row: written down since, or as the seed has it. Copy before you change it."""
        if row.body is not None:
            return row.body
        make = {"orders": self.seed.order, "refunds": self.seed.refund, "customers": self.seed.customer}
        return make[table](row)

    def shown(self, table: str, row: Row, *, places: int | None = None, is_edit: bool = False) -> Json:
        """The row as the API shows it."""
        body, places = self.body(table, row), self.decimals if places is None else places
        if table == "orders":
            return shapes.order(self, row, body, places)
        if table == "refunds":
            return shapes.refund(self, row, body, places)
        if table == "products":
            return shapes.product(self, row, body, is_edit=is_edit)
        show: dict[str, Callable[[Store, Row, Json], Json]] = {
            "variations": shapes.variation,
            "customers": shapes.customer,
            "coupons": shapes.coupon,
            "taxes": shapes.tax,
            "webhooks": shapes.webhook,
        }
        return show[table](self, row, body)

    def refund_ids(self, order_id: int) -> list[int]:
        """Of this order, the oldest first."""
        return self.tables["refunds"].owned.get(order_id, [])

    def variation_prices(self, product_id: int) -> list[str]:
        rows = (
            self.tables["variations"].rows[row_id] for row_id in self.tables["variations"].owned.get(product_id, [])
        )
        bodies = [row.body or {} for row in rows]
        return [price for body in bodies if (price := body["sale_price"] or body["regular_price"])]

    def slug_of(self, product_id: int) -> str:
        row = self.tables["products"].rows.get(product_id)
        return (row.body or {}).get("slug", "") if row else ""

    def articles_of(self, row: Row) -> list[Article]:
        """What of this product can be ordered: itself, or its variations."""
        body = row.body or {}
        is_taxable = body["tax_status"] == "taxable"
        if body["type"] != "variable":
            price = number(body["sale_price"] or body["regular_price"])
            return [Article(row.id, 0, row.name, None, price, body["sku"], body["tax_class"], is_taxable)]
        found = []
        for variation_id in self.tables["variations"].owned.get(row.id, []):
            one = self.tables["variations"].rows[variation_id].body or {}
            options = tuple((option["name"], option["option"]) for option in one["attributes"])
            tax_class = body["tax_class"] if one["tax_class"] == "parent" else one["tax_class"]
            name = f"{row.name} - {', '.join(option for _name, option in options)}"
            price = number(one["sale_price"] or one["regular_price"])
            found.append(
                Article(row.id, variation_id, name, row.name, price, one["sku"], tax_class, is_taxable, options)
            )
        return found

    # --- writing ---

    def new_id(self) -> int:
        """Orders, products and their like share one sequence, as posts do."""
        self.next_id += 1
        return self.next_id - 1

    def new_item(self) -> int:
        self.next_item += 1
        return self.next_item - 1

    def new_user(self) -> int:
        self.next_user += 1
        return self.next_user - 1

    def new_small(self) -> int:
        self.next_small += 1
        return self.next_small - 1

    def put(self, table: str, row: Row) -> None:
        """Store the row, with its body, and write it down."""
        columns = [row.id, row.created, row.modified, row.status, row.owner, row.name]
        counters = [self.next_id, self.next_item, self.next_user, self.next_small]
        self._record({"e": "row", "s": self.name, "t": table, "r": columns, "b": row.body, "n": counters})
        self._put(table, row)

    def drop(self, table: str, row_id: int) -> None:
        self._record({"e": "gone", "s": self.name, "t": table, "id": row_id})
        self._drop(table, row_id)

    def change_settings(self, given: Json) -> None:
        """Raises ValueError on an unknown name or value."""
        if unknown := set(given) - set(SETTINGS):
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        if fixed := FIXED & set(given):
            raise ValueError(f"only when the store is made: {', '.join(sorted(fixed))}")
        if given.get("tls", "https") not in TLS:
            raise ValueError(f"tls must be one of {', '.join(TLS)}")
        if "timezone" in given:
            ZoneInfo(given["timezone"])
        self._record({"e": "settings", "s": self.name, "set": given})
        self.settings |= given
        self._taxes = None

    def count_step(self) -> None:
        self._record({"e": "step", "s": self.name})
        self.steps += 1

    def new_key(self, permissions: str, **more: Any) -> Key:
        key = Key.new(self.new_small(), permissions, **more)
        self._record({"e": "key", "s": self.name, "key": key.shown()})
        self.keys[key.consumer_key] = key
        return key

    def drop_key(self, key_id: int) -> bool:
        found = [key for key in self.keys.values() if key.key_id == key_id]
        for key in found:
            self._record({"e": "key_gone", "s": self.name, "id": key_id})
            del self.keys[key.consumer_key]
        return bool(found)

    # --- the journal ---

    def live_through(self, event: Json) -> None:
        """Let an event from the journal happen again."""
        kind = event["e"]
        if kind == "row":
            self.next_id, self.next_item, self.next_user, self.next_small = event["n"]
            row = Row(*event["r"])
            row.body = event["b"]
            self._put(event["t"], row)
        elif kind == "gone":
            self._drop(event["t"], event["id"])
        elif kind == "settings":
            self.settings |= event["set"]
            self._taxes = None
        elif kind == "key":
            key = Key(**event["key"])
            self.keys[key.consumer_key] = key
            self.next_small = max(self.next_small, key.key_id + 1)
        elif kind == "step":
            self.steps += 1
        elif kind == "key_gone":
            self.keys = {name: key for name, key in self.keys.items() if key.key_id != event["id"]}

    def _put(self, table: str, row: Row) -> None:
        self.tables[table].put(row)
        if table == "taxes":
            self._taxes = None

    def _drop(self, table: str, row_id: int) -> None:
        self.tables[table].drop(row_id)
        if table == "taxes":
            self._taxes = None
