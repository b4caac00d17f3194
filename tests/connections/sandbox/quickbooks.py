"""A client for the simulated QuickBooks, as small as one can be: the tests' own hands."""

from __future__ import annotations

import itertools
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

AUTH = ("demo-quickbooks-id", "demo-quickbooks-secret")
SCOPE = "com.intuit.quickbooks.accounting"
REDIRECT = "http://localhost:8000/api/v1/oauth/quickbooks/callback"
_numbers = itertools.count(1)


class QuickBooks:
    """The provider in a simulator process."""

    def __init__(self, origin: str):
        self.origin = origin
        self.url = f"{origin}/quickbooks"
        self.http = httpx.Client(base_url=self.url, timeout=30)

    def control(self, name: str, method: str = "POST", /, **body: Any) -> dict[str, Any]:
        response = self.http.request(method, f"/_control/{name}", json=body or None)
        assert response.status_code == 200, response.text
        return response.json()

    def company(self, **given: Any) -> Company:
        """A company of its own, connected."""
        shown = self.control("companies", **given)
        return Company(self, shown["realm"])

    def consent(self, realm: str, decision: str = "approve", **changes: str) -> httpx.Response:
        """What a browser does: the page, then the form."""
        query = authorize_query(**changes)
        page = self.http.get(f"/oauth2/authorize?{query}")
        assert page.status_code == 200, page.text
        return self.http.post(f"/oauth2/authorize?{query}", data={"realm": realm, "decision": decision})

    def code(self, realm: str) -> str:
        return came_back(self.consent(realm))["code"]

    def tokens(
        self, auth: tuple[str, str] = AUTH, headers: dict[str, str] | None = None, **form: str
    ) -> httpx.Response:
        return self.http.post("/oauth2/tokens", auth=auth, data=form, headers=headers)

    def exchange(self, code: str, redirect_uri: str = REDIRECT, **more: Any) -> httpx.Response:
        return self.tokens(grant_type="authorization_code", code=code, redirect_uri=redirect_uri, **more)

    def refresh(self, token: str, **more: Any) -> httpx.Response:
        return self.tokens(grant_type="refresh_token", refresh_token=token, **more)


class Company:
    """One realm and a bearer for it."""

    def __init__(self, provider: QuickBooks, realm: str):
        self.provider = provider
        self.realm = realm
        self.grant = provider.control("grants", realm=realm)
        self.token = self.grant["access_token"]

    def request(self, method: str, path: str, *, host: str = "", **given: Any) -> httpx.Response:
        params = {"minorversion": "75"} | given.pop("params", {})
        params = {name: value for name, value in params.items() if value is not None}
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json"} | given.pop("headers", {})
        url = f"{host}/v3/company/{self.realm}/{path}"
        return self.provider.http.request(method, url, params=params, headers=headers, **given)

    def get(self, path: str, **params: Any) -> httpx.Response:
        return self.request("GET", path, params=params)

    def post(self, path: str, body: Any, **params: Any) -> httpx.Response:
        return self.request("POST", path, params=params, json=body)

    def made(self, entity: str, body: dict[str, Any], **params: Any) -> dict[str, Any]:
        response = self.post(entity.lower(), body, **params)
        assert response.status_code == 200, response.text
        return response.json()[entity]

    def read(self, entity: str, object_id: str) -> dict[str, Any]:
        response = self.get(f"{entity.lower()}/{object_id}")
        assert response.status_code == 200, response.text
        return response.json()[entity]

    def refused(self, entity: str, body: dict[str, Any], **params: Any) -> list[str]:
        """The codes of the fault."""
        response = self.post(entity.lower(), body, **params)
        assert response.status_code >= 400, response.text
        return codes(response)

    def query(self, statement: str) -> dict[str, Any]:
        response = self.get("query", query=statement)
        assert response.status_code == 200, response.text
        return response.json()["QueryResponse"]

    def query_refused(self, statement: str) -> list[str]:
        response = self.get("query", query=statement)
        assert response.status_code == 400, response.text
        return codes(response)

    def ids(self, statement: str) -> list[str]:
        shown = self.query(statement)
        return [one["Id"] for value in shown.values() if isinstance(value, list) for one in value]

    def state(self, **fields: Any) -> dict[str, Any]:
        return self.provider.control(f"companies/{self.realm}/state", **fields)

    def prefer(self, group: str, **values: Any) -> None:
        self.state(preferences={group: values})

    def edit(self, entity: str, object_id: str | None = None, **fields: Any) -> dict[str, Any]:
        given = {"entity": entity, "fields": fields} | ({"id": object_id} if object_id else {})
        return self.provider.control(f"companies/{self.realm}/edit", **given)["object"]

    def fault(self, kind: str, **options: Any) -> dict[str, Any]:
        return self.provider.control("faults", kind=kind, realm=self.realm, **options)

    def log(self, **query: Any) -> list[dict[str, Any]]:
        text = urlencode({"realm": self.realm} | query)
        return self.provider.control(f"log?{text}", "GET")["requests"]

    def truth(self, entity: str) -> dict[str, dict[str, Any]]:
        shown = self.provider.control(f"companies/{self.realm}/truth?entity={entity}&limit=10000", "GET")
        return {one["Id"]: one for one in shown["objects"]}

    # --- things to sell ---

    def customer(self, **fields: Any) -> dict[str, Any]:
        return self.made("Customer", {"DisplayName": f"Customer {next(_numbers)}"} | fields)

    def item(self, **fields: Any) -> dict[str, Any]:
        body = {"Name": f"Item {next(_numbers)}", "Type": "NonInventory", "IncomeAccountRef": {"value": "79"}}
        return self.made("Item", body | fields)

    def sale(self, *amounts: Any, code: str = "NON", customer: str | None = None, **fields: Any) -> dict[str, Any]:
        """The body of a sales form with a line for each amount."""
        customer = customer or self.customer()["Id"]
        item = self.item()["Id"]
        return {"CustomerRef": {"value": customer}, "Line": [line(amount, item, code) for amount in amounts]} | fields


def line(amount: Any, item: str, code: str | None = "NON", **detail: Any) -> dict[str, Any]:
    detail = {"ItemRef": {"value": item}} | ({"TaxCodeRef": {"value": code}} if code else {}) | detail
    return {"Amount": amount, "DetailType": "SalesItemLineDetail", "SalesItemLineDetail": detail}


def authorize_query(**changes: str) -> str:
    given = {
        "client_id": AUTH[0],
        "response_type": "code",
        "scope": SCOPE,
        "redirect_uri": REDIRECT,
        "state": "state-1",
    }
    return urlencode({name: value for name, value in (given | changes).items() if value})


def came_back(response: httpx.Response) -> dict[str, str]:
    """What the redirect brings to the app."""
    assert response.status_code == 302, response.text
    return {name: values[0] for name, values in parse_qs(urlsplit(response.headers["location"]).query).items()}


def codes(response: httpx.Response) -> list[str]:
    shown = response.json()
    if "fault" in shown:
        return [one["code"] for one in shown["fault"]["error"]]
    return [one["code"] for one in shown["Fault"]["Error"]]
