"""`manage.py seed_demo`: the demo's two banks, linked the way a person's would be."""

import json
import logging
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from connections.audit import NotAudited
from connections.http import Answer, Http

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
        logging.getLogger("connections.calls").setLevel(logging.WARNING)  # these calls are to ourselves
        demo = json.loads((settings.CAUSEWAY_HOME / "demo.json").read_text())
        headers = {"Authorization": f"Bearer {demo['user']['token']}", "X-Workspace": demo["workspace"]}
        api = Http(provider="causeway", base_url=f"{demo['url']}/api/v1", headers=headers, guard=False)
        if _answer(api.request("GET", "connections"))["results"]:
            self.stdout.write("The demo has its banks already.")
            return
        for institution_id, username in BANKS:
            connection = self.link(api, demo["simulator_url"], institution_id, username)
            self.wait(api, connection)

    def link(self, api: Http, simulator_url: str, institution_id: str, username: str) -> dict[str, Any]:
        """Ask for a link token, let the simulator's sandbox stand in for the person at Link, exchange what comes of it."""
        _answer(api.request("POST", "plaid/link-token", json={}))
        keys = {"client_id": settings.PLAID_CLIENT_ID, "secret": settings.PLAID_SECRET}
        options = {
            "override_username": username,
            "override_password": "pass_good",
            "webhook": f"{settings.PUBLIC_URL}/webhook/plaid",
            "transactions": {"days_requested": DAYS},
        }
        body = {"institution_id": institution_id, "initial_products": ["transactions"], "options": options}
        plaid = Http(provider="plaid", base_url=f"{simulator_url}/plaid", guard=False)
        made = _answer(plaid.request("POST", "sandbox/public_token/create", json=keys | body))
        exchange = {"public_token": made["public_token"], "environment": "sandbox"}
        return _answer(api.request("POST", "plaid/exchange-token", json=exchange))

    def wait(self, api: Http, connection: dict[str, Any]) -> None:
        """Until the whole history is there: the bank gives the last month first and announces the rest."""
        path = f"connections/{connection['id']}/transactions"
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            mine = {"connection_id": connection["id"], "page_size": 100}
            oldest = _answer(api.request("GET", "sync/status", params=mine))
            brought = sum(run["records_created"] for run in oldest["results"])
            if brought > DAYS and _answer(api.request("GET", path, params={"page_size": 1}))["results"]:
                self.stdout.write(f"{connection['name']}: {brought} transactions.")
                return
            time.sleep(0.3)
        self.stdout.write(f"{connection['name']}: its transactions are still on their way.")


def _answer(answer: Answer) -> dict[str, Any]:
    if not answer.is_success:
        raise CommandError(f"{answer.url}: {answer.status} {answer.text[:300]}")
    return answer.json()
