"""The demo's owner: calls the API that is running, and has a browser for the providers' pages."""

import json
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from connections.http import Answer, Http

Json = dict[str, Any]
VERIFY_S = 40  # an answer to `verify?wait=1` may take 30
PAGE = 100


class Api:
    """With the demo's token and workspace. What is refused is a CommandError that says why."""

    def __init__(self) -> None:
        demo = json.loads((settings.CAUSEWAY_HOME / "demo.json").read_text())
        headers = {"Authorization": f"Bearer {demo['user']['token']}", "X-Workspace": demo["workspace"]}
        base = f"{demo['url']}/api/v1"
        self._http = Http(provider="causeway", base_url=base, headers=headers, guard=False, timeout_s=VERIFY_S)
        self.simulators = Simulators(demo["simulator_url"])

    def get(self, path: str, **params: Any) -> Json:
        return answered(self._http.request("GET", path, params=params))

    def post(self, path: str, body: Json | None = None, **params: Any) -> Json:
        return answered(self._http.request("POST", path, json=body, params=params))

    def patch(self, path: str, body: Json) -> Json:
        return answered(self._http.request("PATCH", path, json=body))

    def connections(self) -> list[Json]:
        """All of the workspace, newest first."""
        found: list[Json] = []
        url = self._http.url("connections", {"page_size": PAGE})
        while url:
            page = answered(replace(self._http, base_url=url).request("GET"))
            found, url = [*found, *page["results"]], page["next"]
        return found


class Simulators:
    """Where the demo's providers are, and what their owners know of them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = Http(provider="simulator", base_url=url, guard=False)

    def get(self, path: str) -> Json:
        return answered(self._http.request("GET", path))

    def post(self, path: str, body: Json) -> Json:
        return answered(self._http.request("POST", path, json=body))


def browse(url: str, *, form: dict[str, str] | None = None) -> Answer:
    """What a browser is shown, or where it is sent."""
    method = "GET" if form is None else "POST"
    return Http(provider="browser", base_url=url, guard=False).request(method, form=form)


def answered(answer: Answer) -> Json:
    """Raises CommandError where it is no success, with the cause in the answer's own words."""
    if answer.is_success:
        return answer.json()
    told = answer.json() if answer.text.startswith("{") else {}
    cause = told.get("detail") or told.get("error") or answer.text[:300]
    raise CommandError(f"{answer.url} answered {answer.status}: {cause}")
