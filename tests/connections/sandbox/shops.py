"""One shop of the simulated WooCommerce, and the few verbs tests speak to it with."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import secrets
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx

RECORDED = Path(__file__).resolve().parents[2] / "payloads" / "woocommerce"
_numbers = itertools.count(1)


def recorded(name: str) -> Any:
    """What a real shop said (tests/payloads/woocommerce)."""
    return json.loads((RECORDED / f"{name}.json").read_text())


class Shop:
    """A shop made for one test. `keys` are sent with every call unless another `auth` is given."""

    def __init__(self, origin: str, settings: dict[str, Any]) -> None:
        self.control_url = f"{origin}/woocommerce/_control"
        self.http = httpx.Client(timeout=30)
        self.name = settings.pop("name", f"shop-{next(_numbers)}")
        made = self.http.post(f"{self.control_url}/stores", json={"name": self.name} | settings)
        assert made.status_code == 200, made.text
        self.made = made.json()
        self.url = self.made["url"]
        self.keys = (self.made["consumer_key"], self.made["consumer_secret"])

    def close(self) -> None:
        self.http.delete(f"{self.control_url}/stores/{self.name}")
        self.http.delete(f"{self.control_url}/faults")
        self.http.close()

    # --- the API ---

    def call(self, method: str, path: str, body: Any = None, *, auth: Any = True, **query: Any) -> httpx.Response:
        url = f"{self.url}/wp-json/wc/v3{path}"
        return self.http.request(method, url, params=query, json=body, auth=self.keys if auth is True else auth)

    def get(self, path: str, **query: Any) -> Any:
        response = self.call("GET", path, **query)
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, path: str, **body: Any) -> Any:
        response = self.call("POST", path, body)
        assert response.status_code in (200, 201), response.text
        return response.json()

    def put(self, path: str, **body: Any) -> Any:
        response = self.call("PUT", path, body)
        assert response.status_code == 200, response.text
        return response.json()

    def refused(self, method: str, path: str, body: Any = None, **query: Any) -> tuple[int, str]:
        """Status and code of the error."""
        response = self.call(method, path, body, **query)
        return response.status_code, response.json()["code"]

    def ids(self, path: str, **query: Any) -> list[int]:
        return [row["id"] for row in self.get(path, **query)]

    def signed(self, method: str, path: str, *, keys: Any = None, change: Any = None, **query: Any) -> httpx.Response:
        """An OAuth 1.0a call, signed here by the recipe. `change`: what to do to the parameters after signing."""
        url, (name, secret) = f"{self.url}/wp-json/wc/v3{path}", keys or self.keys
        given = {key: str(value) for key, value in query.items()}
        given = {
            "oauth_consumer_key": name,
            "oauth_timestamp": str(int(time.time())),
            "oauth_nonce": secrets.token_hex(8),
            "oauth_signature_method": "HMAC-SHA256",
        } | given
        given["oauth_signature"] = oauth_signature(method, url, given, secret)
        if change:
            change(given)
        return self.http.request(method, f"{url}?{urlencode(given, quote_via=quote)}")

    # --- the control endpoint ---

    def control(self, path: str, method: str = "POST", /, **body: Any) -> Any:
        response = self.http.request(method, f"{self.control_url}/stores/{self.name}{path}", json=body or None)
        assert response.status_code == 200, response.text
        return response.json()

    def set(self, **settings: Any) -> Any:
        return self.control("/state", **settings)

    def ops(self, *ops: dict[str, Any]) -> list[int]:
        return self.control("/ops", ops=list(ops))["ids"]

    def fault(self, kind: str, path: str = "*", **options: Any) -> None:
        given = {"store": self.name, "kind": kind, "path": path} | options
        assert self.http.post(f"{self.control_url}/faults", json=given).status_code == 200

    def log(self) -> list[dict[str, Any]]:
        return self.http.get(f"{self.control_url}/log?store={self.name}").json()["requests"]

    def truth(self, resource: str = "orders") -> dict[int, dict[str, Any]]:
        shown = self.control(f"/truth?resource={resource}&limit=10000", "GET")
        assert shown["next"] is None
        return {row["id"]: row for row in shown["rows"]}

    def hook(self, topic: str, url: str, **more: Any) -> dict[str, Any]:
        return self.post("/webhooks", topic=topic, delivery_url=url, secret="labSecret123", **more)


def oauth_signature(method: str, url: str, parameters: dict[str, str], secret: str) -> str:
    pairs = sorted((quote(k, safe="~"), quote(v, safe="~")) for k, v in parameters.items())
    joined = "&".join(f"{name}={value}" for name, value in pairs)
    base = f"{method}&{quote(url, safe='')}&{quote(joined, safe='')}"
    digest = hashlib.sha1 if parameters["oauth_signature_method"] == "HMAC-SHA1" else hashlib.sha256
    return base64.b64encode(hmac.new(f"{secret}&".encode(), base.encode(), digest).digest()).decode()


def seal(secret: str, body: bytes) -> str:
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()
