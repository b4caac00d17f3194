"""The control endpoint, /woocommerce/_control/...: make shops, let things happen, inject faults, read the truth.

Never part of the wire protocol. Reference: docs/reference/simulators.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from . import exact, woocommerce_dates, woocommerce_life
from .wire import Request, Response
from .woocommerce_errors import WooError
from .woocommerce_hooks import post, signature, user_agent
from .woocommerce_orders import Orders
from .woocommerce_rows import Row
from .woocommerce_store import SEEDED, SETTINGS, TABLES, Store

if TYPE_CHECKING:
    from .woocommerce import WooSimulator

Json = dict[str, Any]
UTC = ZoneInfo("UTC")


def handle(simulator: WooSimulator, request: Request) -> Response:
    """Answer 200 with what was done, 400 with why not, 404 for a path, shop or object that is not there."""
    try:
        body = json.loads(request.body) if request.body else {}
        if not isinstance(body, dict):
            raise TypeError("the body must be an object")
        shown = Control(simulator, request, body).answer()
    except KeyError as error:
        return Response(status=404, body=exact.dumps({"error": f"not found: {error.args[0]}"}))
    except WooError as error:
        return Response(status=400, body=exact.dumps({"error": error.message, "code": error.code}))
    except (ValueError, TypeError) as error:
        return Response(status=400, body=exact.dumps({"error": str(error)}))
    return Response(body=exact.dumps(shown))


class Control:
    """One control request."""

    def __init__(self, simulator: WooSimulator, request: Request, body: Json):
        self.simulator = simulator
        self.request = request
        self.query = request.query
        self.body = body

    def answer(self) -> Any:
        names = self.request.path.removeprefix("/_control/").strip("/").split("/")
        verb = self.request.method.lower()
        if names[0] == "stores" and len(names) in (2, 3):
            store = self.simulator.stores[names[1]]
            store.reached_at = store.reached_at or f"{self.request.origin}{self.request.mount}/{store.name}"
            action = getattr(self, f"{verb}_store_{names[2] if len(names) > 2 else 'whole'}", None)
            if action is None:
                raise KeyError(self.request.path)
            with store.lock:
                return action(store)
        action = getattr(self, f"{verb}_{'_'.join(names)}", None)
        if action is None:
            raise KeyError(self.request.path)
        return action()

    # --- the whole simulator ---

    def post_reset(self) -> Json:
        self.simulator.reset()
        return {"reset": True}

    def get_log(self) -> Json:
        after, store = int(self.query.get("after", 0)), self.query.get("store")
        rows = [row for row in list(self.simulator.requests) if row["seq"] > after]
        return {"requests": [row for row in rows if store in (None, row["store"])]}

    def post_faults(self) -> Json:
        given = dict(self.body)
        if "store" in given:
            given["item_id"] = given.pop("store")
        return self.simulator.faults.add(given)

    def get_faults(self) -> Json:
        return {"faults": self.simulator.faults.listed()}

    def delete_faults(self) -> Json:
        given = self.query.get("id")
        return {"cleared": self.simulator.faults.clear(int(given) if given else None)}

    def get_webhooks(self) -> Json:
        after, store = int(self.query.get("after", 0)), self.query.get("store")
        return {"webhooks": [row for row in self.simulator.courier.log(after) if store in (None, row["store"])]}

    # --- shops ---

    def get_stores(self) -> Json:
        return {"stores": [self._shown(store) for store in list(self.simulator.stores.values())]}

    def post_stores(self) -> Json:
        """A new shop, in place of one of this name."""
        given = dict(self.body)
        name = str(given.pop("name", "shop"))
        ends_at = given.pop("ends_at", None)
        settings = {key: given.pop(key) for key in list(given) if key in SETTINGS}
        seeded = {key: int(given.pop(key)) for key in list(given) if key in SEEDED}
        if given or not name.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"unknown: {', '.join(given) or name}")
        if name in self.simulator.stores:
            self.simulator.drop_store(name)
        store = self.simulator.make_store(name, settings, seeded, None if ends_at is None else second(ends_at))
        store.reached_at = f"{self.request.origin}{self.request.mount}/{name}"
        return self._shown(store)

    def get_store_whole(self, store: Store) -> Json:
        return self._shown(store)

    def delete_store_whole(self, store: Store) -> Json:
        self.simulator.drop_store(store.name)
        return {"deleted": store.name}

    def post_store_state(self, store: Store) -> Json:
        """Change settings; those that old orders hang on are fixed."""
        given = dict(self.body)
        if isinstance(given.get("clock"), str):
            given["clock"] = second(given["clock"])
        store.change_settings(given)
        return self._shown(store)

    def _shown(self, store: Store) -> Json:
        keys = [key.shown() for key in store.keys.values()]
        first = {name: keys[0][name] for name in ("consumer_key", "consumer_secret")} if keys else {}
        store.reached_at = store.reached_at or f"{self.request.origin}{self.request.mount}/{store.name}"
        shown = store.settings | {"name": store.name, "url": store.reached_at, "home": store.home}
        shown |= first | {"keys": keys}
        counts = {name: len(store.tables[name].rows) for name in TABLES}
        return shown | {"currency": store.currency, "decimals": store.decimals, "counts": counts, "now": store.now()}

    def post_store_keys(self, store: Store) -> Json:
        given = dict(self.body)
        return store.new_key(given.pop("permissions", "read_write"), **given).shown()

    def delete_store_keys(self, store: Store) -> Json:
        return {"deleted": store.drop_key(int(self.query["key_id"]))}

    # --- what happens in a shop ---

    def post_store_ops(self, store: Store) -> Json:
        """One after the other, each at its own second (`at`). Returns the ids concerned."""
        ids: list[int] = []
        for given in self.body["ops"]:
            ids += Happening(self.simulator, store, dict(given)).happen()
        return {"ids": ids}

    def post_store_advance(self, store: Store) -> Json:
        steps = int(self.body.get("steps", 1))
        return {"happened": [woocommerce_life.step(self.simulator, store) for _turn in range(steps)]}

    def post_store_deliver(self, store: Store) -> Json:
        """Let the scheduler run now."""
        return {"due": self.simulator.courier.run(store)}

    def post_store_forge(self, store: Store) -> Json:
        """Send any body to any address: signed with `secret`, with `signature`, or not at all."""
        given = self.body
        raw = given["body"].encode() if isinstance(given["body"], str) else json.dumps(given["body"]).encode()
        topic = given.get("topic", "order.updated")
        headers = user_agent(store) | {"Content-Type": "application/json", "X-WC-Webhook-Source": f"{store.home}/"}
        headers |= {"X-WC-Webhook-Topic": topic, "X-WC-Webhook-ID": str(given.get("webhook_id", 1))}
        headers |= {"X-WC-Webhook-Resource": topic.partition(".")[0], "X-WC-Webhook-Event": topic.partition(".")[2]}
        if "secret" in given or "signature" in given:
            headers["X-WC-Webhook-Signature"] = given.get("signature") or signature(given["secret"], raw)
        return {"status": post(given["url"], raw, headers | given.get("headers", {}), 30)}

    def get_store_truth(self, store: Store) -> Json:
        """Rows of one table as they are, trash included, by id."""
        table = self.query.get("resource", "orders")
        after, limit = int(self.query.get("after", 0)), min(int(self.query.get("limit", 1000)), 10_000)
        rows = store.tables[table].rows
        ids = sorted(row_id for row_id in rows if row_id > after)
        shown = [self._truth(store, table, rows[row_id]) for row_id in ids[:limit]]
        return {"total": len(rows), "rows": shown, "next": ids[limit - 1] if len(ids) > limit else None}

    def _truth(self, store: Store, table: str, row: Row) -> Json:
        shown: Json = {"id": row.id, "status": row.status, "modified": row.modified, "owner": row.owner}
        shown["date_modified_gmt"] = woocommerce_dates.gmt(row.modified)
        if self.query.get("bodies"):
            shown["body"] = store.shown(table, row)
        return shown

    def get_store_idle(self, store: Store) -> Json:
        """How many webhook deliveries are not through."""
        return {"waiting": self.simulator.courier.waiting(store)}


def second(given: Any) -> int:
    """An instant: Unix seconds, or a date, UTC where it does not say. Raises ValueError."""
    return woocommerce_dates.seconds_of(given, UTC) if isinstance(given, str) else int(given)


class Happening:
    """One op. Its methods are its kinds."""

    def __init__(self, simulator: WooSimulator, store: Store, given: Json):
        self.simulator, self.store = simulator, store
        self.kind: str = given.pop("op")
        self.at = second(given.pop("at")) if "at" in given else store.now()
        announce: Callable[[Store, str, int], None] = simulator.courier.announce
        if given.pop("is_silent", False):
            announce = lambda _store, _topic, _row_id: None  # noqa: E731 - silence needs no name
        self.announce = announce
        self.desk = Orders(store, announce, self.at)
        self.given = given

    def happen(self) -> list[int]:
        action = getattr(self, f"do_{self.kind}", None)
        if action is None:
            raise ValueError(f"op {self.kind} is unknown")
        return action()

    def _row(self, table: str) -> Row:
        return self.store.tables[table].rows[int(self.given["id"])]

    def _ids(self) -> list[int]:
        return [int(row_id) for row_id in self.given.get("ids", [self.given.get("id")])]

    def do_place(self) -> list[int]:
        order, count = self.given.get("order", {}), int(self.given.get("count", 1))
        return [self.desk.place(order, row_id=self.given.get("id")).id for _turn in range(count)]

    def do_edit(self) -> list[int]:
        for row_id in self._ids():
            self.desk.edit(self.store.tables["orders"].rows[row_id], self.given.get("fields", {}))
        return self._ids()

    def do_touch(self) -> list[int]:
        """Any objects get this date of change, in one second, as a migration would; nobody is told."""
        table = self.given.get("resource", "orders")
        for row_id in self._ids():
            row = self.store.tables[table].rows[row_id]
            self.store.put(table, replace(row, modified=self.at, body=self.store.body(table, row)))
        return self._ids()

    def do_meddle(self) -> list[int]:
        """A plugin writes past the shop: fields change, the date does not."""
        table = self.given.get("resource", "orders")
        row = self._row(table)
        self.store.put(table, replace(row, body=self.store.body(table, row) | self.given.get("fields", {})))
        return [row.id]

    def do_trash(self) -> list[int]:
        for row_id in self._ids():
            self.desk.trash(self.store.tables["orders"].rows[row_id])
        return self._ids()

    def do_untrash(self) -> list[int]:
        self.desk.untrash(self._row("orders"))
        return self._ids()

    def do_delete(self) -> list[int]:
        """Force: gone from the table, nobody is told."""
        table = self.given.get("resource", "orders")
        for row_id in self._ids():
            row = self.store.tables[table].rows[row_id]
            if table == "orders":
                self.desk.destroy(row)
            else:
                self.store.drop(table, row_id)
        return self._ids()

    def do_refund(self) -> list[int]:
        refund = {"api_refund": False} | self.given.get("refund", {})
        return [self.desk.refund(int(self.given["order_id"]), refund).id]

    def do_delete_refund(self) -> list[int]:
        self.desk.delete_refund(self._row("refunds"))
        return self._ids()
