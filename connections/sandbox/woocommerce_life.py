"""A shop that keeps selling: one step is one thing that happens in it, the same for the same (seed, step)."""

from __future__ import annotations

import random
import threading
import time
import traceback
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .wire import stopping
from .woocommerce_money import number, text
from .woocommerce_orders import Orders
from .woocommerce_rows import MASK

if TYPE_CHECKING:
    from .woocommerce import WooSimulator
    from .woocommerce_rows import Row
    from .woocommerce_store import Store

STEP_S = 0.2
NEXT = {"pending": "processing", "on-hold": "processing", "processing": "completed", "failed": "cancelled"}


def start(simulator: WooSimulator, interval_s: float) -> None:
    if interval_s > 0:
        threading.Thread(target=_run, args=(simulator, interval_s), name="woo-life", daemon=True).start()


def _run(simulator: WooSimulator, interval_s: float) -> None:
    due: dict[Store, float] = {}
    while not stopping.wait(STEP_S):
        for store in list(simulator.stores.values()):
            now = time.monotonic()
            if not store.settings["life"] or due.setdefault(store, now + interval_s * random.uniform(0.5, 1.5)) > now:
                continue
            due[store] = now + interval_s * random.uniform(0.5, 1.5)
            try:
                step(simulator, store)
            except Exception:  # noqa: BLE001 - one odd shop must not stop the others
                traceback.print_exc()


def step(simulator: WooSimulator, store: Store) -> str:
    """Let one thing happen. Returns what."""
    with store.lock:
        rng = random.Random(f"{store.seeded['seed']}/{store.steps}")
        store.count_step()
        desk = Orders(store, simulator.courier.announce)
        draw = rng.random()
        recent = [store.tables["orders"].rows[key & MASK] for key in store.tables["orders"].by_created[-60:]]
        if draw < 0.45 or not recent:
            desk.place(_order(store, rng))
            return "order"
        if draw < 0.75:
            return _advance(desk, rng, recent)
        if draw < 0.85:
            return _refund(desk, rng, recent)
        if draw < 0.97:
            return _reprice(simulator, store, rng)
        desk.trash(rng.choice(recent))
        return "trash"


def _order(store: Store, rng: random.Random) -> dict[str, Any]:
    products = [row for row in store.tables["products"].rows.values() if row.status == "publish"]
    lines = [_line(store, rng.choice(products), rng) for _turn in range(rng.randint(1, 3))] if products else []
    customers = store.tables["customers"].by_id
    owner = rng.choice(customers) if customers and rng.random() < 0.6 else 0
    who = store.body("customers", store.tables["customers"].rows[owner or customers[0]])["billing"] if customers else {}
    if not owner:
        who = who | {"first_name": "Guest", "email": f"guest{store.next_id}@mail.example"}
    order: dict[str, Any] = {
        "customer_id": owner,
        "billing": who,
        "shipping": who,
        "line_items": lines,
        "created_via": "checkout",
    }
    order |= {"payment_method": "stripe", "payment_method_title": "Credit card", "set_paid": rng.random() < 0.8}
    order["shipping_lines"] = [{"method_title": "Flat rate", "total": text(number("4.99"), store.decimals)}]
    if rng.random() < 0.15:
        order["coupon_lines"] = [{"code": "ten"}]
    return order


def _line(store: Store, product: Row, rng: random.Random) -> dict[str, Any]:
    article = rng.choice(store.articles_of(product))
    return {"product_id": product.id, "variation_id": article.variation_id, "quantity": rng.randint(1, 3)}


def _advance(desk: Orders, rng: random.Random, recent: list[Row]) -> str:
    row = rng.choice(recent)
    desk.edit(row, {"status": NEXT.get(row.status, row.status)})
    return "status"


def _refund(desk: Orders, rng: random.Random, recent: list[Row]) -> str:
    paid = [row for row in recent if row.status in ("processing", "completed")]
    if not paid:
        return "nothing"
    row = rng.choice(paid)
    left = number(desk.store.body("orders", row)["total"]) - desk.refunded(row.id)
    amount = text(left if rng.random() < 0.3 else left / 4, desk.store.decimals)
    if number(amount) > 0:
        desk.refund(row.id, {"amount": amount, "reason": "sorry about that", "api_refund": False})
    return "refund"


def _reprice(simulator: WooSimulator, store: Store, rng: random.Random) -> str:
    rows = [row for row in store.tables["products"].rows.values() if row.body and row.body["type"] == "simple"]
    if not rows:
        return "nothing"
    row = rng.choice(rows)
    price = number((row.body or {})["regular_price"]) * rng.choice((95, 100, 105)) / 100
    body = (row.body or {}) | {"regular_price": text(price, store.decimals)}
    store.put("products", replace(row, modified=store.now(), body=body))
    simulator.courier.announce(store, "product.updated", row.id)
    return "product"
