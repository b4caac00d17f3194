"""Our client against the simulated WooCommerce, over HTTP, without a database."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from connections.errors import Misconfigured
from connections.providers.base import Access, Json
from tests.connections.sandbox.shops import Shop

WEBHOOK = "http://127.0.0.1:9/webhook/woocommerce/one"


@pytest.fixture
def open_shop(simulator) -> Iterator[Callable[..., Shop]]:
    """Makes simulated shops."""
    opened: list[Shop] = []

    def make(**settings: Any) -> Shop:
        opened.append(Shop(simulator.url, settings))
        return opened[-1]

    yield make
    for shop in opened:
        shop.close()


@pytest.fixture
def shop(open_shop) -> Shop:
    """Empty but for its tax rates and coupons, in Edmonton."""
    return open_shop(orders=0, products=0, customers=0)


def access_to(shop: Shop, *, facts: Json | None = None, webhook: str = WEBHOOK, **changed: Any) -> Access:
    """A way into this shop, whose facts and secrets live as long as it does."""
    secrets = {"consumer_key": shop.keys[0], "consumer_secret": shop.keys[1]} | changed.pop("secrets", {})
    known: Json = dict({"shop": {"version": shop.made["version"]}} if facts is None else facts)

    def secret(name: str) -> str:
        if name not in secrets:
            raise Misconfigured(code="connection_misconfigured")
        return secrets[name]

    def remember(found: Json) -> None:
        known.update(found)
        for name in [name for name, value in known.items() if value is None]:
            del known[name]

    given: dict[str, Any] = {
        "connection_id": uuid4(),
        "environment": "production",
        "config": {"store_url": shop.url},
        "secret": secret,
        "facts": known,
        "remember": remember,
        "keep_secret": secrets.__setitem__,
        "fresh_token": lambda refused: "",
        "callback_url": lambda purpose: webhook if purpose == "webhook" else "https://hub.example/keys",
    }
    return Access(**(given | changed))
