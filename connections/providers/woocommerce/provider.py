"""WooCommerce: shops."""

from connections.providers.base import Field, Provider
from connections.providers.cleaning import prefixed, web_address
from connections.providers.woocommerce import approval, hooks, pulling, verification, webhooks, writing


def _always() -> str:
    return ""


def _store_url(value: str) -> str:
    """The shop's own address: a copied API address says where the shop is, too."""
    return web_address(value).partition("/wp-json")[0].rstrip("/")


FIELDS = (
    Field(
        "store_url",
        "Shop address",
        kind="url",
        help="Where the shop is, with its folder if it has one: https://shop.example.com or https://example.com/shop.",
        clean=_store_url,
    ),
    Field(
        "consumer_key",
        "Consumer key",
        is_secret=True,
        may_come_later=True,
        help="WooCommerce › Settings › Advanced › REST API, with the permission Read/Write. It begins with ck_.",
        clean=prefixed(
            "ck_", "A consumer key begins with ck_. Copy it from WooCommerce › Settings › Advanced › REST API."
        ),
    ),
    Field(
        "consumer_secret",
        "Consumer secret",
        is_secret=True,
        may_come_later=True,
        help="Shown beside the consumer key, once, when it is made. It begins with cs_.",
        clean=prefixed(
            "cs_", "A consumer secret begins with cs_. It is shown once, when the key is made; else make a new key."
        ),
    ),
)

PROVIDER = Provider(
    key="woocommerce",
    label="WooCommerce",
    unavailable=_always,
    fields=FIELDS,
    verifies=verification,
    authorizes=approval,
    pulls=pulling,
    upserts=writing,
    notifies=webhooks,
    activated=hooks.activated,
    disconnecting=hooks.disconnecting,
)
