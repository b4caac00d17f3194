"""The demo's two banks: linked as a person does it at Plaid, and read before anybody looks."""

import time
from collections.abc import Callable

from django.conf import settings

from sync.management.demo.api import Api, Json

BANKS = (("ins_109508", "user_good"), ("ins_910001", "user_good"))
DAYS = 730
PATIENCE_S = 40


def banks_link(api: Api, say: Callable[[str], object]) -> None:
    """Link → exchange → sync. Does nothing where the demo has a bank already."""
    if any(one["provider"] == "plaid" for one in api.connections()):
        say("The demo has its banks already.")
        return
    for institution_id, username in BANKS:
        say(_read(api, _linked(api, institution_id, username)))


def _linked(api: Api, institution_id: str, username: str) -> Json:
    """Ask for a link token, let the simulator's sandbox stand in for the person at Link, exchange what comes of it."""
    api.post("plaid/link-token", {})
    keys = {"client_id": settings.PLAID_CLIENT_ID, "secret": settings.PLAID_SECRET}
    options = {
        "override_username": username,
        "override_password": "pass_good",
        "webhook": f"{settings.PUBLIC_URL}/webhook/plaid",
        "transactions": {"days_requested": DAYS},
    }
    body = {"institution_id": institution_id, "initial_products": ["transactions"], "options": options}
    made = api.simulators.post("plaid/sandbox/public_token/create", keys | body)
    return api.post("plaid/exchange-token", {"public_token": made["public_token"], "environment": "sandbox"})


def _read(api: Api, connection: Json) -> str:
    """Wait for the whole history: the bank gives the last month first and announces the rest. What came of it."""
    path = f"connections/{connection['id']}/transactions"
    give_up_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_at:
        runs = api.get("sync/status", connection_id=connection["id"], page_size=100)["results"]
        brought = sum(run["records_created"] for run in runs)
        if brought > DAYS and api.get(path, page_size=1)["results"]:
            return f"{connection['name']}: {brought} transactions."
        time.sleep(0.3)
    return f"{connection['name']}: its transactions are still on their way."
