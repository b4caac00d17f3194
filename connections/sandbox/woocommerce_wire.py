"""JSON and headers as PHP writes them."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from .wire import Response

JSON_TYPE = "application/json; charset=UTF-8"
REST_HEADERS = [
    ("X-Powered-By", "PHP/8.2.36"),
    ("X-Robots-Tag", "noindex"),
    ("X-Content-Type-Options", "nosniff"),
    ("Access-Control-Expose-Headers", "X-WP-Total, X-WP-TotalPages, Link"),
    ("Access-Control-Allow-Headers", "Authorization, X-WP-Nonce, Content-Disposition, Content-MD5, Content-Type"),
]
UNCACHED = [
    ("Expires", "Wed, 11 Jan 1984 05:00:00 GMT"),
    ("Cache-Control", "no-cache, must-revalidate, max-age=0, no-store, private"),
]


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(type(value).__name__)


def json_bytes(value: Any) -> bytes:
    """ASCII, slashes escaped."""
    return json.dumps(value, separators=(",", ":"), default=_plain).replace("/", "\\/").encode()


def rest(status: int, value: Any, headers: list[tuple[str, str]] | None = None, *, is_cached: bool = False) -> Response:
    """An answer of the REST API."""
    every = REST_HEADERS + (headers or []) + ([] if is_cached else UNCACHED)
    return Response(status, json_bytes(value), JSON_TYPE, every)


def page(status: int, title: str, body: str, headers: list[tuple[str, str]] | None = None) -> Response:
    """An HTML page."""
    style = "body{font:16px/1.5 system-ui;margin:3rem auto;max-width:34rem;padding:0 1rem;color:#1d2327}a.button{display:inline-block;"
    style += (
        "padding:.5rem 1.2rem;margin-right:.6rem;border-radius:4px;background:#7f54b3;color:#fff;text-decoration:none}"
    )
    style += "a.deny{background:#646970}code{background:#f0f0f1;padding:0 .3rem}"
    head = f'<!DOCTYPE html><html lang="en-US"><head><meta charset="utf-8"><title>{title}</title><style>{style}</style></head>'
    shown = f"{head}<body>{body}</body></html>"
    return Response(status, shown.encode(), "text/html; charset=UTF-8", headers or [])
