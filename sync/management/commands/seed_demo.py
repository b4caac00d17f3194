"""`manage.py seed_demo`: the demo's two banks, linked the way a person's would be."""

import json
import time
from typing import Any

import httpx
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from connections.audit import NotAudited

BANKS = (("ins_109508", "user_good"), ("ins_910001", "user_good"))
DAYS = 730
PATIENCE_S = 40


class Command(BaseCommand):
    """Link → exchange → sync, through the API that is running. Does nothing where the demo user has banks already."""

    audit = NotAudited("goes through the API, which puts it on record")
    help = "Link the demo user's banks at the simulator, and wait until their transactions are there."

    def handle(self, *_args: Any, **_options: Any) -> None:
        if not settings.DEMO:
            raise CommandError("There is no demo here: DEMO is 0.")
        demo = json.loads((settings.CAUSEWAY_HOME / "demo.json").read_text())
        headers = {"Authorization": f"Bearer {demo['user']['token']}", "X-Workspace": demo["workspace"]}
        with httpx.Client(base_url=f"{demo['url']}/api/v1", headers=headers, timeout=30, trust_env=False) as api:
            if _answer(api.get("connections"))["results"]:
                self.stdout.write("The demo has its banks already.")
                return
            for institution_id, username in BANKS:
                connection = self.link(api, demo["simulator_url"], institution_id, username)
                self.wait(api, connection)

    def link(self, api: httpx.Client, simulator_url: str, institution_id: str, username: str) -> dict[str, Any]:
        """Ask for a link token, let the simulator's sandbox stand in for the person at Link, exchange what comes of it."""
        _answer(api.post("plaid/link-token", json={}))
        keys = {"client_id": settings.PLAID_CLIENT_ID, "secret": settings.PLAID_SECRET}
        options = {
            "override_username": username,
            "override_password": "pass_good",
            "webhook": f"{settings.PUBLIC_URL}/webhook/plaid",
            "transactions": {"days_requested": DAYS},
        }
        body = {"institution_id": institution_id, "initial_products": ["transactions"], "options": options}
        made = _answer(httpx.post(f"{simulator_url}/plaid/sandbox/public_token/create", json=keys | body, timeout=30))
        return _answer(
            api.post("plaid/exchange-token", json={"public_token": made["public_token"], "environment": "sandbox"})
        )

    def wait(self, api: httpx.Client, connection: dict[str, Any]) -> None:
        """Until the whole history is there: the bank gives the last month first and announces the rest."""
        path = f"connections/{connection['id']}/transactions"
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            oldest = _answer(api.get("sync/status", params={"connection_id": connection["id"], "page_size": 100}))
            brought = sum(run["records_created"] for run in oldest["results"])
            if brought > DAYS and _answer(api.get(path, params={"page_size": 1}))["results"]:
                self.stdout.write(f"{connection['name']}: {brought} transactions.")
                return
            time.sleep(0.3)
        self.stdout.write(f"{connection['name']}: its transactions are still on their way.")


def _answer(response: httpx.Response) -> dict[str, Any]:
    if response.is_error:
        raise CommandError(
            f"{response.request.method} {response.request.url.path}: {response.status_code} {response.text[:300]}"
        )
    return response.json()
